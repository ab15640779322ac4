"""Sums over minutes, hours and days: of everything, of each tenant, and by each dimension."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import add as _plus
from typing import Any, NamedTuple

from headgate.stores.logs.histogram import BOUNDS, packed, unpacked
from headgate.stores.logs.lines import Shape
from headgate.stores.logs.query import DIMENSIONS, SHARED_FIELDS, STEPS, RollupRow
from headgate.stores.logs.wide import amounts_of, times_of, wide, wide_times

BY_MINUTE = frozenset({"", "tenant", "provider", "model", "ending", "error", "cache"})
"""Dimensions that are summed by minute, too: minutes are many."""

COUNTS = (
    *("exchanges", "attempts", "failed", "refused", "blocked", "hits", "truncated"),
    *("cost_nano", "estimated_nano", "saved_nano"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
)
"""The columns that are summed."""

BY_USER = "user"
WITH_TIMES = frozenset({"", "tenant", "model", "provider", "task"})
"""Dimensions whose sums have histograms of times: these are most of the work."""
OTHERS = "…"
"""Stands for the values of a dimension beyond the most that are told apart."""
MOST_VALUES = 20_000
"""Values of one dimension in one step, all tenants together: callers choose names, and a disk is finite."""
KEEP_DAYS = {60: 3, 3600: 62, 86_400: 400}
"""How long sums are kept, by step."""

_HOUR, _DAY = STEPS["hour"], STEPS["day"]
_PLACE = {name: SHARED_FIELDS.index(name) for name in SHARED_FIELDS}
_OF_SHAPE = tuple(
    (name, _PLACE[{"model": "model_served", "error": "error_type"}.get(name, name)])
    for name in DIMENSIONS
    if name != BY_USER
)

_OF_DIMENSION = dict(_OF_SHAPE)

Counts = list[int]
Histogram = dict[int, int]
ByUser = Mapping[tuple[int, int, str], Mapping[str, Sequence[int]]]
"""Counts of users, by step in seconds, the step's start, and tenant ("" = all)."""


class Cell(NamedTuple):
    """What is summed: a step in seconds, a dimension ("" = none), the step's start, a tenant ("" = all), a value."""

    step: int
    dimension: str
    start: int
    tenant: str
    value: str


class Sums:
    """The sums of one cell."""

    __slots__ = ("counts", "latency", "ttft")

    def __init__(self, counts: Sequence[int] = (), latency: Histogram | None = None, ttft: Histogram | None = None):
        self.counts: Counts = list(counts) or [0] * len(COUNTS)
        self.latency: Histogram = {} if latency is None else latency
        self.ttft: Histogram = {} if ttft is None else ttft

    def add(self, other: Sums) -> None:
        """Add what others were summed to."""
        self.counts = list(map(_plus, self.counts, other.counts))
        if other.latency:
            _merge(self.latency, other.latency)
        if other.ttft:
            _merge(self.ttft, other.ttft)

    def without(self, other: Sums) -> Sums:
        """What is left when others are taken out."""
        left = Sums([one - two for one, two in zip(self.counts, other.counts, strict=True)])
        left.latency = _rest(self.latency, other.latency)
        left.ttft = _rest(self.ttft, other.ttft)
        return left

    def row(self, start: float, value: str) -> RollupRow:
        """As it is handed out."""
        counts = dict(zip(COUNTS, self.counts, strict=True))
        return RollupRow(start, value, latency=self.latency, ttft=self.ttft, **counts)

    def columns(self) -> tuple[Any, ...]:
        """As it is stored."""
        return (*self.counts, packed(self.latency), packed(self.ttft))

    @classmethod
    def of_columns(cls, columns: Sequence[Any]) -> Sums:
        """What was stored."""
        size = len(COUNTS)
        return cls(columns[:size], unpacked(columns[size]), unpacked(columns[size + 1]))


def _merge(mine: Histogram, other: Histogram) -> None:
    known = mine.get
    for bucket, count in other.items():
        mine[bucket] = known(bucket, 0) + count


def _rest(mine: Histogram, other: Histogram) -> Histogram:
    found = {bucket: count - other.get(bucket, 0) for bucket, count in mine.items()}
    return {bucket: count for bucket, count in found.items() if count > 0}


class Tally:
    """Exchanges that are not in the stored sums yet. One thread at a time."""

    __slots__ = ("_minutes", "_users", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._minutes: dict[tuple[int, int], _Minute] = {}
        self._users: dict[tuple[int, str], dict[str, Counts]] = {}  # by hour and tenant

    def add(
        self,
        shape: Shape,
        at: float,
        user: str,
        cost: int,
        saved: int,
        tokens: tuple[int, int, int, int],
        latency: float | None,
        ttft: float | None,
    ) -> None:
        """Add one exchange: money in nano-dollars, tokens as input, output, from and into the cache, times in ms."""
        self.rows += 1
        minute = int(at) // 60
        _, counts, latencies, ttfts, of_user = shape.sums if shape.minute == minute else self._begin(shape, minute)
        counts[0] += 1
        counts[1] += cost
        taken, given, read, written = tokens
        counts[3] += taken
        counts[4] += given
        if saved or read or written:
            counts[2] += saved
            counts[5] += read
            counts[6] += written
        if latency is not None:
            latencies[bisect_left(BOUNDS, latency)] += 1
        if ttft is not None:
            ttfts[bisect_left(BOUNDS, ttft)] += 1
        if user:
            mine = of_user.get(user)
            if mine is None:
                mine = of_user[user] = [0] * len(COUNTS)
            if shape.plain:  # the four fifths of `_count` that most exchanges need
                mine[0] += 1
                mine[1] += shape.attempts
                mine[7] += cost
                mine[10] += taken
                mine[11] += given
                if saved or read or written:
                    mine[9] += saved
                    mine[12] += read
                    mine[13] += written
            else:
                _count(mine, shape, 1, cost, saved, tokens)

    def _begin(self, shape: Shape, minute: int) -> _Minute:
        sums = self._minutes.get((minute, shape.id))
        if sums is None:
            of_user = self._users.setdefault((minute // 60, shape.tenant), {})
            sums = self._minutes[minute, shape.id] = (shape, [0] * 7, defaultdict(int), defaultdict(int), of_user)
        shape.minute, shape.sums = minute, sums
        return sums

    def clear(self) -> None:
        """Begin anew."""
        for shape, *_ in self._minutes.values():
            shape.minute, shape.sums = -1, None
        self._minutes.clear()
        self._users.clear()
        self.rows = 0

    def cells(self, now: float) -> dict[Cell, Sums]:
        """What is to be added to the stored sums, by cell; but for those by user.

        Args:
            now: seconds since the epoch; minutes that are no longer kept are not summed.
        """
        found: dict[_Place, _Wide] = {}
        hours: dict[tuple[int, int], tuple[Shape, _Wide]] = {}
        oldest = (now - KEEP_DAYS[60] * _DAY) // 60
        for (minute, shape_id), (shape, counts, latency, ttft, _) in self._minutes.items():
            whole = [wide(_counted(shape, counts)), wide_times(latency, ttft)]
            if minute >= oldest:
                _spread(found, 60, minute * 60, shape, whole, BY_MINUTE)
            place = (minute // 60, shape_id)
            known = hours.get(place)
            if known is None:
                hours[place] = (shape, whole)
            else:
                known[1][0] += whole[0]
                known[1][1] += whole[1]
        for (hour, _), (shape, whole) in hours.items():
            _spread(found, _HOUR, hour * _HOUR, shape, whole, None)
        for (step, dimension, start, tenant, value), (amounts, times) in list(found.items()):
            if step == _HOUR:
                _add_wide(found, (_DAY, dimension, start - start % _DAY, tenant, value), amounts, times)
        return {
            Cell._make(place): Sums(amounts_of(amounts, len(COUNTS)), *times_of(times))
            for place, (amounts, times) in found.items()
        }

    def by_user(self) -> ByUser:
        """The same by user, of whom there may be as many as exchanges: what is equal is not made twice."""
        found: dict[tuple[int, int, str], dict[str, Counts]] = {}
        for (hour, tenant), of_user in self._users.items():
            for whose in ("", tenant) if tenant else ("",):
                _put_users(found, (_HOUR, hour * _HOUR, whose), of_user)
        for (_, start, tenant), of_user in list(found.items()):
            _put_users(found, (_DAY, start - start % _DAY, tenant), of_user)
        return {place: of_user for place, of_user in found.items() if of_user}

    def of(self, step: int, dimension: str, tenant: str) -> list[tuple[Cell, Sums]]:
        """What is to be added to the sums of one dimension, by one step, of one tenant ("" = all)."""
        found: dict[Cell, Sums] = {}
        if dimension == BY_USER:
            for (hour, whose), of_user in self._users.items():
                if not tenant or whose == tenant:
                    start = hour * _HOUR - hour * _HOUR % step
                    for user, counts in of_user.items():
                        _put(found, Cell(step, dimension, start, tenant, user), Sums(counts))
            return list(found.items())
        for (minute, _), (shape, counts, latency, ttft, _) in self._minutes.items():
            value = shape.values[_OF_DIMENSION[dimension]] if dimension else ""
            if (value or not dimension) and (not tenant or shape.tenant == tenant):
                start = minute * 60 - minute * 60 % step
                _put(found, Cell(step, dimension, start, tenant, value), Sums(_counted(shape, counts), latency, ttft))
        return list(found.items())


_Minute = tuple[Shape, Counts, Histogram, Histogram, dict[str, Counts]]
"""A shape's sums of a minute: exchanges, cost, saved, four kinds of tokens; times; and the sums of its users."""
_Place = tuple[int, str, int, str, str]  # as `Cell`
_Wide = list[int]  # counts and times, each as `wide` has them


def _put_users(
    places: dict[tuple[int, int, str], dict[str, Counts]], place: tuple[int, int, str], of_user: dict[str, Counts]
) -> None:
    """Never changes counts, which are put as they are where they are the first."""
    mine = places.get(place)
    if mine is None:
        places[place] = of_user.copy()  # nearly always there is one of it
        return
    for user, counts in of_user.items():
        known = mine.get(user)
        mine[user] = counts if known is None else list(map(_plus, known, counts))


def _counted(shape: Shape, counts: Counts) -> Counts:
    """As `COUNTS` has them."""
    number, cost, saved, *tokens = counts
    found = [0] * len(COUNTS)
    _count(found, shape, number, cost, saved, tokens)
    return found


def _spread(
    cells: dict[_Place, _Wide], step: int, start: int, shape: Shape, sums: _Wide, only: Collection[str] | None
) -> None:
    """To the cells of a shape: of each dimension, of everything and of the tenant."""
    amounts, all_times = sums
    for dimension, value in dimensions_of(shape):
        if only is None or dimension in only:
            times = all_times if dimension in WITH_TIMES else 0
            _add_wide(cells, (step, dimension, start, "", value), amounts, times)
            if shape.tenant and dimension != "tenant":
                _add_wide(cells, (step, dimension, start, shape.tenant, value), amounts, times)


def _add_wide(cells: dict[_Place, _Wide], place: _Place, amounts: int, times: int) -> None:
    mine = cells.get(place)
    if mine is None:
        cells[place] = [amounts, times]
    else:
        mine[0] += amounts
        mine[1] += times


def _put(cells: dict[Cell, Sums], cell: Cell, sums: Sums) -> None:
    mine = cells.get(cell)
    if mine is None:
        cells[cell] = Sums(sums.counts, dict(sums.latency), dict(sums.ttft))
    else:
        mine.add(sums)


def _count(counts: Counts, shape: Shape, number: int, cost: int, saved: int, tokens: Sequence[int]) -> None:
    counts[0] += number
    counts[1] += shape.attempts * number
    if shape.failed:
        counts[2] += number
    if shape.refused:
        counts[3] += number
    if shape.blocked:
        counts[4] += number
    if shape.hit:
        counts[5] += number
    if shape.truncated:
        counts[6] += number
    counts[7] += cost
    if shape.estimated:
        counts[8] += cost
    counts[9] += saved
    counts[10] += tokens[0]
    counts[11] += tokens[1]
    counts[12] += tokens[2]
    counts[13] += tokens[3]


def dimensions_of(shape: Shape) -> Iterator[tuple[str, str]]:
    """The dimensions that a shape has a value of, and "" for the whole."""
    yield "", ""
    for name, place in _OF_SHAPE:
        value = shape.values[place]
        if value:
            yield name, value


def combined(rows: Iterable[tuple[Cell, Sums]], whole: Iterable[tuple[Cell, Sums]] = ()) -> list[RollupRow]:
    """Rows by start and value, the oldest first, then the dearest.

    Args:
        whole: the sums of everything; what of it is in none of `rows` has the value "".
    """
    found: dict[tuple[int, str], Sums] = {}
    of_start: dict[int, Sums] = {}
    whole = list(whole)
    for cell, sums in rows:
        if whole:
            of_start.setdefault(cell.start, Sums()).add(sums)
        mine = found.get((cell.start, cell.value))
        if mine is None:
            found[cell.start, cell.value] = sums
        else:
            mine.add(sums)
    totals: dict[int, Sums] = {}
    for cell, sums in whole:
        totals.setdefault(cell.start, Sums()).add(sums)
    for start, sums in totals.items():
        rest = sums.without(of_start[start]) if start in of_start else sums
        if rest.counts[0] > 0:
            found[start, ""] = rest
    made = [sums.row(float(start), value) for (start, value), sums in found.items()]
    return sorted(made, key=lambda row: (row.start, -row.cost_nano, -row.exchanges, row.value))
