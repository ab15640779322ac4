"""When somebody has waited long enough for a provider: every deadline of an event loop behind one timer."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.upstream.connection import Connection

_SWEEP = 0.02  # seconds: timers this close together are looked at together


class Sweeper:
    """All deadlines of one event loop: one timer for the earliest, instead of one timer per request.

    Attributes:
        next: loop time at which it will look.
        watched: every connection that is not dropped, idle ones too: they have no deadline.
    """

    __slots__ = ("_loop", "_timer", "next", "watched")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self.watched: set[Connection] = set()
        self.next = inf

    def arm(self, deadline: float) -> None:
        """Look at `deadline` (loop time) at the latest."""
        if self._timer is not None:
            self._timer.cancel()
        self.next = deadline
        self._timer = self._loop.call_at(deadline, self._sweep)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.next = inf

    def _sweep(self) -> None:
        now = self._loop.time()
        self._timer = None
        self.next = earliest = inf
        due = []
        for connection in self.watched:
            deadline = connection.deadline
            if deadline <= now + 0.001:  # loop clocks tick in milliseconds
                due.append(connection)
            elif deadline < earliest:
                earliest = deadline
        for connection in due:
            connection.expire()
        if earliest < self.next:
            self.arm(max(earliest, now + _SWEEP))
