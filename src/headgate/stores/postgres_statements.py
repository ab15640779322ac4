"""Many rows in one statement with one parameter: a JSON array, which the server takes apart.

A batch of any size is then the same few statements, which go out together; and a row costs a microsecond of this
process's CPU, where binding its values one by one would cost twenty.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Float, Integer, Table

from headgate.stores.rows import ATTEMPT_COLUMNS, EXCHANGE_COLUMNS, clean
from headgate.stores.schema import SHAPE_COLUMNS, attempt_rows, exchange_rows, shapes
from headgate.stores.statements import Row

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def _quoted(name: str) -> str:
    return f'"{name}"'  # `user` is a word of SQL's


_NUL = b"\\u0000"


def told(rows: Sequence[Row]) -> str:
    """Rows as JSON that PostgreSQL takes: what no text of its can hold is replaced."""
    try:
        found = _encode(rows)
    except (UnicodeEncodeError, OverflowError, TypeError):
        found = _encode([clean(row) for row in rows])
    if _NUL in found:
        found = _encode([clean(row) for row in rows])
    return found.decode()


def _part(table: Table, name: str, place: int) -> str:
    kind = table.c[name].type
    if isinstance(kind, Float):
        return f"(r ->> {place})::float8"
    # A number that is not whole, or too large, is refused; JSON would keep it.
    return f"(r ->> {place})::bigint" if isinstance(kind, Integer) else f"r ->> {place}"


def insert_told(table: Table, columns: Sequence[str], *, replace: bool = False) -> str:
    """``INSERT`` of rows that come as one JSON array of arrays, ``%s``.

    Args:
        table: where to.
        columns: what a row holds, in order.
        replace: overwrite an old row with its primary key; else the old row stays.
    """
    key = [column.name for column in table.primary_key.columns]
    names = ", ".join(map(_quoted, columns))
    parts = ", ".join(_part(table, name, place) for place, name in enumerate(columns))
    changed = ", ".join(f"{_quoted(name)} = excluded.{_quoted(name)}" for name in columns if name not in key)
    conflict = f"UPDATE SET {changed}" if replace else "NOTHING"
    return (
        f"INSERT INTO {_quoted(table.name)} ({names}) "  # noqa: S608 (names of the schema's, no values)
        f"SELECT {parts} FROM jsonb_array_elements(%s::jsonb) AS t(r) "
        f"ON CONFLICT ({', '.join(map(_quoted, key))}) DO {conflict}"
    )


SHAPES = insert_told(shapes, ("id", *SHAPE_COLUMNS))
ATTEMPTS = insert_told(attempt_rows, ATTEMPT_COLUMNS, replace=True)
EXCHANGES = insert_told(exchange_rows, EXCHANGE_COLUMNS, replace=True)

INTENTS = (
    "INSERT INTO intents (id, owner, intents) "
    "SELECT %s::bigint, id, %s::text FROM owners WHERE id = %s AND session = %s::bigint FOR SHARE"
)
"""Takes effect only while this session may write intents, and keeps a sweep from ending that until the commit."""
SETTLED = "DELETE FROM intents WHERE id = ANY(%s::bigint[])"


def last_of_each(rows: Sequence[Row], key: Callable[[Row], Hashable]) -> Sequence[Row]:
    """`rows` with one row per key, the last one told: a statement may not write a row twice."""
    found = {key(row): row for row in rows}
    return rows if len(found) == len(rows) else list(found.values())
