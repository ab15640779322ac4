"""Retry budgets: retries are a share of what succeeds, so that a storm is not multiplied. Pure: time is an argument.

As in Finagle (`RetryBudget`: 20 % of requests over 10 s, and a minimum rate) and tower (`retry::budget`), but earned by
successes alone: where nothing succeeds, no retry will either, and only the small minimum goes on. A caller's own retry,
told by its SDK in `x-stainless-retry-count`, is a retry too, whoever sends it.

The same counts tell two error rates apart: of attempts, which is how the provider does, and of exchanges, which is what
callers see. A provider that fails one attempt in ten behind retries that succeed is otherwise nobody's news.
"""

from __future__ import annotations

from typing import NamedTuple

from headgate.core.errors import UpstreamError

SHARE = 0.2
"""Retries per success: Finagle's and tower's."""
FLOOR_PER_SECOND = 0.5
"""Retries that need no success, for callers with few calls. Theirs is 10, for calls of milliseconds."""
WINDOW_SECONDS = 10.0
"""Successes and retries count for as long: Finagle's and tower's."""

RATES_SECONDS = 300.0
HIDDEN_RATE = 0.1
"""Of attempts that fail, from which on it is worth telling."""
FEWEST_ATTEMPTS = 20
"""Fewer within `RATES_SECONDS` are no rate."""

SLOTS = 10
"""Into which a window is divided; it is kept to one of them exactly."""

PROVIDERS = frozenset({"busy", "overloaded", "server", "timeout", "connect", "broken", "truncated"})
"""Kinds of `UpstreamError` that count as the provider's failures: all that a retry could help against. What is wrong
with a request, a credential or an account is neither a failure nor a success."""

_ATTEMPTS, _FAILED, _EXCHANGES, _LOST = range(4)
_SUCCESSES, _RETRIES = range(2)


class Rates(NamedTuple):
    """The last five minutes.

    Attributes:
        attempts, exchanges: how many ended, that count.
        attempt_errors: the share of attempts that the provider failed, 0 to 1.
        exchange_errors: the share of exchanges that failed in the end.
    """

    attempts: int
    attempt_errors: float
    exchanges: int
    exchange_errors: float

    @property
    def hidden(self) -> bool:
        """Retries hide from callers that the provider fails a tenth of all attempts."""
        return (
            self.attempts >= FEWEST_ATTEMPTS
            and self.attempt_errors >= HIDDEN_RATE
            and self.exchange_errors < HIDDEN_RATE
        )


class _Sums:
    """Counts of several things over a sliding window, in slots of a tenth of it. The oldest slot counts as a whole
    until it is outside."""

    __slots__ = ("_from", "_here", "_slot", "_slots", "_to", "_width", "sums")

    def __init__(self, seconds: float, kinds: int) -> None:
        self._width = seconds / SLOTS
        self._slots = [[0] * kinds for _ in range(SLOTS + 1)]
        self._slot: int | None = None
        self._here = self._slots[0]
        self._from = self._to = 0.0  # what `_here` is for
        self.sums = [0] * kinds

    def at(self, now: float) -> list[int]:
        """The slot of now, with what is too old taken out of `sums`. A clock that goes back stays in its slot."""
        if self._from <= now < self._to:
            return self._here
        number = int(now // self._width)
        if number == self._slot:
            return self._here
        slots = self._slots
        if self._slot is None:
            self._slot = number
        elif number > self._slot:
            for step in range(1, min(number - self._slot, len(slots)) + 1):
                old = slots[(self._slot + step) % len(slots)]
                for kind, count in enumerate(old):
                    if count:
                        self.sums[kind] -= count
                        old[kind] = 0
            self._slot = number
        elif number < self._slot - 1:
            self._slot = number  # set back: count on from here; what is counted goes as its slots come round
        self._here = slots[self._slot % len(slots)]
        self._from, self._to = self._slot * self._width, (self._slot + 1) * self._width
        return self._here

    def span(self, now: float) -> tuple[float, float]:
        """From when to when the slot of now is."""
        self.at(now)
        return self._from, self._to

    def add(self, kind: int, now: float, many: int = 1) -> None:
        here = self._here if self._from <= now < self._to else self.at(now)
        here[kind] += many
        self.sums[kind] += many


class RetryBudget:
    """One provider's. Not thread-safe: the lock of `stores.turns` is around it.

    A retry is another attempt at the same provider within an exchange, and the first attempt of a call that its caller
    sends again. The first attempt at another provider is none. In any window there are at most so many of them as
    `share` times the successes in it and `floor_per_second` times its seconds.
    """

    def __init__(
        self, share: float | None = SHARE, floor_per_second: float = FLOOR_PER_SECOND, window: float = WINDOW_SECONDS
    ) -> None:
        """
        Args:
            share: retries per success, 0 to 10; None: any number. The rates are kept all the same.
            floor_per_second: retries that need no success, 0 to 1000.
            window: seconds, 1 to 60.
        """
        if not (0 <= (share or 0.0) <= 10 and 0 <= floor_per_second <= 1000 and 1 <= window <= 60):
            raise ValueError(
                "a retry budget has a share of 0 to 10, a floor of 0 to 1000 per second, a window of 1-60 s"
            )
        self.share = share
        self._floor = floor_per_second * window
        self._recent = _Sums(window, 2)
        self._rates = _Sums(RATES_SECONDS, 4)
        # What nearly every attempt says is counted beside the windows, as long as that is in the same slot of both.
        self._from = self.until = 0.0
        self._answered = 0
        self.well = 0  # attempts that were answered before `until`, and whose exchanges ended with it: more of them

    def may_retry(self, now: float) -> bool:
        """Take leave for one more attempt of an exchange; False = there is none, give up or go elsewhere."""
        if self.share is None:
            return True
        self._fold()
        recent = self._recent
        recent.at(now)
        if recent.sums[_RETRIES] + 1 > self._room() + 1e-9:
            return False
        recent.add(_RETRIES, now)
        return True

    def client_retry(self, now: float) -> bool:
        """A caller sends again what it has sent before: leave for its first attempt. Asked once, at admission, where
        the request tells of retries; False = answer at once, with `x-should-retry: false`, and send nothing."""
        return self.may_retry(now)

    def balance(self, now: float) -> float | None:
        """Retries left now, >= 0; None = any number."""
        if self.share is None:
            return None
        self._fold()
        self._recent.at(now)
        return max(0.0, self._room() - self._recent.sums[_RETRIES])

    def _room(self) -> float:
        return (self.share or 0.0) * self._recent.sums[_SUCCESSES] + self._floor

    def note_attempt(self, error: UpstreamError | None, now: float) -> None:
        """How an attempt ended; None = it was answered, and earns its share of a retry."""
        self._fold()
        if error is None:
            self._recent.add(_SUCCESSES, now)
        elif error.kind in PROVIDERS:
            self._rates.add(_FAILED, now)
        else:
            return
        self._rates.add(_ATTEMPTS, now)

    def note_answered(self, now: float, *, closed: bool) -> None:
        """As `note_attempt` without an error; and `note_exchange` likewise, where its exchange is `closed` with it."""
        if not self._from <= now < self.until:
            self._fold()
            (begins, ends), (first, last) = self._recent.span(now), self._rates.span(now)
            self._from, self.until = max(begins, first), min(ends, last)
        if closed:
            self.well += 1
        else:
            self._answered += 1

    def _fold(self) -> None:
        """Into the windows with what was counted beside them."""
        well, at = self.well, self._from
        answered = self._answered + well
        if not answered:
            return
        self._recent.add(_SUCCESSES, at, answered)
        self._rates.add(_ATTEMPTS, at, answered)
        if well:
            self._rates.add(_EXCHANGES, at, well)
        self._answered = self.well = 0

    def note_exchange(self, error: UpstreamError | None, now: float) -> None:
        """How an exchange ended, after its last attempt; None = it was answered."""
        self._fold()
        if error is not None:
            if error.kind not in PROVIDERS:
                return
            self._rates.add(_LOST, now)
        self._rates.add(_EXCHANGES, now)

    def rates(self, now: float) -> Rates:
        """The error rates of attempts and of exchanges, apart."""
        self._fold()
        self._rates.at(now)
        attempts, failed, exchanges, lost = self._rates.sums
        return Rates(
            attempts, failed / attempts if attempts else 0.0, exchanges, lost / exchanges if exchanges else 0.0
        )
