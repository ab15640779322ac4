"""Which exchanges a question is about: those of a time, and of whom it asks for."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, Connection, func, select

from headgate.core.ids import PREFIX, id_maker
from headgate.stores.dimensions import dimension
from headgate.stores.schema import attempts, exchange_rows, exchanges


def wanted(
    since: float | None, until: float | None, filters: Mapping[str, str], dialect: str, *, narrow: bool
) -> list[ColumnElement[bool]]:
    """Conditions on `exchanges`. The start decides; the ids, whose time may differ from it a little, only narrow what
    is read, where they tell time (`narrow`)."""
    c = exchanges.c
    found = [dimension(name, dialect) == value for name, value in filters.items()]
    if since is not None:
        found.append(c.started >= since)
        if narrow:
            found.append(c.id >= _first_id(since - _SLACK_SECONDS))
    if until is not None:
        found.append(c.started < until)
        if narrow:
            found.append(c.id < _first_id(until + _SLACK_SECONDS))
    return found


def tried_since(since: float, *, narrow: bool) -> list[ColumnElement[bool]]:
    """Conditions on `attempts`: those that started at `since` or later. `narrow` as in `wanted`."""
    found: list[ColumnElement[bool]] = [attempts.c.started >= since]
    return [*found, attempts.c.exchange_id >= _first_id(since - _SLACK_SECONDS)] if narrow else found


_SLACK_SECONDS = 60.0
_LATEST = 16**12 - 1


def _first_id(moment: float) -> str:
    """What ids made at `moment` or later are not less than (see `core.ids`)."""
    return f"{PREFIX}{min(max(int(moment * 1000.0), 0), _LATEST):012x}"


_LENGTH = len(id_maker(lambda bits: 0)(0.0))


def ids_tell_time(connection: Connection) -> bool:
    """False for a ledger that was filled with ids of another kind: then every row is looked at."""
    ids = exchange_rows.c.id
    for end in (func.min(ids), func.max(ids)):
        found = connection.execute(select(end)).scalar()
        if found is not None and (len(found) != _LENGTH or not found.startswith(PREFIX)):
            return False
    return True


def span(connection: Connection) -> tuple[float, float]:
    """A time before the first exchange of the ledger, and one after the last."""
    if not ids_tell_time(connection):
        started = exchange_rows.c.started
        first, last = connection.execute(select(func.min(started), func.max(started))).one()
        return first or 0.0, last or 0.0
    ids = [connection.execute(select(end(exchange_rows.c.id))).scalar() for end in (func.min, func.max)]
    first, last = (int(each[len(PREFIX) : len(PREFIX) + 12], 16) / 1000.0 if each else 0.0 for each in ids)
    return first - _SLACK_SECONDS, last + _SLACK_SECONDS
