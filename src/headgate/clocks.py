"""Real time, in both colours."""

from __future__ import annotations

import time

_monotonic = time.monotonic


class _Clock:
    """Seconds since the epoch, never running backwards within a process.

    The monotonic clock drives it; where the system's clock is set forward it follows, and where it is set back it
    does not, so that no deadline opens again and no period of a budget comes twice.
    """

    __slots__ = ("_look", "_offset")

    def __init__(self) -> None:
        here = time.monotonic()
        self._offset = time.time() - here
        self._look = here + 1.0

    def now(self) -> float:
        """See `core.ports.Clock`."""
        here = _monotonic()
        if here > self._look:
            self._follow(here)
        return here + self._offset

    def _follow(self, here: float) -> None:
        """The system's clock; once a second is often enough."""
        self._look = here + 1.0
        ahead = time.time() - here - self._offset
        if ahead > 1.0:
            self._offset += ahead


class AsyncClock(_Clock):
    """Sleeps in the running event loop: asyncio's or trio's."""

    __slots__ = ()

    async def sleep(self, seconds: float) -> None:
        """See `core.ports.Clock`."""
        import anyio

        await anyio.sleep(seconds)


class BlockingClock(_Clock):
    """Sleeps in the calling thread."""

    __slots__ = ()

    async def sleep(self, seconds: float) -> None:
        """See `core.ports.Clock`. Never suspends."""
        time.sleep(seconds)  # noqa: ASYNC251 -- this colour has no event loop to block
