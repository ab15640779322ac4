"""Breakers: a route that fails is left alone for a while. Pure: no I/O, time and randomness are arguments.

The states are Nygard's ("Release It!", 2007) and the window is resilience4j's: closed, everything goes and is counted;
open, nothing goes; half-open, one probe goes, and decides. What counts is the provider's doing only (wire-formats 6).

This is one breaker and what counts for it; `policy.breakers` has all of them: of routes, accounts and credentials.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.core.errors import UpstreamError, UpstreamTimeout

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"
OK, SLOW, FAILED, NEUTRAL, MONEY, AUTH, FORBIDDEN = "ok", "slow", "failed", "neutral", "money", "auth", "forbidden"
UNREACHABLE = "unreachable"
"""No connection within its timer: failed, too, and each that finds it out waits for seconds."""

FAILURES = frozenset({"overloaded", "server", "timeout", "connect", "broken", "truncated"})
"""Kinds of `UpstreamError` that say something about the route. A 429 is pacing's; `saturated` is our own pool's."""

TIER_CAPS = frozenset({"enforced_spend_limit_reached"})
"""Provider codes of a cap that lifts by itself, on the 1st at 00:00 UTC (Anthropic; wire-formats 1.6)."""

OF_THE_CALL = frozenset({"mismatched_organization", "mismatched_project", "invalid_organization", "invalid_project"})
"""Provider codes of a 401 that is about a header which the caller has sent along (`OpenAI-Organization`,
`OpenAI-Project`; wire-formats 2.1), and not about our credential: else one caller could disable it for all."""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When a breaker opens, and for how long. Times are seconds.

    Attributes:
        failure_rate: 0 < share of failures <= 1 in the window that opens it.
        slow_rate: likewise, of answers that took longer than `slow_seconds` to their first content.
        slow_seconds: None = slowness opens nothing. The default, because how long a sound answer takes is the task's
            affair: a whole answer has its first content at its end.
        window_calls, window_seconds: the newest calls that count: so many, of so long. Both bound it.
        minimum_calls: fewer in the window say nothing; 1 to `window_calls`.
        unreachable_calls: but so many in a row that got no connection in time open it, >= 1; and the first, where
            nothing in the window was answered.
        open_seconds, longest_seconds: of the first opening, doubled at each probe that fails, and the most.
        probe_seconds: the longest that a probe can take. One that is not heard of by then has been lost.
        money_seconds, auth_seconds: between the first two probes of an account without money, or a refused credential.
        account_longest_seconds: between any two of those.
    """

    failure_rate: float = 0.5
    slow_rate: float = 0.9
    slow_seconds: float | None = None
    window_calls: int = 100
    window_seconds: float = 60.0
    minimum_calls: int = 10
    unreachable_calls: int = 2
    open_seconds: float = 5.0
    longest_seconds: float = 300.0
    probe_seconds: float = 660.0
    money_seconds: float = 300.0
    auth_seconds: float = 60.0
    account_longest_seconds: float = 3600.0

    def __post_init__(self) -> None:
        if not (0 < self.failure_rate <= 1 and 0 < self.slow_rate <= 1):
            raise ValueError("the rates of a breaker are above 0 and at most 1")
        if not 1 <= self.minimum_calls <= self.window_calls:
            raise ValueError("minimum_calls is 1 to window_calls")
        if min(self.window_seconds, self.open_seconds, self.probe_seconds, self.money_seconds, self.auth_seconds) <= 0:
            raise ValueError("the times of a breaker are above 0")


JITTER = 0.25
"""An open time is up to this share longer, at random, so that replicas do not probe in step."""


def outcome_of(error: UpstreamError | None, *, by_caller: bool = False) -> str:
    """What an attempt's end says about its route: one of the words above.

    Args:
        error: None = it was answered. A refusal of the model and a content filter are answers.
        by_caller: the time that ran out was shorter than ours, by the caller's wish. An impatient caller opens nothing.
    """
    if error is None or error.kind == "refusal":
        return OK
    kind = error.kind
    if kind in FAILURES:
        impatient = by_caller and (kind == "timeout" or isinstance(error, UpstreamTimeout))
        if error.status == 409 or impatient:  # 409: a conflict of the caller's own calls
            return NEUTRAL
        return UNREACHABLE if kind == "connect" and isinstance(error, UpstreamTimeout) else FAILED
    if kind == "money":
        return MONEY
    if kind == "auth":
        if error.provider_code in OF_THE_CALL:
            return NEUTRAL
        # 401 is about the credential; 403 may be about one model that it must not use.
        return FORBIDDEN if error.status == 403 else AUTH
    return NEUTRAL


def next_month(now: float) -> float:
    """The 1st of the next month, 00:00 UTC, in seconds since the epoch."""
    day = datetime.fromtimestamp(now, UTC)
    year, month = (day.year + 1, 1) if day.month == 12 else (day.year, day.month + 1)
    return datetime(year, month, 1, tzinfo=UTC).timestamp()


class Breaker:
    """One breaker. Not thread-safe: `Breakers` is.

    A permit is a number: 0 = no. Whoever got another one calls `note` with it once the attempt has ended, however it
    has ended. Permits of an earlier state are void, so calls that began before it opened do not close it.
    """

    __slots__ = (
        "_base",
        "_closed_at",
        "_failed",
        "_longest",
        "_opened",
        "_probing_until",
        "_rules",
        "_slow",
        "_unreachable",
        "calls",
        "cause",
        "ends",
        "era",
        "opened_at",
        "retry_at",
        "state",
        "well",
    )

    def __init__(self, rules: BreakerRules, base: float | None = None, longest: float | None = None) -> None:
        """
        Args:
            base, longest: seconds, in place of the rules' `open_seconds` and `longest_seconds`.
        """
        self._rules = rules
        self._base = rules.open_seconds if base is None else base
        self._longest = max(self._base, rules.longest_seconds if longest is None else longest)
        self.calls: deque[tuple[float, str]] = deque(maxlen=rules.window_calls)  # the window, the newest last
        self.well = True  # closed, and all in the window are answers: one more is put into `calls`, and that is all
        self._failed = self._slow = self._unreachable = 0
        self.era = 1  # the permit that it gives while it is closed
        self._opened = 0  # times in a row
        self._closed_at = -math.inf
        self._probing_until = -math.inf
        self.state = CLOSED
        self.cause = ""  # why it is open, in a word
        self.opened_at = -math.inf
        self.retry_at = -math.inf  # when a probe may go, while it is open
        self.ends = math.inf  # when it closes by itself

    def ready(self, now: float) -> bool:
        """Whether `admit` would say yes."""
        if self.state == CLOSED or now >= self.ends:
            return True
        return now >= (self.retry_at if self.state == OPEN else self._probing_until)

    def admit(self, now: float) -> int:
        """A permit to send, 0 = not now."""
        if self.state == CLOSED:
            return self.era
        if not self.ready(now):
            return 0
        if now >= self.ends:
            self.close(now)
            return self.era
        self.era += 1
        self.state = HALF_OPEN
        self._probing_until = now + self._rules.probe_seconds
        return self.era

    def note(self, permit: int, outcome: str, now: float, *, jitter: float = 0.0, told: float | None = None) -> bool:
        """How the attempt with a permit ended.

        Args:
            outcome: `OK`, `SLOW`, `FAILED`, `UNREACHABLE` or anything else, which says nothing.
            jitter: drawn uniformly from [0, 1).
            told: seconds that the provider told us to wait, where it did.

        Returns:
            Whether it has opened, or closed.
        """
        if permit != self.era:
            return False
        if self.state == CLOSED:
            return self._count(outcome, now, jitter, told)
        if self.state != HALF_OPEN:
            return False
        if outcome == OK:
            self.close(now)
        elif outcome in (FAILED, SLOW, UNREACHABLE):
            self.open(now, self.cause, jitter=jitter, told=told)
        else:
            self.era += 1
            self._probing_until = now  # it has learned nothing: the next call is the probe
            return False
        return True

    def _drop(self) -> None:
        """The oldest leaves the window."""
        _, gone = self.calls.popleft()
        self._failed -= gone == FAILED
        self._slow -= gone == SLOW

    def _trim(self, now: float) -> None:
        """What is too old leaves the window, but for the newest."""
        calls, since = self.calls, now - self._rules.window_seconds
        while calls[0][0] < since and len(calls) > 1:
            self._drop()

    def _count(self, outcome: str, now: float, jitter: float, told: float | None) -> bool:
        if outcome == UNREACHABLE:
            self._unreachable += 1
            outcome = FAILED
        elif outcome in (OK, SLOW, FAILED):
            self._unreachable = 0
        else:
            return False
        rules, calls = self._rules, self.calls
        if len(calls) == rules.window_calls:
            self._drop()
        calls.append((now, outcome))
        self._failed += outcome == FAILED
        self._slow += outcome == SLOW
        self._trim(now)
        self.well = not (self._failed or self._slow)
        count = len(calls)
        if self._unreachable and (self._unreachable >= rules.unreachable_calls or self._failed == count):
            self.open(now, "failures", jitter=jitter, told=told)
            return True
        if outcome == OK or count < rules.minimum_calls:
            return False
        if self._failed >= rules.failure_rate * count:
            self.open(now, "failures", jitter=jitter, told=told)
        elif self._slow >= rules.slow_rate * count:
            self.open(now, "slow", jitter=jitter, told=told)
        else:
            return False
        return True

    def open(
        self, now: float, cause: str, *, jitter: float = 0.0, told: float | None = None, ends: float = math.inf
    ) -> None:
        """Open it, or keep it open for longer than the last time.

        Args:
            cause: for people, one word.
            ends: when it closes by itself, without a probe.
        """
        if self.state == CLOSED and self._opened and now - self._closed_at > 2 * (self.retry_at - self.opened_at):
            self._opened = 0  # it has been well since
        seconds = min(self._longest, self._base * 2.0 ** min(self._opened, 30))
        if told is not None:
            seconds = max(seconds, min(told, self._longest))
        self._opened += 1
        self.era += 1
        self.state, self.cause, self.ends = OPEN, cause, ends
        self.opened_at = now
        self.retry_at = now + seconds * (1 + JITTER * jitter)
        self.calls.clear()
        self._failed = self._slow = self._unreachable = 0
        self.well = False

    def close(self, now: float) -> None:
        """Close it: it was told, or a probe has shown."""
        if self.state != CLOSED:
            self.era += 1
            self.state, self.cause, self.ends = CLOSED, "", math.inf
            self._closed_at = now
            self.well = True

    def waits(self, now: float) -> float:
        """Seconds until it is worth asking again, >= 0. While a probe is under way nobody knows: it is given up after
        minutes, but answers within seconds as a rule, so that is asked for every `open_seconds`."""
        if self.state == CLOSED:
            return 0.0
        at = self.retry_at if self.state == OPEN else min(self._probing_until, now + self._rules.open_seconds)
        return max(0.0, min(at, self.ends) - now)

    def answers(self, now: float) -> bool:
        """It has answered somebody within the window."""
        since = now - self._rules.window_seconds
        return any(at >= since and outcome != FAILED for at, outcome in self.calls)

    def is_current(self, permit: int) -> bool:
        """Whether a permit is of the present state, so that what its attempt has learned counts."""
        return permit == self.era

    def rates(self) -> tuple[float, float, int]:
        """(failure rate, slow rate, calls) of the window, as it was at the last call."""
        if self.calls:
            self._trim(self.calls[-1][0])
        count = len(self.calls)
        return (self._failed / count, self._slow / count, count) if count else (0.0, 0.0, 0)
