"""What a ledger's file says, read beside its writer or after it has gone."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from headgate.stores.reader import Reader


@dataclass(frozen=True, slots=True)
class Books:
    """A ledger. Money is nano-dollars.

    Attributes:
        cost: of all exchanges.
        estimated: the part of it that is no count.
        held: set aside for attempts that are not settled.
        accounts: spent by the accounts of the budgets, all periods together.
        dearest_hold: the largest bound of an attempt.
        exchanges: settled, of any ending.
    """

    cost: int
    estimated: int
    held: int
    accounts: int
    dearest_hold: int
    exchanges: int


def read(ledger: Path) -> Books:
    """Everything in the file, settled or open."""
    total = Reader(ledger).usage().total
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        (accounts,) = connection.execute("SELECT coalesce(sum(spent_nano), 0) FROM accounts").fetchone()
        (hold,) = connection.execute("SELECT coalesce(max(bound_nano), 0) FROM attempts").fetchone()
    return Books(total.cost_nano, total.estimated_nano, total.held_nano, accounts, hold, total.exchanges)
