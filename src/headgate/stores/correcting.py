"""A settle that comes after its process was taken for dead (decisions 3): what was charged in full is what it has come
to from then on, in the exchange's rows and on the accounts of the budgets that it had claimed.

Runs in the writer thread.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select

from headgate.core.exchange import Ending, Exchange
from headgate.policy.holding import Ask
from headgate.stores.desk import Desk
from headgate.stores.rows import attempt_row, exchange_row
from headgate.stores.schema import attempt_rows, exchange_rows
from headgate.stores.session import Session
from headgate.stores.shape import outcome

_NAMES = exchange_rows.columns.keys()
_OF_ONLY = frozenset({_NAMES.index(name) for name in ("attempt_started", "attempt_ended", "bound_nano")})
"""Where an exchange's row speaks of an only attempt."""


class _Charged(NamedTuple):
    number: int
    nano: int


def correct(session: Session, desk: Desk, exchange: Exchange, owner: str) -> bool:
    """See `stores.ledger.WrittenLedger.correct`."""
    charged = {each.number: each for each in session.call(lambda connection: _killed(connection, exchange.id))}
    if not charged:
        return False
    asks = [
        (Ask(exchange.id, each.number, each.claims, charged[each.number].nano, each.bound_tokens), each)
        for each in exchange.attempts
        if each.number in charged and each.claims
    ]
    rows = [attempt_row(exchange, each, outcome(exchange, each), owner) for each in exchange.attempts]
    exchange.shape = None  # it may have been settled before, and have come to something else
    desk.amend(
        session,
        [(ask, a.cost_nano + a.elsewhere_nano, a.used_tokens + a.elsewhere_tokens) for ask, a in asks],
        rows,
        # Every attempt has a row of its own since the sweep, an only one, too.
        tuple(None if place in _OF_ONLY else value for place, value in enumerate(exchange_row(exchange))),
    )
    return True


def _killed(connection: Connection, exchange_id: str) -> list[_Charged]:
    a = attempt_rows.c
    lost = select(a.number, a.cost_nano).where(a.exchange_id == exchange_id, a.outcome == Ending.KILLED.value)
    return [_Charged(number, int(nano)) for number, nano in connection.execute(lost)]
