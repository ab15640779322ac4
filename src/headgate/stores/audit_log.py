"""The audit log: every change that people make, one row each, in the ledger. Rows are added and never changed.

Each row's hash covers the row and the hash of the row before it, so whoever changes, removes or slips in a row breaks
the chain from there on. The newest row's hash is kept in `meta`, too, so that rows missing at the end are seen. Whoever
may write the database can make a new chain; that is seen only by whoever has noted a hash elsewhere: see `verify`.

Triggers of the database forbid UPDATE and DELETE; its owner can remove them, and breaks the chain all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, func, insert, inspect, select, update

from headgate.core.actors import Actor, actor
from headgate.stores.dialects import take_turns_auditing
from headgate.stores.rows import clean
from headgate.stores.schema import audit_log, meta

if TYPE_CHECKING:
    from headgate.stores.reader import Reader

T = TypeVar("T")

FIRST = "0" * 64
"""What stands in the place of the hash before the first row."""
MOST = 1_000
"""Rows of one page."""

BEGUN: Mapping[str, Any] = MappingProxyType({"begun": True})
"""What stands in the place of what came of a change before it is made."""

_HEAD = "audit_head"
_AT_ONCE = 1_000
_MAX_TEXT = 16 * 1024  # characters of what was, or is now


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change.

    Attributes:
        number: counts from 1, without gaps.
        at: seconds since the epoch.
        actor, role, way, address: see `core.actors.Actor`.
        action: what was done, like ``key.create``.
        subject: to what: an id or a name.
        tenant: whose it is; "" = nobody's in particular.
        before, after: JSON objects, "" = nothing; without secrets.
        previous, hash: hex.
    """

    number: int
    at: float
    actor: str
    role: str
    way: str
    address: str
    action: str
    subject: str
    tenant: str
    before: str
    after: str
    previous: str
    hash: str = ""

    def digest(self) -> str:
        """What `hash` has to be: SHA-256 of all other fields as a JSON array, ASCII, without spaces."""
        fields = json.dumps(astuple(self)[:-1], ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(fields.encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """For programs: `before` and `after` as objects, None where there is nothing."""
        told: dict[str, Any] = {name: getattr(self, name) for name in AuditRow.__slots__}
        for name in ("before", "after"):
            told[name] = json.loads(told[name]) if told[name] else None
        return told


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of looking at the chain.

    Attributes:
        rows: how many are sound, from the first on.
        head: the hash of the last sound row.
        broken: the number of the first row that is not as it was written; None: all of them are.
        why: in words; "" = nothing is broken.
    """

    rows: int
    head: str
    broken: int | None = None
    why: str = ""


@dataclass(slots=True)
class Outcome:
    """What came of a change: see `AuditLog.around`."""

    subject: str
    after: Mapping[str, Any] | None = None


class _Run(Protocol):
    def __call__(self, work: Callable[[Connection], T], /) -> T: ...


class AuditLog:
    """The ledger's `audit_log`. Methods block for the writer thread; those that read may be called there as well."""

    def __init__(self, run: _Run, *, now: Callable[[], float]) -> None:
        """
        Args:
            run: runs a function of a connection in the writer thread, in a transaction, and returns its result.
            now: seconds since the epoch.
        """
        self._run = run
        self._now = now

    def record(
        self,
        action: str,
        subject: str,
        *,
        tenant: str = "",
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> AuditRow:
        """Put a change on record, done by whoever acts now (`core.actors`).

        Raises:
            Unavailable: it could not be written.
        """
        return self._run(self.recording(action, subject, tenant=tenant, before=before, after=after))

    def recording(
        self,
        action: str,
        subject: str,
        *,
        tenant: str = "",
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> Callable[[Connection], AuditRow]:
        """`record` as a part of somebody else's transaction: who acts, and when, is what it is now."""
        at, who = self._now(), actor()
        return lambda sql: append(sql, at, action, subject, who=who, tenant=tenant, before=before, after=after)

    @contextmanager
    def around(
        self, action: str, subject: str, *, tenant: str = "", before: Mapping[str, Any] | None = None
    ) -> Iterator[Outcome]:
        """A change of what is not in the ledger, so that it cannot be in one transaction with its row.

        A row that it has begun (`after` is ``{"begun": true}``) is written before it, and one with what came of it
        behind it: whatever takes effect has a row at least. Where there is no second one it failed, or the ledger did.

        Args:
            before: how it was.

        Raises:
            Unavailable: it could not be written; before the change, it is not made.
        """
        self.record(action, subject, tenant=tenant, before=before, after=BEGUN)
        came = Outcome(subject)
        yield came
        self.record(action, came.subject, tenant=tenant, before=before, after=came.after)

    def rows(
        self, *, below: int | None = None, limit: int = 50, tenant: str | None = None, **filters: str
    ) -> list[AuditRow]:
        """The newest first. See `read_rows`."""
        return self._run(lambda sql: read_rows(sql, below=below, limit=limit, tenant=tenant, **filters))

    def verify(self, noted: tuple[int, str] | None = None) -> Verified:
        """See `verify`."""
        return self._run(lambda sql: verify(sql, noted))


def append(
    sql: Connection,
    at: float,
    action: str,
    subject: str,
    *,
    who: Actor,
    tenant: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditRow:
    """Add a row, in the transaction of the change that it is about. Processes take turns, until it ends.

    Args:
        before, after: what was and what is now, JSON's values; the caller leaves secrets out.
    """
    take_turns_auditing(sql)
    number, previous = _last(sql)
    name, role, way, address, subject, tenant = clean((who.name, who.role, who.way, who.address, subject, tenant))
    told = (name, role, way, address, action, subject, tenant, _json(before), _json(after), previous)
    row = AuditRow(number + 1, at, *told)
    row = replace(row, hash=row.digest())
    sql.execute(insert(audit_log).values({name: getattr(row, name) for name in AuditRow.__slots__}))
    note_head(sql, row.number, row.hash)
    return row


def note_head(sql: Connection, number: int, digest: str) -> None:
    """Keep which row is the last."""
    value = f"{number}:{digest}"
    if sql.execute(update(meta).where(meta.c.name == _HEAD).values(value=value)).rowcount == 0:
        sql.execute(insert(meta).values(name=_HEAD, value=value))


def last(sql: Connection) -> tuple[int, str]:
    """(number, hash) of the newest row; (0, FIRST) where there is none."""
    return _last(sql)


def read_rows(
    sql: Connection, *, below: int | None = None, limit: int = 50, tenant: str | None = None, **filters: str
) -> list[AuditRow]:
    """The newest first.

    Args:
        below: only rows with a smaller number: the last one of the page before.
        limit: at most so many, 1..1,000.
        tenant: only this tenant's; None: all.
        filters: `actor`, `action`, `subject`, `way`: only rows with this value.
    """
    c = audit_log.c
    query = select(audit_log).order_by(c.number.desc()).limit(max(1, min(limit, MOST)))
    if below is not None:
        query = query.where(c.number < below)
    if tenant is not None:
        query = query.where(c.tenant == tenant)
    for name, value in filters.items():
        query = query.where(c[name] == value)
    return [_row(found) for found in sql.execute(query).mappings()]


def verify(sql: Connection, noted: tuple[int, str] | None = None) -> Verified:
    """Read the whole chain.

    Args:
        noted: (number, hash) of a row, noted elsewhere at an earlier time: that row has to be the same still.
    """
    rows, head = 0, FIRST
    query = select(audit_log).order_by(audit_log.c.number).execution_options(yield_per=_AT_ONCE)
    for found in sql.execute(query).mappings():
        row = _row(found)
        why = _wrong(row, rows + 1, head)
        if not why and noted is not None and noted[0] == row.number and noted[1] != row.hash:
            why = "it is not the row whose hash was noted: the chain was made anew"
        if why:
            return Verified(rows, head, rows + 1, why)
        rows, head = row.number, row.hash
    known = sql.execute(select(meta.c.value).where(meta.c.name == _HEAD)).scalar()
    number, _, digest = (known or f"{rows}:{head}").partition(":")
    if noted is not None and noted[0] > rows:
        return Verified(rows, head, rows + 1, f"rows are missing at the end: number {noted[0]} was noted")
    if (int(number), digest) != (rows, head):
        return Verified(rows, head, rows + 1, f"rows are missing at the end: there were {number}")
    return Verified(rows, head)


def read_audit(reader: Reader, question: Callable[[Connection], T], *, empty: T) -> T:
    """Ask of a ledger that another process writes; `empty` where an earlier Headgate wrote it last.

    Raises:
        ConfigError: there is no ledger, or it cannot be read.
    """
    return reader._ask(lambda sql: question(sql) if inspect(sql).has_table(audit_log.name) else empty)


def _wrong(row: AuditRow, number: int, previous: str) -> str:
    if row.number != number:
        return f"row {number} is missing"
    if row.previous != previous:
        return "it does not follow the row before it"
    return "" if row.hash == row.digest() else "it is not what was written"


def _last(sql: Connection) -> tuple[int, str]:
    c = audit_log.c
    found = sql.execute(
        select(c.number, c.hash).where(c.number == select(func.max(c.number)).scalar_subquery())
    ).first()
    return (0, FIRST) if found is None else (int(found[0]), str(found[1]))


def _row(found: Mapping[Any, Any]) -> AuditRow:
    return AuditRow(**{name: found[name] for name in AuditRow.__slots__})


def _json(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return ""
    text = json.dumps(dict(told), ensure_ascii=True, separators=(",", ":"), default=str)
    return text if len(text) <= _MAX_TEXT else json.dumps({"too_long": len(text)})
