"""What to do after an attempt failed: retry, fall back, or give up. No I/O, no clock.

Without a word from the provider the wait is a tenacity wait strategy; the default is random exponential ("full
jitter"): uniform(0, min(60, 2**n)) seconds before retry n (decisions 11). `retry-after-ms` and `Retry-After` (RFC 9110,
section 10.2.3) win, plus 0 to 25 % so that many callers do not come back at once, never earlier than told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.core.errors import UpstreamError, UpstreamTimeout
from headgate.core.exchange import Attempt, Route

if TYPE_CHECKING:
    from tenacity import RetryCallState

    WaitStrategy = Callable[[RetryCallState], float]

BACKOFF_CAP = 60.0  # seconds
TOLD_JITTER = 0.25  # of the time told
FAILOVER_SECONDS = 0.5
"""The longest that the same route is waited for where another one follows, and it has failed for another reason than
its rates. With the two attempts and the next route's own way that stays below a second."""
OF_ONE_KEY = frozenset({"auth", "busy", "money"})
"""Failures that another key of the same provider need not share. A 529 is everybody's, a 404 the model's."""

TIMEOUT_STRETCH = 2.0  # a timed-out attempt's retry waits this many times longer for the first byte


@dataclass(frozen=True, slots=True)
class Retry:
    """Send again: to which route of the plan, after how many seconds, with the first-byte timeout times `stretch`."""

    route: int
    after: float
    stretch: float = 1.0


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt."""

    error: UpstreamError


@dataclass(frozen=True, slots=True)
class Recovery:
    """How attempts follow one another.

    Attributes:
        attempts: upstream requests per exchange in all, 1 to 20. 1 = the caller owns the retries.
        per_route: attempts at one route before the next one is tried, where there is a next one.
        timeout_retries: how many times a timed-out attempt is retried in one exchange, at the next route if there is
            one.
        wait: a tenacity wait strategy, or None for the default.
    """

    attempts: int = 4
    per_route: int = 2
    timeout_retries: int = 1
    wait: WaitStrategy | None = None

    @property
    def owns_retries(self) -> bool:
        """Headgate may retry, so nobody above it should."""
        return self.attempts > 1

    def next(
        self,
        attempts: Sequence[Attempt],
        routes: Sequence[Route],
        *,
        left: float,
        jitter: float,
        renewed: bool = False,
        at_once: bool = False,
    ) -> Retry | GiveUp:
        """Decide what follows the last attempt, which failed.

        Args:
            attempts: every attempt so far, oldest first.
            routes: the plan's routes in order of preference.
            left: seconds until no further attempt may begin.
            jitter: a number drawn uniformly from [0, 1).
            renewed: the last route's credential is another one than the provider has refused.
            at_once: the next route was named for this very failure: it follows without another attempt at the same.
        """
        last = attempts[-1]
        error = last.error
        if error is None:
            raise ValueError("recovery was asked about an attempt that did not fail")
        if len(attempts) >= self.attempts or left <= 0:
            return GiveUp(error)
        here = _index(routes, last.route)
        if renewed:
            return Retry(here, 0.0)
        following = _following(routes, here, error)
        timeouts = sum(a.error is not None and a.error.kind == "timeout" for a in attempts)
        stretch = TIMEOUT_STRETCH if error.kind == "timeout" else 1.0
        if error.kind == "timeout" and timeouts > self.timeout_retries:
            return GiveUp(error)
        has_next = following < len(routes)
        if has_next and error.kind in OF_ONE_KEY and same_but_key(routes[following], last.route):
            return Retry(following, 0.0, stretch)
        if at_once and has_next:
            return Retry(following, 0.0, stretch)
        tried = sum(a.route is last.route or same_but_key(a.route, last.route) for a in attempts)
        if error.retryable and (not has_next or (tried < self.per_route and not silent(error))):
            after = self._after(attempts, error, jitter, has_next=has_next)
            if after < left:
                return Retry(here, after, stretch)
        if has_next and (error.retryable or error.elsewhere):
            return Retry(following, 0.0, stretch)
        return GiveUp(error)

    def _after(self, attempts: Sequence[Attempt], error: UpstreamError, jitter: float, *, has_next: bool) -> float:
        """As `delay`; infinity where the next route is not kept waiting for so long."""
        if not has_next or error.kind == "busy":  # what is busy has a pace, and its queue knows when to go on
            return self.delay(attempts, error, jitter)
        if error.retry_after is None and self.wait is None:
            return jitter * FAILOVER_SECONDS
        after = self.delay(attempts, error, jitter)
        return after if after <= FAILOVER_SECONDS else float("inf")

    def delay(self, attempts: Sequence[Attempt], error: UpstreamError, jitter: float) -> float:
        """Seconds to wait before the same route is tried again."""
        if error.retry_after is not None:
            return error.retry_after * (1 + TOLD_JITTER * jitter)
        state = _retry_state(len(attempts), error)
        if self.wait is not None:
            return max(0.0, float(self.wait(state)))
        from tenacity import wait_exponential

        # Not tenacity's wait_random_exponential: it draws from the global generator, and ours is injected.
        return jitter * wait_exponential(multiplier=2, max=BACKOFF_CAP)(state)


def silent(error: UpstreamError) -> bool:
    """No connection, or no answer, within its timer: a second look costs as much again, and finds the same."""
    return error.kind == "timeout" or (error.kind == "connect" and isinstance(error, UpstreamTimeout))


def same_but_key(one: Route, other: Route) -> bool:
    """Whether two routes differ in nothing but the credential."""
    return one.provider == other.provider and one.model == other.model and one.credential is not other.credential


def _following(routes: Sequence[Route], here: int, error: UpstreamError) -> int:
    """The next route that may do better; `len(routes)` if there is none. What all keys share skips the other keys."""
    place = here + 1
    if error.kind not in OF_ONE_KEY:
        while place < len(routes) and same_but_key(routes[place], routes[here]):
            place += 1
    return place


def _index(routes: Sequence[Route], route: Route) -> int:
    return next((i for i, r in enumerate(routes) if r is route), 0)


def _retry_state(count: int, error: UpstreamError) -> RetryCallState:
    """What a tenacity strategy looks at: the attempt's number and its outcome."""
    from tenacity import Future, RetryCallState, Retrying

    state = RetryCallState(retry_object=Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = count
    outcome = Future(count)
    outcome.set_exception(error)
    state.outcome = outcome
    return state
