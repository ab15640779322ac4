"""Many rows in one statement.

A step of SQLite lets other threads run, and taking the interpreter back costs more than inserting a row: so a batch is
a few big statements, not many small ones. SQLAlchemy compiles one row; more rows repeat its VALUES group.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

Row = tuple[Any, ...]

SIZES = (32, 16, 8, 7, 6, 5, 4, 3, 2, 1)
"""Rows per statement, largest first. Few sizes keep SQLite's statement cache small (about 1 MB in all)."""


def _sized(one: str, width: int) -> dict[int, str]:
    group = f"({', '.join('?' * width)})"
    head, found, tail = one.partition(group)
    assert found, one
    return {size: head + ", ".join([group] * size) + tail for size in SIZES}


class Insert:
    """``INSERT … VALUES (…), (…) … ON CONFLICT …`` of any number of rows into one table."""

    __slots__ = ("_statements", "columns")

    def __init__(self, table: Table, columns: Sequence[str], *, update: Sequence[str] = (), replace: bool = False):
        """
        Args:
            table: where to.
            columns: what a row holds, in order.
            update: columns to overwrite where the primary key exists; none leaves the old row as it is.
            replace: put the new row in the old one's place instead; columns that are not told become their default.
                Cheaper than overwriting: the old row is not read.
        """
        self.columns = tuple(columns)
        self._statements = _sized(self._one(table, update, replace), len(self.columns))

    def _one(self, table: Table, update: Sequence[str], replace: bool) -> str:
        statement = insert(table).values(dict.fromkeys(self.columns))
        key = list(table.primary_key.columns)
        if replace:
            statement = statement.prefix_with("OR REPLACE")
        elif update:
            changes: dict[str, Any] = {name: statement.excluded[name] for name in update}
            statement = statement.on_conflict_do_update(index_elements=key, set_=changes)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=key)
        return str(statement.compile(dialect=sqlite.dialect()))

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        """Insert `rows`, all of them or, by an exception, an unknown part: call it inside a transaction."""
        done, count = 0, len(rows)
        for size in SIZES:
            while count - done >= size:
                flat: list[Any] = []
                for row in rows[done : done + size]:
                    flat += row
                cursor.execute(self._statements[size], flat)
                done += size
            if done == count:
                return
