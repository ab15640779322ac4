"""Sessions of the log store, the one that was active last first: found and summed up by their rows, in either database.

No table of sessions is kept: whoever goes through rows from the newest on meets the newest row of each session first,
and what is indexed of a session leads to its other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from headgate.stores.logs.filters import Filter, filter_of
from headgate.stores.logs.posts import SESSION, key_of
from headgate.stores.logs.query import SHARED_FIELDS, LogQuery, LogSession, SessionPage, cursor_of
from headgate.stores.logs.rows import Row, Shapes
from headgate.stores.logs.sql import Sql

_EXCERPT = 160
_LOOKED_AT = 3  # of a session's oldest exchanges, for the first that has a text
_AT_ONCE = 100
_MODEL = SHARED_FIELDS.index("model_served")

Name = tuple[str, str]
"""A session's tenant, and what it is called."""


class Found(Protocol):
    """One search: see `sqlite_rows.Finder`."""

    stopped: bool
    reached: int | None
    reached_at: float | None

    def rows(self) -> Iterator[Row]:
        """The rows, one after the other; ends with the last, or when time is up."""
        ...


Find = Callable[[Filter, bool, int | None], Found]
"""A search for what a filter says: (filter, newest first, where to begin)."""


class _Sum:
    """What the rows of one session come to."""

    def __init__(self, name: Name) -> None:
        self.tenant, self.session = name
        self.user = ""
        self.first, self.last = 1e18, -1e18
        self.exchanges = self.cost_nano = self.failed = self.blocked = 0
        self.models: dict[str, None] = {}
        self.oldest: list[int] = []

    def add(self, row: Row, shapes: Shapes) -> None:
        """An older row."""
        shape = shapes.by_id[row[2]]
        self.exchanges += 1
        self.cost_nano += row[14]
        self.failed += shape.failed
        self.blocked += shape.blocked
        self.first, self.last = min(self.first, row[1]), max(self.last, row[1])
        self.user = self.user or row[7]
        if shape.values[_MODEL]:
            self.models[shape.values[_MODEL]] = None
        self.oldest = [*self.oldest[1 - _LOOKED_AT :], row[0]]

    def made(self, excerpt: str, whole: bool) -> LogSession:
        """As it is handed out."""
        sums = (self.exchanges, self.cost_nano, self.failed, self.blocked)
        return LogSession(
            self.session, self.tenant, self.user, self.first, self.last, *sums, tuple(self.models), excerpt, whole
        )


class SessionSearch:
    """One page.

    Args:
        find: makes a search whose time is limited.
    """

    def __init__(self, sql: Sql, shapes: Shapes, find: Find) -> None:
        self._sql = sql
        self._shapes = shapes
        self._find = find

    def page(self, query: LogQuery) -> SessionPage:
        """See `LogReader.sessions`."""
        start = cursor_of(query.before)
        heads, finder = self._heads(query, start)
        some = heads[: query.limit]
        sessions = self._summed(dict(some), query.tenant)
        if len(heads) > query.limit:
            return SessionPage(sessions, str(some[-1][1][0]))
        if finder.stopped:
            return SessionPage(sessions, str(finder.reached), finder.reached_at)
        return SessionPage(sessions)

    def _heads(self, query: LogQuery, start: int | None) -> tuple[list[tuple[Name, Row]], Found]:
        """Sessions with their newest row that fits, one more than a page has; and how far was looked."""
        wanted = filter_of(query)
        wanted.columns.append(("session != ?", ""))
        finder = self._find(wanted, True, start)
        heads: list[tuple[Name, Row]] = []
        met: set[Name] = set()
        rows = self._firsts(finder, met)
        while len(heads) <= query.limit:
            more = list(islice(rows, min(_AT_ONCE, query.limit + 1 - len(heads))))
            if not more:
                break
            before = self._before(query, start, {name for name, _ in more})
            heads += [each for each in more if each[0] not in before]
        return heads, finder

    def _firsts(self, finder: Found, met: set[Name]) -> Iterator[tuple[Name, Row]]:
        for row in finder.rows():
            name = (self._shapes.by_id[row[2]].tenant, row[6])
            if name not in met:
                met.add(name)
                yield name, row

    def _before(self, query: LogQuery, start: int | None, names: set[Name]) -> set[Name]:
        """Of these sessions, those that were on a page before: with a row that fits, and is not older than `start`."""
        if start is None:
            return set()
        found: set[Name] = set()
        for row in self._find(self._only(filter_of(query), names), False, start - 1).rows():
            found.add((self._shapes.by_id[row[2]].tenant, row[6]))
            if found >= names:
                break
        return found & names

    def _summed(self, heads: Mapping[Name, Row], tenant: str | None) -> tuple[LogSession, ...]:
        if not heads:
            return ()
        sums = {name: _Sum(name) for name in heads}
        finder = self._find(self._only(filter_of(LogQuery(tenant=tenant)), set(heads)), True, None)
        for row in finder.rows():
            mine = sums.get((self._shapes.by_id[row[2]].tenant, row[6]))
            if mine is not None:
                mine.add(row, self._shapes)
        for name, mine in sums.items():
            if not mine.exchanges:  # time was up before
                mine.add(heads[name], self._shapes)
        said = self._texts([n for each in sums.values() for n in each.oldest])
        return tuple(
            each.made(next((said[n] for n in reversed(each.oldest) if n in said), ""), not finder.stopped)
            for each in sums.values()
        )

    def _only(self, wanted: Filter, names: set[Name]) -> Filter:
        sessions = sorted({session for _, session in names})
        keys = [*wanted.keys, [key_of(SESSION, session) for session in sessions]]
        marks = ",".join("?" * len(sessions))
        return replace(wanted, keys=keys, columns=[*wanted.columns, (f"session IN ({marks})", sessions)])

    def _texts(self, numbers: Sequence[int]) -> dict[int, str]:
        if not numbers:
            return {}
        marks = ",".join(map(str, numbers))
        length: Any = _EXCERPT
        asked = f"SELECT n, substr(user_message, 1, ?) FROM log_bodies WHERE n IN ({marks}) AND user_message != ''"
        return dict(self._sql.execute(asked, (length,)).fetchall())
