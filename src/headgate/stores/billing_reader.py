"""What invoices and reconciliations ask of the ledger."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from sqlalchemy import Connection, case, func, select

from headgate.core.exchange import Ending
from headgate.policy.invoicing import Pending, Work
from headgate.policy.reconciling import CLASSES, Ours
from headgate.stores.dimensions import BUCKETS, NO_OFFSET, check, dimension, in_order, offsets_of
from headgate.stores.intents import Intent, open_intents, read_intents
from headgate.stores.reader import DIMENSIONS, Reader
from headgate.stores.schema import attempts, exchanges
from headgate.stores.selecting import ids_tell_time, wanted
from headgate.stores.usage_sums import HOLDS

_DAY_SECONDS = 86_400
_SUMMED = CLASSES


class BillingReader:
    """Asks a ledger's :class:`Reader` what `headgate invoice` and `headgate reconcile` want to know."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def tenants(self, since: float, until: float) -> list[str]:
        """Who has an exchange that began in [since, until), seconds since the epoch, settled or on its way."""

        def ask(connection: Connection) -> list[str]:
            narrowed = wanted(since, until, {}, connection.dialect.name, narrow=ids_tell_time(connection))
            found = {row[0] for row in connection.execute(select(exchanges.c.tenant).where(*narrowed).distinct())}
            found |= {str(each.facts["tenant"]) for each in _on_the_way(connection, since, until)}
            return sorted(found)

        return self._reader._ask(ask)

    def work(
        self, tenant: str, by: Sequence[str], since: float, until: float, zone: tzinfo = UTC
    ) -> tuple[list[Work], Pending]:
        """A tenant's settled exchanges that began in [since, until), and what is on its way.

        Returns:
            One `Work` for each combination of the dimensions `by`: by time where one is a time, then dearest first.

        Raises:
            ConfigError: an unknown dimension, or there is no ledger.
        """
        check("--by", by, DIMENSIONS)

        def ask(connection: Connection) -> tuple[list[Work], Pending]:
            found = _works(connection, tenant, by, since, until, zone)
            going = [e for e in _on_the_way(connection, since, until) if str(e.facts["tenant"]) == tenant]
            return found, Pending(len(going), sum(e.bound_nano or 0 for e in going))

        works, pending = self._reader._ask(ask)
        in_time = [place for place, name in enumerate(by) if name in BUCKETS]
        works.sort(key=lambda w: ([in_order(by[p], w.by[p]) for p in in_time], -w.cost_nano, w.by))
        return works, pending

    def provider_days(self, providers: Collection[str], since: float, until: float, *, simulated: bool) -> list[Ours]:
        """Attempts at these providers that began in [since, until), by UTC day, model and provider.

        Args:
            simulated: those that the simulator answered, or those that it did not. A call that went through another
                Headgate is in neither: that one has charged it.
        """

        def ask(connection: Connection) -> list[Ours]:
            found = {(o.day, o.model, o.key): o for o in _days(connection, providers, since, until, simulated)}
            for intent in open_intents(connection, read_intents(connection)):
                if intent.provider in providers and since <= intent.started < until:
                    at = (_day(intent.started), intent.model, intent.provider)
                    ours = found.setdefault(at, Ours(*at))
                    ours.open += 1
                    ours.open_nano += intent.bound_nano or 0
            return list(found.values())

        return self._reader._ask(ask)


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


def _on_the_way(connection: Connection, since: float, until: float) -> list[Intent]:
    found = open_intents(connection, read_intents(connection))
    return [each for each in found if since <= each.facts["started"] < until]


def _works(
    connection: Connection, tenant: str, by: Sequence[str], since: float, until: float, zone: tzinfo
) -> list[Work]:
    c, dialect = exchanges.c, connection.dialect.name
    offsets = offsets_of(zone, since, until) if any(name in BUCKETS for name in by) else NO_OFFSET
    named = [f"by_{place}" for place in range(len(by))]
    dimensions = [dimension(name, dialect, offsets).label(told) for name, told in zip(by, named, strict=True)]
    fake = c.simulated != 0
    sums = {
        "exchanges": func.coalesce(func.sum(case((c.endpoint == HOLDS, 0), else_=1)), 0),
        **{name: func.sum(c[name]) for name in _SUMMED},
        "cost_nano": func.sum(c.cost_nano),
        "estimated_nano": func.sum(c.estimated_nano),
        "estimated_exchanges": func.sum(case((c.estimated_nano > 0, 1), else_=0)),
        "simulated_exchanges": func.sum(case((fake, 1), else_=0)),
        "simulated_nano": func.sum(case((fake, c.cost_nano), else_=0)),
    }
    narrowed = wanted(since, until, {"tenant": tenant}, dialect, narrow=ids_tell_time(connection))
    query = select(*dimensions, *(each.label(name) for name, each in sums.items())).where(*narrowed)
    found = []
    for row in connection.execute(query.group_by(*named) if named else query):
        values: tuple[Any, ...] = tuple(row)
        counted = dict(zip(sums, (int(value or 0) for value in values[len(by) :]), strict=True))
        if counted["exchanges"] or counted["cost_nano"]:  # a batch's hold is money, and no exchange
            found.append(Work(tuple(str(value) for value in values[: len(by)]), **counted))
    return found


def _days(
    connection: Connection, providers: Collection[str], since: float, until: float, simulated: bool
) -> list[Ours]:
    a, e = attempts.c, exchanges.c
    first = since // _DAY_SECONDS * _DAY_SECONDS
    bounds = [first + _DAY_SECONDS * n for n in range(1, int((until - first) // _DAY_SECONDS) + 2)]
    day = case(*((a.started < end, place) for place, end in enumerate(bounds)), else_=len(bounds))
    model = case((a.model_served != "", a.model_served), else_=a.model)
    end_of_day = case(*((a.started < end, end) for end in bounds), else_=bounds[-1])
    killed = (a.outcome == Ending.KILLED.value) & (a.estimated != 0)
    counted = sum((a[name] for name in _SUMMED[1:]), a[_SUMMED[0]]) + a.cost_nano > 0
    sums = {
        **{name: func.sum(a[name]) for name in _SUMMED},
        "requests": func.sum(case((counted, 1), else_=0)),
        "cost_nano": func.sum(a.cost_nano),
        "estimated": func.sum(case((counted & (a.estimated != 0), 1), else_=0)),
        "estimated_nano": func.sum(case((a.estimated != 0, a.cost_nano), else_=0)),
        "killed": func.sum(case((counted & killed, 1), else_=0)),
        "killed_nano": func.sum(case((killed, a.cost_nano), else_=0)),
        "late": func.sum(case((counted & (a.ended >= end_of_day), 1), else_=0)),
    }
    # An exchange begins at most some minutes before its attempts: its id only narrows what is read.
    narrowed = wanted(since - _DAY_SECONDS, until, {}, connection.dialect.name, narrow=ids_tell_time(connection))
    query = (
        select(day.label("day"), model.label("named"), a.provider.label("via"), *(v.label(k) for k, v in sums.items()))
        .select_from(attempts.join(exchanges, a.exchange_id == e.id))
        .where(*narrowed, a.started >= since, a.started < until, a.provider.in_(sorted(providers)))
        .where(e.simulated != 0 if simulated else e.simulated == 0, e.upstream_gateway == "")
        .group_by("day", "named", "via")
    )
    found = []
    for row in connection.execute(query).mappings():
        told = {name: int(row[name] or 0) for name in sums}
        if not told["requests"]:
            continue
        ours = Ours(_day(first + _DAY_SECONDS * int(row["day"])), str(row["named"]), str(row["via"]))
        ours.counts = {name: told.pop(name) for name in _SUMMED}
        for name, value in told.items():
            setattr(ours, name, value)
        found.append(ours)
    return found
