"""Where batches and deferred jobs are kept: a SQLite file beside the ledger, or the ledger's PostgreSQL database.

Why apart from the ledger's own file: bodies are large, and its one writer thread has money to decide about.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, MetaData, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn

from headgate.core.errors import ConfigError, Unavailable
from headgate.stores import postgres_database
from headgate.stores.database import memory_engine, reader_engine, writer_engine
from headgate.stores.dialects import is_postgres, take_turns_migrating
from headgate.stores.forks import work_lock
from headgate.stores.lockfile import LockFile
from headgate.stores.opening import is_postgres_url, sqlite_file
from headgate.stores.session import reason

T = TypeVar("T")

metadata = MetaData()
"""The tables of batches and jobs; `batch_items.py` and `job_rows.py` add theirs."""

SUFFIX = ".jobs"


class NoJobs(ConfigError):
    """Nothing was ever submitted here."""


class JobsPlace:
    """One connection, behind a lock; opened at the first use. Every method blocks: keep it off event loops.

    Args:
        storage: as the ledger's.
        durability: of SQLite (decisions 6).
        now: seconds since the epoch.
        read_only: for looking while another process writes.
    """

    def __init__(
        self, storage: str, *, durability: str = "process", now: Callable[[], float], read_only: bool = False
    ) -> None:
        self._storage = storage
        self._durability = durability
        self._now = now
        self._read_only = read_only
        self.held: dict[str, dict[int, Any]] = {}
        """By batch and number: what this process has set aside (`jobs.holding`)."""
        self._lock = work_lock()
        self._file_lock: LockFile | None = None
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._closed = False

    @property
    def shared(self) -> bool:
        """Other processes may work at the same batches and jobs."""
        return is_postgres_url(self._storage)

    @property
    def path(self) -> Path | None:
        """The SQLite file; None where there is none."""
        ledger = sqlite_file(self._storage)
        return None if ledger is None else ledger.with_name(ledger.name + SUFFIX)

    def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own.

        Raises:
            ConfigError: it cannot be opened; `NoJobs` where there is nothing to read.
            Unavailable: the disk or the database said no.
        """
        with self._lock:
            try:
                connection = self._connection or self._open()
                with connection.begin():
                    return work(connection)
            except (DBAPIError, sqlite3.Error) as error:
                if self.shared:
                    self._drop()  # whatever was wrong with the connection, the next one is new
                raise Unavailable(f"batches and jobs cannot be written: {reason(error)}") from error

    def close(self) -> None:
        """Close the connection, and give the lock back. Idempotent."""
        with self._lock:
            self._closed = True
            self._drop()
            if self._file_lock is not None:
                self._file_lock.release()
                self._file_lock = None

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _open(self) -> Connection:
        if self._closed:
            raise Unavailable("batches and jobs are closed: Headgate is shutting down")
        path = self.path
        if self._read_only and path is not None and not path.exists():
            raise NoJobs("nothing was submitted yet: `headgate batch submit FILE.jsonl` begins one")
        if path is not None and not self._read_only and self._file_lock is None:
            self._file_lock = LockFile.acquire(path, now=self._now())
        self._engine = self._engine_for(path)
        connection = self._connection = self._engine.connect()
        if not self._read_only:
            with connection.begin():
                take_turns_migrating(connection)
                metadata.create_all(connection)
                _add_columns(connection)
        elif is_postgres(connection):
            with connection.begin():
                known = inspect(connection).has_table("batches")
            if not known:
                raise NoJobs("nothing was submitted yet: `headgate batch submit FILE.jsonl` begins one")
        return connection

    def _engine_for(self, path: Path | None) -> Engine:
        if self.shared:
            place = postgres_database.postgres_place(self._storage)
            made = postgres_database.reader_engine if self._read_only else postgres_database.writer_engine
            return made(place)
        if path is None:
            return memory_engine()
        return reader_engine(path) if self._read_only else writer_engine(path, durability=self._durability)


def _add_columns(connection: Connection) -> None:
    """Those that a file of an earlier version has not; each has a default for the rows that are there."""
    there = inspect(connection)
    for table in metadata.sorted_tables:
        known = {each["name"] for each in there.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                told = CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {told}"))
