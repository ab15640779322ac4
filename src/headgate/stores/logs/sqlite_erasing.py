"""Erasing in the log store's SQLite file: rows lose their words and names, and the file really loses them.

SQLite overwrites what is deleted (`secure_delete`), but its full-text index only marks words as gone until it is
merged: so the index of every part that was touched is merged to one piece, and the write-ahead log is emptied. Which
parts these are is on record with their rows: whatever stops an erasure, the next one or the next pruning merges them.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from headgate.stores.logs.erasing import Erased, Names, Subject, erase_events, pseudonym, rename_sums, summed_names
from headgate.stores.logs.filters import filter_of
from headgate.stores.logs.posts import BITS, PLACES, Posts
from headgate.stores.logs.query import LogQuery
from headgate.stores.logs.rows import COLUMNS, Shapes
from headgate.stores.logs.sqlite_rows import Finder
from headgate.stores.logs.sqlite_schema import TO_MERGE, empty_write_ahead_log, give_back, text_table
from headgate.stores.logs.sqlite_store import SqliteStore, post_rows

_AT_ONCE = 2000  # rows in one transaction


def erase(store: SqliteStore, subject: Subject) -> Erased:
    """Take a subject's words and name out. Begun anew after a failure, it does what is left."""
    with store.transaction() as sql:
        store.fold(sql)
        numbers = _numbers(sql, subject)
        names = summed_names(sql, subject)
    said = Names(subject, pseudonym())
    for name in names:
        said.user(name)
    bodies = events = 0
    for start in range(0, len(numbers), _AT_ONCE):
        with store.transaction() as sql:
            bodies += _erase_rows(sql, said, numbers[start : start + _AT_ONCE])
            events += erase_events(sql, said)
    merge_marked(store)
    with store.transaction() as sql:
        rename_sums(sql, said)
        events += erase_events(sql, said)
        sql.execute("DELETE FROM log_bad")  # whose words are in there, nobody can tell
    overwrite(store)
    return Erased(len(numbers), bodies, events, said.pseudonym if numbers or names or events else "")


def merge_marked(store: SqliteStore) -> bool:
    """Merge the indexes that words were taken out of, a part in each transaction. Whether there were any."""
    with store.transaction() as sql:
        parts = [part for (part,) in sql.execute("SELECT value FROM log_meta WHERE name LIKE ?", (f"{TO_MERGE}%",))]
    for part in sorted(parts):
        with store.transaction() as sql:
            table = text_table(part)
            sql.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")
            sql.execute("DELETE FROM log_meta WHERE name = ?", (f"{TO_MERGE}{part}",))
    return bool(parts)


def _numbers(sql: sqlite3.Connection, subject: Subject) -> list[int]:
    if subject.kind == "tenant":
        wanted = filter_of(LogQuery(tenant=subject.value))
    else:
        wanted = filter_of(LogQuery(fields={subject.kind: subject.value}, tenant=subject.tenant))
    shapes = Shapes()
    shapes.refresh(sql)
    return [row[0] for row in Finder(sql, shapes, wanted, newest_first=False).rows()]


def _erase_rows(sql: sqlite3.Connection, said: Names, numbers: Sequence[int]) -> int:
    some = ",".join(map(str, numbers))
    of_segment: dict[int, list[int]] = defaultdict(list)
    for n in numbers:
        of_segment[n >> BITS].append(n)
    asked = f"SELECT segment, part, sealed FROM log_segments WHERE segment IN ({','.join(map(str, of_segment))})"
    found = sql.execute(asked).fetchall()
    part_of = {segment: part for segment, part, _ in found}
    sealed = [segment for segment, _, done in found if done]  # the open one's bitmaps are made when it is full
    gone, parts = set(), set()
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
    sql.executemany("INSERT OR REPLACE INTO log_meta VALUES (?, ?)", [(f"{TO_MERGE}{part}", part) for part in parts])
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
    for n, user, session, more in sql.execute(f'SELECT n, "user", session, more FROM log_rows WHERE n IN ({some})'):
        told = msgspec.json.decode(more) if more else {}
        if "tags" in told:
            told["tags"] = said.tags(told["tags"])
            more = msgspec.json.encode(told).decode()
        changed.append((said.user(user), said.session(session), more, n))
    sql.executemany('UPDATE log_rows SET "user" = ?, session = ?, more = ? WHERE n = ?', changed)


def _post_anew(sql: sqlite3.Connection, segment: int) -> None:
    """Make a segment's bitmaps again: a hash of a name is enough to ask whether it was there."""
    posts = Posts()
    asked = f"SELECT {COLUMNS} FROM log_rows WHERE n BETWEEN ? AND ? ORDER BY n"
    post_rows(posts, sql.execute(asked, (segment << BITS, (segment << BITS) + PLACES - 1)).fetchall())
    sql.execute("DELETE FROM log_posts WHERE segment = ?", (segment,))
    sql.executemany(
        "INSERT INTO log_posts VALUES (?, ?, ?)",
        [(segment, key, places) for key, places in posts.stored()],
    )


def overwrite(store: SqliteStore) -> None:
    """Bring what was changed into the file itself, and empty the write-ahead log."""
    connection = store.connection()
    give_back(connection)
    empty_write_ahead_log(connection)
