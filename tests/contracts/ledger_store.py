"""Ledgers seen from outside: what the contract needs of a store."""

from __future__ import annotations

import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from postgres_server import Server, database_of, the_server  # it lies beside the stores' tests
from sqlalchemy import text

from headgate.core.exchange import Attempt, Exchange
from headgate.engine.blocking import run_blocking
from headgate.stores.intents import open_intents, read_intents
from headgate.stores.ledger import WrittenLedger
from headgate.stores.memory import MemoryLedger
from headgate.stores.postgres import PostgresLedger
from headgate.stores.sqlite import SqliteLedger

NOW = 2_000_000_000.0


class Store(ABC):
    """A ledger, seen from outside."""

    survives = True
    """What was written is there after the process's end, however that came."""
    has_rivals = False
    """Another process may write, too, and take this one for dead."""

    def __init__(self, folder: Path, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.folder = folder
        self.run = run
        self.generation = 0
        self.ledger = self._open()

    def _open(self) -> WrittenLedger:
        ledger = self._make()
        ledger.open()
        return ledger

    @abstractmethod
    def _make(self) -> WrittenLedger: ...

    @abstractmethod
    def crash(self) -> None:
        """Open what is there now, as after `kill -9`."""

    def be_taken_for_dead(self) -> None:
        """Another process sweeps, while this one stands still."""
        raise NotImplementedError("no other process writes it")

    def lose_connection(self) -> None:
        """The database ends it; the process does not know."""
        raise NotImplementedError("there is no connection to lose")

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

    def open_intents(self) -> list[dict[str, Any]]:
        """Of attempts that are not settled, as they are in the store."""

        def read(connection: Any) -> list[dict[str, Any]]:
            return [intent._asdict() for intent in open_intents(connection, read_intents(connection))]

        return self.ledger.reader()._ask(read)

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Every write fails, as on a full disk."""
        session: Any = self.ledger.writer()._session
        real = session.commit
        session.commit = _fails
        try:
            yield
        finally:
            session.commit = real

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Straight from the store."""

        def read(connection: Any) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(text(query)).mappings()]

        return self.ledger.reader()._ask(read)


def _fails(*_: Any) -> None:
    raise sqlite3.OperationalError("database or disk is full")


class SqliteStore(Store):
    """A SQLite file. A crash is a copy of its files as they are at that moment."""

    def _make(self) -> WrittenLedger:
        folder = self.folder / str(self.generation)
        folder.mkdir(exist_ok=True)
        return SqliteLedger(f"sqlite:///{folder / 'headgate.db'}", now=lambda: NOW)

    def crash(self) -> None:
        before = self.folder / str(self.generation)
        self.generation += 1
        after = self.folder / str(self.generation)
        after.mkdir()
        for file in before.glob("headgate.db*"):
            if not file.name.endswith(("-shm", ".lock")):
                shutil.copy(file, after)
        self.reopen()

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Over a connection of its own."""
        file = self.folder / str(self.generation) / "headgate.db"
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]


class MemoryStore(Store):
    """A ledger in memory, of which nothing is left once it is closed."""

    survives = False

    def _make(self) -> WrittenLedger:
        return MemoryLedger(now=lambda: NOW)

    def reopen(self) -> None:
        raise NotImplementedError("nothing is left of a ledger in memory")

    def crash(self) -> None:
        self.reopen()

    def lose(self) -> None:
        """The process ends, and another begins."""
        super().reopen()


class PostgresStore(Store):
    """A database of its own. Each opening is another process's: another owner, with a connection of its own.

    A crash drops the connection without a word, and the next process finds a heartbeat that is old.
    """

    has_rivals = True

    def __init__(self, folder: Path, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.server: Server = the_server()
        self.url = self.server.seem_long_up(self.server.url())
        super().__init__(folder, run)

    def _make(self) -> WrittenLedger:
        self.generation += 1
        return PostgresLedger(f"{self.url}?application_name=process{self.generation}", now=lambda: NOW)

    def crash(self) -> None:
        self.ledger._call(_die)
        self.grow_old(self.ledger)
        self.reopen()

    def grow_old(self, ledger: WrittenLedger) -> None:
        """It has not told for more than a minute that it lives."""
        self._run(f"UPDATE owners SET heartbeat = heartbeat - 61 WHERE id = '{ledger.owner()}'")

    def be_taken_for_dead(self) -> None:
        self.grow_old(self.ledger)
        rival = self._open()
        rival.close()

    def lose_connection(self) -> None:
        mine = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'process{self.mine}'"
        self._run(mine)

    @property
    def mine(self) -> int:
        """The number of the process that is open."""
        return int(str(self.ledger._key).rpartition("process")[2])

    @contextmanager
    def broken(self) -> Iterator[None]:
        """The database says that its disk is full, whatever is written."""
        self._run(_FULL)
        for table in _WRITTEN:
            on = f"BEFORE INSERT OR UPDATE OR DELETE ON {table}"
            self._run(f"CREATE TRIGGER full_disk {on} EXECUTE FUNCTION full_disk()")
        try:
            yield
        finally:
            for table in _WRITTEN:
                self._run(f"DROP TRIGGER full_disk ON {table}")

    def _run(self, statement: str) -> None:
        self.server.run(statement, database_of(self.url))


_WRITTEN = ("intents", "attempt_rows", "exchange_rows", "accounts")
_FULL = """
CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$
"""


def _die(session: Any) -> None:
    """In the writer thread: the connection is gone, and nothing reaches the database any more."""
    session._drop()
    session._ready = _gone
    session.close = lambda: None


def _gone() -> None:
    import psycopg

    raise psycopg.OperationalError("this process is dead")


STORES = [MemoryStore, SqliteStore, PostgresStore]
"""Every store that keeps money."""
