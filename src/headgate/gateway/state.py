"""What the connections of one server share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

from headgate.gateway.limits import Limits

if TYPE_CHECKING:
    from headgate.gateway.protocol import GateProtocol


class GateState(ServerState):
    """What the connections of one server share.

    Attributes:
        now: the loop's time plus one tick, renewed by the sweeper, so that a deadline made from it is never early.
        date: the current `date` header line.
        draining: no new request is accepted; every answer is the last of its connection.
        refused: how often each `Problem.code` was answered, for the metrics.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.now = 0.0
        self.date = b""
        self.draining = False
        self.refused: dict[str, int] = {}
        self.gates: set[GateProtocol] = set()

    def running(self) -> set[asyncio.Task[None]]:
        """The tasks of all requests that have not ended: `tasks`, and of connections those that they are answering.

        Whatever else may still run, because its caller has left or its app goes on behind its answer, is in `tasks`.
        """
        tasks = [gate.active.task for gate in self.gates if gate.active is not None]
        return self.tasks | {task for task in tasks if task is not None and not task.done()}

    def forget_done(self) -> None:
        """Drop tasks that ended without running: others drop themselves."""
        self.tasks.difference_update([task for task in self.tasks if task.done()])

    def sweep(self, now: float) -> None:
        """End what has outlived its deadline. `now` is the loop's time in seconds."""
        self.now = now + self.limits.tick
        for gate in [gate for gate in self.gates if gate.deadline < now or gate.write_deadline < now]:
            gate.expire(now)
