"""Forgetting what is old, or what the disk has no room for: whole parts, a slice at a time."""

from __future__ import annotations

import sqlite3

from headgate.stores.logs.posts import BITS
from headgate.stores.logs.sqlite_schema import TO_MERGE, empty_write_ahead_log, give_back, text_table
from headgate.stores.logs.sqlite_store import SqliteStore
from headgate.stores.logs.store import Pruned
from headgate.stores.logs.stored_rollups import prune as prune_sums

SLICE_ROWS = 10_000
"""Rows deleted in one transaction: lines are taken in between two."""
_FREE_PAGES = 2000  # given back to the file system in one transaction
_EVENTS_AT_ONCE = 10_000
_EMPTY = 1e18  # when a part was sealed that has no rows any more


def prune(store: SqliteStore, before: float, keep_bytes: int, now: float) -> Pruned:
    """One slice of what has to go."""
    from headgate.stores.logs.sqlite_erasing import merge_marked  # which few stores ever need

    if merge_marked(store):  # of an erasure that was stopped
        store.forgot = True
    with store.transaction() as sql:
        _seal_idle(store, sql, before)
        part = _gone_by_age(sql, before)
        if part is None and _size(sql) > keep_bytes:
            part = _oldest(store, sql)
        if part is not None:
            gone = _slice(sql, part)
            store.forgot = True
            if not gone:
                store.forget()  # shapes may be gone that it knew by heart
            return Pruned(gone, more=True)
        _small_things(sql, before, now)
    connection = store.connection()
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free:
        give_back(connection, _FREE_PAGES)
    if free <= _FREE_PAGES and store.forgot:
        empty_write_ahead_log(connection)
        store.forgot = False
    return Pruned(more=free > _FREE_PAGES)


def _seal_idle(store: SqliteStore, sql: sqlite3.Connection, before: float) -> None:
    row = sql.execute("SELECT last_at FROM log_parts WHERE sealed IS NULL").fetchone()
    if row is not None and row[0] < before:  # also of lines that were old when they came
        store.seal_part(sql)


def _gone_by_age(sql: sqlite3.Connection, before: float) -> int | None:
    # By the clock of whoever sealed it where a line has a time to come.
    row = sql.execute(
        "SELECT part FROM log_parts WHERE sealed IS NOT NULL AND min(sealed, last_at) < ? ORDER BY part LIMIT 1",
        (before,),
    ).fetchone()
    return None if row is None else int(row[0])


def _oldest(store: SqliteStore, sql: sqlite3.Connection) -> int | None:
    row = sql.execute(
        "SELECT part, sealed FROM log_parts WHERE sealed IS NULL OR sealed < ? ORDER BY part LIMIT 1", (_EMPTY,)
    ).fetchone()
    if row is None:
        return None
    if row[1] is None:
        store.seal_part(sql)
    return int(row[0])


def _size(sql: sqlite3.Connection) -> int:
    pages, free, size = (
        sql.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _slice(sql: sqlite3.Connection, part: int) -> int:
    row = sql.execute("SELECT min(segment), max(segment) FROM log_segments WHERE part = ?", (part,)).fetchone()
    if row[0] is not None:
        first, last = row[0] << BITS, (row[1] + 1 << BITS) - 1
        found = sql.execute(
            "SELECT n FROM log_rows WHERE n BETWEEN ? AND ? ORDER BY n LIMIT ?", (first, last, SLICE_ROWS)
        ).fetchall()
        if found:
            for table in ("log_rows", "log_bodies", "log_requests"):
                sql.execute(f"DELETE FROM {table} WHERE n BETWEEN ? AND ?", (first, found[-1][0]))
            return len(found)
        sql.execute("DELETE FROM log_posts WHERE segment BETWEEN ? AND ?", (row[0], row[1]))
        # The last segment's row stays until another is there: its number must not be given out again.
        sql.execute(
            "DELETE FROM log_segments WHERE part = ? AND segment < (SELECT max(segment) FROM log_segments)", (part,)
        )
        sql.execute("UPDATE log_segments SET rows = 0, part = 0 WHERE part = ?", (part,))
        sql.execute("DELETE FROM log_segments WHERE part = 0 AND segment < (SELECT max(segment) FROM log_segments)")
        _drop_shapes(sql, last)
    sql.execute(f"DROP TABLE IF EXISTS {text_table(part)}")
    sql.execute("DELETE FROM log_meta WHERE name = ?", (f"{TO_MERGE}{part}",))
    # As with segments: the last part's row stays, emptied.
    sql.execute("UPDATE log_parts SET last_at = ?, sealed = ? WHERE part = ?", (_EMPTY, _EMPTY, part))
    sql.execute("DELETE FROM log_parts WHERE sealed >= ? AND part < (SELECT max(part) FROM log_parts)", (_EMPTY,))
    return 0


def _drop_shapes(sql: sqlite3.Connection, last: int) -> None:
    """Shapes that no row has any more. Of those in the open segment it is not on record that they are used."""
    row = sql.execute("SELECT min(segment) FROM log_segments WHERE NOT sealed").fetchone()
    used = "" if row[0] is None else f" AND id NOT IN (SELECT shape FROM log_rows WHERE n >= {row[0] << BITS:d})"
    sql.execute(f"DELETE FROM log_shapes WHERE last <= ? AND id < (SELECT max(id) FROM log_shapes){used}", (last,))


def _small_things(sql: sqlite3.Connection, before: float, now: float) -> None:
    prune_sums(sql, now)
    sql.execute("DELETE FROM log_bad WHERE found < ?", (before,))
    sql.execute(
        "DELETE FROM log_events WHERE n IN (SELECT n FROM log_events WHERE at < ? ORDER BY n LIMIT ?)",
        (before, _EVENTS_AT_ONCE),
    )
