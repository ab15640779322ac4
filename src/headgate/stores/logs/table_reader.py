"""Searching, showing and summing, over the tables of either database."""

from __future__ import annotations

import threading
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from heapq import nsmallest
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from headgate.core.errors import ConfigError
from headgate.stores.logs.filters import Filter, filter_of
from headgate.stores.logs.lines import Shape
from headgate.stores.logs.query import (
    DIMENSIONS,
    SHARED_FIELDS,
    STEPS,
    BadQuery,
    GuardCounts,
    LogEvent,
    LogPage,
    LogQuery,
    LogRow,
    RollupRow,
    SessionPage,
    cursor_of,
)
from headgate.stores.logs.rollups import BY_MINUTE, COUNTS, Cell, Sums, Tally, combined
from headgate.stores.logs.rows import COLUMNS, Row, Shapes
from headgate.stores.logs.session_search import Found, SessionSearch
from headgate.stores.logs.sql import Sql
from headgate.stores.logs.stored_rollups import amounts, stored, totals

SEARCH_SECONDS = 0.7
"""A search answers after so long with what it has found, and says how far it has looked."""
_LONGEST_ID = 200
_BY_HOURS = 2 * 86_400.0
_SKEW = 60.0  # seconds that a clock may have been set back while a call was on its way


GuardCounter = Callable[[Any, Shapes, float, float, "str | None", Callable[[], bool]], GuardCounts]
"""As `guard_counts.guard_counts`."""


class NoLogStore(ConfigError):
    """Nothing was put into the log store yet."""


class TableReader(ABC):
    """:class:`headgate.stores.logs.reader.LogReader`, but for how rows are found.

    Args:
        seconds: how long one search may look, > 0.
        clock: a monotonic clock in seconds.
        guards: counts what guards found, in this kind of database.
    """

    def __init__(self, seconds: float, clock: Callable[[], float], guards: GuardCounter) -> None:
        self._guards = guards
        self._seconds = seconds
        self._clock = clock
        self._late = _Late()

    @abstractmethod
    def _snapshot(self) -> AbstractContextManager[tuple[Sql, Shapes]]:
        """A connection, in one transaction: what is written meanwhile is not seen."""

    @abstractmethod
    def _finder(
        self,
        sql: Any,
        shapes: Shapes,
        wanted: Filter,
        newest_first: bool,
        start: int | None,
        more_time: Callable[[], bool],
    ) -> Found:
        """One search."""

    def search(self, query: LogQuery) -> LogPage:
        """The exchanges that fit, the newest first. See `LogPage.searched_to`."""
        return self._page(filter_of(query), query.limit, start=cursor_of(query.before))

    def show(self, exchange_id: str, tenant: str | None = None) -> LogRow | None:
        """One exchange with everything that is kept of it; None where there is none of this id."""
        if not exchange_id or len(exchange_id) > _LONGEST_ID:
            return None
        wanted = filter_of(LogQuery(fields={"exchange_id": exchange_id}, since=_began(exchange_id), tenant=tenant))
        with self._snapshot() as (sql, shapes):
            for row in self._finder(sql, shapes, wanted, False, None, lambda: True).rows():
                (found,) = _rows(sql, shapes, [row])
                body = sql.execute("SELECT body FROM log_requests WHERE n = ?", (row[0],)).fetchone()
                return found if body is None else replace(found, request=zlib.decompress(body[0]).decode())
        return None

    def conversation(self, session: str, tenant: str | None = None, limit: int = 50, after: str = "") -> LogPage:
        """The exchanges of a session, the oldest first."""
        return self._upwards({"session": session}, tenant, limit, after)

    def sessions(self, query: LogQuery) -> SessionPage:
        """Sessions with an exchange that fits, the one whose newest such exchange is newest first."""
        query.checked()
        with self._snapshot() as (sql, shapes):

            def find(wanted: Filter, newest_first: bool, start: int | None) -> Found:
                end = self._clock() + self._seconds / 2  # first sessions are found, then their rows
                return self._finder(sql, shapes, wanted, newest_first, start, lambda: self._clock() < end)

            return SessionSearch(sql, shapes, find).page(query)

    def correlated(self, correlation_id: str, tenant: str | None = None, limit: int = 50, after: str = "") -> LogPage:
        """The exchanges of one correlation id, the oldest first."""
        return self._upwards({"correlation_id": correlation_id}, tenant, limit, after)

    def since_id(self, after_id: str, query: LogQuery) -> LogPage:
        """Of what was stored behind a row, the newest that fits, the newest first. See `LogReader.since_id`."""
        wanted, after = filter_of(replace(query, before="")), cursor_of(after_id)
        if after is not None:
            wanted.behind = after
            wanted.columns.append(("n > ?", after))
        newest = self.newest()  # before the search, which may see more: what was stored in between is looked at again
        page = self._page(wanted, query.limit, start=None)
        seen = max([after_id, newest, *(row.id for row in page.rows[:1])], key=lambda each: int(each or -1))
        left = page.rows[-1].at if page.next and page.rows and page.searched_to is None else page.searched_to
        return LogPage(page.rows, seen, left)

    def newest(self) -> str:
        """The place of the row that was stored last, for `since_id`; "" where there is none."""
        with self._snapshot() as (sql, _):
            row = sql.execute("SELECT max(n) FROM log_rows").fetchone()
        return "" if row[0] is None else str(row[0])

    def events(
        self,
        names: Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
        before: str = "",
        limit: int = 50,
    ) -> tuple[LogEvent, ...]:
        """Lines that are not about an exchange, the newest first; `before` is the `id` of the last of a page before."""
        place = cursor_of(before)
        where = ["1 = 1"]
        values: list[Any] = []
        for condition, value in (("n < ?", place), ("at >= ?", since), ("at < ?", until)):
            if value is not None:
                where.append(condition)
                values.append(value)
        if names:
            where.append(f"name IN ({','.join('?' * len(names))})")
            values += list(names)
        asked = f"SELECT n, at, name, fields FROM log_events WHERE {' AND '.join(where)} ORDER BY n DESC LIMIT ?"
        with self._snapshot() as (sql, _):
            rows = sql.execute(asked, (*values, limit)).fetchall()
        return tuple(LogEvent(str(n), at, name, msgspec.json.decode(fields)) for n, at, name, fields in rows)

    def rollup(
        self,
        since: float,
        until: float,
        step: str = "hour",
        by: str | None = None,
        tenant: str | None = None,
        values: Sequence[str] = (),
    ) -> list[RollupRow]:
        """Sums by step of time and, if told, by a dimension: the oldest first, then the dearest.

        Args:
            since, until: seconds since the epoch; the steps that begin in there, and the one that `since` is in.
            step: "minute" (3 days are kept), "hour" (62 days; by user 8) or "day" (400 days, UTC's).
            by: one of `DIMENSIONS`; None: nothing. There are minutes by `rollups.BY_MINUTE` only.
            tenant: only this one's; None: all.
            values: of the dimension, told apart; all others are "" together. None of them: every value is told apart,
                which by user are very many rows.
        """
        seconds = STEPS.get(step)
        if seconds is None or (by is not None and by not in DIMENSIONS):
            raise BadQuery(f"sums are by {', '.join(STEPS)} and by {', '.join(DIMENSIONS)}")
        if step == "minute" and by is not None and by not in BY_MINUTE:
            raise BadQuery(f"there are sums by minute only by {', '.join(sorted(BY_MINUTE - {''}))}")
        first = int(since // seconds) * seconds
        whose = "" if tenant is None else tenant
        with self._snapshot() as (sql, shapes):

            def of(dimension: str) -> list[tuple[Cell, Sums]]:
                late = self._late.of(sql, shapes, seconds, dimension, whose)
                some = values if dimension else ()
                found = stored(sql, seconds, dimension, whose, first, until, some)
                return found + [
                    (cell, sums)
                    for cell, sums in late
                    if first <= cell.start < until and (not some or cell.value in some)
                ]

            if by is None:
                return combined(of(""))
            if by == "tenant" and tenant is not None:
                return [replace(row, value=tenant) for row in combined(of(""))]
            return combined(of(by), of(""))

    def top(
        self,
        since: float,
        until: float,
        by: str,
        tenant: str | None = None,
        limit: int = 10,
        order: str = "cost_nano",
    ) -> list[RollupRow]:
        """The values of a dimension that have most over a time, the greatest first; without histograms.

        Args:
            since, until: seconds since the epoch; by whole hours up to two days, else by whole days (UTC's).
            by: one of `DIMENSIONS`. tenant: only this one's; None: all.
            order: one of `rollups.COUNTS`.
        """
        if by not in DIMENSIONS or order not in COUNTS or limit < 1:
            raise BadQuery(f"the greatest are by {', '.join(DIMENSIONS)}, in the order of {', '.join(COUNTS)}")
        step = STEPS["hour"] if until - since <= _BY_HOURS else STEPS["day"]
        first = int(since // step) * step
        whose = "" if tenant is None else tenant
        if by == "tenant":  # whose rows are everybody's
            whose = ""
        place = COUNTS.index(order)
        with self._snapshot() as (sql, shapes):
            late: dict[str, Sums] = {}
            for cell, sums in self._late.of(sql, shapes, step, by, whose):
                if first <= cell.start < until:
                    late.setdefault(cell.value, Sums()).add(Sums(sums.counts))
            found = amounts(sql, step, by, whose, first, until, order)
            for value, sums in late.items():
                found[value] = found.get(value, 0) + sums.counts[place]
            if by == "tenant" and tenant is not None:
                found = {value: amount for value, amount in found.items() if value == tenant}
            best = nsmallest(limit, found.items(), key=lambda each: (-each[1], each[0]))
            stored_ones = totals(sql, step, by, whose, first, until, [value for value, _ in best])
        for value, _ in best:
            if value in late:
                stored_ones.setdefault(value, Sums()).add(late[value])
        return [stored_ones[value].row(float(first), value) for value, _ in best]

    def guards(self, since: float, until: float, tenant: str | None = None) -> GuardCounts:
        """What guards found in exchanges that ended in between, by word and verdict. See `LogReader.guards`."""
        end = self._clock() + self._seconds
        with self._snapshot() as (sql, shapes):
            return self._guards(sql, shapes, since, until, tenant, lambda: self._clock() < end)

    def span(self) -> tuple[float, float] | None:
        """The times of the exchanges that were stored first and last, of those that are kept; None: there is none."""
        first, last = (f"(SELECT at FROM log_rows ORDER BY n {order} LIMIT 1)" for order in ("ASC", "DESC"))
        with self._snapshot() as (sql, _):
            row = sql.execute(f"SELECT {first}, {last}").fetchone()
        return None if row[0] is None else (row[0], row[1])

    def behind(self, spool: str) -> int:
        """Bytes of a file of JSON lines that are not in the store yet."""
        path = Path(spool).absolute()
        with self._snapshot() as (sql, _):
            row = sql.execute("SELECT position FROM log_spools WHERE spool = ?", (self._spool_name(path),)).fetchone()
        size = path.stat().st_size if path.exists() else 0
        position = 0 if row is None else int(row[0])
        return size - position if position <= size else size

    def _spool_name(self, path: Path) -> str:
        return str(path)

    def _upwards(self, fields: Mapping[str, str], tenant: str | None, limit: int, after: str) -> LogPage:
        wanted = filter_of(LogQuery(fields=fields, tenant=tenant, limit=limit))
        return self._page(wanted, limit, start=cursor_of(after), newest_first=False)

    def _page(self, wanted: Filter, limit: int, *, start: int | None, newest_first: bool = True) -> LogPage:
        end = self._clock() + self._seconds
        with self._snapshot() as (sql, shapes):
            finder = self._finder(sql, shapes, wanted, newest_first, start, lambda: self._clock() < end)
            found = list(islice(finder.rows(), limit + 1))
            rows = _rows(sql, shapes, found[:limit])
        if len(found) > limit:
            return LogPage(rows, rows[-1].id)
        if finder.stopped:
            return LogPage(rows, str(finder.reached), finder.reached_at)
        return LogPage(rows)


def _began(exchange_id: str) -> float | None:
    """When the exchange began, by its id (`core.ids`): it ended later. None: the id does not tell."""
    try:
        return int(exchange_id[3:15], 16) / 1000 - _SKEW if len(exchange_id) == 31 else None
    except ValueError:
        return None


class _Late:
    """The sums of the rows that came since sums were brought up to date; what was summed up once is remembered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._from = self._to = -1
        self._tally = Tally()
        self._shapes: dict[int, Shape] = {}

    def of(self, sql: Sql, shapes: Shapes, step: int, dimension: str, tenant: str) -> list[tuple[Cell, Sums]]:
        """See `Tally.of`."""
        row = sql.execute("SELECT value FROM log_meta WHERE name = 'summed_to'").fetchone()
        start = 0 if row is None else int(row[0])
        newest = sql.execute("SELECT coalesce(max(n), -1) FROM log_rows").fetchone()[0]
        with self._lock:
            if start != self._from or newest < self._to:
                self._tally, self._shapes, self._from, self._to = Tally(), {}, start, start - 1
            for each in sql.execute(f"SELECT {COLUMNS} FROM log_rows WHERE n > ? AND n <= ?", (self._to, newest)):
                shape = self._shapes.get(each[2])
                if shape is None:  # a shape carries what a tally is at, so that this one is no other's
                    known = shapes.by_id[each[2]]
                    shape = self._shapes[each[2]] = Shape(known.id, known.tail, known.values)
                self._tally.add(shape, each[1], each[7], each[14], each[15], each[8:12], each[12], each[13])
            self._to = newest
            return self._tally.of(step, dimension, tenant)


def _rows(sql: Sql, shapes: Shapes, rows: Sequence[Row]) -> tuple[LogRow, ...]:
    if not rows:
        return ()
    marks = ",".join(str(row[0]) for row in rows)
    asked = f"SELECT n, user_message, response_text, discarded FROM log_bodies WHERE n IN ({marks})"
    bodies = {n: texts for n, *texts in sql.execute(asked)}
    return tuple(_row(row, shapes.by_id[row[2]], bodies.get(row[0], ("", "", ""))) for row in rows)


def _row(row: Row, shape: Shape, body: Sequence[str]) -> LogRow:
    n, at, _, exchange_id, request_id, correlation_id, session, user, *amounts = row
    taken, given, read, written, latency, ttft, cost, saved, more = amounts
    told: dict[str, Any] = msgspec.json.decode(more) if more else {}
    if saved:
        told["saved_nano"] = saved
    if body[2]:
        told["discarded_texts"] = body[2]
    return LogRow(
        id=str(n),
        at=at,
        exchange_id=exchange_id,
        request_id=request_id,
        correlation_id=correlation_id,
        session=session,
        user=user,
        input_tokens=taken,
        output_tokens=given,
        cache_read_tokens=read,
        cache_write_tokens=written,
        latency_ms=latency,
        ttft_ms=ttft,
        cost_nano=cost,
        more=told,
        user_message=body[0],
        response_text=body[1],
        **dict(zip(SHARED_FIELDS, shape.values, strict=True)),
    )
