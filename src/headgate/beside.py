"""Work that goes on when the one who has begun it leaves, in both colours."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, cast

from headgate.core.ports import News
from headgate.engine.blocking import run_blocking
from headgate.stores.waiters import BlockingWaiter, async_waiter, wake

_LONGEST = 86_400.0  # seconds; a lock's timeout has a limit


class _AsyncNews:
    """Suspends a task."""

    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter = async_waiter()

    async def wait(self, seconds: float) -> None:
        """See `core.ports.News`."""
        waiter = self.waiter
        if math.isinf(seconds):
            await waiter
            return
        timer = waiter.get_loop().call_later(seconds, _ring, waiter)
        try:
            await waiter
        finally:
            timer.cancel()


class _BlockingNews:
    """Blocks a thread."""

    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter = BlockingWaiter()

    async def wait(self, seconds: float) -> None:
        """See `core.ports.News`. Never suspends."""
        self.waiter.wait(min(seconds, _LONGEST))


def _ring(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _wake(several: Sequence[News]) -> None:
    wake(cast("_AsyncNews | _BlockingNews", each).waiter for each in several)


class AsyncBeside:
    """`core.ports.Beside` in tasks of the running event loop."""

    shares_thread = True

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def news(self) -> News:
        """See the port."""
        return _AsyncNews()

    def wake(self, several: Sequence[News]) -> None:
        """See the port."""
        _wake(several)

    async def start(self, work: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """See the port."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        self._tasks.add(task)  # or it could be collected
        task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            try:
                here = asyncio.get_running_loop()
            except RuntimeError:
                here = None
            if here is loop:
                task.cancel()
                return
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:
                return  # the loop was closed, and has ended its tasks

        return cancel

    async def go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """See the port."""
        await work


class BlockingBeside:
    """`core.ports.Beside` for threads: what can be left in the middle, a stream, goes on in one of its own."""

    shares_thread = False

    def news(self) -> News:
        """See the port."""
        return _BlockingNews()

    def wake(self, several: Sequence[News]) -> None:
        """See the port."""
        _wake(several)

    async def start(self, work: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """See the port."""
        await work
        return _nothing

    async def go_on(self, work: Coroutine[Any, Any, None]) -> None:
        """See the port."""
        thread = threading.Thread(target=run_blocking, args=(work,), name="headgate-flight", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            await work


def _nothing() -> None:
    """What runs in place has ended by the time that anybody could cancel it."""
