"""Erasing in the log store's SQLite file: rows lose their words and names, and the file really loses them.

SQLite overwrites what is deleted (`secure_delete`), but its full-text index only marks words as gone until it is
merged: so the index of every part that was touched is merged to one piece, and the write-ahead log is emptied.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from headgate.stores.logs.erasing import Erased, Names, Subject, pseudonym, renamed
from headgate.stores.logs.filters import filter_of, keys_of_more, keys_of_row
from headgate.stores.logs.posts import BITS, PLACES, packed
from headgate.stores.logs.query import LogQuery
from headgate.stores.logs.rollups import BY_USER, Cell, Sums
from headgate.stores.logs.sqlite_rollups import put, stored
from headgate.stores.logs.sqlite_rows import COLUMNS, Finder, Shapes
from headgate.stores.logs.sqlite_schema import empty_write_ahead_log, give_back, text_table
from headgate.stores.logs.sqlite_store import SqliteStore

_AT_ONCE = 2000  # rows in one transaction


def erase(store: SqliteStore, subject: Subject) -> Erased:
    """Take a subject's words and name out. Begun anew after a failure, it does what is left."""
    with store.transaction() as sql:
        store.fold(sql)
        numbers = _numbers(sql, subject)
        names = _summed_names(sql, subject)
    said = Names(subject, pseudonym())
    for name in names:
        said.user(name)
    bodies = 0
    parts: set[int] = set()
    for start in range(0, len(numbers), _AT_ONCE):
        with store.transaction() as sql:
            bodies += _erase_rows(sql, said, numbers[start : start + _AT_ONCE], parts)
    for part in sorted(parts):
        with store.transaction() as sql:
            table = text_table(part)
            sql.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")
    with store.transaction() as sql:
        _rename_sums(sql, said)
        events = _erase_events(sql, said)
        sql.execute("DELETE FROM log_bad")  # whose words are in there, nobody can tell
    overwrite(store)
    return Erased(len(numbers), bodies, events, said.pseudonym if numbers or names or events else "")


def _summed_names(sql: sqlite3.Connection, subject: Subject) -> list[str]:
    """The users that sums are to lose: whose rows have gone before them, too."""
    where = "dimension = ? AND value != ''"
    values: list[str] = [BY_USER]
    if subject.kind == "session":
        return []
    if subject.kind == "user":
        where, values = f"{where} AND value = ?", [*values, subject.value]
    tenant = subject.value if subject.kind == "tenant" else subject.tenant
    if tenant is not None:
        where, values = f"{where} AND tenant = ?", [*values, tenant]
    return [name for (name,) in sql.execute(f"SELECT DISTINCT value FROM log_rollups WHERE {where}", values)]


def _numbers(sql: sqlite3.Connection, subject: Subject) -> list[int]:
    if subject.kind == "tenant":
        wanted = filter_of(LogQuery(tenant=subject.value))
    else:
        wanted = filter_of(LogQuery(fields={subject.kind: subject.value}, tenant=subject.tenant))
    shapes = Shapes()
    shapes.refresh(sql)
    return [row[0] for row in Finder(sql, shapes, wanted, newest_first=False).rows()]


def _erase_rows(sql: sqlite3.Connection, said: Names, numbers: Sequence[int], parts: set[int]) -> int:
    some = ",".join(map(str, numbers))
    of_segment: dict[int, list[int]] = defaultdict(list)
    for n in numbers:
        of_segment[n >> BITS].append(n)
    asked = f"SELECT segment, part, sealed FROM log_segments WHERE segment IN ({','.join(map(str, of_segment))})"
    found = sql.execute(asked).fetchall()
    part_of = {segment: part for segment, part, _ in found}
    sealed = [segment for segment, _, done in found if done]  # the open one's bitmaps are made when it is full
    gone = set()
    for n, message, answer in sql.execute(
        f"SELECT n, user_message, response_text FROM log_bodies WHERE n IN ({some})"
    ).fetchall():
        part = part_of[n >> BITS]
        table = text_table(part)
        sql.execute(
            f"INSERT INTO {table} ({table}, rowid, user_message, response_text) VALUES ('delete', ?, ?, ?)",
            (n, message, answer),
        )
        gone.add(n)
        parts.add(part)
    gone |= {n for (n,) in sql.execute(f"SELECT n FROM log_requests WHERE n IN ({some})")}
    sql.execute(f"DELETE FROM log_bodies WHERE n IN ({some})")
    sql.execute(f"DELETE FROM log_requests WHERE n IN ({some})")
    _rename_rows(sql, said, some)
    for segment in sealed:
        _post_anew(sql, segment)
    return len(gone)


def _rename_rows(sql: sqlite3.Connection, said: Names, some: str) -> None:
    """Give the rows their new names, in their tags too."""
    changed = []
    for n, user, session, more in sql.execute(f"SELECT n, user, session, more FROM log_rows WHERE n IN ({some})"):
        told = msgspec.json.decode(more) if more else {}
        if "tags" in told:
            told["tags"] = said.tags(told["tags"])
            more = msgspec.json.encode(told).decode()
        changed.append((said.user(user), said.session(session), more, n))
    sql.executemany("UPDATE log_rows SET user = ?, session = ?, more = ? WHERE n = ?", changed)


def _post_anew(sql: sqlite3.Connection, segment: int) -> None:
    """Make a segment's bitmaps again: a hash of a name is enough to ask whether it was there."""
    posts: dict[int, list[int]] = defaultdict(list)
    for row in sql.execute(
        f"SELECT {COLUMNS} FROM log_rows WHERE n BETWEEN ? AND ? ORDER BY n",
        (segment << BITS, (segment << BITS) + PLACES - 1),
    ):
        place = row[0] & PLACES - 1
        posts[row[2]].append(place)
        for key in keys_of_row(row[6], row[7], row[4], row[5], row[14], row[12]):
            posts[key].append(place)
        if row[16]:
            for key in keys_of_more(msgspec.json.decode(row[16])):
                posts[key].append(place)
    sql.execute("DELETE FROM log_posts WHERE segment = ?", (segment,))
    sql.executemany(
        "INSERT INTO log_posts VALUES (?, ?, ?)",
        [(segment, key, packed(places)) for key, places in sorted(posts.items())],
    )


def _rename_sums(sql: sqlite3.Connection, said: Names) -> None:
    """Sums by user: under the new names; where only one tenant's user goes, the others' part stays."""
    tenant = said.tenant
    for step in (3600, 86_400):
        if tenant is None:
            sql.executemany(
                "UPDATE log_rollups SET value = ? WHERE step = ? AND dimension = ? AND value = ?",
                [(new, step, BY_USER, old) for old, new in said.users.items()],
            )
            continue
        everybody = {(cell.start, cell.value): sums for cell, sums in stored(sql, step, BY_USER, "", 0, 1e18)}
        for cell, sums in stored(sql, step, BY_USER, tenant, 0, 1e18):
            new = said.users.get(cell.value)
            if new is None:
                continue
            _move(sql, cell, sums, new)
            whole = everybody.get((cell.start, cell.value))
            if whole is not None:
                of_all = cell._replace(tenant="")
                _move(sql, of_all, sums, new)
                rest = whole.without(sums)
                if rest.counts[0] > 0:
                    put(sql, of_all, rest)


def _move(sql: sqlite3.Connection, cell: Cell, sums: Sums, new: str) -> None:
    _remove(sql, cell)
    put(sql, cell._replace(value=new), sums)


def _remove(sql: sqlite3.Connection, cell: Cell) -> None:
    sql.execute(
        "DELETE FROM log_rollups WHERE step = ? AND dimension = ? AND start = ? AND tenant = ? AND value = ?", cell
    )


def _erase_events(sql: sqlite3.Connection, said: Names) -> int:
    count = 0
    asked = "SELECT n, fields FROM log_events WHERE fields LIKE ? ESCAPE '!'"
    for old, new in list(said.all().items()):
        for n, fields in sql.execute(asked, (f'%"{_like(old)}"%',)).fetchall():
            told = msgspec.json.decode(fields)
            if said.tenant is not None and told.get("tenant") not in (None, said.tenant):
                continue
            text = msgspec.json.encode(renamed(told, old, new)).decode()
            sql.execute("UPDATE log_events SET fields = ? WHERE n = ?", (text, n))
            count += 1
    return count


def _like(value: str) -> str:
    text = msgspec.json.encode(value).decode()[1:-1]
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def overwrite(store: SqliteStore) -> None:
    """Bring what was changed into the file itself, and empty the write-ahead log."""
    connection = store.connection()
    give_back(connection)
    empty_write_ahead_log(connection)
