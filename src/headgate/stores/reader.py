"""Reading the ledger beside its writer: what was spent, by whom; one exchange with its attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Integer, Text, and_, case, func, select
from sqlalchemy.exc import DBAPIError

from headgate.core.errors import ConfigError
from headgate.core.ids import PREFIX, id_maker
from headgate.core.money import usd_text
from headgate.stores.database import reader_engine
from headgate.stores.intents import Intent, open_intents, read_intents
from headgate.stores.keys import Key, read_keys
from headgate.stores.rows import encode
from headgate.stores.schema import attempts, exchange_rows, exchanges

T = TypeVar("T")
Record = Mapping[str, Any]

FILTERS = ("key", "tenant", "user", "session", "task", "feature", "model", "provider", "ending", "environment")
"""What `usage` and `recent` can be narrowed to. `model` is the one that served, or was asked if none did."""
DIMENSIONS = (*FILTERS, "day", "hour")
"""What `usage` can be broken down by. Days and hours are UTC's."""

_HOUR = "%Y-%m-%dT%H:00Z"
_DAY = "%Y-%m-%d"


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
    """What `headgate usage` shows; the rows are sorted by cost, dearest first, or by day or hour where asked for."""

    total: Amounts
    rows: list[UsageRow] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """``{"total": {…}, "rows": [{"user": …, "cost_usd": …}, …]}``."""
        return {"total": self.total.as_json(), "rows": [{**row.by, **row.amounts.as_json()} for row in self.rows]}


@dataclass(frozen=True, slots=True)
class StoredExchange:
    """One row of `exchanges` and its rows of `attempts`, in order, by column name."""

    exchange: Record
    attempts: Sequence[Record]


class Reader:
    """A ledger file opened `mode=ro`, anew for each question, so it can be kept for long and used by any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = reader_engine(path)

    def usage(
        self,
        *,
        by: Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
        **filters: str,
    ) -> UsageReport:
        """Sums over the exchanges that started in [since, until), seconds since the epoch.

        Args:
            by: any of :data:`DIMENSIONS`, in the order the rows show them.
            filters: any of :data:`FILTERS`, as ``user="ada"``; "" means not told.

        Raises:
            ConfigError: an unknown dimension or filter, or there is no ledger.
        """
        _check("--by", by, DIMENSIONS)
        _check("filter", filters, FILTERS)
        if since is not None and until is not None and until <= since:
            return UsageReport(Amounts())
        settled, held = self._ask(lambda connection: _sums(connection, by, since, until, filters))
        groups: defaultdict[tuple[str, ...], Amounts] = defaultdict(Amounts)
        for key, amounts in settled:
            groups[key] = amounts
        for key, bound in held:
            groups[key].held_nano += bound
        total = Amounts()
        for amounts in groups.values():
            for each in fields(Amounts):
                setattr(total, each.name, getattr(total, each.name) + getattr(amounts, each.name))
        rows = [UsageRow(dict(zip(by, key, strict=True)), amounts) for key, amounts in groups.items()] if by else []
        in_time = [name for name in by if name in ("day", "hour")]
        rows.sort(key=lambda row: ([row.by[name] for name in in_time], -row.amounts.cost_nano, list(row.by.values())))
        return UsageReport(total, rows)

    def exchange(self, exchange_id: str) -> StoredExchange | None:
        """One exchange with its attempts, or None. A call on its way has attempts but no row of its own yet."""

        def find(connection: Connection) -> StoredExchange | None:
            row = connection.execute(select(exchanges).where(exchanges.c.id == exchange_id)).mappings().first()
            tried = select(attempts).where(attempts.c.exchange_id == exchange_id).order_by(attempts.c.number)
            found = [dict(each) for each in connection.execute(tried).mappings()]
            mine = [intent for intent in read_intents(connection) if intent.exchange_id == exchange_id]
            found += map(_on_its_way, open_intents(connection, mine))
            if row is None and not found:
                return None
            return StoredExchange(dict(row) if row is not None else {}, found)

        return self._ask(find)

    def find(self, prefix: str, *, limit: int = 20) -> list[Record]:
        """Exchanges whose id begins with `prefix`, oldest first."""
        in_range = and_(exchanges.c.id >= prefix, exchanges.c.id < prefix + "\U0010ffff")
        return self._rows(select(exchanges).where(in_range).order_by(exchanges.c.id).limit(limit))

    def recent(self, *, limit: int = 50, since: float | None = None, **filters: str) -> list[Record]:
        """The newest exchanges first."""
        _check("filter", filters, FILTERS)

        def newest(connection: Connection) -> list[Record]:
            ordered = _ids_tell_time(connection)
            query = select(exchanges).where(*_wanted(since, None, filters, narrow=ordered))
            by_id = exchanges.c.id.desc()
            order = (by_id,) if ordered else (exchanges.c.started.desc(), by_id)
            return [dict(row) for row in connection.execute(query.order_by(*order).limit(limit)).mappings()]

        return self._ask(newest)

    def keys(self) -> list[Key]:
        """The stored keys, oldest first."""
        return self._ask(read_keys)

    def _rows(self, query: Any) -> list[Record]:
        return self._ask(lambda connection: [dict(row) for row in connection.execute(query).mappings()])

    def _ask(self, question: Callable[[Connection], T]) -> T:
        try:
            # "Begin" takes the writer's lock on a writing engine; here each statement reads its own snapshot, and
            # one transaction makes several statements agree.
            with self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                return question(connection)
        except DBAPIError as error:
            if not self._path.exists():
                raise ConfigError(
                    f"there is no ledger at {self._path}: nothing was recorded yet, or `storage` names another file"
                ) from error
            raise ConfigError(f"the ledger {self._path} cannot be read: {error.orig}") from error


def _on_its_way(intent: Intent) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(attempts.c.keys())
    found |= {each.name: 0 for each in attempts.c if isinstance(each.type, Integer)}
    found |= {each.name: "" for each in attempts.c if isinstance(each.type, Text)}
    told = intent._asdict()
    return found | told | {"outcome": None, "facts": encode(told["facts"])}


_MODEL = case((exchanges.c.model_served != "", exchanges.c.model_served), else_=exchanges.c.model_asked)


def _dimension(name: str) -> ColumnElement[str]:
    if name == "model":
        return _MODEL
    if name in ("day", "hour"):
        return func.strftime(_DAY if name == "day" else _HOUR, exchanges.c.started, "unixepoch")
    return exchanges.c[name]


def _wanted(
    since: float | None, until: float | None, filters: Mapping[str, str], *, narrow: bool
) -> list[ColumnElement[bool]]:
    # The start decides. The ids, whose time may differ from it a little, only narrow what is read.
    c = exchanges.c
    found = [_dimension(name) == value for name, value in filters.items()]
    if since is not None:
        found.append(c.started >= since)
        if narrow:
            found.append(c.id >= _first_id(since - _SLACK_SECONDS))
    if until is not None:
        found.append(c.started < until)
        if narrow:
            found.append(c.id < _first_id(until + _SLACK_SECONDS))
    return found


_SLACK_SECONDS = 60.0
_LATEST = 16**12 - 1


def _first_id(moment: float) -> str:
    """What ids made at `moment` or later are not less than (see `core.ids`)."""
    return f"{PREFIX}{min(max(int(moment * 1000.0), 0), _LATEST):012x}"


_LENGTH = len(id_maker(lambda bits: 0)(0.0))


def _ids_tell_time(connection: Connection) -> bool:
    """False for a ledger that was filled with ids of another kind: then every row is looked at."""
    ids = exchange_rows.c.id
    for end in (func.min(ids), func.max(ids)):
        found = connection.execute(select(end)).scalar()
        if found is not None and (len(found) != _LENGTH or not found.startswith(PREFIX)):
            return False
    return True


_SUMMED = tuple(each.name for each in fields(Amounts) if each.name not in ("exchanges", "held_nano"))

_Settled = list[tuple[tuple[str, ...], Amounts]]
_Held = list[tuple[tuple[str, ...], int]]


def _sums(
    connection: Connection, by: Sequence[str], since: float | None, until: float | None, filters: Mapping[str, str]
) -> tuple[_Settled, _Held]:
    c = exchanges.c
    long = c.cache_write_long_tokens
    summed = {name: c[name] for name in _SUMMED} | {"cache_write_tokens": c.cache_write_tokens + long}
    dimensions = [_dimension(name) for name in by]
    query = select(
        *dimensions,
        func.count().label("exchanges"),
        *(func.coalesce(func.sum(column), 0).label(name) for name, column in summed.items()),
    ).where(*_wanted(since, until, filters, narrow=_ids_tell_time(connection)))
    names = ("exchanges", *summed)
    settled: _Settled = []
    for row in connection.execute(query.group_by(*dimensions) if dimensions else query):
        values = tuple(row)
        amounts = Amounts(**dict(zip(names, values[len(by) :], strict=True)))
        settled.append((values[: len(by)], amounts))
    return settled, _held(connection, by, since, until, filters)


def _held(
    connection: Connection, by: Sequence[str], since: float | None, until: float | None, filters: Mapping[str, str]
) -> _Held:
    # Few rows, at most what is in flight; who asks is in the intent until the exchange has its own row.
    found: _Held = []
    for intent in open_intents(connection, read_intents(connection)):
        facts = intent.facts
        started = facts["started"]
        if (since is not None and started < since) or (until is not None and started >= until):
            continue
        values = {**facts, "model": intent.model, "provider": intent.provider, "ending": ""}
        if not all(values.get(name, "") == value for name, value in filters.items()):
            continue
        moment = datetime.fromtimestamp(started, UTC)
        values["day"], values["hour"] = moment.strftime(_DAY), moment.strftime(_HOUR)
        found.append((tuple(str(values.get(name, "")) for name in by), intent.bound_nano or 0))
    return found


def _check(what: str, names: Sequence[str] | Mapping[str, str], allowed: Sequence[str]) -> None:
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise ConfigError(f"{what} {', '.join(unknown)}: not a dimension of usage; choose from {', '.join(allowed)}")
