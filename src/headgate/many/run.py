"""What both colours of a run share: its input, its books and its bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sized
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from headgate.core.errors import ConfigError
from headgate.many.outcomes import DeadlinePassed, Outcome, ended
from headgate.many.progress import OnProgress, Progress
from headgate.transport.context import bind

T = TypeVar("T")
Priority = Literal["interactive", "batch"]

ASYNC_LIMIT = 64
"""Calls under way at once where nothing is told, in tasks."""
THREAD_LIMIT = 16
"""The same in threads, which cost more; each waits for one answer."""
AHEAD = 16
"""Times the limit: items that are begun, and not handed on, at most. One slow answer does not stop those behind it; a
slow reader does not fill the memory."""

LATE = "the run's deadline had come before this item {}: give it longer, or `retry_failed()`"


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run is to go. Arguments are checked here, once for every way to start one.

    Attributes:
        limit: items under way at once, >= 1.
        deadline: seconds for all of it, >= 0, from its first item on; None = no end.
        priority: of the calls; None = the context's.

    Raises:
        ConfigError: one of them is out of range.
    """

    limit: int
    deadline: float | None = None
    priority: Priority | None = None
    on_progress: OnProgress | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or self.limit < 1:
            raise ConfigError(f"limit: {self.limit!r} is not a number of calls at once, 1 or more")
        if self.deadline is not None and not self.deadline >= 0:
            raise ConfigError(f"deadline: {self.deadline!r} is not a number of seconds, 0 or more")
        if self.priority not in (None, "interactive", "batch"):
            raise ConfigError(f"priority: {self.priority!r} is neither 'interactive' nor 'batch'")


class Items(Generic[T]):
    """What a run has begun, what has ended, and what of it was handed on. One thread's, or one loop's.

    Args:
        source: what the items come from: for their number, where it tells.
    """

    def __init__(self, terms: Terms, source: object) -> None:
        self.progress = Progress(
            len(source) if isinstance(source, Sized) else None, terms.on_progress, bar=terms.progress
        )
        self.under_way = 0
        self.begun = 0
        self._window = terms.limit * AHEAD
        self._limit = terms.limit
        self._handed = 0
        self._held: dict[int, Outcome[T]] = {}
        self._ready: deque[int] = deque()

    def room(self, *, keep: bool) -> bool:
        """Whether another one may begin. `keep`: nothing is handed on, so all of it is held anyway."""
        return self.under_way < self._limit and (keep or self.begun - self._handed < self._window)

    def begin(self) -> int:
        """Another one begins: its index."""
        self.begun += 1
        self.under_way += 1
        return self.begun - 1

    def end(self, outcome: Outcome[T]) -> None:
        """One has ended. Raises what the progress callback raises."""
        self.under_way -= 1
        self._held[outcome.index] = outcome
        self._ready.append(outcome.index)
        self.progress.ended(outcome)

    def take(self, *, in_order: bool) -> Outcome[T] | None:
        """One to hand on, if there is one: the next of the input, or the next that has ended."""
        index = self._handed if in_order else self._ready.popleft() if self._ready else -1
        outcome = self._held.pop(index, None)
        self._handed += outcome is not None
        return outcome

    @property
    def held(self) -> list[Outcome[T]]:
        """What has ended and was not handed on."""
        return list(self._held.values())


def late(index: int, item: Any, *, begun: bool) -> Outcome[Any]:
    """The outcome of an item that the deadline has met."""
    return ended(index, item, (), error=DeadlinePassed(LATE.format("had ended" if begun else "was begun")))


def context_for(terms: Terms, end: float | None = None) -> Callable[[], Context]:
    """Makes contexts for items: each a copy of the one that is current now, so that what an item sets is its own.

    Args:
        end: seconds since the epoch, on the gate's clock; the calls' own time is bounded by it.
    """
    context = copy_context()
    batch = None if terms.priority is None else terms.priority == "batch"
    context.run(bind, batch=batch, end=end)
    return context.copy
