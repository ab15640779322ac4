"""What `headgate budgets` is told of a ledger in PostgreSQL: the very same tests as of one in SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import test_accounts_reader
from postgres_server import Server, server  # it lies beside this file

from headgate.stores.postgres import PostgresLedger

__all__ = ["server"]

ABOUT_FILES = {"test_a_ledger_that_is_not_there_is_a_sentence"}

world = test_accounts_reader.world
globals().update(
    {
        name: test
        for name, test in vars(test_accounts_reader).items()
        if name.startswith("test_") and name not in ABOUT_FILES
    }
)


@pytest.fixture
def ledgers(server: Server) -> Iterator[Callable[..., PostgresLedger]]:
    """Opens ledgers on a database of this test's own and closes them afterwards."""
    opened: list[PostgresLedger] = []
    place = server.url()

    def open_ledger(**options: Any) -> PostgresLedger:
        opened.append(PostgresLedger(place, **options))
        return opened[-1]

    yield open_ledger
    for ledger in opened:
        ledger.close()
