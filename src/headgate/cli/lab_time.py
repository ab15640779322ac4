"""An event loop whose time passes only while everybody waits: minutes of an experiment take seconds.

Sockets and callbacks are asyncio's own. When nothing is ready, the time jumps to the next timer instead of being waited
for, so every wait is as long as it claims to be, and what is computed takes none. One thread, one loop.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections.abc import Callable

EPOCH = 1_800_000_000.0
"""Seconds since the epoch at which every experiment begins: the same run is the same run."""

_STILL = 30.0  # seconds of real time in which nothing happens at all
# What one end of a loopback connection writes, the other can read when the call returns; elsewhere almost.
_GRACE = 0.0 if sys.platform == "linux" else 0.0005


def alone() -> None:
    """What a loop has to wait for before it jumps, where no other thread works for it: nothing."""


class _Jumping(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        self.settle: Callable[[], None] = alone

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; else the time is `timeout` seconds later."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        self.settle()
        ready = super().select(_GRACE)
        if ready:
            return ready
        if timeout is not None:
            self.passed += timeout
            return []
        ready = super().select(_STILL)
        if not ready:
            raise RuntimeError("the experiment stands still: everybody waits, and nobody for a time")
        return ready


class LabLoop(asyncio.SelectorEventLoop):
    """Its `time()` begins at 0.0 seconds and jumps.

    Attributes:
        settle: called before each jump; blocks until other threads have handed back what they work on for this loop
            (`alone`: there is none).
    """

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    @property
    def settle(self) -> Callable[[], None]:
        return self._jumping.settle

    @settle.setter
    def settle(self, settle: Callable[[], None]) -> None:
        self._jumping.settle = settle

    def time(self) -> float:
        """Seconds since the loop was made, of its own time."""
        return self._jumping.passed


class LabClock:
    """A loop's time as a clock (`core.ports.Clock`), for the simulator and the engine."""

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        """See the port. Any thread may ask."""
        return EPOCH + self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """See the port."""
        await asyncio.sleep(seconds)
