"""Sums by user in the log store, of either database: one row to a step, a tenant and a start, column by column.

There may be as many users as exchanges. A row of a table for each of them would be most of the work of taking lines in,
and half a million rows to read for the greatest of a month.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import add, itemgetter, sub

import msgspec

from headgate.stores.logs.rollups import BY_USER, COUNTS, KEEP_DAYS, MOST_VALUES, OTHERS, ByUser, Cell, Counts, Sums
from headgate.stores.logs.sql import Sql

_COLUMNS = ", ".join(COUNTS)
_MARKS = ",".join("?" * (4 + len(COUNTS)))
_CHANGED = ", ".join(f"{name} = excluded.{name}" for name in ("names", *COUNTS))
_WRITE = (
    f"INSERT INTO log_user_sums (step, tenant, start, names, {_COLUMNS}) VALUES ({_MARKS}) "
    f"ON CONFLICT (step, tenant, start) DO UPDATE SET {_CHANGED}"
)
_OVER_A_TIME = "FROM log_user_sums WHERE step = ? AND tenant = ? AND start >= ? AND start < ?"
_HOUR_DAYS = 8
"""How long hours by user are kept, of which there are many; days as long as others."""
_HOUR, _DAY = 3600, 86_400
_MOST, _LEAST = 2**63 - 1, -(2**63)
_names = msgspec.json.Decoder(list[str]).decode
_encode = msgspec.json.Encoder().encode


def _packed(column: Sequence[int]) -> bytes:
    """As it is stored: nothing where all are 0, else `array`'s letter for the smallest that holds them, and they."""
    if not any(column):
        return b""
    if min(column) < 0 or max(column) > 0xFFFFFFFF:
        try:
            return b"q" + array("q", column).tobytes()
        except OverflowError:  # no installation has so much; a line that says so must not stop the others
            return b"q" + array("q", [max(_LEAST, min(_MOST, each)) for each in column]).tobytes()
    most = max(column)
    letter = "B" if most < 0x100 else "H" if most < 0x10000 else "I"
    return letter.encode() + array(letter, column).tobytes()


def _unpacked(raw: bytes, size: int) -> Sequence[int]:
    if not raw:
        return bytes(size)
    found = array(chr(raw[0]))
    found.frombytes(raw[1:])
    return found


class _Users:
    """The sums of one step, tenant and start, by user."""

    __slots__ = ("_places", "columns", "names")

    def __init__(self, raw: Sequence[bytes] | None) -> None:
        self.names = _names(raw[0]) if raw else []
        self.columns = [list(_unpacked(each, len(self.names))) for each in (raw or ())[1:]] or [[] for _ in COUNTS]
        self._places = {name: place for place, name in enumerate(self.names)}

    def add(self, of_user: Mapping[str, Sequence[int]]) -> None:
        """Add counts; those of users beyond the most are added up as one."""
        before, names, places = len(self.names), self.names, self._places
        where = []
        for user in of_user:
            place = places.get(user)
            if place is None:
                if len(names) >= MOST_VALUES:
                    user = OTHERS
                place = places.get(user, -1)
                if place < 0:
                    place = places[user] = len(names)
                    names.append(user)
            where.append(place)
        new = [0] * (len(names) - before)
        for column, amounts in zip(self.columns, zip(*of_user.values(), strict=True), strict=True):
            column += new
            if any(amounts):
                for place, amount in zip(where, amounts, strict=True):
                    column[place] += amount

    def of(self, user: str) -> Counts | None:
        """A user's counts; None where it has none."""
        place = self._places.get(user)
        return None if place is None else [column[place] for column in self.columns]

    def rename(self, old: str, new: str, counts: Sequence[int]) -> None:
        """So much of what is under one name is another's from now on; the rest stays where it was."""
        mine = self.of(old)
        if mine is None:
            return
        if mine[0] > counts[0]:
            self.add({old: [-each for each in counts], new: counts})
            return
        place = self._places[old]
        for each in (self.names, *self.columns):
            del each[place]  # type: ignore[attr-defined]  # they are lists, of different things
        self._places = {name: place for place, name in enumerate(self.names)}
        self.add({new: mine})

    def stored(self) -> tuple[bytes, ...]:
        """The columns as they are stored."""
        return (_encode(self.names), *map(_packed, self.columns))


def _read(sql: Sql, step: int, tenant: str, start: int) -> _Users:
    asked = f"SELECT names, {_COLUMNS} FROM log_user_sums WHERE step = ? AND tenant = ? AND start = ?"
    return _Users(sql.execute(asked, (step, tenant, start)).fetchone())


def _write(sql: Sql, step: int, tenant: str, start: int, users: _Users) -> None:
    sql.execute(_WRITE, (step, tenant, start, *users.stored()))


def fold(sql: Sql, users: ByUser) -> None:
    """Add sums to those that are stored."""
    for (step, start, tenant), of_user in sorted(users.items(), key=itemgetter(0)):
        mine = _read(sql, step, tenant, start)
        mine.add(of_user)
        _write(sql, step, tenant, start, mine)


def stored(
    sql: Sql, step: int, tenant: str, since: int, until: float, values: Sequence[str] = ()
) -> list[tuple[Cell, Sums]]:
    """The stored sums from a start on; of these users only, where there are any."""
    wanted = frozenset(values)
    found = []
    for start, raw, *columns in sql.execute(
        f"SELECT start, names, {_COLUMNS} {_OVER_A_TIME}", (step, tenant, since, until)
    ):
        names = _names(raw)
        told = [_unpacked(each, len(names)) for each in columns]
        for place, name in enumerate(names):
            if not wanted or name in wanted:
                found.append((Cell(step, BY_USER, start, tenant, name), Sums([each[place] for each in told])))
    return found


def amounts(sql: Sql, step: int, tenant: str, since: int, until: float, count: str) -> dict[str, int]:
    """One stored sum of each user over a time."""
    found: dict[str, int] = {}
    known = found.get
    for raw, column in sql.execute(f"SELECT names, {count} {_OVER_A_TIME}", (step, tenant, since, until)):
        names = _names(raw)
        for name, amount in zip(names, _unpacked(column, len(names)), strict=True):
            found[name] = known(name, 0) + amount
    return found


def totals(sql: Sql, step: int, tenant: str, since: int, until: float, values: Sequence[str]) -> dict[str, Sums]:
    """All stored sums of some users over a time."""
    found = {value: Sums() for value in values}
    asked = f"SELECT names, {_COLUMNS} {_OVER_A_TIME}"
    for raw, *columns in sql.execute(asked, (step, tenant, since, until)) if values else ():
        names = _names(raw)
        places = [place for place, name in enumerate(names) if name in found]
        if places:
            told = [_unpacked(each, len(names)) for each in columns]
            for place in places:
                counts = found[names[place]].counts
                for column, amounts_of_all in enumerate(told):
                    counts[column] += amounts_of_all[place]
    return {value: sums for value, sums in found.items() if sums.counts[0]}


def prune(sql: Sql, now: float) -> None:
    """Forget sums that are older than they are kept."""
    for step, days in ((_HOUR, _HOUR_DAYS), (_DAY, KEEP_DAYS[_DAY])):
        sql.execute("DELETE FROM log_user_sums WHERE step = ? AND start < ?", (step, now - days * _DAY))


def names_of(sql: Sql, value: str = "", tenant: str | None = None) -> list[str]:
    """The users that there are sums of: of this name only, and of this tenant ("" = nobody's), where they are told."""
    if value:
        return [value] if next(_parts(sql, [value], tenant), None) else []
    found: dict[str, None] = {}
    for _, _, _, raw in _places(sql, tenant):
        found |= dict.fromkeys(_names(raw))
    return list(found)


def rename(sql: Sql, new_names: Mapping[str, str], tenant: str | None) -> None:
    """Give users new names; where only one tenant's go, or only nobody's (""), the others' part of everybody's sums
    stays under the old."""
    for step, whose, start, mine, parts in _parts(sql, new_names, tenant):
        everybody = (("", _read(sql, step, "", start)),) if tenant else ()
        for place, users in ((whose, mine), *everybody):
            for old, counts in parts.items():
                users.rename(old, new_names[old], counts)
            _write(sql, step, place, start, users)


_Part = tuple[int, str, int, _Users, dict[str, Counts]]


def _parts(sql: Sql, names: Collection[str], tenant: str | None) -> Iterator[_Part]:
    """Where users have sums, and how much there is the tenant's. Nobody's is what tenants leave of everybody's."""
    taken: dict[tuple[int, int, str], Counts] = {}
    for step, whose, start, _, parts in _parts(sql, names, None) if tenant == "" else ():
        for name, counts in parts.items() if whose else ():
            before = taken.get((step, start, name))
            taken[step, start, name] = counts if before is None else list(map(add, before, counts))
    wanted = [_encode(name) for name in names]
    places = [(step, whose, start) for step, whose, start, raw in _places(sql, tenant) if _has(raw, wanted)]
    for step, whose, start in places:
        users = _read(sql, step, whose, start)
        parts = {name: told for name in names if (told := users.of(name)) is not None}
        for name, counts in list(parts.items()):
            others = taken.get((step, start, name))
            if others is not None:
                parts[name] = list(map(sub, counts, others))
                if parts[name][0] <= 0:
                    del parts[name]
        if parts:
            yield step, whose, start, users, parts


def _has(raw: bytes, wanted: Iterable[bytes]) -> bool:
    names = bytes(raw)
    return any(each in names for each in wanted)


def _places(sql: Sql, tenant: str | None) -> Iterable[tuple[int, str, int, bytes]]:
    where, values = ("", ()) if tenant is None else (" WHERE tenant = ?", (tenant,))
    return sql.execute(f"SELECT step, tenant, start, names FROM log_user_sums{where}", values)


def move(sql: Sql) -> None:
    """From where they were at first: a row of `log_rollups` for each user."""
    asked = "SELECT DISTINCT step, tenant, start FROM log_rollups WHERE dimension = ?"
    for step, tenant, start in sql.execute(asked, (BY_USER,)).fetchall():
        place = (step, BY_USER, tenant, start)
        where = "FROM log_rollups WHERE step = ? AND dimension = ? AND tenant = ? AND start = ?"
        users = _Users(None)
        users.add({user: counts for user, *counts in sql.execute(f"SELECT value, {_COLUMNS} {where}", place)})
        _write(sql, step, tenant, start, users)
        sql.execute(f"DELETE {where}", place)
