"""Many rows in one statement.

A step of SQLite lets other threads run, and taking the interpreter back costs more than inserting a row: so a batch is
a few big statements, not many small ones. SQLAlchemy compiles one row; more rows repeat its VALUES group.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

Row = tuple[Any, ...]

SIZES = (64, 32, 16, 8, 4, 2, 1)
"""Rows per statement, largest first. Few sizes keep SQLite's statement cache small (about 1 MB in all)."""


def _sized(one: str, width: int, sizes: Sequence[int]) -> dict[int, str]:
    group = f"({', '.join('?' * width)})"
    head, found, tail = one.partition(group)
    assert found, one
    return {size: head + ", ".join([group] * size) + tail for size in sizes}


class Insert:
    """``INSERT … VALUES (…), (…) … ON CONFLICT …`` of any number of rows into one table."""

    __slots__ = ("_sizes", "_statements", "columns")

    def __init__(
        self,
        table: Table,
        columns: Sequence[str],
        *,
        replace: bool = False,
        update: Sequence[str] = (),
        sizes: Sequence[int] = SIZES,
    ):
        """
        Args:
            table: where to.
            columns: what a row holds, in order.
            replace: put the new row in the place of an old one with its primary key; columns that are not told become
                their default. Cheaper than overwriting: the old row is not read. Without it, the old row stays.
            update: columns to overwrite where the row is there; indexes of other columns are not touched.
            sizes: rows per statement, largest first, down to 1.
        """
        self.columns = tuple(columns)
        self._statements = _sized(self._one(table, replace, update), len(self.columns), sizes)
        self._sizes = tuple(sizes)

    def _one(self, table: Table, replace: bool, update: Sequence[str]) -> str:
        statement = insert(table).values(dict.fromkeys(self.columns))
        if replace:
            statement = statement.prefix_with("OR REPLACE")
        elif update:
            told = {name: statement.excluded[name] for name in update}
            statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=told)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=list(table.primary_key.columns))
        return str(statement.compile(dialect=sqlite.dialect()))

    def run(self, cursor: sqlite3.Cursor, rows: Sequence[Row], second: Sequence[Any] | None = None) -> None:
        """Insert `rows`, all of them or, by an exception, an unknown part: call it inside a transaction.

        Args:
            second: one value for each row, in place of what is in its second column.
        """
        width = len(self.columns)
        done, count = 0, len(rows)
        for size in self._sizes:
            while count - done >= size:
                values = list(chain.from_iterable(rows[done : done + size]))
                if second is not None:
                    values[1::width] = second[done : done + size]
                cursor.execute(self._statements[size], values)
                done += size
            if done == count:
                return
