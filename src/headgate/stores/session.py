"""A ledger file opened for writing: the lock, the connection, and what is written in one transaction.

Everything here runs in the writer thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, insert
from sqlalchemy.exc import DBAPIError

from headgate.core.errors import ConfigError
from headgate.stores.database import writer_engine
from headgate.stores.lockfile import LockFile
from headgate.stores.migrate import upgrade
from headgate.stores.rows import ATTEMPTS, EXCHANGES, INTENTS
from headgate.stores.schema import owners
from headgate.stores.statements import Row
from headgate.stores.sweep import sweep

T = TypeVar("T")

HEARTBEAT_SECONDS = 10.0


class Session(Protocol):
    """What the writer thread needs of an open ledger; PostgreSQL's will be another."""

    swept: int

    def commit(self, intents: Sequence[Row], attempts: Sequence[Row], exchanges: Sequence[Row]) -> None:
        """Write all of it or nothing; durable on return."""
        ...

    def call(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own."""
        ...

    def publish(self, url: str, token: str) -> None:
        """See :meth:`LockFile.publish`."""
        ...

    def close(self) -> None:
        """Close the connection and give the lock back. Idempotent."""
        ...

    def forget(self) -> None:
        """In a forked child: let go without touching the file."""
        ...


class SqliteSession:
    """The one writing connection to a SQLite ledger.

    Rows go through the driver's own cursor with SQL compiled by SQLAlchemy: its statement objects would cost about
    15 us each, several times per batch.
    """

    def __init__(self, path: Path, *, owner: str, durability: str, now: Callable[[], float]) -> None:
        """Open, lock, migrate and sweep.

        Raises:
            ConfigError: another process writes this ledger, or the file is no ledger of ours or a newer one.
            sqlite3.Error, DBAPIError: the disk said no.
        """
        self._now = now
        self._owner = owner
        self._beat = now()
        if not path.parent.is_dir():
            raise ConfigError(f"the ledger {path} cannot be opened: there is no folder {path.parent}. Create it first")
        self._lock = LockFile.acquire(path, now=self._beat)
        self._engine: Engine | None = None
        try:
            self._engine = writer_engine(path, durability=durability)
            self._connection, self.swept = _prepare(self._engine, path, owner, self._beat)
        except BaseException:
            self.close()
            raise
        self._driver: sqlite3.Connection = _driver(self._connection)
        self._cursor = self._driver.cursor()

    def commit(self, intents: Sequence[Row], attempts: Sequence[Row], exchanges: Sequence[Row]) -> None:
        """Write all of it or nothing; durable on return."""
        cursor = self._cursor
        now = self._now()
        beating = now - self._beat >= HEARTBEAT_SECONDS
        # Each statement hands the interpreter to another thread and back: BEGIN and COMMIT are worth avoiding.
        if not (attempts or exchanges or beating) and INTENTS.run_alone(cursor, intents):
            return
        cursor.execute("BEGIN IMMEDIATE")
        try:
            if intents:
                INTENTS.run(cursor, intents)
            if attempts:
                ATTEMPTS.run(cursor, attempts)
            if exchanges:
                EXCHANGES.run(cursor, exchanges)
            if beating:
                cursor.execute("UPDATE owners SET heartbeat = ? WHERE id = ?", (now, self._owner))
                self._beat = now
            cursor.execute("COMMIT")
        except BaseException:
            # Some errors (a full disk) have rolled back already.
            if self._driver.in_transaction:
                cursor.execute("ROLLBACK")
            raise

    def call(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own."""
        with self._connection.begin():
            return work(self._connection)

    def publish(self, url: str, token: str) -> None:
        """See :meth:`LockFile.publish`."""
        self._lock.publish(url, token)

    def close(self) -> None:
        """Close the connection (which folds the WAL into the file) and give the lock back. Idempotent."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        self._lock.release()

    def forget(self) -> None:
        """In a forked child: keep the inherited connection from being closed, and let go of the lock's descriptor."""
        _INHERITED.append(self)
        self._lock.forget()


_INHERITED: list[object] = []
"""Connections of a parent process. SQLite forbids using them here, and closing one is using it
(https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_)."""


def _prepare(engine: Engine, path: Path, owner: str, now: float) -> tuple[Connection, int]:
    try:
        connection = engine.connect()
        upgrade(connection, str(path))
        with connection.begin():
            connection.execute(insert(owners).values(id=owner, pid=os.getpid(), started=now, heartbeat=now))
            swept = sweep(connection, owner=owner, now=now)
        return connection, swept
    except (DBAPIError, sqlite3.DatabaseError) as error:
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, sqlite3.OperationalError):
            raise
        raise ConfigError(f"the ledger {path} is not a SQLite database of ours: {cause}") from error


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    # Held for as long as the session lives, so that SQLAlchemy's pool never takes it back.
    return driver


def reason(error: BaseException) -> str:
    """The database's own words, without SQLAlchemy's statement, parameters and link."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause) or type(cause).__name__


def unfit(error: BaseException) -> bool:
    """True where a row itself is at fault and no later try will help; False for a full disk, a lock, an I/O error."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.ProgrammingError):
        return "binding" in str(cause)  # the same class says "closed database"
    return isinstance(cause, _UNFIT)


_UNFIT = (UnicodeEncodeError, OverflowError, sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)
