"""The log store's SQLite file: how it is opened, and its tables.

Rows lie in segments (`posts`), segments in parts. A part has a full-text index of its own, so that what is old goes by
dropping tables, and what is erased is rewritten part by part and not as a whole.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from headgate.core.errors import ConfigError, Unavailable
from headgate.stores.logs import user_sums
from headgate.stores.logs.rollups import COUNTS

VERSION = 2
APPLICATION = 0x68674C67  # "hgLg": https://www.sqlite.org/pragma.html#pragma_application_id
BUSY_SECONDS = 5.0
_OLDEST = (3, 35, 0)
_CACHE_KIB = 8_000
"""What the writer comes back to is few pages, in the order in which they lie; more than that only fills the memory, in
half an hour."""
_READ_CACHE_KIB = 16_000
TO_MERGE = "merge:"
"""How names in `log_meta` begin that stand for a part whose index was erased from, and was not merged yet."""
_WAL_PAGES = 4000
_WAL_BYTES = 64 * 1024 * 1024

_SCHEMA = """
CREATE TABLE log_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE log_spools (spool TEXT PRIMARY KEY, position INTEGER NOT NULL, head BLOB NOT NULL, bad INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE log_shapes (id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, tail BLOB NOT NULL, last INTEGER NOT NULL);
CREATE INDEX log_shapes_hash ON log_shapes (hash);
CREATE TABLE log_parts (part INTEGER PRIMARY KEY, opened REAL NOT NULL, sealed REAL, last_at REAL NOT NULL);
CREATE TABLE log_segments (segment INTEGER PRIMARY KEY, part INTEGER NOT NULL, rows INTEGER NOT NULL,
    first_at REAL NOT NULL, last_at REAL NOT NULL, sealed INTEGER NOT NULL);
CREATE TABLE log_posts (segment INTEGER, key INTEGER, places, PRIMARY KEY (segment, key)) WITHOUT ROWID;
CREATE TABLE log_rows (n INTEGER PRIMARY KEY, at REAL NOT NULL, shape INTEGER NOT NULL, exchange_id TEXT NOT NULL,
    request_id TEXT NOT NULL, correlation_id TEXT NOT NULL, session TEXT NOT NULL, "user" TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL, latency_ms REAL, ttft_ms REAL, cost_nano INTEGER NOT NULL,
    saved_nano INTEGER NOT NULL, more TEXT NOT NULL);
CREATE TABLE log_bodies (n INTEGER PRIMARY KEY, user_message TEXT NOT NULL, response_text TEXT NOT NULL,
    discarded TEXT NOT NULL);
CREATE TABLE log_requests (n INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE log_events (n INTEGER PRIMARY KEY, at REAL NOT NULL, name TEXT NOT NULL, fields TEXT NOT NULL);
CREATE INDEX log_events_name ON log_events (name, n);
CREATE TABLE log_bad (n INTEGER PRIMARY KEY, found REAL NOT NULL, why TEXT NOT NULL, line BLOB NOT NULL);
CREATE TABLE log_rollups (step INTEGER, dimension TEXT, start INTEGER, tenant TEXT, value TEXT,
    exchanges INTEGER NOT NULL, attempts INTEGER NOT NULL, failed INTEGER NOT NULL, refused INTEGER NOT NULL,
    blocked INTEGER NOT NULL, hits INTEGER NOT NULL, truncated INTEGER NOT NULL, cost_nano INTEGER NOT NULL,
    estimated_nano INTEGER NOT NULL, saved_nano INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL, cache_read_tokens INTEGER NOT NULL, cache_write_tokens INTEGER NOT NULL,
    latency BLOB NOT NULL, ttft BLOB NOT NULL, PRIMARY KEY (step, dimension, tenant, start, value)) WITHOUT ROWID;
"""
# Not WITHOUT ROWID: its rows are megabytes where there are many users.
_USER_SUMS = f"""
CREATE TABLE log_user_sums (step INTEGER NOT NULL, tenant TEXT NOT NULL, start INTEGER NOT NULL, names BLOB NOT NULL,
    {", ".join(f"{name} BLOB NOT NULL" for name in COUNTS)}, PRIMARY KEY (step, tenant, start));
"""


def text_table(part: int) -> str:
    """The full-text index of a part."""
    return f"log_text_{part}"


def create_text_table(connection: sqlite3.Connection, part: int) -> None:
    """Make the full-text index of a part: without the texts, which `log_bodies` has, and without their sizes."""
    name = text_table(part)
    connection.execute(
        f"CREATE VIRTUAL TABLE {name} USING fts5(user_message, response_text, content='', columnsize=0, "
        "tokenize='unicode61 remove_diacritics 2')"
    )
    connection.execute(f"INSERT INTO {name} ({name}, rank) VALUES ('hashsize', 8388608)")


def give_back(connection: sqlite3.Connection, pages: int = 0) -> None:
    """Give free pages back to the file system: so many, or all; outside of a transaction."""
    connection.executescript(
        f"PRAGMA incremental_vacuum({pages:d})"
    )  # it has a step for each page; `execute` takes one


def empty_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Bring what was changed into the file itself; what was deleted is in the write-ahead log no more."""
    with suppress(sqlite3.Error):  # a reader in the middle of a search keeps it; the next one does it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def open_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes; the file is made with mode 0600 where there is none.

    Raises:
        ConfigError: it cannot be opened, is no log store, or one of a newer Headgate.
        Unavailable: the disk or the file said no.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise ConfigError(f"this Python has SQLite {sqlite3.sqlite_version}; the log store needs 3.35 or newer")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as error:
        raise ConfigError(f"the log store {path} cannot be opened: {error.strerror}") from error
    try:
        connection = _connect(path, "rw")
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise Unavailable(
            f"the log store {path} cannot be opened: {error}", told="the log store cannot be opened now"
        ) from error
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write.

    Raises:
        sqlite3.Error: there is no such file, or it cannot be read.
    """
    connection = _connect(path, "ro")
    connection.execute("PRAGMA query_only=1")
    connection.execute(f"PRAGMA cache_size=-{_READ_CACHE_KIB}")
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # used behind a lock
        cached_statements=256,
    )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    run = connection.execute
    version = run("PRAGMA user_version").fetchone()[0]
    application = run("PRAGMA application_id").fetchone()[0]
    if version == 0:
        run("PRAGMA auto_vacuum=INCREMENTAL")  # only before the first table, and before the journal's mode
    run("PRAGMA journal_mode=WAL")
    run("PRAGMA synchronous=NORMAL")
    run(f"PRAGMA cache_size=-{_CACHE_KIB}")
    run(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
    run(f"PRAGMA journal_size_limit={_WAL_BYTES}")
    run("PRAGMA secure_delete=ON")  # what is erased, or was merged away by the index, is overwritten
    if version == 0:
        if run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise ConfigError(f"{path} is a database, and no log store of Headgate's; move it away")
        ours = f"PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION};"
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {_USER_SUMS} {ours} COMMIT;")
    elif application != APPLICATION:
        raise ConfigError(f"{path} is a database, and no log store of Headgate's; move it away")
    elif version == 1:
        _from_the_first(connection)
    elif version != VERSION:
        raise ConfigError(f"the log store {path} was written by a newer Headgate; use that one, or move the file away")


def _from_the_first(connection: sqlite3.Connection) -> None:
    """What version 1 had in `log_rollups`: sums by user."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] == 1:  # or another process was first
            connection.execute(_USER_SUMS)
            user_sums.move(connection)
            connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
