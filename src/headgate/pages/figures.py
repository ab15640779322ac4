"""Sums that pages show, folded from the log store's rollups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headgate.pages.periods import HOUR, MINUTES_KEPT, Period
from headgate.stores.logs.histogram import percentile
from headgate.stores.logs.query import RollupRow
from headgate.stores.logs.reader import LogReader

_SUMMED = (
    *("exchanges", "attempts", "failed", "refused", "blocked", "hits", "truncated", "cost_nano", "estimated_nano"),
    *("saved_nano", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
)


@dataclass(slots=True)
class Figures:
    """What came of some exchanges: the sums of `RollupRow`, and what follows from them."""

    exchanges: int = 0
    attempts: int = 0
    failed: int = 0
    refused: int = 0
    blocked: int = 0
    hits: int = 0
    truncated: int = 0
    cost_nano: int = 0
    estimated_nano: int = 0
    saved_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    latency: dict[int, int] = field(default_factory=dict)
    ttft: dict[int, int] = field(default_factory=dict)

    def add(self, row: RollupRow) -> None:
        """One row more."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(row, name))
        for mine, theirs in ((self.latency, row.latency), (self.ttft, row.ttft)):
            for bucket, number in theirs.items():
                mine[bucket] = mine.get(bucket, 0) + number

    @property
    def failed_share(self) -> float | None:
        """Of exchanges: those that no provider answered, or that broke off."""
        return self.failed / self.exchanges if self.exchanges else None

    @property
    def hit_share(self) -> float | None:
        """Of exchanges: those that the cache answered."""
        return self.hits / self.exchanges if self.exchanges else None

    @property
    def prompt_tokens(self) -> int:
        """All that went in, from wherever."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def each_nano(self) -> int | None:
        """What an exchange costs, on average."""
        return round(self.cost_nano / self.exchanges) if self.exchanges else None

    def latency_at(self, q: float) -> float | None:
        """Milliseconds that a share `q` of the exchanges did not exceed."""
        return percentile(self.latency, q)

    def ttft_at(self, q: float) -> float | None:
        """The same, to the first content."""
        return percentile(self.ttft, q)


def total(rows: Iterable[RollupRow]) -> Figures:
    """All of them together."""
    found = Figures()
    for row in rows:
        found.add(row)
    return found


def between(logs: LogReader, since: float, until: float, tenant: str | None, now: float) -> Figures:
    """All of a stretch together: by whole hours, and at its ends by the minute where minutes are still kept.

    Thousands of minutes take a second to add up. Where there are none any more, the hour that an end is in belongs to
    the later stretch.
    """
    kept = now - MINUTES_KEPT
    first = (-(-since // HOUR) if since >= kept else since // HOUR) * HOUR
    last = until // HOUR * HOUR
    if first > last:
        return total(logs.rollup(since, until, "minute", None, tenant))
    rows = list(logs.rollup(first, last, "hour", None, tenant))
    for begin, end in ((since, first), (last, until)):
        if kept <= begin < end:
            rows += logs.rollup(begin, end, "minute", None, tenant)
    return total(rows)


def by_value(rows: Iterable[RollupRow]) -> dict[str, Figures]:
    """By the value of the dimension, dearest first, then by how many, then by name."""
    found: dict[str, Figures] = {}
    for row in rows:
        found.setdefault(row.value, Figures()).add(row)
    order = sorted(found, key=lambda value: (-found[value].cost_nano, -found[value].exchanges, value))
    return {value: found[value] for value in order}


def over_time(rows: Iterable[RollupRow], period: Period) -> list[Figures]:
    """One for each of the period's starts."""
    starts = period.starts()
    found = [Figures() for _ in starts]
    for row in rows:
        place = int(row.start - starts[0]) // period.bucket
        if 0 <= place < len(found):
            found[place].add(row)
    return found


def values(points: Sequence[Figures], name: str, scale: float = 1.0) -> list[float | None]:
    """One sum of each, times `scale`."""
    return [getattr(each, name) * scale for each in points]
