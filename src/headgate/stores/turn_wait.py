"""One wait for a turn, as small as it can be made: tens of thousands may wait in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING

from headgate.core.errors import NoTurn
from headgate.core.exchange import Attempt
from headgate.policy.turn import Waiting
from headgate.stores.waiters import BlockingWaiter

if TYPE_CHECKING:
    from headgate.stores.turns import LocalTurns

Waker = BlockingWaiter | asyncio.Future[None]
"""What one that waits is told by: a lock, or a future of its event loop."""


def new_future() -> asyncio.Future[None]:
    """The waker of the task that runs here."""
    return asyncio.get_running_loop().create_future()


class TurnWait(Generator[object, None, None]):
    """Await it, once: then `attempt.turn` is there. Whoever is cancelled, or closed, leaves the queue.

    Why no coroutine: its frame would be 200 bytes more, for everybody that waits.

    Raises:
        NoTurn: a breaker has opened, or the deadline has come.
    """

    __slots__ = ("_attempt", "_entry", "_inner", "_shared")

    def __init__(self, shared: LocalTurns, entry: Waiting, attempt: Attempt) -> None:
        self._shared = shared
        self._attempt = attempt
        self._entry: Waiting | None = entry  # None: it is over
        self._inner: Generator[object, None, None] | None = None  # what the event loop is given; None: not begun

    def __await__(self) -> Generator[object, None, None]:
        """Itself: it is what a coroutine's frame would be."""
        return self

    def send(self, value: None, /) -> object:
        """Go on, as a coroutine's `send` does."""
        entry = self._entry
        if entry is None:
            raise RuntimeError("a wait for a turn is awaited once")
        try:
            if self._inner is None:
                self._attempt.started = self._shared.now()
                waker: Waker = entry.waker
                if isinstance(waker, BlockingWaiter):
                    waker.wait()
                else:
                    self._inner = waker.__await__()
            if self._inner is not None:
                return next(self._inner)
        except StopIteration:
            pass  # it was told
        except BaseException:
            self._leave()
            raise
        self._told(entry)
        raise StopIteration

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: object = None,
        tb: TracebackType | None = None,
        /,
    ) -> object:
        """Its task is cancelled, or nobody awaits it any more."""
        self._leave()
        return super().throw(typ, val, tb)  # type: ignore[arg-type]  # its overloads tell the two kinds of `typ` apart

    def _leave(self) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            self._shared.leave(entry)

    def _told(self, entry: Waiting) -> None:
        self._entry = self._inner = None
        attempt, now = self._attempt, self._shared.now()
        waited = now - attempt.started
        attempt.waited += waited
        attempt.waited_turn += waited
        attempt.started = now
        if entry.turn is None:
            raise entry.error or NoTurn("Headgate is shutting down", kind="paced", retry_after=0.0)
        attempt.turn = entry.turn
