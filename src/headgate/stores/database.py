"""SQLite connections: one that writes, any number that read.

SQLite before 3.51.3 can corrupt a WAL file when two connections write or checkpoint at once, so exactly one
connection per file does either (https://www.sqlite.org/wal.html#walresetbug); readers open `mode=ro`.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool, StaticPool

from headgate.core.errors import ConfigError

OLDEST = (3, 35, 0)
BUSY_SECONDS = 5.0
_CACHED_STATEMENTS = 256
_CACHE_KIB = 2_000
"""Of pages, for the writer. Rows are added at the end of tables, and of an index by time: little is read again, and
what is comes from the system's memory. More would fill for hours."""


def ledger_path(url: str) -> Path:
    """The file behind ``sqlite:///relative.db`` or ``sqlite:////absolute.db``; ``{pid}`` is this process's id.

    Raises:
        ConfigError: another scheme, or a database in memory, which no reader could open.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "sqlite" or not rest.startswith("/"):
        raise ConfigError(f"storage: {scheme}:// is not a ledger this store opens; write sqlite:///headgate.db")
    name = rest[1:].replace("{pid}", str(os.getpid()))
    if not name or name.startswith(":memory:") or "?" in name:
        raise ConfigError("storage: the ledger needs a plain file; write sqlite:///headgate.db")
    return Path(name).expanduser()


def writer_engine(path: Path, *, durability: str) -> Engine:
    """An engine with the one connection that may write. It is not opened yet.

    Args:
        path: created with mode 0600 if missing.
        durability: "process" survives `kill -9` (synchronous=NORMAL); "full" survives a power cut too, with one
            fsync per commit (https://www.sqlite.org/pragma.html#pragma_synchronous).

    Raises:
        ConfigError: the file cannot be created, or this Python's SQLite is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise ConfigError(f"this Python has SQLite {sqlite3.sqlite_version}; the ledger needs 3.35 or newer")
    synchronous = "FULL" if durability == "full" else "NORMAL"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as error:
        raise ConfigError(
            f"the ledger {path} cannot be opened: {error.strerror}. Check the folder and rights"
        ) from error

    def connect() -> sqlite3.Connection:
        connection = _connect(path, "rw")
        # WAL first: it fails where the file system has no shared memory, and says so.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        # Pages, 16 MB: fewer checkpoints write fewer pages twice, and reading the WAL after a crash stays quick.
        connection.execute("PRAGMA wal_autocheckpoint=4000")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    # The driver's own transactions begin late and not at all for DDL; ours begin where SQLAlchemy says so.
    event.listen(engine, "begin", _begin)
    return engine


def memory_engine() -> Engine:
    """An engine with the one connection to a database in memory, which is gone with it."""

    def connect() -> sqlite3.Connection:
        # Used by the writer thread, closed at exit by whoever closes.
        return sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=_CACHED_STATEMENTS
        )

    engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    event.listen(engine, "begin", _begin)
    return engine


def reader_engine(path: Path) -> Engine:
    """An engine whose connections cannot write; each use opens its own."""
    return create_engine("sqlite://", creator=lambda: _connect(path, "ro"), poolclass=NullPool)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # opened by the writer thread, closed at exit by whoever closes
        cached_statements=_CACHED_STATEMENTS,
    )
    if mode == "ro":
        connection.execute("PRAGMA query_only=1")
    return connection


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
