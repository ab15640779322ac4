"""What the ledger knows of lines that a dead process had under way: what of them was paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from headgate.stores.ledger import WrittenLedger
from headgate.stores.schema import exchange_rows

_AT_ONCE = 500  # values in one query


@dataclass(frozen=True, slots=True)
class Paid:
    """All exchanges of one line together."""

    nano: int
    tokens: int
    exchange: str  # the last


def paid(ledger: WrittenLedger, correlations: Sequence[str], *, since: float) -> dict[str, Paid]:
    """By correlation id, those that have a row; what a sweep has closed is among them. Blocks.

    Args:
        since: when the first of them can have begun, seconds since the epoch.

    Raises:
        Unavailable: the ledger cannot be read.
    """
    found: dict[str, Paid] = {}
    for start in range(0, len(correlations), _AT_ONCE):
        part = list(correlations[start : start + _AT_ONCE])
        found |= ledger.call(lambda connection, part=part: _paid(connection, part, since))  # type: ignore[misc]  # mypy: a default of a lambda
    return found


def _paid(connection: Connection, part: list[str], since: float) -> dict[str, Paid]:
    e = exchange_rows.c
    tokens = e.input_tokens + e.cache_read_tokens + e.cache_write_tokens + e.cache_write_long_tokens + e.output_tokens
    told = select(e.correlation_id, func.sum(e.cost_nano), func.sum(tokens), func.max(e.id))
    told = told.where(e.correlation_id.in_(part), e.started >= since).group_by(e.correlation_id)
    return {row[0]: Paid(int(row[1] or 0), int(row[2] or 0), row[3]) for row in connection.execute(told)}
