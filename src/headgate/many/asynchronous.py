"""A run over asyncio tasks, for asynchronous SDK clients."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import aclosing
from contextvars import Context
from typing import Any, Generic, TypeVar, cast

from headgate.core.errors import ConfigError
from headgate.many.outcomes import Outcome, Outcomes, ended
from headgate.many.run import Items, Terms, context_for, late
from headgate.transport.context import collecting

T = TypeVar("T")
_END = object()
_SYNCHRONOUS = "a call gave nothing that can be awaited: synchronous SDK clients go with `gate.map`, in threads"


class AsyncOutcomes(Outcomes[T]):
    """See `Outcomes`."""

    async def retry_failed(self, only: Callable[[Outcome[T]], bool] | None = None) -> AsyncOutcomes[T]:
        """Call again for those that failed, on the same terms; returns all, each in its place.

        Args:
            only: which of the failed ones; all if None.

        Raises:
            ConfigError: one of them was given to `gather` as an awaitable, which can be awaited once: give callables.
        """
        some = self._to_retry(only)
        if any(inspect.isawaitable(each.item) for each in some):
            raise ConfigError(
                "retry_failed(): an awaitable can be awaited once only. Give headgate.gather callables that make them, "
                "or use gate.amap"
            )
        again: AsyncRun[T] = self._again([each.item for each in some])
        return AsyncOutcomes(self._with(some, await again), self._again)


class AsyncRun(Generic[T]):
    """Awaits a call for each item, in tasks of the running asyncio loop. Made by `headgate.gather` and `Gate.amap`;
    nothing begins before it is asked for.

    ``await run`` for all outcomes; ``async for outcome in run`` for them in the items' order, as soon as each can be
    told; or `as_completed()`. The items are taken one by one, when there is room for another.
    """

    def __init__(
        self,
        call: Callable[[Any], Awaitable[T]],
        items: Iterable[Any] | AsyncIterable[Any],
        terms: Terms,
        *,
        keep_errors: bool = True,
    ) -> None:
        """
        Args:
            call: makes the awaitable of an item.
            keep_errors: else the first error ends the run.
        """
        self._call = call
        self._source = items
        self._terms = terms
        self._keep_errors = keep_errors
        self._items: Items[T] = Items(terms, items)
        self._context: Callable[[], Context] = context_for(terms)  # the one who made the run, whoever awaits it
        self._feed: Iterator[Any] | None = None
        self._afeed: AsyncIterator[Any] | None = None
        self._pull: asyncio.Task[Any] | None = None
        self._tasks: dict[asyncio.Task[Outcome[T]], tuple[int, Any]] = {}
        self._ends: deque[asyncio.Task[Outcome[T]]] = deque()
        self._wake: asyncio.Event
        self._begun = self._late = False

    def __await__(self) -> Generator[Any, None, AsyncOutcomes[T]]:
        """All outcomes, when all have ended. Cancelled, it cancels what is under way, and what has ended is in
        `outcomes`."""
        return self._all().__await__()

    def __aiter__(self) -> AsyncIterator[Outcome[T]]:
        """Outcomes in the order of the items."""
        return self._handing(in_order=True)

    def as_completed(self) -> AsyncIterator[Outcome[T]]:
        """Outcomes in the order in which they end; `index` and `item` tell whose each is."""
        return self._handing(in_order=False)

    @property
    def outcomes(self) -> AsyncOutcomes[T]:
        """What has ended by now, and was not handed on: after a cancellation, what `await` would have returned."""
        return AsyncOutcomes(self._items.held, self._again)

    def _again(self, items: list[Any]) -> AsyncRun[T]:
        return AsyncRun(self._call, items, self._terms, keep_errors=self._keep_errors)

    async def _all(self) -> AsyncOutcomes[T]:
        async with aclosing(self._handing(in_order=True, keep=True)) as ends:
            async for _ in ends:
                pass
        return self.outcomes

    async def _handing(self, *, in_order: bool, keep: bool = False) -> AsyncGenerator[Outcome[T], None]:
        timer = self._begin()
        try:
            while True:
                self._turn(keep=keep)  # before each, so that tasks go on while the reader works
                outcome = None if keep else self._items.take(in_order=in_order)
                if outcome is not None:
                    yield outcome
                elif self._tasks or self._pull is not None:
                    self._wake.clear()
                    await self._wake.wait()
                else:
                    return
        finally:
            if timer is not None:
                timer.cancel()
            await self._stop()

    def _begin(self) -> asyncio.TimerHandle | None:
        if self._begun:
            raise ConfigError("a run is gone through once: make another, or keep what `await` returns")
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError(
                "many calls at once run on asyncio; under trio, start them in a nursery with a CapacityLimiter"
            ) from None
        self._begun = True
        self._wake = asyncio.Event()
        if isinstance(self._source, AsyncIterable):
            self._afeed = aiter(self._source)
        else:
            self._feed = iter(self._source)
        self._items.progress.begin()
        deadline = self._terms.deadline
        self._late = deadline == 0
        return loop.call_later(deadline, self._expire) if deadline else None

    def _turn(self, *, keep: bool) -> None:
        """Take in what has ended, and begin what there is room for."""
        while self._ends:
            self._take_in(self._ends.popleft())
        while self._feed is not None and self._items.room(keep=keep):
            item = next(self._feed, _END)
            if item is _END:
                self._feed = None
            else:
                self._start(item)
        while self._afeed is not None and self._items.room(keep=keep):
            if self._pull is None:  # beside the rest: a source that is slow does not keep what has ended
                self._pull = asyncio.ensure_future(_next(self._afeed))
                self._pull.add_done_callback(lambda _: self._wake.set())
            if not self._pull.done():
                break
            pulled, self._pull = self._pull, None
            item = _END if pulled.cancelled() else pulled.result()
            if item is not _END:
                self._start(item)
            if item is _END or self._late:
                self._afeed = None

    def _start(self, item: Any) -> None:
        index = self._items.begin()
        if self._late:
            _discard(item)
            self._ended(late(index, item, begun=False))
            return
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._one(index, item), context=self._context())
        self._tasks[task] = (index, item)
        task.add_done_callback(self._done)

    async def _one(self, index: int, item: Any) -> Outcome[T]:
        """In a task, and so in a context of its own."""
        with collecting() as seen:
            try:
                call = self._call(item)
                if not inspect.isawaitable(call):
                    raise _Misused(_SYNCHRONOUS)
                return ended(index, item, seen, value=await call)
            except _Misused:
                raise
            except asyncio.CancelledError as error:
                if self._late:
                    return ended(index, item, seen, error=late(index, item, begun=True).error)
                if cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():
                    raise
                return ended(index, item, seen, error=error)  # the call has cancelled itself
            except Exception as error:
                return ended(index, item, seen, error=error)

    def _done(self, task: asyncio.Task[Outcome[T]]) -> None:
        self._ends.append(task)
        self._wake.set()

    def _take_in(self, task: asyncio.Task[Outcome[T]]) -> None:
        index, item = self._tasks.pop(task)
        if task.cancelled():  # before its first step, or by somebody else
            _discard(item)
            error = late(index, item, begun=False).error if self._late else asyncio.CancelledError()
            self._ended(ended(index, item, (), error=error))
        else:
            self._ended(task.result())

    def _ended(self, outcome: Outcome[T]) -> None:
        self._items.end(outcome)
        if outcome.error is not None and not self._keep_errors:
            raise outcome.error

    def _expire(self) -> None:
        """The deadline has come."""
        self._late = True
        for task in self._tasks:
            task.cancel()
        if self._pull is not None:  # a source may wait for ever; what it has not told yet is nobody's item
            self._pull.cancel()
        self._wake.set()

    async def _stop(self) -> None:
        """Cancel what is under way, and return when it has ended."""
        feed, self._feed, self._afeed = self._feed, None, None
        if isinstance(self._source, tuple | list) and feed is not None:
            for item in feed:  # coroutines that nobody will await now
                _discard(item)
        left: list[asyncio.Task[Any]] = [*self._tasks, *([] if self._pull is None else [self._pull])]
        for task in left:
            task.cancel()
        try:
            await asyncio.gather(*left, return_exceptions=True)
            for task, (_, item) in self._tasks.items():
                _discard(item)
                if not task.cancelled() and task.exception() is None:  # it had ended, or would not stop
                    self._items.end(task.result())
        finally:
            self._tasks.clear()
            self._items.progress.close()


class _Misused(ConfigError):
    """Every item would fail alike: it ends the run."""


async def _next(feed: AsyncIterator[Any]) -> Any:
    return await anext(feed, _END)


def _discard(item: Any) -> None:
    """So that Python does not warn of a coroutine that was never awaited. Nothing happens to one that has ended."""
    if inspect.iscoroutine(item):
        item.close()
