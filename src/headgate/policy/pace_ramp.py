"""How many attempts may be in flight while limits are unknown, and how fast that grows: slow start, as in TCP.

Two until the first answer, then one more per answer, which doubles them per round trip (RFC 5681, section 3.1). A
refusal for growing too fast (Anthropic's `ramp_limit_exceeded`), or one where no limit is known, halves them and lets
them grow by one per round trip from there.
"""

from __future__ import annotations

FIRST = 2
"""In flight until the first answer."""

MOST = 1 << 16

DOUBLING = 2.0
"""Seconds after which what may be in flight doubles where limits are known and answers have not done it: those can take
a minute, and the limits guard the rest."""

SILENCE = 15.0
"""Seconds without an answer after which what may be in flight doubles where no limit is known, too: a model that
answers a minute later, or a server that tells no limits, would else be waited for two by two."""

HALVED_FOR = 600.0
"""Seconds after which a halving is forgotten."""

_REST = 60.0  # seconds without anything in flight, per halving
_UNKNOWN_WAIT = 0.25  # seconds; before any answer has come


class Ramp:
    """The window of attempts in flight."""

    __slots__ = ("_doubled_at", "_doubled_from", "_full_at", "_halved_at", "_latency", "_peak", "_slow_above",
                 "_window")  # fmt: skip

    def __init__(self, now: float) -> None:
        self._window = self._doubled_from = float(FIRST)
        self._slow_above = float(MOST)
        self._latency = 0.0
        self._peak = 0  # in flight since the window last doubled
        self._doubled_at = now
        self._full_at: float | None = None  # since when somebody waits and nobody has been answered
        self._halved_at = float("-inf")

    @property
    def window(self) -> int:
        """How many may be in flight, >= 1."""
        return int(self._window)

    @property
    def easy(self) -> int:
        """While fewer are in flight than so many, a further one may go, and `full` need not be told of it."""
        return min(self._peak, int(self._window))

    @property
    def steady(self) -> bool:
        """A good answer changes nothing, but for a guess at how long answers take: the window is far from full."""
        return self._window >= 2 * self._peak + FIRST and self._full_at is None and self._latency > 0

    def full(self, in_flight: int) -> bool:
        """No further attempt may go for now, beside so many."""
        if in_flight >= self._peak:
            self._peak = in_flight + 1
        return in_flight + 1 > self._window

    def wait(self, in_flight: int, now: float, *, known: bool) -> float:
        """Seconds until it may be worth asking again, 0.0 if there is room now.

        Args:
            known: limits are known from an answer: the window grows by time, too.
        """
        if now - self._halved_at > HALVED_FOR:
            self._slow_above = float(MOST)
        guess = self._latency / self._window if self._latency else _UNKNOWN_WAIT
        if known and self._window < self._slow_above:
            left = self._doubled_at + DOUBLING - now
            if left <= 0:
                self._window = self._doubled_from = min(float(MOST), self._window * 2)
                self._doubled_at = now
            else:
                guess = min(guess, left)
        elif in_flight and self._window < self._slow_above:
            if self._full_at is None:
                self._full_at = now
            left = self._full_at + SILENCE - now
            if left <= 0:
                self._window = self._doubled_from = min(float(MOST), self._window * 2)
                self._full_at = now - SILENCE + DOUBLING
            else:
                guess = min(guess, left)
        return 0.0 if in_flight < int(self._window) else max(0.01, guess)

    def answered(self, latency: float) -> None:
        """An answer's head has come after so many seconds."""
        self._full_at = None
        self._latency = latency if not self._latency else self._latency * 0.9 + latency * 0.1

    def grow(self, now: float) -> None:
        """One was answered well. What is not used does not grow."""
        window = self._window
        if window >= 2 * self._peak + FIRST:
            return
        window += 1.0 if window < self._slow_above else 1.0 / window
        if window > MOST:
            window = float(MOST)
        self._window = window
        if window >= 2 * self._doubled_from:
            self._doubled_from = window
            self._doubled_at = now
            self._peak = int(window) // 2

    def halve(self, in_flight: int, now: float) -> None:
        """Too many at once: half of what was in flight, and slowly from there."""
        self._window = max(1.0, min(self._window, float(in_flight)) / 2)
        self._slow_above = self._doubled_from = self._window
        self._halved_at = self._doubled_at = now

    def rest(self, seconds: float, now: float) -> None:
        """Nothing was in flight for so long: what was reached says less and less."""
        self._window = max(min(self._window, float(FIRST)), self._window / 2.0 ** min(seconds / _REST, 20.0))
        self._doubled_from = self._window
        self._peak = 0
        self._doubled_at = now
