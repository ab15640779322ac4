"""A run over threads, for synchronous SDK clients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Generic, TypeVar

from headgate.core.errors import ConfigError
from headgate.many.outcomes import Outcome, Outcomes, ended
from headgate.many.run import Items, Terms, context_for, late
from headgate.transport.context import collecting

S = TypeVar("S")
T = TypeVar("T")

_ASYNCHRONOUS = "the function gave a coroutine: use `gate.amap`, with an asynchronous SDK client"
_LOOK_SECONDS = 1.0  # on Windows a Ctrl-C is not seen while a thread waits for a lock


class BlockingOutcomes(Outcomes[T]):
    """See `Outcomes`."""

    def retry_failed(self, only: Callable[[Outcome[T]], bool] | None = None) -> BlockingOutcomes[T]:
        """Call again for those that failed, on the same terms; returns all, each in its place.

        Args:
            only: which of the failed ones; all if None.
        """
        some = self._to_retry(only)
        again: BlockingRun[Any, T] = self._again([each.item for each in some])
        return BlockingOutcomes(self._with(some, again.all()), self._again)


class BlockingRun(Generic[S, T]):
    """Calls a function for each item, in threads. Made by `Gate.map`; nothing begins before it is asked for.

    Iterate for outcomes in the items' order, as soon as each can be told; or `as_completed()`; or `all()`. The items
    are taken one by one, when there is room for another, and in the thread that iterates.
    """

    def __init__(self, function: Callable[[S], T], items: Iterable[S], terms: Terms, now: Callable[[], float]) -> None:
        """
        Args:
            now: seconds since the epoch, on the clock of the calls' own deadlines.
        """
        self._function = function
        self._source = items
        self._terms = terms
        self._now = now
        self._items: Items[T] = Items(terms, items)
        self._ends: SimpleQueue[Outcome[T] | BaseException] = SimpleQueue()
        self._threads: ThreadPoolExecutor | None = None
        self._context: Callable[[], Context]
        self._caller = context_for(terms)  # the one who made the run, whoever iterates
        self._feed: Iterator[S] | None = None
        self._end: float | None = None

    def __iter__(self) -> Iterator[Outcome[T]]:
        """Outcomes in the order of the items."""
        return self._handing(in_order=True)

    def as_completed(self) -> Iterator[Outcome[T]]:
        """Outcomes in the order in which they end; `index` and `item` tell whose each is."""
        return self._handing(in_order=False)

    def all(self) -> BlockingOutcomes[T]:
        """Block until all have ended.

        Interrupted, as by Ctrl-C, it begins nothing more, and what has ended is in `outcomes`.
        """
        try:
            self._begin()
            while True:
                self._turn(keep=True)
                if not self._items.under_way:
                    return self.outcomes
                self._wait()
        finally:
            self._stop(wait=False)

    @property
    def outcomes(self) -> BlockingOutcomes[T]:
        """What has ended by now, and was not handed on: after an interruption, what `all` would have returned."""
        self._drain()
        return BlockingOutcomes(self._items.held, self._again)

    def close(self) -> None:
        """Begin nothing more, and return when what is under way has ended: it is paid for. Idempotent."""
        self._stop(wait=True)

    def __enter__(self) -> BlockingRun[S, T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _again(self, items: list[S]) -> BlockingRun[S, T]:
        return BlockingRun(self._function, items, self._terms, self._now)

    def _handing(self, *, in_order: bool) -> Iterator[Outcome[T]]:
        try:
            self._begin()
            while True:
                self._turn(keep=False)  # before each: the threads work while the reader does
                outcome = self._items.take(in_order=in_order)
                if outcome is not None:
                    yield outcome
                elif not self._items.under_way:
                    return
                else:
                    self._wait()
        finally:
            self._stop(wait=False)

    def _begin(self) -> None:
        if self._feed is not None:
            raise ConfigError("a run is gone through once: make another with `map`, or keep what `all()` returns")
        self._feed = iter(self._source)
        if self._terms.deadline is not None:
            self._end = self._now() + self._terms.deadline
        self._context = self._caller().run(context_for, self._terms, self._end)
        self._threads = ThreadPoolExecutor(self._terms.limit, thread_name_prefix="headgate-map")
        self._items.progress.begin()

    def _turn(self, *, keep: bool) -> None:
        """Take in what has ended, and begin what there is room for."""
        self._drain()
        while self._feed is not None and self._threads is not None and self._items.room(keep=keep):
            try:
                item = next(self._feed)
            except StopIteration:
                self._feed = iter(())
                return
            index = self._items.begin()
            if self._end is not None and self._now() >= self._end:
                self._items.end(late(index, item, begun=False))
            else:
                self._threads.submit(self._context().run, self._one, index, item)

    def _one(self, index: int, item: S) -> None:
        """In a thread, in a context of its own."""
        with collecting() as seen:
            try:
                value = self._function(item)
                if inspect.iscoroutine(value):
                    value.close()
                    self._ends.put(ConfigError(_ASYNCHRONOUS))
                    return
                outcome = ended(index, item, seen, value=value)
            except Exception as error:
                outcome = ended(index, item, seen, error=error)
            except BaseException as error:  # a thread cannot end the program: who iterates gets it
                self._ends.put(error)
                return
        self._ends.put(outcome)

    def _wait(self) -> None:
        while True:
            try:
                self._take_in(self._ends.get(timeout=_LOOK_SECONDS))
                return
            except Empty:
                continue

    def _drain(self) -> None:
        while True:
            try:
                self._take_in(self._ends.get_nowait())
            except Empty:
                return

    def _take_in(self, end: Outcome[T] | BaseException) -> None:
        if isinstance(end, BaseException):
            self._items.under_way -= 1
            raise end
        self._items.end(end)

    def _stop(self, *, wait: bool) -> None:
        """What is under way goes on, in threads that the interpreter waits for: its money is spent."""
        self._feed = iter(())
        if self._threads is not None:
            self._threads.shutdown(wait=wait, cancel_futures=True)
        self._items.progress.close()
