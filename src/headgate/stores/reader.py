"""Reading the ledger beside its writer: what was spent, by whom; one exchange with its attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Integer, Text, and_, or_, select
from sqlalchemy.exc import DBAPIError

from headgate.core.errors import ConfigError
from headgate.stores.database import reader_engine
from headgate.stores.dimensions import DIMENSIONS, FILTERS, check
from headgate.stores.forks import work_lock
from headgate.stores.intents import Intent, open_intents, read_intents
from headgate.stores.keys import Key, read_keys
from headgate.stores.rows import encode
from headgate.stores.schema import attempts, exchanges
from headgate.stores.selecting import ids_tell_time, tried_since, wanted
from headgate.stores.usage_sums import Amounts, Record, UsageReport, UsageRow, charged, sort_key, sums

__all__ = [
    "DIMENSIONS",
    "FILTERS",
    "Amounts",
    "NoLedger",
    "Reader",
    "Record",
    "StoredExchange",
    "UsageReport",
    "UsageRow",
]

T = TypeVar("T")


class NoLedger(ConfigError):
    """Nothing was ever recorded where the ledger should be."""


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

    @property
    def name(self) -> str:
        """The place, for people: without a credential."""
        return str(self._path)

    def usage(
        self,
        *,
        by: Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        **filters: str,
    ) -> UsageReport:
        """Sums over the exchanges that started in [since, until), seconds since the epoch.

        Args:
            by: any of :data:`DIMENSIONS` or ``tag:<name>``, in the order the rows show them.
            zone: whose hours, days, weeks and months.
            filters: any of :data:`FILTERS`, as ``user="ada"``, or ``**{"tag:team": "search"}``; "" means not told.

        Raises:
            ConfigError: an unknown dimension or filter, or there is no ledger.
        """
        check("--by", by, DIMENSIONS)
        check("filter", filters, FILTERS)
        if since is not None and until is not None and until <= since:
            return UsageReport(Amounts())
        settled, held = self._ask(lambda connection: sums(connection, by, since, until, zone, filters))
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
        rows.sort(key=lambda row: sort_key(row.by, row.amounts.cost_nano))
        return UsageReport(total, rows)

    def charged(
        self,
        *,
        by: Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
        filters: Mapping[str, str],
        take: Callable[[Iterable[tuple[tuple[str, ...], Record]]], T],
    ) -> T:
        """Hand the settled attempts of the exchanges that `usage` would add up to `take`, one by one.

        Args:
            take: gets (values of `by`, the attempt's row) for each, in no order, and reads them while the ledger is
                open; what it returns is returned.

        Raises:
            ConfigError: as `usage`.
        """
        check("--by", by, DIMENSIONS)
        check("filter", filters, FILTERS)
        return self._ask(lambda connection: take(charged(connection, by, since, until, zone, filters)))

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
        check("filter", filters, FILTERS)

        def newest(connection: Connection) -> list[Record]:
            ordered = ids_tell_time(connection)
            dialect = connection.dialect.name
            query = select(exchanges).where(*wanted(since, None, filters, dialect, narrow=ordered))
            by_id = exchanges.c.id.desc()
            order = (by_id,) if ordered else (exchanges.c.started.desc(), by_id)
            return [dict(row) for row in connection.execute(query.order_by(*order).limit(limit)).mappings()]

        return self._ask(newest)

    def sent_as(self, name: str, since: float) -> tuple[str, str] | None:
        """(provider, model) as an attempt since then was sent that people may call `name`, alone or behind
        "provider/": by what was sent, else by what has answered. None: there was none."""

        def find(connection: Connection) -> tuple[str, str] | None:
            c = attempts.c
            recent = tried_since(since, narrow=ids_tell_time(connection))
            for model in (c.model, c.model_served):
                named = or_(model == name, c.provider + "/" + model == name)
                row = connection.execute(select(c.provider, c.model).where(*recent, named).limit(1)).first()
                if row is not None:
                    return row.provider, row.model
            return None

        return self._ask(find)

    def keys(self) -> list[Key]:
        """The stored keys, oldest first."""
        return self._ask(read_keys)

    def _rows(self, query: Any) -> list[Record]:
        return self._ask(lambda connection: [dict(row) for row in connection.execute(query).mappings()])

    def _ask(self, question: Callable[[Connection], T]) -> T:
        """Run `question` on what the ledger is at one moment.

        Raises:
            NoLedger: there is none.
            ConfigError: it cannot be read.
        """
        try:
            # "Begin" takes the writer's lock on a writing engine; here each statement reads its own snapshot, and
            # one transaction makes several statements agree.
            with work_lock(), self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN")
                return question(connection)
        except DBAPIError as error:
            if not self._path.exists():
                raise NoLedger(
                    f"there is no ledger at {self._path}: nothing was recorded yet, or `storage` names another file"
                ) from error
            raise ConfigError(f"the ledger {self._path} cannot be read: {error.orig}") from error


def _on_its_way(intent: Intent) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(attempts.c.keys())
    found |= {each.name: 0 for each in attempts.c if isinstance(each.type, Integer)}
    found |= {each.name: "" for each in attempts.c if isinstance(each.type, Text)}
    told = intent._asdict()
    return found | told | {"outcome": None, "facts": encode(told["facts"])}
