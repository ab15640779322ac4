"""What a provider's answer tells about its rate limits. `wire/ratelimits.py` reads it, `policy/pace.py` follows it.

What cannot be believed is dropped, field by field; `HeaderCounts` keeps count of it, for `doctor` and health pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class LimitFacts(NamedTuple):
    """One limit as an answer's headers tell it. None = not told, or told and not to be believed.

    Attributes:
        limit: requests or tokens per window (a minute unless the reset shows otherwise), >= 1.
        remaining: left at the moment of the answer, 0 to `limit`.
        reset: seconds from now until the limit is *full* again (wire-formats 1.2 and 2.3), >= 0.
    """

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


class RateFacts(NamedTuple):
    """All that one answer tells. `retry_after` is in seconds from now, >= 0.

    `tokens` is OpenAI's combined limit; Anthropic's header of that name repeats the tightest limit in force.
    """

    requests: LimitFacts | None = None
    tokens: LimitFacts | None = None
    input_tokens: LimitFacts | None = None
    output_tokens: LimitFacts | None = None
    retry_after: float | None = None


NO_FACTS = RateFacts()
"""An answer that tells nothing."""


PAST, FAR, UNREADABLE, CONTRADICTORY, TWICE = "past", "far", "unreadable", "contradictory", "twice"
FAULTS = (PAST, FAR, UNREADABLE, CONTRADICTORY, TWICE)
"""Why a field is dropped: a reset in the past, one further away than any window, no number, more left than the limit
allows, told twice with different values."""


class Seen:
    """What was found in one answer's headers beside the facts.

    Attributes:
        faults: members of `FAULTS`: why fields were dropped.
        told: there was a header about rate limits, believed or not.
        skew: seconds that the provider's clock is ahead of ours, negative = behind; None = it has told no time.
    """

    __slots__ = ("faults", "skew", "told")

    def __init__(self) -> None:
        self.faults: set[str] = set()
        self.told = False
        self.skew: float | None = None


class HeaderLook(NamedTuple):
    """What one provider's answers told, of those that were looked at.

    Attributes:
        answers: that were looked at: good ones, and those that had a header about rates.
        told: of them, those with any header about rate limits.
        faults: by member of `FAULTS`, in how many of them a field was dropped for it; none with 0.
        skew: as in `Seen`, as last told beyond what its whole seconds and the way explain; 0.0 = the clocks agree.
    """

    answers: int
    told: int
    faults: Mapping[str, int]
    skew: float


class HeaderCounts:
    """Counts for one provider. Not thread-safe: the owner's lock is around every call."""

    __slots__ = ("_answers", "_faults", "_skew", "_told", "next_at")

    def __init__(self) -> None:
        self._answers = self._told = 0
        self._faults = dict.fromkeys(FAULTS, 0)
        self._skew = 0.0
        self.next_at = 0.0  # the owner's: when an answer is looked at again

    def note(self, seen: Seen, *, good: bool) -> bool:
        """One more answer. An error without such headers says nothing: it may come from a proxy in between.

        Returns:
            Whether it has become clear by now, and was not before, that this provider tells no rate limits.
        """
        if not (good or seen.told):
            return False
        self._answers += 1
        self._told += seen.told
        for fault in seen.faults:
            self._faults[fault] += 1
        if seen.skew is not None:
            self._skew = seen.skew
        return self._answers == SILENT_ANSWERS and not self._told

    def look(self) -> HeaderLook:
        """As it stands."""
        faults = {name: count for name, count in self._faults.items() if count}
        return HeaderLook(self._answers, self._told, faults, self._skew)


SILENT_ANSWERS = 20
"""Good answers of which none has told a rate limit: this provider tells none."""
