"""Sums over the ledger, by any dimension: the rows of `headgate usage`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select

from headgate.core.money import usd_text
from headgate.stores.dimensions import BUCKETS, NO_OFFSET, TAG, Offsets, dimension, in_order, label, offsets_of
from headgate.stores.intents import open_intents, read_intents
from headgate.stores.schema import attempts, exchanges
from headgate.stores.selecting import ids_tell_time, span, wanted

Record = Mapping[str, Any]

HOLDS = "batches"
"""The endpoint of exchanges that set a batch's money aside: they are no calls, and are counted as none."""

_AT_ONCE = 1_000  # rows fetched in one go


@dataclass(slots=True)
class Amounts:
    """Sums over exchanges. Money is nano-dollars, `input_tokens` the uncached remainder as in `core.usage.Usage`."""

    exchanges: int = 0
    attempts: int = 0
    cost_nano: int = 0  # `estimated_nano` included
    estimated_nano: int = 0
    held_nano: int = 0  # bounds of the attempts that are on their way now
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0  # both kinds
    cache_write_long_tokens: int = 0  # the part of them that is kept longer
    reasoning_tokens: int = 0  # part of output_tokens
    web_searches: int = 0
    cache_hits: int = 0  # exchanges that were answered with a kept answer

    def as_json(self) -> dict[str, int | str]:
        """For `headgate usage --json`: money as decimal strings of USD."""
        found: dict[str, int | str] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name.endswith("_nano"):
                found[each.name.removesuffix("_nano") + "_usd"] = usd_text(value)
            else:
                found[each.name] = value
        return found


@dataclass(slots=True)
class UsageRow:
    """One combination of the dimensions asked for."""

    by: dict[str, str]
    amounts: Amounts


@dataclass(slots=True)
class UsageReport:
    """What `headgate usage` shows; the rows are sorted by time where a bucket is asked for, then dearest first."""

    total: Amounts
    rows: list[UsageRow] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """``{"total": {…}, "rows": [{"user": …, "cost_usd": …}, …]}``."""
        return {"total": self.total.as_json(), "rows": [{**row.by, **row.amounts.as_json()} for row in self.rows]}


def sort_key(by: Mapping[str, str], cost_nano: int) -> tuple[Any, ...]:
    """Time first where it was asked for, then the dearest, then by name."""
    in_time = [in_order(name, by[name] or "") for name in by if name in BUCKETS]
    return in_time, -cost_nano, [value or "" for value in by.values()]


_SUMMED = tuple(each.name for each in fields(Amounts) if each.name not in ("exchanges", "held_nano"))

_Settled = list[tuple[tuple[str, ...], Amounts]]
_Held = list[tuple[tuple[str, ...], int]]


def sums(
    connection: Connection,
    by: Sequence[str],
    since: float | None,
    until: float | None,
    zone: tzinfo,
    filters: Mapping[str, str],
) -> tuple[_Settled, _Held]:
    """(Sums over settled exchanges, bounds of attempts on their way), each by the values of `by`."""
    c = exchanges.c
    long = c.cache_write_long_tokens
    summed: dict[str, ColumnElement[Any]] = {name: c[name] for name in _SUMMED if name != "cache_hits"}
    called = case((c.endpoint == HOLDS, 0), else_=1)
    summed |= {"cache_write_tokens": c.cache_write_tokens + long, "cache_hits": case((c.cache == "hit", 1), else_=0)}
    summed["attempts"] = called * c.attempts
    dialect, ordered = connection.dialect.name, ids_tell_time(connection)
    dimensions, named = _named(connection, by, since, until, zone)
    query = select(
        *dimensions,
        func.coalesce(func.sum(called), 0).label("exchanges"),
        *(func.coalesce(func.sum(column), 0).label(name) for name, column in summed.items()),
    ).where(*wanted(since, until, filters, dialect, narrow=ordered))
    names = ("exchanges", *summed)
    settled: _Settled = []
    for row in connection.execute(query.group_by(*named) if named else query):
        values = tuple(row)
        amounts = Amounts(**{name: int(value) for name, value in zip(names, values[len(by) :], strict=True)})
        if amounts != Amounts():  # holds alone, that have come to nothing
            settled.append((values[: len(by)], amounts))
    return settled, _held(connection, by, since, until, zone, filters)


def _named(
    connection: Connection, by: Sequence[str], since: float | None, until: float | None, zone: tzinfo
) -> tuple[list[ColumnElement[str]], list[str]]:
    """The columns of the dimensions, and their names to group by: a database that binds the values of an expression
    anew each time it stands in a statement would not see that two are the same."""
    offsets = _offsets(connection, since, until, zone) if any(name in BUCKETS for name in by) else NO_OFFSET
    named = [f"by_{place}" for place in range(len(by))]
    dialect = connection.dialect.name
    columns = [dimension(name, dialect, offsets).label(told) for name, told in zip(by, named, strict=True)]
    return list(columns), named


def _offsets(connection: Connection, since: float | None, until: float | None, zone: tzinfo) -> Offsets:
    """The zone's offsets over the exchanges that there are in the time asked for."""
    if zone is UTC:
        return NO_OFFSET
    first, last = span(connection)
    return offsets_of(zone, max(first, since or first), last if until is None else min(last, until))


def charged(
    connection: Connection,
    by: Sequence[str],
    since: float | None,
    until: float | None,
    zone: tzinfo,
    filters: Mapping[str, str],
) -> Iterator[tuple[tuple[str, ...], Record]]:
    """Each settled attempt of the exchanges asked for, behind the values of its exchange's dimensions."""
    dimensions, _ = _named(connection, by, since, until, zone)
    narrowed = wanted(since, until, filters, connection.dialect.name, narrow=ids_tell_time(connection))
    joined = attempts.join(exchanges, attempts.c.exchange_id == exchanges.c.id)
    query = select(*attempts.c, *dimensions).select_from(joined).where(*narrowed)
    names = attempts.c.keys()
    for row in connection.execution_options(yield_per=_AT_ONCE).execute(query):
        values = tuple(row)
        yield values[len(names) :], dict(zip(names, values, strict=False))


def _held(
    connection: Connection,
    by: Sequence[str],
    since: float | None,
    until: float | None,
    zone: tzinfo,
    filters: Mapping[str, str],
) -> _Held:
    # Few rows, at most what is in flight; who asks is in the intent until the exchange has its own row.
    found: _Held = []
    for intent in open_intents(connection, read_intents(connection)):
        facts = intent.facts
        started = facts["started"]
        if (since is not None and started < since) or (until is not None and started >= until):
            continue
        told = facts["tags"] or {}
        values = {**facts, "model": intent.model, "provider": intent.provider, "ending": ""}
        values |= {f"{TAG}{name}": value for name, value in told.items()}
        if not all(values.get(name, "") == value for name, value in filters.items()):
            continue
        values |= {name: label(name, started, zone) for name in by if name in BUCKETS}
        found.append((tuple(str(values.get(name, "")) for name in by), intent.bound_nano or 0))
    return found
