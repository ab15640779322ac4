"""Tool calls that wait for a person: on record in the ledger, so they survive a restart and hold for all processes.

What is kept of a call is what the model wrote, and who asked. It goes 30 days after it has expired.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, delete, insert, inspect, select, update

from headgate.core.actors import Actor, actor
from headgate.core.approvals import PREFIX, Decision, Parked, State
from headgate.core.caller import Caller
from headgate.core.errors import HeadgateError, Unavailable
from headgate.core.guards import ToolCall
from headgate.core.text import storable
from headgate.policy.guards.decisions import edited_arguments
from headgate.policy.guards.tokens import ID_LENGTH, read_use_token, use_token
from headgate.stores.audit_log import append
from headgate.stores.commands import Call
from headgate.stores.dialects import is_postgres
from headgate.stores.rows import clean
from headgate.stores.schema import approvals
from headgate.stores.waiters import BlockingWaiter, Waiter, async_waiter

if TYPE_CHECKING:
    from headgate.stores.ledger import WrittenLedger
    from headgate.stores.reader import Reader
    from headgate.stores.session import Session

KEPT_SECONDS = 30 * 86_400.0
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_CALLER = ("key", "tenant", "user", "session", "task", "feature", "environment")
_LISTED = 1_000


class Decided(NamedTuple):
    """What came of a decision.

    Attributes:
        parked: as it is now; None: there is none with that id.
        made: it was this decision that made it so.
    """

    parked: Parked | None
    made: bool


class ApprovalStore:
    """The ledger's `approvals` table. Methods that return something block, in any thread but the writer's."""

    def __init__(
        self,
        ledger: WrittenLedger,
        key: Callable[[], bytes],
        *,
        now: Callable[[], float],
        tell: Callable[..., None] = lambda *_, **__: None,
    ) -> None:
        """
        Args:
            key: what tokens are signed with; asked for at the first use.
            now: seconds since the epoch.
            tell: the log's `event`.
        """
        self._ledger = ledger
        self._key_of = key
        self._known_key = b""
        self._now = now
        self._tell = tell
        self.on_parked: Callable[[Parked], None] | None = None
        """Told of each call once it is durable, in the writer thread: it must not wait."""

    @property
    def key(self) -> bytes:
        """What tokens are signed with.

        Raises:
            ConfigError: it cannot be read.
        """
        if not self._known_key:
            self._known_key = self._key_of()
        return self._known_key

    def asynchronous(self) -> _Port:
        """The port for an engine on event loops."""
        return _Port(self, async_waiter)

    def blocking(self) -> _Port:
        """The port for an engine without an event loop."""
        return _Port(self, BlockingWaiter)

    def keep(self, parked: Parked) -> None:
        """See `core.ports.Approvals`."""
        waiter = _Kept(self, parked)

        def work(session: Session) -> None:
            waiter.fresh = session.call(lambda sql: write(sql, parked))

        try:
            self._ledger.writer().call(Call(work, waiter))
        except Unavailable as error:
            self.kept(parked, fresh=False, error=error)

    def kept(self, parked: Parked, *, fresh: bool, error: HeadgateError | None) -> None:
        """A record was written, or could not be. In the writer thread, most of the time."""
        if error is not None:
            self._tell("approval_lost", approval=parked.id, exchange=parked.exchange_id, error=error.code)
        elif fresh:
            call, caller = parked.call, parked.caller
            told = {"approval": parked.id, "exchange": parked.exchange_id, "tool": call.name[:64]}
            self._tell("approval_parked", **told, key=caller.key, tenant=caller.tenant, user=caller.user)
            if self.on_parked is not None:
                self.on_parked(parked)

    def get(self, approval: str) -> Parked | None:
        """One, by its id.

        Raises:
            Unavailable: the ledger cannot be read.
        """
        found = self._ledger.call(lambda sql: find(sql, [approval]))
        return found[0] if found else None

    def list(self, *, state: State | None = None, limit: int = _LISTED) -> Sequence[Parked]:
        """The newest first. Raises as `get`."""
        return self._ledger.call(lambda sql: listed(sql, state, self._now(), limit))

    def approve(self, approval: str, *, arguments: Mapping[str, Any] | None = None, note: str = "") -> Decided:
        """Let whoever asked have the call, once.

        Args:
            arguments: in place of the model's.

        Raises:
            Unavailable: the ledger cannot be written.
            ValueError: the arguments are no JSON object.
        """
        edited = None if arguments is None else edited_arguments(dict(arguments))
        return self.decide(approval, Decision(True, edited, "python", note))

    def deny(self, approval: str, *, note: str = "") -> Decided:
        """Deny the call; whoever asked is told `note`. Raises as `get`."""
        return self.decide(approval, Decision(False, None, "python", note))

    def erase(self, kind: str, value: str, tenant: str | None = None) -> int:
        """Forget every call of a caller's, whatever became of it; how many they were. Raises as `get`.

        Args:
            kind: "user", "session" or "tenant", of that name.
            tenant: only this one's; None: anybody's.
        """
        return self._ledger.call(lambda sql: erase(sql, kind, value, tenant))

    def decide(self, approval: str, decision: Decision) -> Decided:
        """Approve or deny a call that waits; the first decision counts. Raises as `get`."""
        now, who = self._now(), _decider(decision)

        def work(sql: Connection) -> Decided:
            decided = decide(sql, approval, decision, now)
            if decided.made and decided.parked is not None:
                _audited(sql, decided.parked, who, now)
            return decided

        found = self._ledger.call(work)
        if found.made and found.parked is not None:
            state = found.parked.state
            edited = found.parked.edited is not None
            self._tell("approval_decided", approval=approval, decision=str(state), by=decision.by, edited=edited)
        return found


def _decider(decision: Decision) -> Actor:
    """Whoever acts, or else what the decision says of itself: a webhook's comes with no other name."""
    who = actor()
    return who if who != Actor() else Actor(way=decision.by or who.way)


def _audited(sql: Connection, parked: Parked, who: Actor, now: float) -> None:
    told = {"tool": parked.call.name, "exchange": parked.exchange_id, "user": parked.caller.user}
    after = {"state": str(parked.state), "edited": parked.edited is not None, "reason": parked.note}
    tenant = parked.caller.tenant
    append(sql, now, "approval.decide", parked.id, who=who, tenant=tenant, before=told, after=after)


class _Kept(BlockingWaiter):
    """Nobody waits: what came of it goes to the store."""

    __slots__ = ("_parked", "_store", "fresh")

    def __init__(self, store: ApprovalStore, parked: Parked) -> None:
        super().__init__()
        self._store = store
        self._parked = parked
        self.fresh = False

    def finish(self, error: HeadgateError | None) -> None:
        """See `BlockingWaiter`."""
        self._store.kept(self._parked, fresh=self.fresh, error=error)
        super().finish(error)


class _Port:
    """`core.ports.Approvals` in one colour."""

    __slots__ = ("_new_waiter", "_store")

    def __init__(self, store: ApprovalStore, new_waiter: Callable[[], Waiter]) -> None:
        self._store = store
        self._new_waiter = new_waiter

    def new_id(self) -> str:
        """See the port."""
        return PREFIX + "".join(secrets.choice(_BASE32) for _ in range(ID_LENGTH))

    def token(self, parked: Parked) -> str:
        """See the port."""
        return use_token(self._store.key, parked.id, parked.caller, parked.digest)

    def genuine(self, token: str, caller: Caller, digest: str) -> str | None:
        """See the port."""
        return read_use_token(self._store.key, token, caller, digest)

    def keep(self, parked: Parked) -> None:
        """See the port."""
        self._store.keep(parked)

    async def find(self, ids: Sequence[str]) -> Sequence[Parked]:
        """See the port."""
        found: Sequence[Parked] = await self._ask(lambda sql: find(sql, ids))
        return found

    async def take(self, ids: Sequence[str], now: float) -> bool:
        """See the port."""
        taken: bool = await self._ask(lambda sql: take(sql, ids, now))
        return taken

    async def _ask(self, work: Callable[[Connection], Any]) -> Any:
        waiter = self._new_waiter()
        call = Call(lambda session: session.call(work), waiter)
        self._store._ledger.writer().call(call)  # the store's own other half
        if isinstance(waiter, BlockingWaiter):
            waiter.wait()
        else:
            await waiter
        return call.result


def write(sql: Connection, parked: Parked) -> bool:
    """Add a record, or what is new of its answer. True where it is new."""
    row = _row(parked)
    known = sql.execute(select(approvals.c.id).where(approvals.c.id == row["id"])).first()
    if known is not None:
        sql.execute(update(approvals).where(approvals.c.id == row["id"]).values(answer=row["answer"]))
        return False
    sql.execute(delete(approvals).where(approvals.c.expires < parked.created - KEPT_SECONDS))
    sql.execute(insert(approvals).values(row))
    return True


def find(sql: Connection, ids: Sequence[str]) -> list[Parked]:
    """Those that are on record."""
    return [_parked(row) for row in sql.execute(select(approvals).where(approvals.c.id.in_(ids))).mappings()]


def listed(sql: Connection, state: State | None, now: float, limit: int = _LISTED) -> list[Parked]:
    """The newest first; `state` as of `now`."""
    c = approvals.c
    query = select(approvals).order_by(c.created.desc(), c.id).limit(limit)
    if state is State.EXPIRED:
        query = query.where(c.state.in_((State.PENDING, State.APPROVED)), c.expires <= now)
    elif state is not None:
        query = query.where(c.state == state)
        if state in (State.PENDING, State.APPROVED):
            query = query.where(c.expires > now)
    return [_parked(row) for row in sql.execute(query).mappings()]


def decide(sql: Connection, approval: str, decision: Decision, now: float) -> Decided:
    """The first decision about a call that waits."""
    state = State.APPROVED if decision.approve else State.DENIED
    told = {"state": state, "edited": decision.edited, "decided_by": decision.by, "decided_at": now}
    told["note"] = decision.note
    c = approvals.c
    waiting = (c.id == approval, c.state == State.PENDING, c.expires > now)
    values = dict(zip(told, clean(tuple(told.values())), strict=True))
    made = sql.execute(update(approvals).where(*waiting).values(values)).rowcount == 1
    found = find(sql, [approval])
    return Decided(found[0] if found else None, made)


def take(sql: Connection, ids: Sequence[str], now: float) -> bool:
    """Use all of them, or none."""
    c, wanted = approvals.c, sorted(set(ids))
    mine = (c.id.in_(wanted), c.state == State.APPROVED, c.expires > now)
    # Locked in one order, so that two who want the same wait for each other, and the second finds them used.
    if len(sql.execute(select(c.id).where(*mine).order_by(c.id).with_for_update()).all()) < len(wanted):
        return False
    sql.execute(update(approvals).where(c.id.in_(wanted)).values(state=State.USED))
    return True


def erase(sql: Connection, kind: str, value: str, tenant: str | None) -> int:
    """See `ApprovalStore.erase`."""
    gone = delete(approvals).where(approvals.c[kind] == storable(value))
    if tenant is not None:
        gone = gone.where(approvals.c.tenant == storable(tenant))
    if is_postgres(sql):
        return sql.execute(gone).rowcount
    sql.exec_driver_sql("PRAGMA secure_delete=ON")  # the bytes are written over, too
    try:
        return sql.execute(gone).rowcount
    finally:
        sql.exec_driver_sql("PRAGMA secure_delete=OFF")


def read_approvals(
    reader: Reader, now: float, *, ids: Sequence[str] = (), state: State | None = None, limit: int = _LISTED
) -> list[Parked]:
    """What another process can see of them, the newest first.

    Args:
        ids: only these; () = all.

    Raises:
        ConfigError: there is no ledger, or it cannot be read.
    """

    def ask(sql: Connection) -> list[Parked]:
        if not inspect(sql).has_table(approvals.name):
            return []  # an earlier Headgate wrote it last
        return find(sql, ids) if ids else listed(sql, state, now, limit)

    return reader._ask(ask)


def _row(parked: Parked) -> dict[str, Any]:
    call, caller = parked.call, parked.caller
    beside = [[number, each.id, each.name, each.arguments, each.place] for number, each in parked.beside]
    told = {
        "id": parked.id,
        "created": parked.created,
        "expires": parked.expires,
        "state": str(parked.state),
        **{name: getattr(caller, name) for name in _CALLER},
        "call_id": call.id,
        "tool": call.name,
        "arguments": call.arguments,
        "place": call.place,
        "edited": parked.edited,
        "exchange_id": parked.exchange_id,
        "digest": parked.digest,
        "answer": json.dumps([parked.number, *beside]),
        "decided_by": parked.decided_by,
        "decided_at": parked.decided_at,
        "note": parked.note,
    }
    return dict(zip(told, clean(tuple(told.values())), strict=True))


def _parked(row: Any) -> Parked:
    number, *beside = json.loads(row["answer"])
    return Parked(
        id=row["id"],
        created=row["created"],
        expires=row["expires"],
        caller=Caller(**{name: row[name] for name in _CALLER}),
        call=ToolCall(row["call_id"], row["tool"], row["arguments"], row["place"]),
        exchange_id=row["exchange_id"],
        digest=row["digest"],
        number=number,
        beside=tuple((each, ToolCall(*call)) for each, *call in beside),
        state=State(row["state"]),
        edited=row["edited"],
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
        note=row["note"],
    )
