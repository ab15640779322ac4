"""`headgate.gather`: as `asyncio.gather`, for model calls."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from headgate.many.asynchronous import AsyncRun
from headgate.many.progress import OnProgress
from headgate.many.run import ASYNC_LIMIT, Priority, Terms

T = TypeVar("T")
Call = Awaitable[T] | Callable[[], Awaitable[T]]


def gather(
    *calls: Call[T] | Iterable[Call[T]] | AsyncIterable[Call[T]],
    limit: int | None = None,
    on_progress: OnProgress | None = None,
    return_exceptions: bool = True,
    deadline: float | None = None,
    priority: Priority | None = None,
    progress: bool = False,
) -> AsyncRun[T]:
    """Run many calls at once: ``results = await headgate.gather(*(classify(text) for text in texts))``.

    Every call has an outcome, in the order of the calls: a value or an error, what it cost, its exchanges. Attribution
    (`headgate.caller`) is that of where this is called. Cancelled, it cancels what is under way, and what has ended is
    in the run's `outcomes`.

    Args:
        calls: awaitables, or callables that make them, which `retry_failed` can call again; or a single iterable,
            asynchronous or not, of such, which is gone through as there is room.
        limit: calls under way at once, 1 or more; 64 if None.
        on_progress: called after each with (done, total, failed, cost_usd).
        return_exceptions: keep failures as outcomes; else the first one is raised, and cancels the rest.
        deadline: seconds for all of it; then what has not ended is cancelled, and has `DeadlinePassed` as its error.
        priority: "batch" lets interactive calls go first; the context's if None.
        progress: a bar on a terminal, where rich is installed.

    Returns:
        A run: await it, or iterate over its outcomes with ``async for``.

    Raises:
        ConfigError: `limit`, `deadline` or `priority` is out of range; and, from the run, a call that is no awaitable.
    """
    terms = Terms(ASYNC_LIMIT if limit is None else limit, deadline, priority, on_progress, progress)
    given: Any = calls
    if len(calls) == 1 and not isinstance(calls[0], Awaitable) and isinstance(calls[0], Iterable | AsyncIterable):
        given = calls[0]
    return AsyncRun(_made, given, terms, keep_errors=return_exceptions)


def _made(call: Call[T]) -> Awaitable[T]:
    return call() if callable(call) else call
