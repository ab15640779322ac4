"""Kept answers in an SQLite file of their own, beside the ledger: they survive a restart.

One process writes it, as with the ledger (decisions 21): another one finds it locked, and goes without. A file
that is broken is put aside, and a new one begun.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from headgate.core.errors import ConfigError
from headgate.stores.cache_backend import UNKNOWN, Entry, NotKept
from headgate.stores.cache_codec import VERSION
from headgate.stores.lockfile import LockFile

DEFAULT_BYTES = 1024**3
"""What the file holds where nobody says otherwise (`cache.disk`)."""
LARGEST = 8 * 1024 * 1024
PATIENCE = 1.0

_APPLICATION = 0x68674361  # "hgCa": https://www.sqlite.org/pragma.html#pragma_application_id
_LAYOUT = 1
_OVERHEAD = 256  # bytes of an entry beside its own: its rows, its places in three indices
_LOW_WATER = 0.9  # of the cap: evicting goes down to it, so that it is not done at every put
_USED_SECONDS = 60.0  # how coarse "recently used" is
_STEP = 200  # rows of one transaction that deletes
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# The bodies are apart: SQLite writes a row anew to change one number in it.
_SCHEMA = """
CREATE TABLE entries (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, expires REAL NOT NULL,
                      used REAL NOT NULL);
CREATE INDEX entries_expires ON entries (expires);
CREATE INDEX entries_used ON entries (used);
CREATE TABLE bodies (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
"""

_inherited: list[Any] = []
"""Connections of a parent process. Closing one here would write to its file."""


class _ForeignFile(Exception):
    """A database, and none of ours."""


class SqliteBackend:
    """:class:`headgate.stores.cache_backend.Backend` in a file.

    Args:
        path: created with mode 0600 if missing: what is in it are answers, in clear.
        most_bytes: of all entries; >= 0. Those that were not used for longest go first, to the minute.
        largest: bytes of an entry, at the most, and never more than an eighth of `most_bytes`.
        now: seconds since the epoch.
    """

    def __init__(
        self, path: Path, *, now: Callable[[], float], most_bytes: int = DEFAULT_BYTES, largest: int = LARGEST
    ) -> None:
        self.name = str(path)
        self.largest = min(largest, most_bytes // 8)
        self.patience = PATIENCE
        self._path = path
        self._most = most_bytes
        self._now = now
        self._sql: sqlite3.Connection | None = None
        self._lock: LockFile | None = None
        self._entries = self._size = 0
        self._broken = False  # found so while it was in use: the next `open` puts it aside
        self._used: dict[int, float] = {}  # when entries were, to be written with what is written next

    def open(self) -> None:
        """See the protocol."""
        if self._lock is None:
            self._lock = LockFile.acquire(self._path, now=self._now())
        try:
            self._sql = self._opened()
            found = self._run("SELECT count(*), coalesce(sum(size), 0) FROM entries").fetchone()
            self._entries, self._size = found
            self.tend()
        except BaseException:
            self.hang_up()
            raise

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """See the protocol."""
        now = self._now()
        found: list[bytes | None] = []
        for key in keys:
            row = self._run(
                "SELECT id, used, data FROM entries JOIN bodies USING (id) WHERE key = ? AND expires > ?", (key, now)
            ).fetchone()
            if row is not None and now - row[1] >= _USED_SECONDS:
                self._used[row[0]] = now
            found.append(None if row is None else row[2])
        return found

    def put(self, entries: Sequence[Entry]) -> int:
        """See the protocol."""
        try:
            with self._transaction():
                for entry in entries:
                    self._insert(entry)
                self._write_used()
                return self._evict()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                raise NotKept("the disk is full") from None
            raise

    def drop(self, key: bytes) -> None:
        """See the protocol."""
        with self._transaction():
            self._remove([key])

    def forget(self, prefix: bytes) -> Iterator[int]:
        """See the protocol."""
        while True:
            rows = self._run(
                "SELECT key FROM entries WHERE substr(key, 1, ?) = ? LIMIT ?", (len(prefix), prefix, _STEP)
            ).fetchall()
            if not rows:
                # What was deleted is not to be found in the file either: `secure_delete` has overwritten it there.
                self._run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                return
            with self._transaction():
                self._remove([key for (key,) in rows])
            yield len(rows)

    def tend(self) -> None:
        """See the protocol."""
        with self._transaction():
            self._write_used()
            rows = self._run("SELECT key FROM entries WHERE expires <= ?", (self._now(),)).fetchall()
            self._remove([key for (key,) in rows])
            self._evict()
        self._run("PRAGMA incremental_vacuum(10000)").fetchall()

    def count(self) -> tuple[int, int]:
        """See the protocol."""
        return (self._entries, self._size) if self._sql is not None else (UNKNOWN, UNKNOWN)

    def hang_up(self) -> None:
        """See the protocol."""
        sql, self._sql = self._sql, None
        if sql is not None:
            with contextlib.suppress(sqlite3.Error):  # it is closed in any case
                sql.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def forked(self) -> None:
        """See the protocol."""
        if self._sql is not None:
            _inherited.append(self._sql)
            self._sql = None
        if self._lock is not None:
            self._lock.forget()
            self._lock = None

    def reason(self, error: BaseException) -> str:
        """See the protocol."""
        if isinstance(error, ConfigError):
            if not isinstance(error.__cause__, BlockingIOError | PermissionError):
                return "its lock file cannot be made"
            return "another process writes it, and SQLite takes one; share answers over Redis or Memcached instead"
        if isinstance(error, _ForeignFile):
            return "the file is something else's"
        if isinstance(error, sqlite3.Error):
            return f"SQLite says {getattr(error, 'sqlite_errorname', type(error).__name__)}"
        if isinstance(error, OSError):
            return f"the file cannot be opened: {error.strerror}"
        return type(error).__name__

    def _opened(self) -> sqlite3.Connection:
        if not self._broken:
            try:
                return self._connect()
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        # Kept once, for whoever wants to know why.
        self._path.replace(self._path.with_name(self._path.name + ".broken"))
        self._broken = False
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
        sql = sqlite3.connect(
            f"file:{quote(str(self._path.absolute()))}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            if sql.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
                if sql.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                    raise _ForeignFile
                sql.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table, or it has no effect
                sql.execute(f"PRAGMA application_id = {_APPLICATION}")
            sql.execute("PRAGMA journal_mode = WAL")
            sql.execute("PRAGMA synchronous = NORMAL")
            sql.execute("PRAGMA secure_delete = ON")
            sql.execute("PRAGMA cache_size = -4000")  # KiB
            sql.execute("PRAGMA journal_size_limit = 16777216")
            layout = _LAYOUT * 1000 + VERSION
            if sql.execute("PRAGMA user_version").fetchone()[0] != layout:
                sql.executescript("DROP TABLE IF EXISTS entries; DROP TABLE IF EXISTS bodies;" + _SCHEMA)
                sql.execute(f"PRAGMA user_version = {layout}")
        except BaseException:
            sql.close()
            raise
        return sql

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        if self._sql is None:
            raise sqlite3.ProgrammingError("closed")
        try:
            return self._sql.execute(statement, values)
        except sqlite3.DatabaseError as error:
            self._broken = self._broken or _is_broken(error)
            raise

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        entries, size = self._entries, self._size
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            self._entries, self._size = entries, size
            with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back itself, where it could not go on
                self._run("ROLLBACK")
            raise

    def _insert(self, entry: Entry) -> None:
        self._remove([entry.key])
        size = len(entry.key) + len(entry.data) + _OVERHEAD
        row = self._run(
            "INSERT INTO entries (key, size, expires, used) VALUES (?, ?, ?, ?)",
            (entry.key, size, entry.expires, self._now()),
        ).lastrowid
        self._run("INSERT INTO bodies (id, data) VALUES (?, ?)", (row, entry.data))
        self._entries += 1
        self._size += size

    def _remove(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            row = self._run("DELETE FROM entries WHERE key = ? RETURNING id, size", (key,)).fetchone()
            if row is not None:
                self._run("DELETE FROM bodies WHERE id = ?", (row[0],))
                self._used.pop(row[0], None)
                self._entries -= 1
                self._size -= row[1]

    def _write_used(self) -> None:
        used, self._used = self._used, {}
        for row, when in used.items():
            self._run("UPDATE entries SET used = ? WHERE id = ?", (when, row))

    def _evict(self) -> int:
        """Down to the low water; returns how many went."""
        gone = 0
        while self._size > self._most:
            gone += self._evict_some(int(self._most * _LOW_WATER))
        return gone

    def _evict_some(self, low: int) -> int:
        rows = self._run("SELECT key, size FROM entries ORDER BY used, id LIMIT ?", (_STEP,)).fetchall()
        going, size = [], self._size
        for key, each in rows:
            if size <= low:
                break
            going.append(key)
            size -= each
        self._remove(going)
        return len(going)


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN
