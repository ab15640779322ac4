"""What providers keep, and by which route: on record, so that a restart, or another process, finds it again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from headgate.core.exchange import Kept
from headgate.stores.dialects import is_postgres
from headgate.stores.rows import clean
from headgate.stores.schema import homes

_AT_ONCE = 500  # values in one query


def write_kept(connection: Connection, kept: Sequence[Kept], now: float) -> None:
    """Add those that are new; an id's first home stays its home."""
    rows = [
        dict(zip(homes.c.keys(), clean((each.id, each.provider, each.model, each.place, each.owner, now)), strict=True))
        for each in kept
    ]
    insert = postgresql.insert if is_postgres(connection) else sqlite.insert
    connection.execute(insert(homes).on_conflict_do_nothing(index_elements=[homes.c.id]), rows)


def read_kept(connection: Connection, ids: Sequence[str]) -> list[Kept]:
    """Those of `ids` that are on record."""
    wanted = clean(tuple(ids))
    c = homes.c
    query = select(c.id, c.provider, c.model, c.place, c.owner)
    found: list[Kept] = []
    for start in range(0, len(wanted), _AT_ONCE):
        found += [Kept(*row) for row in connection.execute(query.where(c.id.in_(wanted[start : start + _AT_ONCE])))]
    return found
