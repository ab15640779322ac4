"""Erasing in the log store's SQLite file: rows lose their words and names, and the file really loses them.

SQLite overwrites what is deleted (`secure_delete`), but its full-text index only marks words as gone until it is merged:
so the index of every part that was touched is merged to one piece, and the write-ahead log is emptied.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from headgate.stores.logs.erasing import Erased, Subject, pseudonym, renamed
from headgate.stores.logs.filters import filter_of, keys_of_more, keys_of_row
from headgate.stores.logs.posts import BITS, PLACES, packed
from headgate.stores.logs.query import LogQuery
from headgate.stores.logs.rollups import BY_USER, Cell, Sums
from headgate.stores.logs.sqlite_rollups import put, stored
from headgate.stores.logs.sqlite_rows import COLUMNS, Finder, Shapes
from headgate.stores.logs.sqlite_schema import text_table
from headgate.stores.logs.sqlite_store import SqliteStore

_AT_ONCE = 2000  # rows in one transaction


def erase(store: SqliteStore, subject: Subject, now: float) -> Erased:
    """Take a subject's words and name out. Begun anew after a failure, it does what is left."""
    with store.transaction() as sql:
        store.fold(sql)
        numbers = _numbers(sql, subject)
        named = sql.execute(
            "SELECT count(*) FROM log_rollups WHERE dimension = ? AND value = ?", (BY_USER, subject.value)
        ).fetchone()[0]
    new = pseudonym() if numbers or (subject.kind == "user" and named) else ""
    bodies = 0
    parts: set[int] = set()
    for start in range(0, len(numbers), _AT_ONCE):
        with store.transaction() as sql:
            bodies += _erase_rows(sql, subject, numbers[start : start + _AT_ONCE], new, parts)
    for part in sorted(parts):
        with store.transaction() as sql:
            table = text_table(part)
            sql.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")  # noqa: S608 -- a name of ours
    with store.transaction() as sql:
        if subject.kind == "user" and new:
            _rename_sums(sql, subject, new)
        events = _erase_events(sql, subject, new or pseudonym())
        sql.execute("DELETE FROM log_bad")  # whose words are in there, nobody can tell
    _overwrite(store)
    return Erased(len(numbers), bodies, events, new)


def _numbers(sql: sqlite3.Connection, subject: Subject) -> list[int]:
    if subject.kind == "tenant":
        wanted = filter_of(LogQuery(tenant=subject.value))
    else:
        wanted = filter_of(LogQuery(fields={subject.kind: subject.value}, tenant=subject.tenant))
    shapes = Shapes()
    shapes.refresh(sql)
    return [row[0] for row in Finder(sql, shapes, wanted, newest_first=False).rows()]


def _erase_rows(sql: sqlite3.Connection, subject: Subject, numbers: Sequence[int], new: str, parts: set[int]) -> int:
    some = ",".join(map(str, numbers))
    of_segment: dict[int, list[int]] = defaultdict(list)
    for n in numbers:
        of_segment[n >> BITS].append(n)
    asked = f"SELECT segment, part, sealed FROM log_segments WHERE segment IN ({','.join(map(str, of_segment))})"  # noqa: S608
    found = sql.execute(asked).fetchall()
    part_of = {segment: part for segment, part, _ in found}
    sealed = [segment for segment, _, done in found if done]  # the open one's bitmaps are made when it is full
    gone = set()
    for n, message, answer in sql.execute(
        f"SELECT n, user_message, response_text FROM log_bodies WHERE n IN ({some})"  # noqa: S608
    ).fetchall():
        part = part_of[n >> BITS]
        table = text_table(part)
        sql.execute(
            f"INSERT INTO {table} ({table}, rowid, user_message, response_text) VALUES ('delete', ?, ?, ?)",  # noqa: S608
            (n, message, answer),
        )
        gone.add(n)
        parts.add(part)
    gone |= {n for (n,) in sql.execute(f"SELECT n FROM log_requests WHERE n IN ({some})")}  # noqa: S608
    sql.execute(f"DELETE FROM log_bodies WHERE n IN ({some})")  # noqa: S608
    sql.execute(f"DELETE FROM log_requests WHERE n IN ({some})")  # noqa: S608
    _rename_rows(sql, subject, some, new)
    for segment in sealed:
        _post_anew(sql, segment)
    return len(gone)


def _rename_rows(sql: sqlite3.Connection, subject: Subject, some: str, new: str) -> None:
    """Give the rows their new name, in their tags too."""
    if subject.kind == "tenant":
        sql.execute(
            "UPDATE log_rows SET user = CASE user WHEN '' THEN '' ELSE ? END, "  # noqa: S608
            f"session = CASE session WHEN '' THEN '' ELSE ? END WHERE n IN ({some})",
            (new, new),
        )
    else:
        sql.execute(f"UPDATE log_rows SET {subject.kind} = ? WHERE n IN ({some})", (new,))  # noqa: S608
    for n, more in sql.execute(f"SELECT n, more FROM log_rows WHERE more != '' AND n IN ({some})").fetchall():  # noqa: S608
        told = msgspec.json.decode(more)
        if "tags" in told:
            told["tags"] = {} if subject.kind == "tenant" else renamed(told["tags"], subject.value, new)
            sql.execute("UPDATE log_rows SET more = ? WHERE n = ?", (msgspec.json.encode(told).decode(), n))


def _post_anew(sql: sqlite3.Connection, segment: int) -> None:
    """Make a segment's bitmaps again: a hash of a name is enough to ask whether it was there."""
    posts: dict[int, list[int]] = defaultdict(list)
    for row in sql.execute(
        f"SELECT {COLUMNS} FROM log_rows WHERE n BETWEEN ? AND ? ORDER BY n",  # noqa: S608
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


def _rename_sums(sql: sqlite3.Connection, subject: Subject, new: str) -> None:
    """Sums by user: under the new name; where only one tenant's user goes, the other's part stays."""
    for step in (3600, 86_400):
        if subject.tenant is None:
            sql.execute(
                "UPDATE log_rollups SET value = ? WHERE step = ? AND dimension = ? AND value = ?",
                (new, step, BY_USER, subject.value),
            )
            continue
        mine = stored(sql, step, BY_USER, subject.tenant, 0, 1e18)
        everybody = {
            cell.start: sums for cell, sums in stored(sql, step, BY_USER, "", 0, 1e18) if cell.value == subject.value
        }
        for cell, sums in mine:
            if cell.value != subject.value:
                continue
            _move(sql, cell, sums, new)
            whole = everybody.get(cell.start)
            if whole is not None:
                all_of = cell._replace(tenant="")
                rest = whole.without(sums)
                _remove(sql, all_of)
                put(sql, all_of._replace(value=new), sums)
                if rest.counts[0] > 0:
                    put(sql, all_of, rest)


def _move(sql: sqlite3.Connection, cell: Cell, sums: Sums, new: str) -> None:
    _remove(sql, cell)
    put(sql, cell._replace(value=new), sums)


def _remove(sql: sqlite3.Connection, cell: Cell) -> None:
    sql.execute(
        "DELETE FROM log_rollups WHERE step = ? AND dimension = ? AND start = ? AND tenant = ? AND value = ?", cell
    )


def _erase_events(sql: sqlite3.Connection, subject: Subject, new: str) -> int:
    count = 0
    needle = f'%"{_like(subject.value)}"%'
    asked = "SELECT n, fields FROM log_events WHERE fields LIKE ? ESCAPE '!'"
    for n, fields in sql.execute(asked, (needle,)).fetchall():
        told = msgspec.json.decode(fields)
        if subject.kind == "tenant" or (subject.tenant is not None and told.get("tenant") not in (None, subject.tenant)):
            continue
        sql.execute(
            "UPDATE log_events SET fields = ? WHERE n = ?",
            (msgspec.json.encode(renamed(told, subject.value, new)).decode(), n),
        )
        count += 1
    return count


def _like(value: str) -> str:
    text = msgspec.json.encode(value).decode()[1:-1]
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _overwrite(store: SqliteStore) -> None:
    """Bring what was changed into the file itself, and empty the write-ahead log."""
    connection = store.connection()
    connection.execute("PRAGMA incremental_vacuum")
    with suppress(sqlite3.Error):  # a reader in the middle of a search keeps it; the next writer does it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
