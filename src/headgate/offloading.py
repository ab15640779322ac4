"""CPU-heavy work beside the event loop (decisions 23): `core.ports.Offload` in both colours."""

from __future__ import annotations

from collections.abc import Iterator
from time import sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import anyio
    from anyio.lowlevel import RunVar

THREADS = 2
"""At once, per event loop. More of them would only wait for each other: the work is Python's own."""


class InPlace:
    """For threads: there is no event loop to keep free."""

    __slots__ = ()

    async def run(self, slices: Iterator[object]) -> None:
        """See the port. Never suspends."""
        for _ in slices:
            pass


class OffLoop:
    """For event loops, asyncio's or trio's."""

    __slots__ = ("_limiters",)

    def __init__(self) -> None:
        self._limiters: RunVar[anyio.CapacityLimiter] | None = None

    async def run(self, slices: Iterator[object]) -> None:
        """See the port. A caller that leaves ends it after the slice that is under way."""
        import anyio
        import anyio.to_thread
        from anyio.lowlevel import RunVar

        if self._limiters is None:
            self._limiters = RunVar("headgate-guards")
        limiter = self._limiters.get(None)
        if limiter is None:
            limiter = anyio.CapacityLimiter(THREADS)
            self._limiters.set(limiter)
        left = False

        def work() -> None:
            for _ in slices:
                if left:
                    return
                sleep(0)  # lets the loop's thread have the interpreter between two slices

        try:
            await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)
        finally:
            left = True
