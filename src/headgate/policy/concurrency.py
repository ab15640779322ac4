"""How many calls a provider gets at once: a cap that follows its capacity. Pure: time is an argument.

Additive increase, multiplicative decrease, as TCP's congestion window, steered by two signs of overload: the provider
says so, or answers take longer than they do without a queue. The second is the gradient of Netflix's concurrency-limits
(`GradientLimit`: limit * latency without load / latency now) and of Envoy's adaptive concurrency filter: by Little's
law the limit times that quotient is what the provider really works on. As there, the latency without load is measured
anew from time to time under a lower limit; else the queue that we cause would become what is usual.

Two things differ, because models' answers differ more than RPCs do. Latencies are compared as medians of many calls,
only of calls that began after the cap was last changed, and by more than medians of so many differ by chance. And
where slowness does not yield to a lower cap it is measured whether it is our doing: if not, it becomes what is usual,
and the cap goes back to where it was.

Give it the time to first content where answers are streamed: the length of an answer says nothing about load.
"""

from __future__ import annotations

import math

from headgate.core.errors import UpstreamError

ANSWERED, OVERLOADED, IGNORED = "answered", "overloaded", "ignored"

INITIAL, FLOOR, CEILING = 16, 2, 1000

TOLERANCE = 1.2
"""Latency over that without load, from which on the cap is lowered."""
HEADROOM = 1.03
"""Of what the provider works on: a short queue keeps it busy."""
BACKOFF = 0.85
"""The cap is multiplied with it when the provider says that it is overloaded."""
OVERLOADS, OVERLOADED_SHARE = 3, 0.1
"""So many calls turned away, and this share of those let in since the cap was last changed, lower it: providers turn
away a few at any load."""
SHARPEST = 0.5
"""The cap is lowered to no less than this at once: an outlier is not the end."""
FEWEST, MOST = 40, 1000
"""Calls whose median is compared, and `ROUNDS` of them, within these."""
ROUNDS = 2
"""Times the cap: the first calls to end are the short ones, and in one round of them they would be too many."""
CHANCE = 0.93
"""By so many quartile distances over the root of their number medians differ by chance: the standard error of a median
is 1.25 standard deviations over that root, and the quartiles of a normal distribution are 1.35 deviations apart."""
PROBE_SECONDS = 300.0
"""Between two measurements without load."""
PROBE_SHARE, FIRST_PROBE_SHARE = 0.5, 0.25
"""Of the cap, while that lasts. The first is lower: the beginning may have overshot by much."""
LEARNING, QUICKLY = 0.1, 0.5
"""Of a new median, in the latency without load; the latter where it is lower by more than `TOLERANCE`."""
PRESSING = 0.8
"""Of the cap in use at some time: only then does it grow."""
IDLING = 0.5
"""Of the cap in use at most: then a change of latency is not our doing."""
YIELDED, STILL = 0.6, 0.8
"""A cap that was lowered to the first share of what it was, and latencies still above the second of what they were: it
may not be our doing, and a measurement decides."""


def outcome_of(error: UpstreamError | None) -> str:
    """What an attempt's end says about load. A 429 is about rates, which are pacing's; a 500 about nothing."""
    if error is None:
        return ANSWERED
    return OVERLOADED if error.kind in ("overloaded", "timeout") else IGNORED


def _enough(cap: float) -> float:
    return min(MOST, max(FEWEST, ROUNDS * cap))


class Concurrency:
    """One provider's cap, and who is under it. Not thread-safe: the lock of `stores.turns` is around it.

    Attributes:
        in_flight: calls that were let in and have not been released.
        cap: calls at once, now.
        let_in, most: calls that were, and the most at once, since the cap was last changed.
    """

    def __init__(
        self, *, initial: int = INITIAL, floor: int = FLOOR, ceiling: int = CEILING, fixed: int | None = None
    ) -> None:
        """
        Args:
            initial: calls at once to begin with; doubled until there is a sign of overload.
            floor, ceiling: the cap stays within; 1 <= floor <= initial <= ceiling.
            fixed: this cap, whatever happens; >= 1. None = it adapts.
        """
        if fixed is not None and fixed < 1:
            raise ValueError("a fixed cap is at least 1")
        if fixed is None and not 1 <= floor <= initial <= ceiling:
            raise ValueError("a cap has 1 <= floor <= initial <= ceiling")
        self.in_flight = 0
        self._fixed = fixed
        self._floor, self._ceiling = float(floor), float(ceiling)
        self._cap = float(initial if fixed is None else fixed)
        self.cap = int(self._cap)
        self._enough = _enough(self._cap)  # calls that are compared
        self._starting = True  # no sign of overload yet
        self._usual: float | None = None  # seconds, without load
        self._before_probe = 0.0  # the cap to go back to; 0 = no probe is under way
        self._if_risen = 0.0  # likewise, where the probe shows that it is slow without load, too
        self._probe_at = math.inf
        self._slow_from: tuple[float, float] | None = None  # (cap, latency) when it first got slow
        self._lowered_at = -math.inf
        # Of the calls since the cap was last changed:
        self._began = -math.inf if fixed is None else math.inf  # only what began after it is compared
        self._latencies: list[float] = []
        self.let_in = self._overloads = 0
        self.most = 0  # at once

    @property
    def usual_latency(self) -> float | None:
        """Seconds without load, as far as is known."""
        return self._usual

    def try_acquire(self, now: float) -> bool:
        """Let a call in, or not now. Whoever was let in is released once, however it ends."""
        in_flight = self.in_flight
        if in_flight >= self.cap:
            self.most = in_flight
            return False
        in_flight = self.in_flight = in_flight + 1
        self.let_in += 1
        if in_flight > self.most:
            self.most = in_flight
        return True

    def cancel(self) -> None:
        """A call that was let in this moment does not go after all."""
        self.in_flight -= 1
        self.let_in -= 1

    def answered(self, latency: float, now: float) -> None:
        """As `release`, of one that was answered."""
        in_flight = self.in_flight
        if in_flight > 0:
            self.in_flight = in_flight - 1
        if now - latency > self._began:  # what was let in at that very moment came before the change
            latencies = self._latencies
            latencies.append(latency)
            if len(latencies) >= self._enough:
                self._compare(now)

    def release(self, latency: float | None, outcome: str, now: float) -> None:
        """A call that was let in has ended.

        Args:
            latency: seconds from the moment it was let in to its first content, or to its error; None = it had none.
                What it waited for on our side is not part of it.
            outcome: see `outcome_of`; `IGNORED` too where its caller has left.
            now: seconds.
        """
        if outcome == ANSWERED and latency is not None:
            self.answered(latency, now)
            return
        if self.in_flight > 0:
            self.in_flight -= 1
        if self._fixed is None and latency is not None and outcome == OVERLOADED:
            self._turned_away(now - latency, now)

    def _window(self, now: float) -> None:
        self._began = now
        self._latencies = []
        self.let_in = self._overloads = 0
        self.most = self.in_flight
        self.cap = int(self._cap)
        self._enough = _enough(self._cap)

    def _turned_away(self, began: float, now: float) -> None:
        if began < self._lowered_at:
            return  # it was on its way when the cap was lowered for the like of it
        self._overloads += 1
        if self._overloads >= OVERLOADS + OVERLOADED_SHARE * self.let_in:
            self._set((SHARPEST if self._starting else BACKOFF) * self._cap, now)
            self._starting = False
            self._lowered_at = now
            self._before_probe = 0.0
            self._slow_from = None
            if self._probe_at == math.inf:
                self._probe_at = now + PROBE_SECONDS

    def _compare(self, now: float) -> None:
        """Enough calls have ended since the cap was last changed: what do they say?"""
        ordered = sorted(self._latencies)
        count = len(ordered)
        latency = ordered[count // 2]
        chance = CHANCE * (ordered[count * 3 // 4] - ordered[count // 4]) / math.sqrt(count)
        usual = self._usual
        if usual is None:
            self._usual = latency
            self._window(now)
        elif self._before_probe:
            self._measured(latency, chance, usual, now)
        elif self.most <= IDLING * int(self._cap):
            self._usual = usual + LEARNING * (latency - usual)
            self._slow_from = None
            self._window(now)
        elif latency - chance > TOLERANCE * usual:
            self._slow(latency - chance, usual, now)
        else:
            if latency + chance < usual:
                clearly = TOLERANCE * (latency + chance) < usual
                self._usual = usual + (QUICKLY if clearly else LEARNING) * (latency - usual)
            self._well(now)

    def _measured(self, latency: float, chance: float, usual: float, now: float) -> None:
        if TOLERANCE * (latency + chance) < usual and self._cap > self._floor:
            # What was usual was under load, and this may be, too: look again, deeper.
            self._before_probe = max(self._floor, self._before_probe * latency / usual)
            self._usual = latency
            self._set(PROBE_SHARE * self._cap, now)
            return
        # Where it may be the same as before, both are worth something.
        self._usual = (usual + latency) / 2 if abs(latency - usual) <= 2 * chance else latency
        cap, self._before_probe = self._before_probe, 0.0
        if latency - chance > TOLERANCE * usual:
            cap = max(cap, self._if_risen)  # slow without load: lowering the cap has not helped, and would not
        self._set(cap, now)

    def _slow(self, latency: float, usual: float, now: float) -> None:
        target = usual / latency * HEADROOM
        if self._starting:
            self._starting = False
            self._probe(FIRST_PROBE_SHARE, target * self._cap, now)
            return
        cap_then, latency_then = self._slow_from or (self._cap, latency)
        lowered = self._cap <= YIELDED * cap_then and latency > STILL * latency_then
        if lowered or self._cap <= self._floor or now >= self._probe_at:
            self._probe(PROBE_SHARE, target * self._cap, now)
            self._if_risen = cap_then
            return
        self._slow_from = (cap_then, latency_then)
        self._set(max(SHARPEST, target) * self._cap, now)

    def _well(self, now: float) -> None:
        if self._slow_from is not None and self._cap >= self._slow_from[0]:
            self._slow_from = None
        if now >= self._probe_at:
            self._probe(PROBE_SHARE, self._cap, now)
        elif self.most < PRESSING * int(self._cap):
            self._window(now)
        elif self._starting:
            self._set(2 * self._cap, now)
        else:
            self._set(self._cap + max(1.0, math.sqrt(self._cap) / 2), now)

    def _probe(self, share: float, back_to: float, now: float) -> None:
        """Measure without load for a while."""
        self._probe_at = now + PROBE_SECONDS
        self._slow_from = None
        self._if_risen = 0.0
        self._set(share * self._cap, now)
        self._before_probe = max(self._floor, back_to)

    def _set(self, cap: float, now: float) -> None:
        self._cap = min(self._ceiling, max(self._floor, cap))
        self._window(now)
