"""Rows of the log store's SQLite file, found by a filter: segment by segment, in the order of their numbers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any

import msgspec

from headgate.stores.logs.filters import Filter, fts5_expression
from headgate.stores.logs.posts import BITS, NAMES, PLACES, places_of, places_under, stored_under, unpacked
from headgate.stores.logs.rows import COLUMNS, MORE, Row, Shapes
from headgate.stores.logs.sqlite_schema import text_table

_AT_ONCE = 128
_HITS_AT_ONCE = 512
_WORTH_A_PROBE = 60
"""So many hits of the full-text index are read in the time of one look whether a row is among them."""
_MOST_SHAPES = 2000
"""In one statement; of more, rows are compared here."""

_decode = msgspec.json.decode


@dataclass(slots=True)
class _Segment:
    number: int
    part: int
    sealed: bool
    first_at: float
    last_at: float


class Finder:
    """One search, in one transaction.

    Args:
        newest_first: or the oldest.
        start: numbers on the far side of it only (it is not included); None: all.
        more_time: False ends the search between two steps.

    Attributes:
        reached: the number up to which everything was looked at.
        stopped: time was up.
        reached_at: the time of what was looked at last, where it was stopped.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        shapes: Shapes,
        wanted: Filter,
        *,
        newest_first: bool = True,
        start: int | None = None,
        more_time: Callable[[], bool] = lambda: True,
    ) -> None:
        self._sql = connection
        self._wanted = wanted
        self._falling = newest_first
        self._start = start
        self._more_time = more_time
        self._shape_ids = None if wanted.shape is None else shapes.matching(wanted.shape)
        self._order = "DESC" if newest_first else "ASC"
        self._exact, self._values = self._condition()
        self._match = fts5_expression(wanted.words)
        self.stopped = False
        self.reached: int | None = start
        self.reached_at: float | None = None

    def rows(self) -> Iterator[Row]:
        """The rows, one after the other; ends with the last, or when time is up."""
        if self._shape_ids is not None and not self._shape_ids:
            return
        part: list[_Segment] = []
        for segment in self._segments():
            if part and (segment.part != part[0].part or not self._match):
                yield from self._of_part(part)
                if self._done(part):
                    return
                part = []
            part.append(segment)
        if part:
            yield from self._of_part(part)

    def _done(self, part: Sequence[_Segment]) -> bool:
        if self._more_time():
            return False
        last = part[-1].number
        self.stopped = True
        self.reached = last << BITS if self._falling else (last + 1 << BITS) - 1
        self.reached_at = min(each.first_at for each in part) if self._falling else max(each.last_at for each in part)
        return True

    def _segments(self) -> Iterator[_Segment]:
        wanted = self._wanted
        since = -1e18 if wanted.since is None else wanted.since
        until = 1e18 if wanted.until is None else wanted.until
        bound = "segment <= ?" if self._falling else "segment >= ?"
        if self._start is None:
            place = 1 << 48 if self._falling else 0
        else:
            place = self._start - 1 >> BITS if self._falling else self._start + 1 >> BITS
        found = self._sql.execute(
            f"SELECT segment, part, sealed, first_at, last_at FROM log_segments WHERE {bound} AND part > 0 "
            f"AND last_at >= ? AND first_at < ? AND segment >= ? ORDER BY segment {self._order}",
            (place, since, until, -1 if wanted.behind is None else wanted.behind + 1 >> BITS),
        )
        for number, part, sealed, first_at, last_at in found.fetchall():
            yield _Segment(number, part, bool(sealed), first_at, last_at)

    def _of_part(self, segments: Sequence[_Segment]) -> Iterator[Row]:
        found: list[tuple[_Segment, int | None]] = []
        for segment in segments:
            bits = self._bits(segment)
            if bits != 0:
                found.append((segment, bits))
        if not found:
            return
        if self._match:
            yield from self._by_text(found)
            return
        for segment, bits in found:
            if bits is None:
                yield from self._whole(segment)
            else:
                yield from self._these(self._numbers(segment, bits))

    def _bits(self, segment: _Segment) -> int | None:
        """Which places of a segment may do; None: any."""
        if not segment.sealed:
            return None
        groups = list(self._wanted.keys)
        if self._shape_ids is not None:
            groups.insert(0, list(self._shape_ids))
        if not groups:
            return None
        bits = -1
        for keys in groups:
            bits &= places_of_any(self._sql, segment.number, keys)
            if not bits:
                return 0
        return bits

    def _numbers(self, segment: _Segment, bits: int) -> Iterator[int]:
        base = segment.number << BITS
        places = places_of(bits)
        start = self._start
        for place in reversed(places) if self._falling else places:
            n = base | place
            if start is None or (n < start if self._falling else n > start):
                yield n

    def _range(self, first: int, last: int) -> tuple[int, int]:
        low, high = min(first, last) << BITS, (max(first, last) + 1 << BITS) - 1
        if self._start is not None:
            low, high = (low, min(high, self._start - 1)) if self._falling else (max(low, self._start + 1), high)
        if self._wanted.behind is not None:
            low = max(low, self._wanted.behind + 1)
        return low, high

    def _whole(self, segment: _Segment) -> Iterator[Row]:
        low, high = self._range(segment.number, segment.number)
        found = self._sql.execute(
            f"SELECT {COLUMNS} FROM log_rows WHERE n BETWEEN ? AND ?{self._exact} ORDER BY n {self._order}",
            (low, high, *self._values),
        )
        for row in found:
            if self._fits(row):
                yield row

    def _these(self, numbers: Iterator[int]) -> Iterator[Row]:
        size = 16
        while some := list(islice(numbers, size)):
            size = _AT_ONCE  # most pages are small, and the first rows that are found fill them
            marks = ",".join(map(str, some))
            found = self._sql.execute(
                f"SELECT {COLUMNS} FROM log_rows WHERE n IN ({marks}){self._exact} ORDER BY n {self._order}",
                self._values,
            )
            for row in found.fetchall():
                if self._fits(row):
                    yield row

    def _by_text(self, segments: Sequence[tuple[_Segment, int | None]]) -> Iterator[Row]:
        yield from self._these(self._hits(segments))

    def _hits(self, segments: Sequence[tuple[_Segment, int | None]]) -> Iterator[int]:
        """The numbers that have the words and may do otherwise."""
        table = text_table(segments[0][0].part)
        low, high = self._range(segments[0][0].number, segments[-1][0].number)
        cursor = self._sql.cursor()
        cursor.execute(
            f"SELECT rowid FROM {table} WHERE {table} MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid {self._order}",
            (self._match, low, high),
        )
        allowed = {segment.number: None if bits is None else _bytes(bits) for segment, bits in segments}
        few = self._few(segments)
        read = 0
        while hits := cursor.fetchmany(_HITS_AT_ONCE):
            for (n,) in hits:
                number = n >> BITS
                if number in allowed:
                    bits = allowed[number]
                    place = n & PLACES - 1
                    if bits is None or bits[place >> 3] >> (place & 7) & 1:
                        yield n
            read += len(hits)
            if few is not None and read > len(few) * _WORTH_A_PROBE:
                last = hits[-1][0]
                cursor.close()
                yield from self._probed(table, [n for n in few if (n < last if self._falling else n > last)])
                return

    def _few(self, segments: Sequence[tuple[_Segment, int | None]]) -> list[int] | None:
        """The numbers that may do by their bitmaps; None where there is a segment without."""
        if any(beginning for _, _, beginning in self._wanted.words):
            return None  # each look would put the beginning's words together anew
        found: list[int] = []
        for segment, bits in segments:
            if bits is None or bits.bit_count() > PLACES // 8:
                return None
            found += self._numbers(segment, bits)
        return found

    def _probed(self, table: str, numbers: Sequence[int]) -> Iterator[int]:
        asked = f"SELECT 1 FROM {table} WHERE {table} MATCH ? AND rowid = ?"
        for n in numbers:
            if self._sql.execute(asked, (self._match, n)).fetchone() is not None:
                yield n

    def _condition(self) -> tuple[str, tuple[Any, ...]]:
        parts = [sql for sql, _ in self._wanted.columns]
        shapes = self._shape_ids
        if shapes is not None and 0 < len(shapes) <= _MOST_SHAPES:
            parts.append(f"shape IN ({','.join(map(str, sorted(shapes)))})")
        values: list[Any] = []
        for _, value in self._wanted.columns:
            values += value if isinstance(value, list) else [value]
        return "".join(f" AND {part}" for part in parts), tuple(values)

    def _fits(self, row: Row) -> bool:
        if self._shape_ids is not None and row[2] not in self._shape_ids:
            return False
        if self._wanted.more is None:
            return True
        return self._wanted.more(_decode(row[MORE]) if row[MORE] else {})


def places_of_any(sql: sqlite3.Connection, segment: int, keys: Sequence[int]) -> int:
    """The places of a full segment that have one of the keys at least, as one number."""
    if len(keys) == 1 or keys[0] >> 32 in NAMES:  # of names, all of a kind lie together
        row = sql.execute(
            "SELECT places FROM log_posts WHERE segment = ? AND key = ?", (segment, stored_under(keys[0]))
        ).fetchone()
        return 0 if row is None else reduce(or_, (places_under(key, row[0]) for key in keys))
    wanted = frozenset(keys)
    low, high = min(keys), max(keys)
    if high - low > 4 * len(keys) and len(keys) <= _MOST_SHAPES:
        some = ",".join(map(str, keys))
        rows = sql.execute(f"SELECT key, places FROM log_posts WHERE segment = {segment:d} AND key IN ({some})")
    else:
        rows = sql.execute(
            "SELECT key, places FROM log_posts WHERE segment = ? AND key BETWEEN ? AND ?", (segment, low, high)
        )
    bits = 0
    for key, places in rows:
        if key in wanted:
            bits |= unpacked(places)
    return bits


def _bytes(bits: int) -> bytes:
    return bits.to_bytes(PLACES // 8, "little")
