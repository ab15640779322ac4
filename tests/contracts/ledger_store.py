"""A ledger seen from outside: what the contract needs of a store."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from headgate.core.exchange import Attempt, Exchange
from headgate.engine.blocking import run_blocking
from headgate.stores.intents import open_intents, read_intents
from headgate.stores.sqlite import SqliteLedger


class SqliteStore:
    """A SQLite ledger, seen from outside. A crash is a copy of its files as they are at that moment."""

    def __init__(self, folder: Path, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.folder = folder
        self.run = run
        self.generation = 0
        self.ledger = self._open()

    def _open(self) -> SqliteLedger:
        folder = self.folder / str(self.generation)
        folder.mkdir(exist_ok=True)
        ledger = SqliteLedger(f"sqlite:///{folder / 'headgate.db'}", now=lambda: 2_000_000_000.0)
        ledger.open()
        return ledger

    @property
    def port(self) -> Any:
        return self.ledger.blocking() if self.run is run_blocking else self.ledger.asynchronous()

    def intend(self, exchange: Exchange, attempt: Attempt) -> None:
        for each in exchange.attempts:
            if each.number < attempt.number and each.ended is not None:
                self.port.close(exchange, each)

        async def intend() -> None:
            await self.port.intend(exchange, attempt)

        self.run(intend())

    def settle(self, exchange: Exchange) -> None:
        self.port.settle(exchange)

    def flush(self) -> None:
        async def flush() -> None:
            await self.port.flush()

        self.run(flush())

    def reopen(self) -> None:
        """Close in good order and open again."""
        self.ledger.close()
        self.ledger = self._open()

    def crash(self) -> None:
        """Open what the disk holds now, as after `kill -9`."""
        before = self.folder / str(self.generation)
        self.generation += 1
        after = self.folder / str(self.generation)
        after.mkdir()
        for file in before.glob("headgate.db*"):
            if not file.name.endswith(("-shm", ".lock")):
                shutil.copy(file, after)
        self.ledger.close()
        self.ledger = self._open()

    def open_intents(self) -> list[dict[str, Any]]:
        """Of attempts that are not settled, as they are on disk."""

        def read(connection: Any) -> list[dict[str, Any]]:
            return [intent._asdict() for intent in open_intents(connection, read_intents(connection))]

        return self.ledger.reader()._ask(read)

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Every write fails, as on a full disk."""
        writer = self.ledger.writer()
        session = writer._session
        real = session.commit
        session.commit = _fails
        try:
            yield
        finally:
            session.commit = real

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Straight from the file, over a connection of its own."""
        with closing(sqlite3.connect(f"file:{self.ledger.path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]


def _fails(*_: Any) -> None:
    raise sqlite3.OperationalError("database or disk is full")


STORES = [SqliteStore]
"""Every store that keeps money."""
