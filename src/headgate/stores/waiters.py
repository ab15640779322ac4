"""How a caller waits for the writer thread: one class per colour."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import methodcaller
from typing import Any

from headgate.core.errors import BudgetExceeded, ConfigError, HeadgateError, Unavailable

holding: dict[int, threading.RLock] = {}
"""By thread: the writer's lock, while `Writer.intend_here` has it. A signal's handler runs in the middle of that, and
what it does may wait for the writer, which waits for the lock."""


@contextmanager
def let_go() -> Iterator[None]:
    """Whatever is waited for inside can be done: this thread does not hold it up."""
    lock = holding.get(threading.get_ident())
    try:
        if lock is not None:
            lock.release()
    except RuntimeError:  # the one that had it was cut off before it could say that it has it no more
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            lock.acquire()


class BlockingWaiter:
    """Blocks the calling thread. One use."""

    __slots__ = ("_done", "_error", "_open")

    def __init__(self) -> None:
        self._error: HeadgateError | None = None
        self._open = True
        self._done = threading.Lock()
        self._done.acquire()

    def get_loop(self) -> None:
        """As a future's: it has none."""

    def finish(self, error: HeadgateError | None) -> None:
        """Called by the writer thread; only the first call counts."""
        if self._open:
            self._open = False
            self._error = error
            self._done.release()

    def wait(self, seconds: float = -1) -> None:
        """Return when the writer is done, or after so many `seconds` (negative: never); raise what it reports."""
        if holding:
            with let_go():
                self._done.acquire(timeout=seconds)
        else:
            self._done.acquire(timeout=seconds)
        if self._error is not None:
            raise self._error


def async_waiter() -> asyncio.Future[None]:
    """Suspends a task of whichever event loop is running here; several loops in several threads may wait at once."""
    return asyncio.get_running_loop().create_future()


Waiter = BlockingWaiter | asyncio.Future[None]


async def wait_at_most(waiter: Waiter, seconds: float) -> None:
    """Return when the thread is done, or after so many `seconds`, >= 0; raise what it reports."""
    if isinstance(waiter, BlockingWaiter):
        waiter.wait(seconds)
        return
    late = waiter.get_loop().call_later(seconds, _give_up, waiter)
    try:
        await waiter
    finally:
        late.cancel()


def wake(waiters: Iterable[Waiter], error: HeadgateError | None = None) -> None:
    """End the waiting of all, with one call into each event loop however many of its tasks wait."""
    every: list[Any] = list(waiters)
    if len(every) == 1 and every[0].get_loop() is None:
        every[0].finish(_copy(error))
        return
    loops = set(map(_loop, every))
    for loop in loops:
        there = every if len(loops) == 1 else [waiter for waiter in every if waiter.get_loop() is loop]
        if loop is None:
            for waiter in there:
                waiter.finish(_copy(error))
            continue
        try:
            loop.call_soon_threadsafe(_resolve, there, error)
        except RuntimeError:
            # The loop was closed meanwhile: its tasks are gone, and nobody is left to tell.
            continue


_loop = methodcaller("get_loop")


def _give_up(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _resolve(futures: list[asyncio.Future[None]], error: HeadgateError | None) -> None:
    for future in futures:
        if not future.done():  # else the task was cancelled; the engine settles what it intended
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(_copy(error) or error)


def _copy(error: HeadgateError | None) -> HeadgateError | None:
    # Each waiter gets its own: exceptions collect a traceback and the exchange's id as they travel.
    if isinstance(error, BudgetExceeded):
        return error  # one waiter's own
    if isinstance(error, ConfigError):
        return ConfigError(error.mistakes)
    return None if error is None else Unavailable(error.message, told=error.told)
