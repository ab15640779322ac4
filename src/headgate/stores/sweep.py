"""Close what dead processes left open: charge it in full, marked, and write the exchange's row (decisions 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select, update
from sqlalchemy.dialects.sqlite import insert

from headgate.core.exchange import Ending
from headgate.stores.rows import encode, read_facts
from headgate.stores.schema import TOKEN_CLASSES, attempts, exchanges, owners

PRICE_VERSION = "bound"
"""What stands for the price version of a charge that is the attempt's bound, not a count."""
UNBOUNDED = "unbounded"
"""The same where no bound was known: the charge is 0, and too low for sure."""

_FACTS = ("way_in", "dialect", "endpoint", "key", "tenant", "user", "session", "task", "feature", "environment")


def sweep(connection: Connection, *, owner: str, now: float) -> int:
    """Settle the open intents of every owner but `owner`, inside the caller's transaction.

    Only the one writer of the ledger may call it: then every other owner is dead. An attempt is charged its bound
    and marked estimated; without a bound, 0 and `price_version` "unbounded". A settle that comes later overwrites all
    of it.

    Returns:
        The number of exchanges that were closed.
    """
    lost = connection.execute(
        select(attempts).where(attempts.c.outcome.is_(None), attempts.c.owner != owner).order_by(attempts.c.exchange_id)
    ).mappings()
    by_exchange: defaultdict[str, list[RowMapping]] = defaultdict(list)
    for attempt in lost:
        by_exchange[attempt["exchange_id"]].append(attempt)
    for exchange_id, found in by_exchange.items():
        for attempt in found:
            _kill(connection, attempt, now)
        _write_exchange(connection, exchange_id, found[-1]["facts"], now)
    connection.execute(delete(owners).where(owners.c.id != owner))
    return len(by_exchange)


def _kill(connection: Connection, attempt: RowMapping, now: float) -> None:
    bound = attempt["bound_nano"]
    connection.execute(
        update(attempts)
        .where(attempts.c.exchange_id == attempt["exchange_id"], attempts.c.number == attempt["number"])
        .values(
            outcome=Ending.KILLED.value,
            ended=now,
            cost_nano=bound or 0,
            estimated=1,
            price_version=UNBOUNDED if bound is None else PRICE_VERSION,
            facts=None,
        )
    )


def _write_exchange(connection: Connection, exchange_id: str, facts: str, now: float) -> None:
    rows = connection.execute(
        select(attempts).where(attempts.c.exchange_id == exchange_id).order_by(attempts.c.number)
    ).mappings()
    row = _exchange(exchange_id, read_facts(facts), rows.all(), now)
    statement = insert(exchanges).values(row)
    # The row may exist if an intent came after its settle: then only the money may have changed.
    changed = ("attempts", "cost_nano", "estimated", "estimated_nano")
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[exchanges.c.id], set_={name: statement.excluded[name] for name in changed}
        )
    )


def _exchange(exchange_id: str, facts: Mapping[str, Any], rows: Sequence[RowMapping], now: float) -> dict[str, Any]:
    last = rows[-1]
    tags = facts["tags"]
    return {
        "id": exchange_id,
        "started": facts["started"],
        "ended": now,
        **{name: facts[name] for name in _FACTS},
        "tags": encode(tags) if tags else "",
        "model_asked": facts["model_asked"],
        "model_served": last["model_served"] or last["model"],
        "provider": last["provider"],
        "stream": int(facts["stream"]),
        "ending": Ending.KILLED.value,
        "error_code": "killed",
        "attempts": len(rows),
        **{name: sum(row[name] for row in rows) for name in TOKEN_CLASSES},
        "cost_nano": sum(row["cost_nano"] for row in rows),
        "estimated": int(any(row["estimated"] for row in rows)),
        "estimated_nano": sum(row["cost_nano"] for row in rows if row["estimated"]),
        "price_version": last["price_version"],
        "waited_ms": sum(row["waited_ms"] or 0.0 for row in rows),
        "request_id": last["request_id"],
        "correlation_id": facts["correlation_id"],
        "client_retries": facts["client_retries"],
    }
