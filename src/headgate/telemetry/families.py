"""Metrics as plain data, between those who count and those who render (Prometheus, OTLP)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]
"""Values, in the order of the family's names."""


@dataclass(slots=True)
class Family:
    """One metric and all of its series.

    Attributes:
        name: without the `_total` that a counter gets when it is rendered for Prometheus.
        unit: of OpenMetrics and OTLP: "s", "By", "{USD}", ...; "" = none.
        labels: names.
        values: counters and gauges.
        distributions: histograms: counts per bucket (the last one is above all bounds) and the sum.
        bounds: of its buckets, ascending, inclusive.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    values: dict[Labels, float] = field(default_factory=dict)
    distributions: dict[Labels, Distribution] = field(default_factory=dict)
    bounds: Sequence[float] = ()

    def add(self, labels: Labels, value: float) -> None:
        """Add to a series."""
        self.values[labels] = self.values.get(labels, 0.0) + value


class Distribution:
    """Values by bucket. One thread at a time."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """
        Args:
            bounds: ascending; each bucket includes its own.
        """
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def note(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> Distribution:
        """As it stands."""
        made = Distribution(self.bounds)
        made.counts[:] = self.counts
        made.sum = self.sum
        return made


class Bounded:
    """The values that one label may have: what comes after `most` of them is `OTHER`."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int, known: Sequence[str] = ()) -> None:
        """
        Args:
            known: have their place whatever comes.
        """
        self._known = dict.fromkeys(("", *known))
        self._most = most + len(self._known)

    def of(self, value: str, *, new: bool = True) -> str:
        """The label's value for `value`.

        Args:
            new: it may take a place; else only what has one keeps its name: what callers make up must not use up the
                places of what there is.
        """
        value = value[:LONGEST]
        if value in self._known:
            return value
        if not new or len(self._known) >= self._most:
            return OTHER
        self._known[value] = None
        return value


OTHER = "other"
LONGEST = 120
"""Characters of a label's value."""
