"""How much a gateway keeps, on record in the log store: for whoever forgets something there beside it."""

from __future__ import annotations

import math
from typing import NamedTuple

from headgate.stores.logs.sql import Sql

_NAMES = ("keep_seconds", "keep_bytes")


class Keeps(NamedTuple):
    """`log.keep` and `log.keep_size`."""

    seconds: float
    size: int

    def or_more(self, other: Keeps) -> Keeps:
        """Of both what is more."""
        return Keeps(max(self.seconds, other.seconds), max(self.size, other.size))


def keeps_of(sql: Sql) -> Keeps | None:
    """What the gateway that pruned last keeps; None: none did."""
    found = dict(sql.execute("SELECT name, value FROM log_meta WHERE name IN (?, ?)", _NAMES).fetchall())
    return Keeps(*(found[name] for name in _NAMES)) if len(found) == len(_NAMES) else None


def put_keeps(sql: Sql, keeps: Keeps) -> None:
    """Put it on record, where it is not."""
    whole = Keeps(math.ceil(keeps.seconds), keeps.size)
    if keeps_of(sql) != whole:
        put = "INSERT INTO log_meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        sql.executemany(put, list(zip(_NAMES, whole, strict=True)))
