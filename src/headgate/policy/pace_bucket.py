"""One limit as we believe it: a token bucket that follows what the provider tells. Pure; times are arguments.

We know what we have sent, so our own account of the bucket is exact while nobody else uses it. The provider's
remainder is the truth at one moment, without what was on its way. So the truth lies between the remainder less all that
is on its way and the remainder, and our account is moved into that interval, no further.
"""

from __future__ import annotations

MINUTE = 60.0
WINDOWS = (MINUTE, 3600.0, 86_400.0)
"""Seconds that a limit may be for. Most are per minute; some providers' are per day (wire-formats 3, Groq)."""

_CEILING_BURST = 10.0  # seconds' worth of a configured ceiling that may go at once
_MARGIN = 0.001  # seconds added to a wait, so that it is not over a rounding error too early
_NOTHING = 1e-6  # what may be missing without a wait


class Bucket:
    """A limit's level, refilled continuously at `rate` per second up to `capacity`. It may go below zero.

    Attributes:
        limit: as told or configured, per window.
        told_at: when the provider last told it.
    """

    __slots__ = ("_at", "_level", "_most", "_window", "burst", "capacity", "limit", "rate", "told_at")

    def __init__(self, limit: int, now: float, *, burst: float = MINUTE) -> None:
        self._window = MINUTE
        self._at = self.told_at = now
        self.burst = burst
        self._level = self._most = float(limit)
        self.set_limit(limit)

    def set_limit(self, limit: int) -> None:
        """Another limit; what is in the bucket stays, as far as it fits."""
        self.limit = limit
        self.rate = limit / self._window
        # A day's limit is one bucket of the whole day, as a minute's is of the whole minute.
        self.capacity = max(1.0, limit * min(1.0, self.burst / MINUTE))
        self._level = min(self.capacity, self._level)
        self._most = min(self.capacity, self._most)

    def spread(self, burst: float) -> None:
        """Let only `burst` seconds' worth go at once; 60 = all of it. Some enforce a minute's limit by the second."""
        self.burst = burst
        self.set_limit(self.limit)

    def refill(self, now: float, share: float) -> None:
        """Bring the level to `now`. `share` of the rate is ours, 0 to 1: others may use the same limit."""
        passed = now - self._at
        if passed <= 0:
            return
        self._at = now
        more = passed * self.rate * share
        capacity = self.capacity
        level = self._level + more
        self._level = level if level < capacity else capacity
        most = self._most + more
        self._most = most if most < capacity else capacity

    @property
    def level(self) -> float:
        """What is in it since the last `refill`, in requests or tokens."""
        return self._level if self._level < self._most else self._most

    @property
    def most(self) -> float:
        """What is in it at the most, by what was last told."""
        return self._most

    def try_take(self, amount: float, now: float) -> bool:
        """`refill` with all of the rate, and `take` where that much is in it. False: it is not."""
        level, most = self._level, self._most
        passed = now - self._at
        if passed > 0:
            self._at = now
            more = passed * self.rate
            capacity = self.capacity
            level += more
            if level > capacity:
                level = capacity
            most += more
            if most > capacity:
                most = capacity
        if amount > level or amount > most:
            self._level, self._most = level, most
            return False
        self._level = level - amount
        self._most = most - amount
        return True

    def wait(self, need: float, share: float) -> float:
        """Seconds until `need` fits, 0.0 if it does. More than a full bucket waits for the full bucket."""
        level = self._level if self._level < self._most else self._most
        if need <= level:
            return 0.0
        missing = min(need, self.capacity) - level
        return missing / (self.rate * share) + _MARGIN if missing > _NOTHING else 0.0

    def take(self, amount: float) -> None:
        """Remove `amount`, or put it back where it is negative."""
        self._level -= amount
        self._most -= amount
        if amount < 0:
            self._level = min(self.capacity, self._level)
            self._most = min(self.capacity, self._most)

    def charge(self, amount: float) -> float:
        """Remove what was taken too little, or put back what was too much: as `take`, but at most to a window's worth
        of debt. Counts that are far above the limit are counted otherwise than the limit is, and nobody would be let
        go who could learn that. Returns the level."""
        level, most, capacity = self._level - amount, self._most - amount, self.capacity
        if -capacity <= level <= capacity and -capacity <= most <= capacity:  # what follows says the same
            self._level, self._most = level, most
        else:
            self._level = level = self._less(self._level, amount)
            self._most = most = self._less(self._most, amount)
        return level if level < most else most

    def correct(self, amount: float) -> float:
        """As `charge`, where what was told last knew of it already."""
        level = self._level - amount
        if -self.capacity <= level <= self.capacity:
            self._level = level
        else:
            self._level = level = self._less(self._level, amount)
        return level

    def _less(self, level: float, amount: float) -> float:
        return min(self.capacity, max(min(level, -self.capacity), level - amount))

    def learn(self, remaining: float, pending: float, above: float, below: float) -> None:
        """Follow what the provider tells is left.

        Args:
            remaining: as told.
            pending: the most that was on its way and is not in `remaining` yet.
            above, below: how far the truth may be from `remaining`: rounding.
        """
        self._most = min(self.capacity, max(0.0, remaining + above))
        least = remaining - pending - below
        if self._level > self._most:
            self._level = self._most
        elif self._level < least:
            # Half-way: an answer that another one has overtaken tells an older remainder.
            self._level += (least - self._level) / 2

    def begin(self, remaining: float, pending: float, above: float, below: float) -> None:
        """The first that is told: nothing of our own is to be compared with it, so the least is believed."""
        self._most = min(self.capacity, max(0.0, remaining + above))
        self._level = min(self.capacity, remaining - pending - below)

    def learn_window(self, used: int, reset: float) -> None:
        """A limit per hour or per day, told by how long it takes until it is full.

        `used` is rounded up by the provider, so the window is at least `limit * reset / used`.
        """
        least = self.limit * reset / used
        for window in WINDOWS:
            if least <= window * 1.1:
                if window != self._window:
                    self._window = window
                    self.set_limit(self.limit)
                return


class Remainder:
    """Only what is left is told, neither limit nor rate: below a threshold, what is left is spread over the time left.

    The seeds' rule of thumb: slow down under 50 remaining requests or 5,000 tokens.
    """

    __slots__ = ("_left", "_next", "_threshold", "_until")

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self._left = float(threshold)
        self._next = self._until = 0.0

    def learn(self, remaining: int, reset: float | None, now: float) -> None:
        """What is left at `now`. Believed until the reset, or for a minute."""
        self._left = float(remaining)
        self._until = now + (min(reset, 10 * MINUTE) if reset else MINUTE)
        if remaining <= 0:
            self._next = max(self._next, min(self._until, now + MINUTE / 4))

    def wait(self, now: float) -> float:
        """Seconds until the next may go."""
        if self._left >= self._threshold or now >= self._until:
            return 0.0
        return max(0.0, self._next - now)

    def take(self, amount: float, now: float) -> None:
        """One goes: the next waits its part of the time left, a quarter of a minute at most."""
        if now < self._until:
            self._left -= amount
            part = amount / max(amount, self._left) if amount > 0 else 0.0
            self._next = now + min(MINUTE / 4, (self._until - now) * part)


def ceiling(limit: int, now: float) -> Bucket:
    """A ceiling from the configuration: 10 s of it may go at once, so that no minute sees much more than the limit."""
    return Bucket(limit, now, burst=_CEILING_BURST)
