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
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from headgate.core.errors import NoTurn, UpstreamTimeout
from headgate.core.exchange import Attempt, Exchange, Request, Route
from headgate.core.ports import SharedPace
from headgate.policy.breakers import Change
from headgate.policy.provider_look import ProviderLook
from headgate.policy.rate_facts import SILENT_ANSWERS
from headgate.policy.retry_budget import Rates, RetryBudget
from headgate.policy.turn import MOST_NAME, RouteLook, Turn, Waiting, no_turn
from headgate.policy.turns import Turns
from headgate.stores.turn_port import Port
from headgate.stores.turn_wait import new_future
from headgate.stores.waiters import BlockingWaiter

NEVER = float("inf")
TELL_EVERY = 300.0
"""Seconds between two alerts that retries hide a provider's errors."""
LOOK_SECONDS = 5.0
"""The thread looks at least as often while anybody waits."""
PAUSE_SECONDS = 1.0
"""And goes on so long after an error."""

_Deed = Callable[[Any], Sequence[Waiting]]


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
        self.lock = threading.RLock()  # the collector may settle an unread stream inside it: see `visit`
        self._inside = False
        self._later: deque[tuple[_Deed, Any]] = deque()  # what the collector has brought meanwhile
        self._due = threading.Condition(self.lock)
        self._target = NEVER  # when the thread looks again
        self._thread: threading.Thread | None = None
        self._unborn: threading.Thread | None = None  # to be started, without the lock
        self._closed = False

    def asynchronous(self, pace: SharedPace | None = None) -> Port:
        """The port for an engine on event loops.

        Args:
            pace: what all replicas share, in the same colour; None: the pace is this process's own.
        """
        return Port(self, new_future, pace)

    def blocking(self, pace: SharedPace | None = None) -> Port:
        """The port for an engine without an event loop; its coroutines never suspend. Arguments as `asynchronous`."""
        return Port(self, BlockingWaiter, pace)

    def look(self, request: Request, route: Route) -> RouteLook:
        """How things stand with a route for such a request."""
        with self as desk:
            return desk.look(request, route, self.now())

    def providers(self, provider: str = "", pooled: str | None = None) -> list[ProviderLook]:
        """How things stand with every provider that this process has sent something to. See `policy.turns`."""
        with self as desk:
            return desk.providers(self.now(), provider, pooled)

    def rates(self) -> tuple[Rates, int]:
        """Error rates of the last five minutes at all providers together; how many wait for a turn now."""
        with self as desk:
            return desk.rates(self.now()), desk.waiting

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
        """Take the lock, and the desk with it. Not again within it: what the collector may call is deferred there."""
        self.lock.acquire()
        self._inside = True
        return self.desk

    def __exit__(self, *_: object) -> None:
        """Give both back, when what the collector has brought meanwhile is done."""
        self._done()

    def at_once(self, request: Request, route: Route, now: float) -> Turn | None:
        """A turn where nobody waits and nothing is in the way, as nearly always. None: ask the desk."""
        lock = self.lock
        lock.acquire()
        self._inside = True
        try:
            return self.desk.at_once(request, route, now)
        finally:
            self._inside = False
            if self._later:
                self._done()
            else:
                lock.release()

    def _done(self) -> None:
        """As `__exit__`."""
        self._inside = False
        if not self._later and self._unborn is None and not self.desk.waiting:
            self.lock.release()
            return
        self._inside = True
        told = self._give_back()
        if told:
            self.wake(told)

    def _give_back(self) -> list[Waiting]:
        """The end of everything under the lock, which is given back whatever happens. Returns those to wake."""
        told: list[Waiting] = []
        unborn: threading.Thread | None = None
        try:
            while True:
                while self._later:
                    deed, of = self._later.popleft()
                    told += deed(of)
                if self.desk.waiting:
                    self.schedule()
                unborn, self._unborn = self._unborn, None
                self._inside = False
                if not self._later:  # looked at only now: from here on the collector's are done at once
                    break
                self._inside = True
        finally:
            self._inside = False
            self.lock.release()
        if unborn is not None:
            self._start(unborn)
        return told

    def visit(self, deed: _Deed, of: Any) -> Sequence[Waiting]:
        """Do something at the desk, or a little later where this very thread is at it: the collector runs in whatever
        line it likes, and brings streams that nobody reads and tasks that nobody awaits. Returns those to wake."""
        lock = self.lock
        lock.acquire()
        if self._inside:
            self._later.append((deed, of))
            lock.release()
            return ()
        self._inside = True
        told: Sequence[Waiting] = ()
        try:
            told = deed(of)
        finally:
            self._inside = False
            if self._later or self._unborn is not None or self.desk.waiting:
                self._inside = True
                told = [*told, *self._give_back()]
            else:
                lock.release()
        return told

    def ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """See `core.ports.Turns`."""
        told = self.visit(self._end, (exchange, attempt))
        if told:
            self.wake(told)

    def leave(self, entry: Waiting) -> None:
        """A caller waits no longer; a turn that it was given meanwhile is given back."""
        told = self.visit(self._left, entry)
        if told:
            self.wake(told)

    def _left(self, entry: Waiting) -> Sequence[Waiting]:
        return self.desk.leave(entry, self.now())

    def close_exchange(self, exchange: Exchange) -> Sequence[Waiting]:
        """For `visit`: an exchange is closed, see `core.ports.Turns`."""
        attempts = exchange.attempts
        if not attempts:
            return ()
        last = attempts[-1]
        turn, desk = last.turn, self.desk
        told: Sequence[Waiting] = ()
        if isinstance(turn, Turn) and turn.open and turn.provider.desk is desk:
            now = last.ended
            if last.error is None and last.first_content is not None and last.number == 1 and last.sent and now:
                told, changes = desk.end(turn, last, now, 0.0, False, True)
                if changes:
                    self._tell_changes(changes, exchange, last.route)
                return told
            told = self._end_own(turn, exchange, last)
        if last.sent:
            self._note_exchange(exchange, last)
        return told

    def _note_exchange(self, exchange: Exchange, last: Attempt) -> None:
        provider, now = last.route.provider, self.now()
        budget = self.desk.budget(provider)
        if not (last.error is not None and _impatient(exchange, last, now)):
            budget.note_exchange(last.error, now)
            if last.number > 1 and last.error is None:
                self._tell_hidden(provider, budget, now)

    def _end(self, of: tuple[Exchange, Attempt]) -> Sequence[Waiting]:
        exchange, attempt = of
        turn = attempt.turn
        if not isinstance(turn, Turn) or turn.provider.desk is not self.desk:
            return ()  # in a child, of a call of its parent's: whose locks may be taken, and stay so
        return self._end_own(turn, exchange, attempt)

    def _end_own(self, turn: Turn, exchange: Exchange, attempt: Attempt) -> Sequence[Waiting]:
        now = attempt.ended if attempt.ended is not None else self.now()
        jitter, by_caller = 0.0, False
        if attempt.error is not None:
            jitter, by_caller = self._random(), _impatient(exchange, attempt, now)
        told, changes = self.desk.end(turn, attempt, now, jitter, by_caller)
        if changes:
            self._tell_changes(changes, exchange, attempt.route)
        return told

    def _tell_changes(self, changes: Sequence[Change], exchange: Exchange, route: Route) -> None:
        for change in changes:
            self._tell(
                "breaker",
                what=change.what,
                state=change.state,
                cause=change.cause,
                provider=route.provider,
                model=route.model or exchange.request.facts.model[:MOST_NAME],
                retry_after=round(change.retry_after, 3),
            )

    def schedule(self) -> None:
        """Somebody waits: the thread has to look when time lets the first of them go. With the lock."""
        due = self.desk.due()
        if due >= self._target or self._closed:
            return
        self._target = due
        if self._thread is None:
            self._thread = self._unborn = threading.Thread(target=self._run, name="headgate-turns", daemon=True)
        else:
            self._due.notify()

    def _start(self, thread: threading.Thread) -> None:
        """Without the lock: the new thread may need it before it is there."""
        try:
            thread.start()
        except RuntimeError as error:  # no room for one, or the interpreter ends; whoever waits next tries again
            with self.lock:
                self._thread, self._target = None, NEVER
            self._failed(error)

    def wake(self, told: Sequence[Waiting]) -> None:
        """Tell those that wait no longer, with one call into each event loop. Without the lock."""
        while told:
            gone: list[Waiting] = []
            by_loop: dict[asyncio.AbstractEventLoop, list[Waiting]] = {}
            for entry in told:
                waker = entry.waker
                if isinstance(waker, BlockingWaiter):
                    waker.finish(None)
                elif waker is not None:
                    by_loop.setdefault(waker.get_loop(), []).append(entry)
            for loop, entries in by_loop.items():
                try:
                    loop.call_soon_threadsafe(_resolve, [entry.waker for entry in entries])
                except RuntimeError:  # the loop was closed meanwhile, and its tasks are gone
                    gone += entries
            told = [each for entry in gone for each in self.visit(self._left, entry)]

    def silent(self, provider: str) -> None:
        """A provider tells no rate limits: said once."""
        self._tell("no_rate_limits", provider=provider, answers=SILENT_ANSWERS)

    def _tell_hidden(self, provider: str, budget: RetryBudget, now: float) -> None:
        """Retries have just helped: tell, now and then, where they hide that much is failing."""
        if now < self._hidden_at.get(provider, 0.0):
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

    def _failed(self, error: Exception) -> None:
        self._tell("turns_failed", error=type(error).__name__)

    def _run(self) -> None:
        """The thread: an error in it must not end all waiting for good."""
        while True:
            try:
                self._watch()
                return
            except Exception as error:
                self._failed(error)
            with self.lock:
                self._target = NEVER
                self._due.wait(PAUSE_SECONDS)

    def _watch(self) -> None:
        """Look when time alone lets somebody go, or makes somebody too late."""
        while True:
            with self.lock:
                if self._closed:
                    return
                left = self._target - self.now()
                if left > 0:
                    # While anybody waits it looks now and then whatever it was told: a collector that ends a turn
                    # in the middle of `wait` would notify nobody.
                    most = LOOK_SECONDS if self.desk.waiting else None
                    self._due.wait(most if left == NEVER else min(left, LOOK_SECONDS))
                self._target = NEVER
            with self as desk:
                told = desk.tick(self.now())
            self.wake(told)


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


def _impatient(exchange: Exchange, attempt: Attempt, now: float) -> bool:
    """An attempt failed because the caller's own time or patience ran out, be it for a connection."""
    error, request = attempt.error, exchange.request
    if not isinstance(error, UpstreamTimeout):
        return False
    # What a stream's caller bears is silence, and no silence lasts from the beginning.
    bears = inf if request.facts.stream else request.patience or inf
    return error.by_caller or now - exchange.started >= 0.95 * min(request.timeout or inf, bears)


_alive: weakref.WeakSet[LocalTurns] = weakref.WeakSet()


def _in_child() -> None:
    for each in list(_alive):
        each._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
