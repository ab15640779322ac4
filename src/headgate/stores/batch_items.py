"""Batches and their items, as rows: what was asked, how far each is, what came of it and what it has cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from headgate.core.text import storable
from headgate.stores.jobs_place import JobsPlace, metadata

WAITING, SENT, DONE, FAILED, BROKEN, SAME, CANCELLED = (
    "waiting",
    "sent",
    "done",
    "failed",
    "broken",
    "same",
    "cancelled",
)
"""States of an item. `sent`: under way, with us or with the provider. `same`: another item asks the same, and its
answer is this one's, too. `broken`: its line cannot be run."""

OVER = frozenset({"ended", "cancelled"})
"""States of a batch that nothing more happens to, unless what has failed is tried again."""

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("ended", Float),
    Column("deadline", Float),
    Column("hold", Integer, nullable=False),
    Column("caller", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("heartbeat", Float, nullable=False),
    Column("why", Text, nullable=False),
    Column("served", Integer, nullable=False, server_default="0"),
)

items = Table(
    "batch_items",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("line", Integer, nullable=False),
    Column("custom_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("twice", Integer, nullable=False),
    Column("url", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("same_as", Integer),
    Column("bound_nano", BigInteger),
    Column("bound_tokens", BigInteger, nullable=False),
    Column("hold", Integer),
    Column("shard", Integer),
    Column("status", Integer, nullable=False),
    Column("result", LargeBinary),
    Column("request_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("drawn_nano", BigInteger, nullable=False),
    Column("drawn_tokens", BigInteger, nullable=False),
    Index("batch_items_state", "batch", "state", "place"),
    Index("batch_items_shard", "batch", "shard", "place"),
)

holds = Table(
    "batch_holds",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("exchange", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("started", Float, nullable=False),
    Column("bound_nano", BigInteger, nullable=False),
    Column("bound_tokens", BigInteger, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("user", Text, nullable=False),
    # Of what its items have drawn: what earlier exchanges of this hold were closed with.
    Column("settled_nano", BigInteger, nullable=False),
    Column("settled_tokens", BigInteger, nullable=False),
)

shards = Table(
    "batch_shards",
    metadata,
    Column("batch", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("items", Integer, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("file_id", Text, nullable=False),
    Column("begun", Float, nullable=False),
    Column("submitted", Float),
    Column("why", Text, nullable=False),
)


@dataclass(slots=True)
class Batch:
    """One batch. Times are seconds since the epoch.

    Attributes:
        via: "paced" or "provider".
        state: "reading", "ready", "running", "cancelling", or one of `OVER`.
        deadline: after it nothing is begun; None = none.
        hold: money is set aside for all of it before its first item goes.
        caller: `core.caller.Caller`, as a mapping.
        why: it ended before it was done, in words.
        served: a gateway works at it, and the next one goes on.
    """

    id: str
    name: str
    dialect: str
    via: str
    state: str
    created: float
    ended: float | None = None
    deadline: float | None = None
    hold: bool = True
    caller: Mapping[str, Any] = field(default_factory=dict)
    owner: str = ""
    heartbeat: float = 0.0
    why: str = ""
    served: bool = False


@dataclass(slots=True)
class Item:
    """One line of a batch; see the table's columns. `attempt` is the one that it is leased for."""

    place: int
    line: int
    custom_id: str
    state: str
    attempt: int = 0
    twice: bool = False
    url: str = ""
    body: bytes = b""
    hold: int | None = None
    shard: int | None = None
    bound_nano: int | None = None
    status: int = 0
    result: bytes | None = None
    request_id: str = ""
    reason: str = ""
    exchange: str = ""
    cost_nano: int = 0
    same_as: int | None = None


@dataclass(slots=True)
class Ended:
    """What came of one item."""

    place: int
    state: str
    status: int = 0
    result: bytes | None = None
    request_id: str = ""
    reason: str = ""
    exchange: str = ""
    cost_nano: int = 0
    drawn_nano: int = 0  # of it, from what the batch has set aside
    drawn_tokens: int = 0


@dataclass(slots=True)
class Counts:
    """How far a batch is. Money is nano-dollars."""

    total: int = 0
    states: dict[str, int] = field(default_factory=dict)
    cost_nano: int = 0
    twice: int = 0

    @property
    def over(self) -> int:
        """Items that nothing more happens to; those that ask the same as another go with it."""
        return sum(self.states.get(each, 0) for each in (DONE, FAILED, BROKEN, CANCELLED))

    @property
    def left(self) -> int:
        """Items that wait or are under way."""
        return self.states.get(WAITING, 0) + self.states.get(SENT, 0)


_ITEM = [
    items.c[name]
    for name in (
        *("place", "line", "custom_id", "state", "attempt", "twice", "url", "body", "hold", "shard", "bound_nano"),
        *("status", "result", "request_id", "reason", "exchange", "cost_nano", "same_as"),
    )
]
_NEW: dict[str, Any] = {
    **dict.fromkeys(("attempt", "twice", "bound_tokens", "status", "cost_nano", "drawn_nano", "drawn_tokens"), 0),
    **dict.fromkeys(("url", "request_id", "reason", "exchange"), ""),
    **dict.fromkeys(("same_as", "bound_nano", "hold", "shard", "result")),
    **dict.fromkeys(("digest", "body"), b""),
}


@dataclass(slots=True)
class Hold:
    """Money set aside for some items of a batch, as one exchange of the ledger's.

    Attributes:
        state: "new", "open" (its exchange is on record, and may be settled no more than once), "closed".
        provider, model, user: what its budgets are found by.
    """

    number: int
    provider: str
    model: str
    user: str
    exchange: str = ""
    state: str = "new"
    started: float = 0.0
    bound_nano: int = 0
    bound_tokens: int = 0
    settled_nano: int = 0
    settled_tokens: int = 0


@dataclass(slots=True)
class Drawn:
    """What the items of a hold have come to, and may still cost at standard prices."""

    left: int = 0
    bound_nano: int = 0
    bound_tokens: int = 0
    drawn_nano: int = 0
    drawn_tokens: int = 0


@dataclass(slots=True)
class Shard:
    """A part of a batch that is one batch of its provider's.

    Attributes:
        state: "new"; "submitting": it may be there; "submitted"; "fetching": some results are on record; "over".
        provider: ours, whose it is.
        items: so many.
        provider_id, file_id: the provider's; "" = not known.
        begun: when it was first about to be submitted.
    """

    number: int
    provider: str
    url: str
    items: int
    state: str = "new"
    provider_id: str = ""
    file_id: str = ""
    begun: float = 0.0
    submitted: float | None = None
    why: str = ""


class BatchStore:
    """See the module. Every method is one transaction, and blocks."""

    def __init__(self, place: JobsPlace) -> None:
        self.place = place

    def create(self, batch: Batch) -> None:
        """A new one, without items."""
        from headgate.stores.rows import encode

        row = {name: getattr(batch, name) for name in batches.columns.keys()}  # noqa: SIM118 -- columns, by name
        row |= {
            "hold": int(batch.hold),
            "served": int(batch.served),
            "caller": encode(batch.caller),
            "name": storable(batch.name),
        }
        self.place.run(lambda connection: connection.execute(insert(batches).values(row)))

    def change(self, batch_id: str, **values: Any) -> None:
        """Set columns of one."""
        self.place.run(lambda c: c.execute(update(batches).where(batches.c.id == batch_id).values(values)))

    def batch(self, batch_id: str) -> Batch | None:
        """The one of this id, or whose id alone begins so."""
        found = self.place.run(
            lambda c: c.execute(
                select(batches).where(batches.c.id.startswith(batch_id, autoescape=True)).limit(2)
            ).all()
        )
        exact = [row for row in found if row.id == batch_id] or (found if len(found) == 1 else [])
        return _batch(exact[0]) if exact else None

    def batches(self, *, limit: int = 100, open_only: bool = False) -> list[Batch]:
        """Newest first."""
        wanted = select(batches).order_by(batches.c.created.desc()).limit(limit)
        if open_only:
            wanted = wanted.where(batches.c.state.not_in(OVER))
        return [_batch(row) for row in self.place.run(lambda c: c.execute(wanted).all())]

    def claim(self, batch_id: str, owner: str, now: float, *, stale: float) -> bool:
        """Be the one that works at it; False where another process does, and was seen within `stale` seconds."""
        b = batches.c
        taken = update(batches).where(b.id == batch_id).values(owner=owner, heartbeat=now)
        if self.place.shared:  # a file has one process, and whoever was there before is gone
            taken = taken.where((b.owner == "") | (b.owner == owner) | (b.heartbeat < now - stale))
        return bool(self.place.run(lambda c: c.execute(taken).rowcount))

    def remove(self, batch_id: str) -> None:
        """Forget one with all that belongs to it; the ledger keeps what it has cost."""

        def work(connection: Connection) -> None:
            for table in (items, holds, shards):
                connection.execute(delete(table).where(table.c.batch == batch_id))
            connection.execute(delete(batches).where(batches.c.id == batch_id))

        self.place.run(work)

    def add(self, batch_id: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Items, by column; what is not told is nothing."""
        told = [{**_NEW, **row, "batch": batch_id} for row in rows]
        if told:
            self.place.run(lambda connection: connection.execute(insert(items), told))

    def lease(self, batch_id: str, count: int, *, after: int = -1) -> list[Item]:
        """Up to `count` that wait, in order, which are `sent` from now on, durably."""
        i = items.c

        def work(connection: Connection) -> list[Item]:
            wanted = select(*_ITEM).where(i.batch == batch_id, i.state == WAITING, i.place > after)
            found = [_item(row) for row in connection.execute(wanted.order_by(i.place).limit(count))]
            if found:
                sent = update(items).where(i.batch == bindparam("b"), i.place == bindparam("p"))
                sent = sent.values(state=SENT, attempt=i.attempt + 1)
                connection.execute(sent, [{"b": batch_id, "p": each.place} for each in found])
            return found

        leased = self.place.run(work)
        for each in leased:
            each.attempt += 1
        return leased

    def finish(self, batch_id: str, ended: Sequence[Ended]) -> None:
        """What came of some; the cost of earlier attempts stays."""
        if not ended:
            return
        i = items.c
        done = update(items).where(i.batch == bindparam("b"), i.place == bindparam("p"))
        done = done.values(
            state=bindparam("s"),
            status=bindparam("st"),
            result=bindparam("re"),
            request_id=bindparam("ri"),
            reason=bindparam("why"),
            exchange=bindparam("ex"),
            cost_nano=i.cost_nano + bindparam("co"),
            drawn_nano=i.drawn_nano + bindparam("dn"),
            drawn_tokens=i.drawn_tokens + bindparam("dt"),
        )
        rows = [
            {
                "b": batch_id,
                "p": each.place,
                "s": each.state,
                "st": each.status,
                "re": each.result,
                "ri": storable(each.request_id),
                "why": storable(each.reason),
                "ex": each.exchange,
                "co": each.cost_nano,
                "dn": each.drawn_nano,
                "dt": each.drawn_tokens,
            }
            for each in ended
        ]
        self.place.run(lambda connection: connection.execute(done, rows))

    def recover(self, batch_id: str, paid: Sequence[int]) -> None:
        """Those that a dead process had under way itself wait again. Those at the places `paid` are marked: something
        was sent for them."""
        i = items.c

        def work(connection: Connection) -> None:
            mark = update(items).where(i.batch == bindparam("b"), i.place == bindparam("p")).values(twice=1)
            if paid:
                connection.execute(mark, [{"b": batch_id, "p": place} for place in paid])
            again = update(items).where(i.batch == batch_id, i.state == SENT, i.shard.is_(None))
            connection.execute(again.values(state=WAITING))

        self.place.run(work)

    def give_back(self, batch_id: str) -> int:
        """Those that are `sent`, and were not: they wait again, and nothing was paid."""
        i = items.c
        again = update(items).where(i.batch == batch_id, i.state == SENT, i.shard.is_(None)).values(state=WAITING)
        return int(self.place.run(lambda connection: connection.execute(again).rowcount))

    def end_waiting(self, batch_id: str, state: str, reason: str) -> int:
        """Those that wait end so."""
        i = items.c
        end = update(items).where(i.batch == batch_id, i.state == WAITING).values(state=state, reason=reason)
        return int(self.place.run(lambda connection: connection.execute(end).rowcount))

    def retry(self, batch_id: str) -> int:
        """Those that have failed, or were cancelled, wait again; returns how many. What they have cost stays."""
        i = items.c
        again = update(items).where(i.batch == batch_id, i.state.in_((FAILED, CANCELLED)))
        again = again.values(state=WAITING, reason="", status=0, result=None, shard=None)
        return int(self.place.run(lambda connection: connection.execute(again).rowcount))

    def add_holds(self, batch_id: str, rows: Sequence[Hold]) -> None:
        """New ones."""
        told = [{"batch": batch_id, **asdict(each)} for each in rows]
        if told:
            self.place.run(lambda connection: connection.execute(insert(holds), told))

    def holds(self, batch_id: str) -> list[Hold]:
        """All of a batch, in order."""
        wanted = select(holds).where(holds.c.batch == batch_id).order_by(holds.c.number)
        rows = self.place.run(lambda c: c.execute(wanted).mappings().all())
        return [Hold(**{name: value for name, value in row.items() if name != "batch"}) for row in rows]

    def set_hold(self, batch_id: str, hold: Hold) -> None:
        """Write one anew."""
        h = holds.c
        change = update(holds).where(h.batch == batch_id, h.number == hold.number).values(asdict(hold))
        self.place.run(lambda connection: connection.execute(change))

    def drawn(self, batch_id: str, number: int | None = None) -> dict[int, Drawn]:
        """By hold, of one of them or all."""
        i = items.c
        left = i.state.in_((WAITING, SENT))
        told = select(
            i.hold,
            func.sum(case((left, 1), else_=0)),
            func.sum(case((left, i.bound_nano), else_=0)),
            func.sum(case((left, i.bound_tokens), else_=0)),
            func.sum(i.drawn_nano),
            func.sum(i.drawn_tokens),
        ).where(i.batch == batch_id, i.hold.is_not(None) if number is None else i.hold == number)
        rows = self.place.run(lambda c: c.execute(told.group_by(i.hold)).all())
        return {row[0]: Drawn(*(int(each or 0) for each in row[1:])) for row in rows}

    def shards(self, batch_id: str = "") -> list[Shard]:
        """All of a batch, in order; "" = of all batches."""
        wanted = select(shards).order_by(shards.c.batch, shards.c.number)
        if batch_id:
            wanted = wanted.where(shards.c.batch == batch_id)
        rows = self.place.run(lambda c: c.execute(wanted).mappings().all())
        return [Shard(**{name: value for name, value in row.items() if name != "batch"}) for row in rows]

    def add_shard(self, batch_id: str, shard: Shard, places: Sequence[int]) -> None:
        """A new one, of items that wait."""
        i = items.c

        def work(connection: Connection) -> None:
            connection.execute(insert(shards).values(batch=batch_id, **asdict(shard)))
            belongs = update(items).where(i.batch == bindparam("b"), i.place == bindparam("p"))
            belongs = belongs.values(shard=shard.number, state=SENT, attempt=i.attempt + 1)
            if places:
                connection.execute(belongs, [{"b": batch_id, "p": place} for place in places])

        self.place.run(work)

    def set_shard(self, batch_id: str, shard: Shard) -> None:
        """Write one anew."""
        s = shards.c
        change = update(shards).where(s.batch == batch_id, s.number == shard.number).values(asdict(shard))
        self.place.run(lambda connection: connection.execute(change))

    def of_shard(self, batch_id: str, number: int, *, after: int = -1, limit: int = 200) -> list[Item]:
        """Its items, in order, that are not over."""
        i = items.c
        wanted = select(*_ITEM).where(i.batch == batch_id, i.shard == number, i.place > after, i.state == SENT)
        return [_item(row) for row in self.place.run(lambda c: c.execute(wanted.order_by(i.place).limit(limit)).all())]

    def names(self, batch_id: str) -> dict[str, int]:
        """Places by custom id."""
        i = items.c
        wanted = select(i.custom_id, i.place).where(i.batch == batch_id)
        return {row.custom_id: row.place for row in self.place.run(lambda c: c.execute(wanted).all())}

    def leave_shard(self, batch_id: str, number: int, state: str, reason: str = "") -> int:
        """What is left of one is in this state from now on, and of no shard."""
        i = items.c
        left = update(items).where(i.batch == batch_id, i.shard == number, i.state == SENT)
        left = left.values(state=state, reason=reason, shard=None)
        return int(self.place.run(lambda connection: connection.execute(left).rowcount))

    def unsharded(self, batch_id: str, *, after: int = -1, limit: int = 200) -> list[Item]:
        """Items that wait, in order."""
        return self.page(batch_id, after=after, limit=limit, states=(WAITING,))

    def counts(self, batch_id: str) -> Counts:
        """How far it is."""
        i = items.c

        def work(connection: Connection) -> Counts:
            told = select(i.state, func.count(), func.sum(i.cost_nano), func.sum(i.twice)).where(i.batch == batch_id)
            counts = Counts()
            for state, count, cost, twice in connection.execute(told.group_by(i.state)):
                counts.states[state] = count
                counts.total += count
                counts.cost_nano += int(cost or 0)
                counts.twice += int(twice or 0)
            return counts

        return self.place.run(work)

    def page(self, batch_id: str, *, after: int = -1, limit: int = 200, states: Sequence[str] = ()) -> list[Item]:
        """Items in order, with their results."""
        i = items.c
        wanted = select(*_ITEM).where(i.batch == batch_id, i.place > after)
        if states:
            wanted = wanted.where(i.state.in_(states))
        found = self.place.run(lambda c: c.execute(wanted.order_by(i.place).limit(limit)).all())
        return [_item(row) for row in found]

    def at(self, batch_id: str, places: Sequence[int]) -> dict[int, Item]:
        """Some items, by place."""
        i = items.c
        if not places:
            return {}
        wanted = select(*_ITEM).where(i.batch == batch_id, i.place.in_(places))
        return {row.place: _item(row) for row in self.place.run(lambda c: c.execute(wanted).all())}


def _batch(row: Any) -> Batch:
    import json

    told = {name: getattr(row, name) for name in batches.columns.keys()}  # noqa: SIM118 -- columns, by name
    return Batch(**(told | {"hold": bool(row.hold), "served": bool(row.served), "caller": json.loads(row.caller)}))


def _item(row: Any) -> Item:
    told = dict(row._mapping)
    told["twice"] = bool(told["twice"])
    return Item(**told)
