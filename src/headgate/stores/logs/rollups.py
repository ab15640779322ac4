"""Sums over minutes, hours and days: of everything, of each tenant, and by each dimension."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import add as _plus
from typing import Any, NamedTuple

from headgate.stores.logs.histogram import bucket_of, packed, unpacked
from headgate.stores.logs.lines import Shape
from headgate.stores.logs.query import DIMENSIONS, SHARED_FIELDS, STEPS, RollupRow

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
USER_HOUR_DAYS = 8
"""As long for hours by user, of which there are many."""

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
        self._minutes: dict[tuple[int, int], tuple[Shape, list[int], Histogram, Histogram]] = {}
        self._users: dict[tuple[int, str, str], Counts] = {}

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
        sums = shape.sums if shape.minute == minute else self._begin(shape, minute)
        counts = sums[1]
        counts[0] += 1
        counts[1] += cost
        counts[2] += saved
        taken, given, read, written = tokens
        counts[3] += taken
        counts[4] += given
        counts[5] += read
        counts[6] += written
        if latency is not None:
            bucket = bucket_of(latency)
            sums[2][bucket] = sums[2].get(bucket, 0) + 1
        if ttft is not None:
            bucket = bucket_of(ttft)
            sums[3][bucket] = sums[3].get(bucket, 0) + 1
        if user:
            place = (minute // 60, shape.tenant, user)
            mine = self._users.get(place)
            if mine is None:
                mine = self._users[place] = [0] * len(COUNTS)
            _count(mine, shape, 1, cost, saved, tokens)

    def _begin(self, shape: Shape, minute: int) -> Any:
        sums = self._minutes.get((minute, shape.id))
        if sums is None:
            sums = self._minutes[minute, shape.id] = (shape, [0] * 7, {}, {})
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
        found: dict[Cell, Sums] = {}
        hours: dict[tuple[int, int], tuple[Shape, Sums]] = {}
        oldest = (now - KEEP_DAYS[60] * _DAY) // 60
        for (minute, shape_id), sums in self._minutes.items():
            shape, whole = sums[0], _whole(*sums)
            if minute >= oldest:
                _spread(found, 60, minute * 60, shape, whole, BY_MINUTE)
            place = (minute // 60, shape_id)
            if place not in hours:
                hours[place] = (shape, Sums())
            hours[place][1].add(whole)
        for (hour, _), (shape, whole) in hours.items():
            _spread(found, _HOUR, hour * _HOUR, shape, whole, None)
        for cell, whole in list(found.items()):
            if cell.step == _HOUR:
                _put(found, cell._replace(step=_DAY, start=cell.start - cell.start % _DAY), whole)
        return found

    def by_user(self) -> ByUser:
        """The same by user, of whom there may be as many as exchanges: what is equal is not made twice."""
        found: dict[tuple[int, int, str], dict[str, Counts]] = {}
        for (hour, tenant, user), mine in self._users.items():
            start = hour * _HOUR
            _put_user(found, (_HOUR, start, ""), user, mine)
            if tenant:
                _put_user(found, (_HOUR, start, tenant), user, mine)
        for (_, start, tenant), of_user in list(found.items()):
            day = (_DAY, start - start % _DAY, tenant)
            if day not in found:
                found[day] = of_user.copy()  # nearly always there is one hour of it
                continue
            for user, mine in of_user.items():
                _put_user(found, day, user, mine)
        return found

    def of(self, step: int, dimension: str, tenant: str) -> list[tuple[Cell, Sums]]:
        """What is to be added to the sums of one dimension, by one step, of one tenant ("" = all)."""
        found: dict[Cell, Sums] = {}
        if dimension == BY_USER:
            for (hour, whose, user), counts in self._users.items():
                if not tenant or whose == tenant:
                    start = hour * _HOUR - hour * _HOUR % step
                    _put(found, Cell(step, dimension, start, tenant, user), Sums(counts))
            return list(found.items())
        for (minute, _), sums in self._minutes.items():
            shape = sums[0]
            value = shape.values[_OF_DIMENSION[dimension]] if dimension else ""
            if (value or not dimension) and (not tenant or shape.tenant == tenant):
                start = minute * 60 - minute * 60 % step
                _put(found, Cell(step, dimension, start, tenant, value), _whole(*sums))
        return list(found.items())


def _put_user(
    places: dict[tuple[int, int, str], dict[str, Counts]], place: tuple[int, int, str], user: str, counts: Counts
) -> None:
    """Never changes `counts`, which is put as it is where it is the first."""
    of_user = places.get(place)
    if of_user is None:
        of_user = places[place] = {}
    mine = of_user.get(user)
    of_user[user] = counts if mine is None else list(map(_plus, mine, counts))


def _whole(shape: Shape, counts: Counts, latency: Histogram, ttft: Histogram) -> Sums:
    number, cost, saved, *tokens = counts
    sums = Sums(latency=latency, ttft=ttft)
    _count(sums.counts, shape, number, cost, saved, tokens)
    return sums


def _spread(
    cells: dict[Cell, Sums], step: int, start: int, shape: Shape, sums: Sums, only: Collection[str] | None
) -> None:
    """To the cells of a shape: of each dimension, of everything and of the tenant."""
    plain = Sums(sums.counts)
    for dimension, value in dimensions_of(shape):
        if only is None or dimension in only:
            mine = sums if dimension in WITH_TIMES else plain
            _put(cells, Cell(step, dimension, start, "", value), mine)
            if shape.tenant and dimension != "tenant":
                _put(cells, Cell(step, dimension, start, shape.tenant, value), mine)


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
