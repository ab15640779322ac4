"""Turns in this process: the lock, the clock and the waiting around `policy.turns`, in both colours.

Whoever may go at once takes the lock for a few microseconds and no more. Those that wait are woken by whoever makes
room, or by one daemon thread that knows when time alone does. It starts with the first wait.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable

from headgate.core.errors import NoTurn
from headgate.core.exchange import Attempt, Exchange, Request, Route
from headgate.core.ports import SharedPace
from headgate.policy.turn import RouteLook, Turn, Waiting, no_turn
from headgate.policy.turns import Turns
from headgate.stores.turn_port import Port
from headgate.stores.waiters import AsyncWaiter, BlockingWaiter

NEVER = float("inf")
TELL_EVERY = 300.0
"""Seconds between two alerts that retries hide a provider's errors."""


class LocalTurns:
    """The turns of one process. Thread-safe; any number of event loops and threads share it.

    Args:
        make: the desk; called again in a child process, where nobody waits and nothing is in flight.
        now: seconds since the epoch, never running backwards.
        random: uniform in [0, 1).
        tell: `core.ports.Log.event`: where breakers' changes and hidden errors go.
    """

    def __init__(
        self,
        make: Callable[[], Turns],
        *,
        now: Callable[[], float],
        random: Callable[[], float],
        tell: Callable[..., None],
    ) -> None:
        self._make = make
        self.now = now
        self._random = random
        self._tell = tell
        self._hidden_at: dict[str, float] = {}
        self._begin()
        _alive.add(self)

    def _begin(self) -> None:
        self.desk = self._make()
        self.lock = threading.RLock()  # the collector may settle an unread stream inside it: see `enter`
        self._inside = False
        self._later: deque[tuple[Exchange, Attempt]] = deque()  # ended by the collector meanwhile
        self._due = threading.Condition(self.lock)
        self._target = NEVER  # when the thread looks again
        self._thread: threading.Thread | None = None
        self._closed = False

    def asynchronous(self, pace: SharedPace | None = None) -> Port:
        """The port for an engine on event loops.

        Args:
            pace: what all replicas share, in the same colour; None: the pace is this process's own.
        """
        return Port(self, AsyncWaiter, pace)

    def blocking(self, pace: SharedPace | None = None) -> Port:
        """The port for an engine without an event loop; its coroutines never suspend. Arguments as `asynchronous`."""
        return Port(self, BlockingWaiter, pace)

    def look(self, request: Request, route: Route) -> RouteLook:
        """How things stand with a route for such a request."""
        with self as desk:
            return desk.look(request, route, self.now())

    def state(self, route: Route) -> NoTurn | None:
        """See `core.ports.Turns.blocked`."""
        with self as desk:
            found = desk.blocked(route, self.now())
        return None if found is None else no_turn(route, found)

    def lift(self, provider: str) -> int:
        """Somebody says that all is well again at a provider. Returns how many breakers were open."""
        with self as desk:
            return desk.lift(provider)

    def close(self) -> None:
        """Stop the thread. Whoever waits is let out without a turn. Idempotent."""
        with self as desk:
            self._closed = True
            left = desk.forget()
            for entry in left:
                entry.error = NoTurn("Headgate is shutting down", kind="paced", retry_after=0.0)
            self._due.notify()
        self.wake(left)

    # ---- for the ports

    def __enter__(self) -> Turns:
        """Take the lock, and the desk with it. Not again within it: `ended` alone may come in between."""
        self.lock.acquire()
        self._inside = True
        return self.desk

    def __exit__(self, *_: object) -> None:
        """Give both back, when what the collector has ended meanwhile is done."""
        told: list[Waiting] = []
        while self._later:
            exchange, attempt = self._later.popleft()
            told += self._end(exchange, attempt)
        if self.desk.waiting:
            self.schedule()
        self._inside = False
        self.lock.release()
        if told:
            self.wake(told)

    def ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """See `core.ports.Turns`."""
        told: list[Waiting] = []
        with self.lock:
            if self._inside:  # this very thread is: the collector has settled a stream that nobody reads
                self._later.append((exchange, attempt))
                return
            self._inside = True
            told = self._end(exchange, attempt)
            while self._later:
                told += self._end(*self._later.popleft())
            if self.desk.waiting:
                self.schedule()
            self._inside = False
        if told:
            self.wake(told)

    def _end(self, exchange: Exchange, attempt: Attempt) -> list[Waiting]:
        turn, error, route = attempt.turn, attempt.error, attempt.route
        if not isinstance(turn, Turn):
            return []
        now = self.now()
        jitter = self._random() if error is not None else 0.0
        by_caller = error is not None and error.kind == "timeout" and _out_of_time(exchange, now)
        told, changes = self.desk.end(turn, attempt, now, jitter=jitter, by_caller=by_caller)
        for change in changes:
            self._tell(
                "breaker",
                what=change.what,
                state=change.state,
                cause=change.cause,
                provider=route.provider,
                model=route.model,
                retry_after=round(change.retry_after, 3),
            )
        return told

    def schedule(self) -> None:
        """Somebody waits: the thread has to look when time lets the first of them go. With the lock."""
        due = self.desk.due()
        if due >= self._target or self._closed:
            return
        self._target = due
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="headgate-turns", daemon=True)
            self._thread.start()
        else:
            self._due.notify()

    def wake(self, told: Iterable[Waiting]) -> None:
        """Tell those that wait no longer, with one call into each event loop. Without the lock."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Waiting]] = {}
        for entry in told:
            waker = entry.waker
            if isinstance(waker, BlockingWaiter):
                waker.finish(None)
            elif waker is not None:
                by_loop.setdefault(waker.loop, []).append(entry)
        for loop, entries in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve, [entry.waker.future for entry in entries])
            except RuntimeError:  # the loop was closed meanwhile, and its tasks are gone
                for entry in entries:
                    self.leave(entry)

    def leave(self, entry: Waiting) -> None:
        """A caller waits no longer; a turn that it was given meanwhile is given back."""
        with self as desk:
            told = desk.leave(entry, self.now())
        self.wake(told)

    def hidden(self, provider: str) -> None:
        """Retries have just helped: tell, now and then, where they hide that much is failing."""
        now = self.now()
        budget = self.desk.budget(provider)
        if budget is None or now < self._hidden_at.get(provider, 0.0):
            return
        rates = budget.rates(now)
        if rates.hidden:
            self._hidden_at[provider] = now + TELL_EVERY
            self._tell(
                "hidden_errors",
                provider=provider,
                attempt_errors=round(rates.attempt_errors, 4),
                exchange_errors=round(rates.exchange_errors, 4),
                attempts=rates.attempts,
            )

    def _run(self) -> None:
        """The thread: look when time alone lets somebody go, or makes somebody too late."""
        while True:
            with self.lock:
                if self._closed:
                    return
                now = self.now()
                if self._target > now:
                    self._due.wait(None if self._target == NEVER else min(self._target - now, threading.TIMEOUT_MAX))
                self._target = NEVER
            with self as desk:
                told = desk.tick(self.now())
            self.wake(told)


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _out_of_time(exchange: Exchange, now: float) -> bool:
    """It was the caller's own time that ran out."""
    allowed = exchange.request.timeout
    return allowed is not None and now - exchange.started >= 0.95 * allowed


_alive: weakref.WeakSet[LocalTurns] = weakref.WeakSet()


def _in_child() -> None:
    for each in list(_alive):
        each._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
