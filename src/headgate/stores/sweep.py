"""Close what dead processes left open: charge it in full, marked, and write the exchange's row (decisions 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from headgate.core.exchange import Ending
from headgate.stores.dialects import is_postgres, next_number
from headgate.stores.intents import Intent, open_intents, read_intents, settled_exchanges
from headgate.stores.rows import clean, encode
from headgate.stores.schema import (
    SHAPE_COLUMNS,
    TOKEN_CLASSES,
    accounts,
    attempt_rows,
    attempts,
    exchange_rows,
    intents,
    owners,
    shapes,
)
from headgate.stores.usage_sums import HOLDS

PRICE_VERSION = "bound"
"""What stands for the price version of a charge that is the attempt's bound, not a count."""
UNBOUNDED = "unbounded"
"""The same where no bound was known: the charge is 0, and too low for sure."""

_COMMON = (*("way_in", "dialect", "endpoint", "key", "tenant", "task", "feature"), "environment", "model_asked")
_Values = dict[str, Any]
Tell = Callable[[_Values], None]


def _nobody(_: _Values) -> None:
    return None


def sweep(connection: Connection, *, owner: str, now: float, tell: Tell = _nobody) -> int:
    """Settle the open intents of every owner but `owner`, inside the caller's transaction.

    Only the one writer of the ledger may call it: then every other owner is dead. An attempt is charged its bound
    and marked estimated; without a bound, 0 and `price_version` "unbounded". A settle that comes later overwrites all
    of it.

    Args:
        tell: as for `charge_lost`.

    Returns:
        The number of exchanges that were closed.
    """
    lost = [intent for intent in read_intents(connection) if intent.owner != owner]
    count = charge_lost(connection, lost, now, tell)
    connection.execute(delete(intents).where(intents.c.owner != owner))
    connection.execute(delete(owners).where(owners.c.id != owner))
    return count


def charge_lost(connection: Connection, lost: Sequence[Intent], now: float, tell: Tell = _nobody) -> int:
    """Settle those of `lost` that are open, and write or correct their exchanges; the intents' own rows stay.

    Args:
        tell: called with the fields of the log's line of each call that is written, inside the transaction.

    Returns:
        The number of exchanges that were closed.
    """
    known = settled_exchanges(connection, {intent.exchange_id for intent in lost})
    killed: defaultdict[str, list[Intent]] = defaultdict(list)
    for intent in open_intents(connection, lost):
        killed[intent.exchange_id].append(intent)
    # All attempts of an exchange may be known to have failed, and the exchange not be settled.
    facts = {i.exchange_id: i.facts for i in lost if i.exchange_id in killed or i.exchange_id not in known}
    for exchange_id, told in facts.items():
        rows = _attempts(connection, exchange_id, killed[exchange_id], now)
        if exchange_id in known:
            _correct(connection, exchange_id, rows)
        else:
            line = _write(connection, exchange_id, told, rows, now)
            if told["endpoint"] != HOLDS:  # of a batch, whose calls have lines of their own
                tell(line)
    charge_accounts(connection, [intent for each in killed.values() for intent in each])
    return len(facts)


def charge_accounts(connection: Connection, killed: Iterable[Intent], *, spent: bool = True) -> None:
    """What was held is spent: on every account of every budget that these intents claimed.

    Args:
        spent: False: it was never used, and is only given back.
    """
    nano: defaultdict[int, int] = defaultdict(int)
    tokens: defaultdict[int, int] = defaultdict(int)
    for intent in killed:
        for account in intent.accounts:
            nano[account] += intent.bound_nano or 0
            tokens[account] += intent.bound_tokens
    c = accounts.c
    for account in sorted(nano):
        more: _Values = {}
        if spent:
            more = {"spent_nano": c.spent_nano + nano[account], "spent_tokens": c.spent_tokens + tokens[account]}
        if is_postgres(connection):  # in SQLite it is in the writer's memory
            more |= {"held_nano": c.held_nano - nano[account], "held_tokens": c.held_tokens - tokens[account]}
        connection.execute(update(accounts).where(c.id == account).values(more))


def _attempts(connection: Connection, exchange_id: str, killed: list[Intent], now: float) -> list[_Values]:
    """Every attempt of an exchange, each in a row of its own from now on, in order."""
    found = connection.execute(select(attempts).where(attempts.c.exchange_id == exchange_id)).mappings()
    rows = sorted([*map(dict, found), *(_killed(intent, now) for intent in killed)], key=lambda row: row["number"])
    connection.execute(delete(attempt_rows).where(attempt_rows.c.exchange_id == exchange_id))
    connection.execute(insert(attempt_rows), rows)
    return rows


def _killed(intent: Intent, now: float) -> _Values:
    bound = intent.bound_nano
    return _clean(
        {
            **{column.name: _NOTHING[column.type.python_type] for column in attempt_rows.columns},
            "exchange_id": intent.exchange_id,
            "number": intent.number,
            "owner": intent.owner,
            "provider": intent.provider,
            "model": intent.model,
            "started": intent.started,
            "ended": now,
            "outcome": Ending.KILLED.value,
            "bound_nano": bound,
            "cost_nano": bound or 0,
            "estimated": 1,
            "price_version": UNBOUNDED if bound is None else PRICE_VERSION,
        }
    )


_NOTHING: dict[type, Any] = {str: "", int: 0, float: None}


def _correct(connection: Connection, exchange_id: str, rows: list[_Values]) -> None:
    """The exchange was settled, and an intent came after it: only the money may have changed."""
    r = exchange_rows.c
    mine = r.id == exchange_id
    shape = select(shapes).where(shapes.c.id == select(r.shape).where(mine).scalar_subquery())
    common = dict(connection.execute(shape).mappings().one())
    common |= {"attempts": len(rows), "estimated": int(any(row["estimated"] for row in rows))}
    values = {"shape": _shape(connection, common), **_money(rows), "attempt_started": None}
    connection.execute(update(exchange_rows).where(mine).values(values))


def _write(connection: Connection, exchange_id: str, facts: _Values, rows: list[_Values], now: float) -> _Values:
    """Write the exchange; the fields of its line."""
    last = rows[-1]
    tags = facts["tags"]
    common = {
        **{name: facts[name] for name in _COMMON},
        **{name: last[name] for name in ("owner", "provider", "model_served", "price_version")},
        "route_model": last["model"],
        "ending": Ending.KILLED.value,
        "error_code": "killed",
        "stream": int(facts["stream"]),
        "client_retries": facts["client_retries"],
        "attempts": len(rows),
        "estimated": int(any(row["estimated"] for row in rows)),
    }
    values = {
        "id": exchange_id,
        "started": facts["started"],
        "ended": now,
        "user": facts["user"],
        "session": facts["session"],
        "tags": encode(tags) if tags else "",
        "correlation_id": facts["correlation_id"],
        "request_id": last["request_id"],
        **{name: sum(row[name] for row in rows) for name in TOKEN_CLASSES},
        "waited_ms": sum(row["waited_ms"] or 0.0 for row in rows),
        **_money(rows),
    }
    connection.execute(insert(exchange_rows).values(_clean(values) | {"shape": _shape(connection, common)}))
    return _line(values | common, tags)


def _line(told: _Values, tags: Mapping[str, str]) -> _Values:
    """The log's line of an exchange that was killed, in the order of `log_line`: what the ledger knows of it. It has no
    words, and no times: it took as long as nobody looked."""
    cost = Decimal(told["cost_nano"]).scaleb(-9)
    return {
        "exchange_id": told["id"],
        "request_id": told["request_id"],
        "correlation_id": told["correlation_id"],
        "session_id": told["session"],
        "user_id": told["user"],
        "input_tokens": told["input_tokens"],
        "output_tokens": told["output_tokens"],
        "cache_read_tokens": told["cache_read_tokens"],
        "cache_write_tokens": told["cache_write_tokens"] + told["cache_write_long_tokens"],
        "cost_usd": float(cost),
        **({"tags": tags} if tags else {}),
        **{name: told[name] for name in ("key", "tenant", "task", "feature", "environment", "way_in")},
        "dialect": told["dialect"],
        "endpoint": told["endpoint"],
        "stream": bool(told["stream"]),
        "provider": told["provider"],
        "model_asked": told["model_asked"],
        "model_served": told["model_served"] or told["route_model"],
        "ending": told["ending"],
        "attempts": told["attempts"],
        "client_retries": told["client_retries"],
        "estimated": bool(told["estimated"]),
        "price_version": told["price_version"],
        "error_type": told["error_code"],
    }


def _money(rows: list[_Values]) -> _Values:
    return {
        "cost_nano": sum(row["cost_nano"] for row in rows),
        "estimated_nano": sum(row["cost_nano"] for row in rows if row["estimated"]),
    }


def _shape(connection: Connection, common: _Values) -> int:
    """A new shape; what is not told of it is empty."""
    told = {name: common[name] for name in SHAPE_COLUMNS if name in common}
    number = next_number(connection, "shapes")
    connection.execute(insert(shapes).values(_clean(told) | {"id": number}))
    return number


def _clean(values: _Values) -> _Values:
    return dict(zip(values, clean(tuple(values.values())), strict=True))
