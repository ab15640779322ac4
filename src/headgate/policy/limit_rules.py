"""Whose bucket a call takes from, under which limit, and how much of it: what every store of limits shares. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from operator import attrgetter
from typing import TypeVar

from headgate.core.caller import Caller
from headgate.core.limits import Figure, Limit

BURST_SECONDS = 60.0
"""A bucket's size: as many seconds' worth."""
DEBT_SECONDS = 60.0
"""What calls may use beyond their estimates, in seconds' worth: one wrong guess shuts nobody out for an hour."""
SLACK = 1e-6
"""Seconds: 7 * (60 / 7) is more than 60 in floating point."""

_OF_CALLER = frozenset({"key", "tenant", "user", "session", "task", "feature", "environment"})
_TAG = "tag:"


class Rule:
    """One limit in one unit.

    Attributes:
        unit: "requests" or "tokens".
        per_minute: >= 1.
        nth: of the limits of the same unit and dimensions, the how manieth it is; from 0.
        seconds_each: what one request or token takes of a bucket, in seconds.
        room: seconds that a bucket holds, and what rounding may be off; less than one more would take.
        of_caller: reads the scope from the caller, where one of its attributes is all that is asked for; else None.
    """

    __slots__ = ("limit", "nth", "of_caller", "per_minute", "room", "seconds_each", "unit")

    def __init__(self, limit: Limit, unit: str, per_minute: int, nth: int) -> None:
        self.limit = limit
        self.unit = unit
        self.per_minute = per_minute
        self.nth = nth
        self.seconds_each = 60.0 / per_minute
        self.room = BURST_SECONDS + min(SLACK, self.seconds_each / 2)
        single = limit.per[0] if len(limit.per) == 1 and not limit.only else ""
        # Most limits ask for one thing that the caller says: this is on the way of every call.
        self.of_caller: Callable[[Caller], str] | None = attrgetter(single) if single in _OF_CALLER else None

    def scope(self, caller: Caller, model: str, provider: str, address: str) -> Hashable | None:
        """Whose bucket it is; None where the limit does not apply."""
        for dimension, value in self.limit.only:
            if _value(dimension, caller, model, provider, address) != value:
                return None
        values = tuple([_value(each, caller, model, provider, address) for each in self.limit.per])
        if not all(values):
            return None
        return values[0] if len(values) == 1 else values

    def remaining(self, filling: float) -> int:
        """Whole units that fit now into a bucket that is full after `filling` seconds."""
        if filling <= 0.0:
            return self.per_minute
        return int((self.room - filling) / self.seconds_each) if filling < self.room else 0

    def figure(self, filling: float) -> Figure:
        """How a scope stands whose bucket is full after `filling` seconds."""
        return Figure(self.unit, self.per_minute, self.remaining(filling), filling if filling > 0.0 else 0.0)


RuleT = TypeVar("RuleT", bound=Rule)


def rules_of(limits: Iterable[Limit], make: Callable[[Limit, str, int, int], RuleT]) -> list[RuleT]:
    """A rule for each limit and unit, in their order."""
    made: list[RuleT] = []
    seen: dict[Hashable, int] = {}
    for limit in limits:
        for unit, per_minute in (("requests", limit.requests_per_minute), ("tokens", limit.tokens_per_minute)):
            if per_minute is not None:
                shape = unit, limit.per, limit.only
                nth = seen[shape] = seen.get(shape, -1) + 1
                made.append(make(limit, unit, per_minute, nth))
    return made


def tightest(figures: Iterable[Figure]) -> tuple[Figure, ...]:
    """For each unit the figure with the least remaining."""
    figures = tuple(figures)
    if len(figures) == 1 or (len(figures) == 2 and figures[0].unit != figures[1].unit):
        return figures  # as nearly always: it is on the way of every call
    found: dict[str, Figure] = {}
    for figure in figures:
        known = found.get(figure.unit)
        if known is None or figure.remaining < known.remaining:
            found[figure.unit] = figure
    return tuple(found.values())


def _value(dimension: str, caller: Caller, model: str, provider: str, address: str) -> str:
    if dimension == "model":
        return model
    if dimension == "provider":
        return provider
    if dimension == "address":
        return address
    if dimension.startswith(_TAG):
        return caller.tags.get(dimension[len(_TAG) :], "")
    value: str = getattr(caller, dimension)
    return value
