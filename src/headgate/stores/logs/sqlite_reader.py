"""The log store's SQLite file, read: beside whoever writes it, from any thread."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headgate.core.errors import ConfigError, Unavailable
from headgate.stores.logs.filters import Filter
from headgate.stores.logs.guard_counts import guard_counts
from headgate.stores.logs.rows import Shapes
from headgate.stores.logs.sqlite_rows import Finder
from headgate.stores.logs.sqlite_schema import APPLICATION, VERSION, open_reader
from headgate.stores.logs.table_reader import SEARCH_SECONDS, NoLogStore, TableReader

__all__ = ["NoLogStore", "SqliteLogReader"]


class SqliteLogReader(TableReader):
    """:class:`headgate.stores.logs.reader.LogReader` over the file.

    Args:
        path: the log store's file.
        seconds, clock: see `TableReader`.
    """

    def __init__(
        self, path: Path, *, seconds: float = SEARCH_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(seconds, clock, guard_counts)
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[tuple[sqlite3.Connection, Shapes, tuple[int, int]]] = []

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _, _ in idle:
            connection.close()

    def _finder(
        self,
        sql: sqlite3.Connection,
        shapes: Shapes,
        wanted: Filter,
        newest_first: bool,
        start: int | None,
        more_time: Callable[[], bool],
    ) -> Finder:
        return Finder(sql, shapes, wanted, newest_first=newest_first, start=start, more_time=more_time)

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[sqlite3.Connection, Shapes]]:
        """A connection, in one transaction: what is written meanwhile is not seen."""
        entry = self._take()
        connection, shapes, _ = entry
        try:
            connection.execute("BEGIN")
            shapes.refresh(connection)
            yield connection, shapes
        except sqlite3.Error as error:
            connection.close()
            raise Unavailable(
                f"the log store {self._path} cannot be read: {error}", told="the log store cannot be read now"
            ) from error
        except BaseException:
            connection.close()
            raise
        connection.execute("ROLLBACK")
        with self._lock:
            self._idle.append(entry)

    def _take(self) -> tuple[sqlite3.Connection, Shapes, tuple[int, int]]:
        try:
            found = self._path.stat()
        except OSError:
            raise NoLogStore(
                f"there is no log store at {self._path} yet: it is made when exchanges are logged"
            ) from None
        identity = (found.st_dev, found.st_ino)
        with self._lock:
            while self._idle:
                entry = self._idle.pop()
                if entry[2] == identity:
                    return entry
                entry[0].close()
        try:
            connection = open_reader(self._path)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            application = connection.execute("PRAGMA application_id").fetchone()[0]
        except sqlite3.Error as error:
            raise Unavailable(
                f"the log store {self._path} cannot be read: {error}", told="the log store cannot be read now"
            ) from error
        if version != VERSION or application != APPLICATION:
            connection.close()
            if version == 0:
                raise NoLogStore(f"the log store {self._path} is being made")
            raise ConfigError(f"{self._path} is no log store of this version of Headgate")
        return connection, Shapes(), identity
