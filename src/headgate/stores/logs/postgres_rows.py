"""Rows of the log store in PostgreSQL, found by a filter: in windows of their numbers, each larger than the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from headgate.stores.logs.filters import Filter
from headgate.stores.logs.postgres_link import Link
from headgate.stores.logs.rows import COLUMNS, MORE, Row, Shapes

_FIRST_WINDOW = 20_000
_GROWTH = 4
_AT_ONCE = 1001


class PostgresFinder:
    """One search; see `sqlite_rows.Finder`, whose attributes it has."""

    def __init__(
        self,
        link: Link,
        shapes: Shapes,
        wanted: Filter,
        *,
        newest_first: bool,
        start: int | None,
        more_time: Callable[[], bool],
    ) -> None:
        self._link = link
        self._wanted = wanted
        self._falling = newest_first
        self._start = start
        self._more_time = more_time
        self._shape_ids = None if wanted.shape is None else shapes.matching(wanted.shape)
        self._condition, self._values = self._conditions()
        self.stopped = False
        self.reached: int | None = start
        self.reached_at: float | None = None

    def rows(self) -> Iterator[Row]:
        """The rows, one after the other; ends with the last, or when time is up."""
        if self._shape_ids is not None and not self._shape_ids:
            return
        low, high = self._link.execute("SELECT min(n), max(n) FROM log_rows").fetchone()
        if low is None:
            return
        if self._start is not None:
            low, high = (low, min(high, self._start - 1)) if self._falling else (max(low, self._start + 1), high)
        if self._wanted.behind is not None:
            low = max(low, self._wanted.behind + 1)
        size = _FIRST_WINDOW
        while low <= high:
            first, last = (max(low, high - size + 1), high) if self._falling else (low, min(high, low + size - 1))
            yield from self._window(first, last)
            low, high = (low, first - 1) if self._falling else (last + 1, high)
            size *= _GROWTH
            if low <= high and not self._more_time():
                self._stop(first if self._falling else last)
                return

    def _stop(self, reached: int) -> None:
        self.stopped, self.reached = True, reached
        order = "n >= ? ORDER BY n" if self._falling else "n <= ? ORDER BY n DESC"
        row = self._link.execute(f"SELECT at FROM log_rows WHERE {order} LIMIT 1", (reached,)).fetchone()
        self.reached_at = None if row is None else row[0]

    def _window(self, first: int, last: int) -> Iterator[Row]:
        order = "DESC" if self._falling else "ASC"
        while first <= last:
            found = self._link.execute(
                f"SELECT {COLUMNS} FROM log_rows WHERE n BETWEEN ? AND ?{self._condition} ORDER BY n {order} LIMIT ?",
                (first, last, *self._values, _AT_ONCE),
            ).fetchall()
            for row in found:
                if self._wanted.more is None or self._wanted.more(msgspec.json.decode(row[MORE]) if row[MORE] else {}):
                    yield row
            if len(found) < _AT_ONCE:
                return
            first, last = (first, found[-1][0] - 1) if self._falling else (found[-1][0] + 1, last)

    def _conditions(self) -> tuple[str, list[Any]]:
        parts: list[str] = []
        values: list[Any] = []
        for sql, value in self._wanted.columns:
            parts.append(sql)
            values += value if isinstance(value, list) else [value]
        for keys in (*self._wanted.keys, *(() if self._shape_ids is None else (sorted(self._shape_ids),))):
            parts.append("keys && ?::bigint[]")
            values.append(list(keys))
        if self._wanted.words:
            told = []
            for unwanted, said, beginning in self._wanted.words:
                told.append(f"{'!!' if unwanted else ''}{_BEGINNING if beginning else _PHRASE}")
                values.append(said)
            parts.append(f"n IN (SELECT n FROM log_bodies WHERE words @@ ({' && '.join(told)}))")
        return "".join(f" AND {part}" for part in parts), values


_PHRASE = "phraseto_tsquery('simple', ?)"
_BEGINNING = "(phraseto_tsquery('simple', ?)::text || ':*')::tsquery"
