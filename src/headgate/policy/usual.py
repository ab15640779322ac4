"""What is usual: an average that follows, days to compare with, prompts that creep, money within a window.

Nothing here reads a clock: time comes with what is seen, in seconds since the epoch. Nothing grows without a bound.
"""

from __future__ import annotations

from collections.abc import Sequence

DAY = 86_400.0

FEWEST_CALLS = 10
"""Calls of a caller before any of them can be unusual."""
WEIGHT = 0.1
"""Of the newest call in the moving average (EWMA); the first ten calls weigh the same."""
SPREAD = 3.0
"""Mean deviations from the usual that are usual too: callers whose calls differ are not told about at each of them."""

DAYS_BACK = 14
FEWEST_DAYS = 3
"""Days with spending before a day can be unusual."""
LATELY = 3
"""Days whose median counts where it is the larger one, so that steady growth is not news each day."""
MAD_SPREAD = 3 * 1.4826
"""Three standard deviations, from the median absolute deviation (of a normal distribution: MAD * 1.4826)."""

LOOP_CALLS = 20
NEARLY_TOKENS = 256
NEARLY_SHARE = 0.1
"""A prompt is nearly that of the call before: longer by at most 256 tokens, or by a tenth."""
ALIKE_TOKENS = 64
ALIKE_SHARE = 0.5
"""Two steps are alike: they differ by at most 64 tokens, or by half."""

PARTS = 12
"""Into which a window is divided; it is kept to one part exactly."""


class Level:
    """The moving average of one caller's calls (EWMA), and how far they usually are from it."""

    __slots__ = ("average", "deviation", "quiet_until", "samples")

    def __init__(self) -> None:
        self.average = 0.0
        self.deviation = 0.0
        self.samples = 0
        self.quiet_until = 0.0  # what is seen before then is not told again

    def take(self, value: int, ratio: float, floor: int) -> bool:
        """Whether a value is over `ratio` times the average, over its spread and over the floor; then learn from it.

        What is over counts as the limit it went over: one huge call hides no other, and a level that stays is usual
        after a few dozen calls.
        """
        average = self.average
        off: float = value - average
        weight, over = WEIGHT, False
        if self.samples < FEWEST_CALLS:
            self.samples += 1
            weight = 1.0 / self.samples
        elif value > average * ratio and value > floor:
            limit = max(average * ratio, average + SPREAD * self.deviation, floor)
            if value > limit:
                over = True
                off = limit - average
        self.average = average + off * weight
        if weight < 1.0:  # the first one is the average, and no deviation
            self.deviation += ((off if off > 0.0 else -off) - self.deviation) * weight
        return over


class Days:
    """Spending by day (UTC, as the ledger's reader counts them), and the sum above which today is off its trend."""

    __slots__ = ("_floor", "_ratio", "day", "limit", "past", "spent", "usual")

    def __init__(self, ratio: float, floor: int) -> None:
        """
        Args:
            ratio: > 1; of the usual.
            floor: nano-dollars more than the usual, below which nothing is off.
        """
        self._ratio = ratio
        self._floor = floor
        self.past: dict[int, int] = {}  # nano-dollars by day since the epoch; days without spending are not there
        self.day = -1
        self.spent = 0  # on `day`
        self.usual = 0
        self.limit = float("inf")

    def remember(self, day: int, nano: int) -> None:
        """Spending of a day that nobody is told about. Days come in order."""
        if day > self.day:
            self._turn(day)
        if day == self.day:
            self.spent += nano
        elif day in self.past:
            self.past[day] += nano  # what began yesterday and ended today

    def take(self, day: int, nano: int) -> bool:
        """Add what was spent; whether the day has just gone over its limit. True once per day."""
        if day != self.day:
            self.remember(day, nano)
            if day != self.day:
                return False
        else:
            self.spent += nano
        if self.spent <= self.limit:
            return False
        self.limit = float("inf")
        return True

    def _turn(self, day: int) -> None:
        if self.spent:
            self.past[self.day] = self.spent
        self.past = {each: nano for each, nano in self.past.items() if each >= day - DAYS_BACK}
        self.day, self.spent = day, 0
        spent = [self.past[each] for each in sorted(self.past)]
        if len(spent) < FEWEST_DAYS:
            self.limit = float("inf")
            return
        middle = median(spent)
        usual = max(middle, median(spent[-LATELY:]))
        spread = MAD_SPREAD * median([abs(nano - middle) for nano in spent])
        self.usual = int(usual)
        self.limit = max(usual * self._ratio, usual + spread, usual + self._floor)


class Run:
    """Calls in a row whose prompts are nearly the same and grow by about the same: an agent that goes in circles
    appends the same call and the same result again and again. People and working agents vary."""

    __slots__ = ("_step", "calls", "prompt", "since")

    def __init__(self) -> None:
        self.calls = 0
        self.prompt = 0  # of the last of them
        self.since = 0.0  # when the first of them was
        self._step = 0.0

    def take(self, prompt: int, at: float, window: float) -> int:
        """The length of the run that this call goes on, within `window` seconds.

        Args:
            prompt: tokens, cached ones too.
        """
        grown = prompt - self.prompt
        self.prompt = prompt
        calls = self.calls
        # Of most calls the prompt is no longer than before, or by far.
        if (
            grown > 0
            and calls
            and (grown <= NEARLY_TOKENS or grown <= prompt * NEARLY_SHARE)
            and at - self.since <= window
        ):
            step = self._step
            if calls == 1:
                self._step = grown
                self.calls = 2
                return 2
            if abs(grown - step) <= ALIKE_TOKENS or abs(grown - step) <= step * ALIKE_SHARE:
                self._step = step + (grown - step) * 0.25
                self.calls = calls = calls + 1
                return calls
        self.calls = 1
        self.since = at
        return 1


class Window:
    """Money within the last so many seconds: never less than what was spent in them, and at most what was spent in a
    twelfth more."""

    __slots__ = ("_before", "_nano", "_part", "_seconds", "spent")

    def __init__(self, seconds: float) -> None:
        """`seconds` > 0."""
        self._seconds = seconds
        self._part = self._nano = 0  # the newest part, and what was spent in it
        # Those before it, oldest first: of few sessions there are any.
        self._before: list[tuple[int, int]] | None = None
        self.spent = 0

    def take(self, nano: int, at: float) -> int:
        """Add what was spent at a moment; the sum."""
        part = int(at * PARTS / self._seconds)
        if self._part >= part:
            self._nano += nano  # calls do not end in the order in which they are seen
        else:
            self._turn(part, nano)
        self.spent += nano
        return self.spent

    def over(self, at: float) -> bool:
        """Whether nothing was added within the window before this moment."""
        return self._part < int(at * PARTS / self._seconds) - PARTS

    def _turn(self, part: int, nano: int) -> None:
        parts = self._before or []
        if self._nano:
            parts.append((self._part, self._nano))
        self._part, self._nano = part, nano
        while parts and parts[0][0] < part - PARTS:
            self.spent -= parts.pop(0)[1]
        self._before = parts or None

    def __len__(self) -> int:
        """Of the parts that are kept."""
        return 1 + len(self._before or ())


def median(values: Sequence[float]) -> float:
    """Of at least one value. (`statistics` takes 10 ms to import.)"""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
