"""Incidents on record: in the ledger, so that they survive a restart and hold for all processes."""

from __future__ import annotations

import os
import secrets
import threading
import weakref
from collections.abc import Callable, Container
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, inspect, select, update

from headgate.core.actors import Actor, actor
from headgate.core.errors import ConfigError, HeadgateError
from headgate.core.incidents import PREFIX, Incident
from headgate.policy.incidents import DEFAULT_SECONDS, UNREAD, Incidents, checked
from headgate.stores.audit_log import append
from headgate.stores.commands import Call
from headgate.stores.rows import clean
from headgate.stores.schema import incidents, owners
from headgate.stores.waiters import BlockingWaiter, Waiter, async_waiter

if TYPE_CHECKING:
    from headgate.stores.ledger import WrittenLedger
    from headgate.stores.reader import Reader

LOOK_SECONDS = 2.0
"""How long what another process has set may stay unnoticed, and a little, where there are others."""
KEPT_SECONDS = 30 * 86_400.0
"""After its end."""
ALIVE_SECONDS = 30.0
"""A process that has told so lately that it lives shares the rates of `slow`."""
MOST_ON = 1_000
_LISTED = 1_000
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_FIELDS = tuple(Incident.__slots__)


class Standing(NamedTuple):
    """What is on record.

    Attributes:
        on: incidents that count.
        writers: processes that serve, >= 1.
    """

    on: list[Incident]
    writers: int


class IncidentStore:
    """The ledger's `incidents` table. Every method but `asynchronous` and `blocking` blocks, in any thread but the
    writer's, and raises Unavailable where the ledger cannot be read or written."""

    def __init__(
        self,
        ledger: WrittenLedger,
        board: Incidents,
        *,
        now: Callable[[], float],
        providers: Container[str],
        models: Container[str],
        tell: Callable[..., None] = lambda *_, **__: None,
    ) -> None:
        """
        Args:
            board: what calls look at.
            now: seconds since the epoch.
            providers, models: of the configuration, the latter virtual ones.
            tell: the log's `event`.
        """
        self._ledger = ledger
        self._board = board
        self._now = now
        self._providers = providers
        self._models = models
        self._tell = tell
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        self._starting = threading.Lock()  # held for no longer than a thread takes to start
        self._follower: threading.Thread | None = None
        self._pid = os.getpid()
        _stores.add(self)

    def asynchronous(self) -> _Port:
        """The port for an engine on event loops."""
        return _Port(self, async_waiter)

    def blocking(self) -> _Port:
        """The port for an engine without an event loop."""
        return _Port(self, BlockingWaiter)

    def set(
        self,
        kind: str,
        scope: str,
        value: str,
        *,
        to: str = "",
        rate: int = 0,
        why: str = "",
        by: str = "python",
        seconds: float = DEFAULT_SECONDS,
    ) -> Incident:
        """Stop, slow or degrade, at once and durably; in place of what is on for the same scope's value.

        Args:
            kind: "stop", "slow" or "degrade".
            scope: "provider", "model", "task" or "tenant".
            value: which: its name.
            to: with "degrade": the model that serves in place of what is asked for.
            rate: with "slow": requests per minute, of everybody in the scope together.
            why: for colleagues; callers are not told.
            by: who.
            seconds: after which it ends by itself, 1 to 604,800.

        Raises:
            ConfigError: it cannot be, and why.
        """
        now = self._now()
        made = checked(
            kind,
            scope,
            value,
            to=to,
            rate=rate,
            by=by,
            why=why,
            seconds=seconds,
            now=now,
            incident_id=PREFIX + "".join(secrets.choice(_BASE32) for _ in range(8)),
            providers=self._providers,
            models=self._models,
        )
        who = _setter(by)

        def work(sql: Connection) -> Standing:
            found = _add(sql, made, now)
            append(sql, now, "incident.set", made.id, who=who, tenant=_tenant(made), after=_audited(made))
            return found

        with self._changing:
            self._put(self._ledger.call(work), now)
        told = {name: getattr(made, name) for name in ("kind", "scope", "value", "to", "rate", "by", "why", "expires")}
        self._tell("incident_set", incident=made.id, **{name: value for name, value in told.items() if value})
        return made

    def lift(self, incident_id: str, *, by: str = "python") -> Incident:
        """End one now.

        Raises:
            ConfigError: there is none with that id that is on.
        """
        now, who = self._now(), _setter(by)

        def work(sql: Connection) -> tuple[Incident | None, Standing]:
            ended, left = _lift(sql, incident_id, by, now)
            if ended is not None:
                append(sql, now, "incident.lift", ended.id, who=who, tenant=_tenant(ended), before=_audited(ended))
            return ended, left

        with self._changing:
            found, standing = self._ledger.call(work)
            self._put(standing, now)
        if found is None:
            raise ConfigError(
                f"no incident {incident_id[:40]!r} is on: it has expired or was lifted; `headgate incident list`"
            )
        told = {"kind": found.kind, "scope": found.scope, "value": found.value, "by": by}
        self._tell("incident_lifted", incident=found.id, **told)
        return found

    def all(self, *, ended: bool = False) -> list[Incident]:
        """Those that are on, the newest first. `ended`: those that have ended, too."""
        now = self._now()
        return self._ledger.call(lambda sql: listed(sql, now, ended=ended))

    def load(self) -> None:
        """Read what is on record, and follow it from now on where other processes may change it."""
        with self._changing:
            now = self._now()
            self._put(self._ledger.call(lambda sql: standing(sql, now)), now)
        self._follow()

    def close(self) -> None:
        """Follow no longer. Idempotent."""
        self._stopping.set()
        follower = self._follower
        if follower is not None and follower is not threading.current_thread() and self._pid == os.getpid():
            follower.join(LOOK_SECONDS)

    def loaded(self, found: Standing) -> None:
        """What is on record has been read. Where something was set meanwhile, that is newer."""
        if self._board.live is UNREAD:
            self._put(found, self._now())
        self._follow()

    def _put(self, found: Standing, now: float) -> None:
        self._board.put(found.on, now, writers=found.writers)

    def _follow(self) -> None:
        if not self._ledger.others_write or self._stopping.is_set():
            return
        with self._starting:
            if self._follower is not None:
                return
            follower = threading.Thread(target=self._look, name="headgate-incidents", daemon=True)
            try:
                follower.start()
            except RuntimeError:  # the interpreter is shutting down and takes no new threads
                return
            self._follower = follower

    def _look(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                with self._changing:
                    now = self._now()
                    self._put(self._ledger.call(lambda sql: standing(sql, self._now())), now)
            except HeadgateError:
                continue  # what is known stays as it is: the next look may tell

    def _after_fork(self) -> None:
        self._pid, self._follower = os.getpid(), None
        self._changing, self._starting = threading.Lock(), threading.Lock()  # the parent's may be held for ever
        self._board.forget()


_stores: weakref.WeakSet[IncidentStore] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_stores):
        each._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Port:
    """`core.ports.IncidentRecord` in one colour."""

    __slots__ = ("_new_waiter", "_store")

    def __init__(self, store: IncidentStore, new_waiter: Callable[[], Waiter]) -> None:
        self._store = store
        self._new_waiter = new_waiter

    async def known(self) -> None:
        """See the port."""
        store, waiter = self._store, self._new_waiter()
        call = Call(lambda session: session.call(lambda sql: standing(sql, store._now())), waiter)
        try:
            store._ledger.writer().call(call)  # the store's own other half
            if isinstance(waiter, BlockingWaiter):
                waiter.wait()
            else:
                await waiter
        except HeadgateError:
            return  # nothing can be recorded either: whatever costs money is refused, and the next call asks again
        store.loaded(call.result)


def standing(sql: Connection, now: float) -> Standing:
    """What is on, and how many share it."""
    writers = 1
    if sql.dialect.name == "postgresql":
        alive = owners.c.heartbeat > func.extract("epoch", func.clock_timestamp()) - ALIVE_SECONDS
        writers = sql.execute(select(func.count()).select_from(owners).where(alive)).scalar_one()
    return Standing(listed(sql, now), max(1, writers))


def listed(sql: Connection, now: float, *, ended: bool = False) -> list[Incident]:
    """The newest first."""
    c = incidents.c
    query = select(incidents).order_by(c.since.desc(), c.id).limit(_LISTED)
    if not ended:
        query = query.where(c.lifted.is_(None), c.expires > now)
    return [Incident(**{name: row[name] for name in _FIELDS}) for row in sql.execute(query).mappings()]


def read_incidents(reader: Reader, now: float, *, ended: bool = False) -> list[Incident]:
    """What another process can see of them, the newest first.

    Raises:
        ConfigError: there is no ledger, or it cannot be read.
    """

    def ask(sql: Connection) -> list[Incident]:
        if not inspect(sql).has_table(incidents.name):
            return []  # an earlier Headgate wrote it last
        return listed(sql, now, ended=ended)

    return reader._ask(ask)


def _add(sql: Connection, made: Incident, now: float) -> Standing:
    c = incidents.c
    sql.execute(delete(incidents).where(func.coalesce(c.lifted, c.expires) < now - KEPT_SECONDS))
    on = (c.lifted.is_(None), c.expires > now)
    same = (c.scope == made.scope, c.value == made.value)
    sql.execute(update(incidents).where(*on, *same).values(lifted=now, lifted_by=f"replaced by {made.id}"))
    if sql.execute(select(func.count()).select_from(incidents).where(*on)).scalar_one() >= MOST_ON:
        raise ConfigError(f"{MOST_ON:,} incidents are on already: lift some of them first")
    told = tuple(getattr(made, name) for name in _FIELDS)
    sql.execute(insert(incidents).values(dict(zip(_FIELDS, clean(told), strict=True))))
    return standing(sql, now)


def _setter(by: str) -> Actor:
    """Whoever acts, or else whom the call names."""
    who = actor()
    return who if who != Actor() else Actor(by)


def _audited(incident: Incident) -> dict[str, Any]:
    told = {name: getattr(incident, name) for name in ("kind", "scope", "value", "to", "rate", "why", "expires")}
    return {name: value for name, value in told.items() if value}


def _tenant(incident: Incident) -> str:
    return incident.value if incident.scope == "tenant" else ""


def _lift(sql: Connection, incident_id: str, by: str, now: float) -> tuple[Incident | None, Standing]:
    c = incidents.c
    on = (c.id == incident_id, c.lifted.is_(None), c.expires > now)
    row: Any = sql.execute(select(incidents).where(*on)).mappings().first()
    if row is not None:
        sql.execute(update(incidents).where(*on).values(lifted=now, lifted_by=by))
    found = None if row is None else Incident(**{name: row[name] for name in _FIELDS})
    return None if found is None else replace(found, lifted=now, lifted_by=by), standing(sql, now)
