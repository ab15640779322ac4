"""Forgetting in PostgreSQL what is old, or the oldest of what is more than there is room for: a slice at a time.

What is deleted there leaves room in the tables, which is used again, and gives nothing back to the disk. So a size is
what lives in the tables: their size, less the part of their pages that is empty, as a sample of them tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headgate.stores.logs.postgres_link import Link
from headgate.stores.logs.store import Pruned
from headgate.stores.logs.stored_rollups import prune as prune_sums

if TYPE_CHECKING:
    from headgate.stores.logs.postgres_store import PostgresStore

SLICE_ROWS = 10_000
"""Rows deleted in one transaction: lines are taken in between two."""
_SAMPLED_BYTES = 16_000_000
_TABLES = ("log_rows", "log_bodies", "log_requests")


def prune(store: PostgresStore, before: float, keep_bytes: int, now: float) -> Pruned:
    """One slice of what has to go."""
    with store.transaction() as link:
        store.fold(link)  # rows that are not summed yet must not go before they are
        oldest = link.execute("SELECT n, at FROM log_rows ORDER BY n LIMIT ?", (SLICE_ROWS,)).fetchall()
        gone = [n for n, at in oldest if at < before]
        by_age = len(gone)
        if not gone and oldest:
            gone = _too_much(link, oldest, keep_bytes)
        for table in _TABLES:
            link.execute(f"DELETE FROM {table} WHERE n = ANY(?)", (gone,))
        prune_sums(link, now)
        link.execute("DELETE FROM log_bad WHERE found < ?", (before,))
        link.execute("DELETE FROM log_erasures WHERE at < ?", (before,))  # lines of before then are not kept, either
        link.execute("DELETE FROM log_events WHERE at < ?", (before,))
    return Pruned(len(gone), more=bool(gone) and (by_age == 0 or by_age == SLICE_ROWS))


def _too_much(link: Link, oldest: Sequence[tuple[int, float]], keep_bytes: int) -> list[int]:
    """Of the oldest rows as many as are too much, about; at least a hundredth of all, so that it ends."""
    size = _size(link)
    if size <= keep_bytes:
        return []
    (rows,) = link.execute("SELECT count(*) FROM log_rows").fetchone()
    many = max(1, rows // 100, int(rows * (size - keep_bytes) / size))
    return [n for n, _ in oldest[:many]]


def _size(link: Link) -> int:
    """Bytes that live in the tables and their indexes, about."""
    found = 0
    for table in _TABLES:
        whole, own = link.execute("SELECT pg_total_relation_size(?), pg_table_size(?)", (table, table)).fetchone()
        found += int(whole * _filled(link, table, own))
    return found


def _filled(link: Link, table: str, size: int) -> float:
    """The part of a table that is not empty, 0 to 1: by whole pages, since what was deleted lies together."""
    if not size:
        return 0.0
    percent = min(100.0, 100.0 * _SAMPLED_BYTES / size)
    asked = f"SELECT coalesce(sum(pg_column_size({table}.*)), 0) FROM {table} TABLESAMPLE SYSTEM ({percent:.4f})"
    (lives,) = link.execute(asked).fetchone()
    return min(1.0, float(lives) / (size * percent / 100.0))
