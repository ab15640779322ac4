"""The log: searched, shown, summed, and erased by subject. What is kept of an exchange is `log.bodies`' to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from headgate.control.people import Principal, Right
from headgate.control.services import Row, Rows
from headgate.core.actors import acting
from headgate.core.errors import BadRequest, NotServed
from headgate.core.money import usd_text
from headgate.erasing import erase
from headgate.logbook.rows import session_json
from headgate.stores.logs.erasing import BadSubject, Subject
from headgate.stores.logs.histogram import percentile
from headgate.stores.logs.query import (
    BadQuery,
    GuardCounts,
    LogEvent,
    LogPage,
    LogQuery,
    LogRow,
    RollupRow,
    SessionPage,
)
from headgate.stores.logs.reader import LogReader
from headgate.stores.logs.sqlite_reader import NoLogStore

if TYPE_CHECKING:
    from headgate.control.context import Control
    from headgate.stores.logs.erasing import Kind

T = TypeVar("T")

QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
MOST_STEPS = 5_000

_APART = ("request", "cost_nano", "more")
_HISTOGRAMS = ("latency", "ttft")


class Logs:
    """A tenant-admin sees and erases its tenant's exchanges; events are of all tenants, so not for it."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._logs = control.built.logs
        self._ledger = control.built.ledger

    def search(self, who: Principal, query: LogQuery) -> Row:
        """``{"exchanges": [...], "next", "searched_to"}``, the newest first.

        Args:
            query: its `tenant` is set here for a tenant-admin.

        Raises:
            BadRequest: a field or cursor that is none.
            Unavailable: there is no log store, or it cannot be read.
        """
        return _page(self._ask(lambda reader: reader.search(_own(who, query)), LogPage(())))

    def show(self, who: Principal, exchange_id: str) -> Row:
        """One exchange with everything that is kept of it, and its attempts out of the ledger.

        Raises:
            NotServed: there is none with this id.
        """
        who.need(Right.READ)
        tenant = who.tenant_scope()
        row = self._ask(lambda reader: reader.show(exchange_id, tenant), None)
        if row is None:
            raise NotServed("There is no exchange with this id in the log.", code="no_exchange")
        self._ledger.flush()
        stored = self._ledger.reader().exchange(exchange_id)
        attempts = [] if stored is None else [_attempt(each) for each in stored.attempts]
        return {**_row(row), "request": row.request, "attempts_made": attempts}

    def conversation(
        self, who: Principal, session: str, *, tenant: str | None = None, limit: int = 50, after: str = ""
    ) -> Row:
        """As `search`: the exchanges of a session, the oldest first.

        Args:
            tenant: only this one's, "" for those without; None: by this name anywhere. A tenant-admin's is its own.
            after: `next` of the page before.
        """
        who.need(Right.READ)
        own = who.tenant_scope()
        whose = tenant if own is None else own
        return _page(self._ask(lambda reader: reader.conversation(session, whose, limit, after), LogPage(())))

    def sessions(self, who: Principal, query: LogQuery) -> Row:
        """``{"sessions": [...], "next", "searched_to"}``: those with an exchange that fits, the newest first.

        Args:
            query: its `tenant` is set here for a tenant-admin.

        Raises:
            BadRequest, Unavailable: as `search`.
        """
        found = self._ask(lambda reader: reader.sessions(_own(who, query)), SessionPage(()))
        told = [session_json(each) for each in found.sessions]
        return {"sessions": told, "next": found.next, "searched_to": found.searched_to}

    def events(
        self,
        who: Principal,
        *,
        names: tuple[str, ...] = (),
        since: float | None = None,
        before: str = "",
        limit: int = 50,
    ) -> Rows:
        """What is not about an exchange: breakers, anomalies, alerts, starts; the newest first."""
        who.need(Right.READ_ALL)
        none: tuple[LogEvent, ...] = ()
        found = self._ask(lambda reader: reader.events(names, since, None, before, limit), none)
        return [{"id": each.id, "at": each.at, "name": each.name, "fields": dict(each.fields)} for each in found]

    def rollup(self, who: Principal, since: float, until: float, *, step: str = "hour", by: str | None = None) -> Rows:
        """Sums by step of time and, if told, by a dimension: quick at any size. See `LogReader.rollup`.

        Raises:
            BadRequest: a step or dimension that is none, or more than 5,000 rows.
        """
        who.need(Right.READ)
        tenant = who.tenant_scope()
        none: list[RollupRow] = []
        found = self._ask(lambda reader: reader.rollup(since, until, step, by, tenant), none)
        if len(found) > MOST_STEPS:
            raise BadRequest(f"That makes {len(found):,} rows: ask for longer steps, or a shorter time.")
        return [_sums(each) for each in found]

    def guards(self, who: Principal, since: float, until: float) -> Row:
        """``{"counts": [...], "counted_from"}``: what guards found, by word and verdict. See `LogReader.guards`."""
        who.need(Right.READ)
        tenant = who.tenant_scope()
        found = self._ask(lambda reader: reader.guards(since, until, tenant), GuardCounts(()))
        return {"counts": [asdict(each) for each in found.counts], "counted_from": found.counted_from}

    def erase(self, who: Principal, kind: str, value: str, *, tenant: str | None = None) -> Row:
        """Take a subject's words and name out of the log, and what holds its words elsewhere; what it has cost
        stays, under a pseudonym. Takes seconds.

        Args:
            kind: "user", "session" or "tenant".
            value: the name, whole.
            tenant: of a user or session: only this tenant's; None: by this name anywhere.

        Raises:
            BadRequest: there is nothing that could be erased by that name.
            Denied: it is not this role's to erase.
            Unavailable: the disk said no; a second try does what is left.
        """
        who.need(Right.ERASE)
        own = who.tenant_scope()
        try:
            subject = Subject(cast("Kind", kind), value, tenant if own is None else own)
        except BadSubject as error:
            raise BadRequest(f"{str(error).capitalize()}.") from None
        batches, awaited = self._control.gateway.batches, self._control.awaited
        with acting(who.actor):
            return erase(
                self._control.built,
                subject,
                cancel=lambda batch: awaited(partial(batches.cancel, batch)),
                by=who.name,
            )

    def _ask(self, question: Callable[[LogReader], T], nothing: T) -> T:
        """`nothing`: what is told where nothing was stored yet."""
        self._logs.need()
        try:
            return question(self._logs.fresh())
        except BadQuery as error:
            raise BadRequest(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        except NoLogStore:
            return nothing


def _own(who: Principal, query: LogQuery) -> LogQuery:
    """The question, of the tenant that whoever asks may see."""
    who.need(Right.READ)
    tenant = who.tenant_scope()
    return query if tenant is None else replace(query, tenant=tenant)


def _page(page: LogPage) -> Row:
    return {"exchanges": [_row(row) for row in page.rows], "next": page.next, "searched_to": page.searched_to}


def _row(row: LogRow) -> Row:
    told = {
        each.name: getattr(row, each.name) for each in fields(row) if each.name not in ("request", "cost_nano", "more")
    }
    return {**told, "cost_usd": usd_text(row.cost_nano), "more": dict(row.more)}


def _attempt(record: Mapping[str, Any]) -> Row:
    """As `headgate logs show --json` has it: money in USD."""
    told: Row = {}
    for name, value in record.items():
        if name.endswith("_nano"):
            told[name.removesuffix("_nano") + "_usd"] = None if value is None else usd_text(value)
        elif isinstance(value, str | int | float | bool) or value is None:
            told[name] = value
    return told


def _sums(row: RollupRow) -> Row:
    told: Row = {}
    for each in fields(row):
        value = getattr(row, each.name)
        if each.name in _HISTOGRAMS:
            told[f"{each.name}_ms"] = {name: percentile(value, q) for name, q in QUANTILES}
        elif each.name.endswith("_nano"):
            told[each.name.removesuffix("_nano") + "_usd"] = usd_text(value)
        else:
            told[each.name] = value
    return told
