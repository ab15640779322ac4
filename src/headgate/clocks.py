"""Real time, in both colours."""

from __future__ import annotations

import time

_monotonic = time.monotonic


class _Following:
    """How far the system's clock is ahead of the monotonic one; both clocks of a gate go by the same.

    Callers' limits and turns are asked with readings of both colours' clocks: if one of them followed a step of the
    system's earlier than the other, their times would jump to and fro, and each jump fills what was used up.
    """

    __slots__ = ("ahead", "look")

    def __init__(self) -> None:
        here = time.monotonic()
        self.ahead = time.time() - here
        self.look = here + 1.0

    def follow(self, here: float) -> None:
        """Look at the system's clock; once a second is often enough."""
        self.look = here + 1.0
        further = time.time() - here - self.ahead
        if further > 1.0:
            self.ahead += further


class _Clock:
    """Seconds since the epoch, never running backwards within a process.

    The monotonic clock drives it; where the system's clock is set forward it follows, and where it is set back it
    does not, so that no deadline opens again and no period of a budget comes twice.

    Args:
        of: the gate's other clock, whose steps this one makes.
    """

    __slots__ = ("_following",)

    def __init__(self, of: _Clock | None = None) -> None:
        self._following: _Following = _Following() if of is None else of._following

    def now(self) -> float:
        """See `core.ports.Clock`."""
        here, following = _monotonic(), self._following
        if here > following.look:
            following.follow(here)
        return here + following.ahead


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
