"""The one door to ledgers: what `storage` names, opened to be written or read, and the files that lie beside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.core.errors import ConfigError
from headgate.stores.database import ledger_path
from headgate.stores.memory import MEMORY, MemoryLedger
from headgate.stores.reader import NoLedger, Reader
from headgate.stores.sqlite import Durability, SqliteLedger

if TYPE_CHECKING:
    from headgate.stores.keys import Key
    from headgate.stores.ledger import WrittenLedger

_POSTGRES = ("postgresql://", "postgres://")
_BESIDE_NO_FILE = "headgate"
"""What the log and its key are named after where the ledger is no file; they are in the working directory."""

_ELSEWHERE = (
    "storage: memory: what the ledger knows is in the memory of the process that serves, and no other can reach it. "
    "For this command `storage` has to be sqlite:///headgate.db or postgresql://host/database"
)
_ONE_EACH = (
    "storage: there is a ledger for each process ({pid}); name one of them, as in "
    "HEADGATE_STORAGE=sqlite:///headgate-1234.db"
)


def open_ledger(
    storage: str, *, durability: Durability = "process", now: Callable[[], float] = time.time
) -> WrittenLedger:
    """The ledger that `storage` names, for this process to write. Nothing is opened before its first use.

    Args:
        storage: ``sqlite:///file``, ``postgresql://…`` or ``memory``, as `settings` has checked it.
        durability: of SQLite (decisions 6); PostgreSQL's commits are as durable as the database makes them.
        now: seconds since the epoch.

    Raises:
        ConfigError: it is no such URL, or a package that it needs is not installed.
    """
    if storage == MEMORY:
        return MemoryLedger(now=now)
    if is_postgres_url(storage):
        from headgate.stores.postgres import PostgresLedger

        return PostgresLedger(storage, now=now)
    return SqliteLedger(storage, durability=durability, now=now)


def open_beside(storage: str) -> WrittenLedger:
    """As `open_ledger`, for a command that changes what other processes serve from.

    Raises:
        ConfigError: as `open_reader`.
    """
    _one_for_all(storage)
    return open_ledger(storage)


def open_reader(storage: str) -> Reader:
    """The ledger that another process may be writing, for reading. Nothing is opened before the first question.

    Raises:
        ConfigError: as `open_ledger`; or another process cannot read it, as with ``memory``, or it is one of many, as
            with ``{pid}``.
    """
    _one_for_all(storage)
    if is_postgres_url(storage):
        from headgate.stores.postgres import PostgresReader

        return PostgresReader(storage)
    return Reader(ledger_path(storage))


def _one_for_all(storage: str) -> None:
    if storage == MEMORY:
        raise ConfigError(_ELSEWHERE)
    if "{pid}" in storage and not is_postgres_url(storage):
        raise ConfigError(_ONE_EACH)


def stored_keys(storage: str) -> list[Key]:
    """The keys in a ledger, oldest first; none where there is no ledger yet, or no other process can read it.

    Raises:
        ConfigError: it cannot be read.
    """
    if storage == MEMORY:
        return []
    try:
        return open_reader(storage).keys()
    except NoLedger:
        return []


def is_postgres_url(storage: str) -> bool:
    """Whether any number of processes may write it."""
    return storage.startswith(_POSTGRES)


def sqlite_file(storage: str) -> Path | None:
    """The ledger's file, in this process; None where it is no file.

    Raises:
        ConfigError: it is no such URL.
    """
    return None if storage == MEMORY or is_postgres_url(storage) else ledger_path(storage)


def log_file(storage: str) -> Path:
    """The log's place: `headgate.db` has `headgate.db.log.jsonl`; a ledger that is no file has `headgate.log.jsonl`."""
    return _beside(storage, ".log.jsonl")


def log_store_file(storage: str) -> Path:
    """The log store's SQLite file, beside the log; of a ledger in PostgreSQL it is there, and this names its lock."""
    return _beside(storage, ".log.db")


def log_key_file(storage: str) -> Path:
    """The key of the log's hashes, beside the log."""
    return _beside(storage, ".logkey")


def approval_key_file(storage: str) -> Path:
    """The key that signs approvals' tokens, where the configuration has none."""
    return _beside(storage, ".approvalkey")


def shadow_file(storage: str) -> Path | None:
    """What comparing models has found, beside the ledger; of all processes' where each has a ledger of its own. None:
    it is kept in memory, as the ledger is."""
    return None if storage == MEMORY else _beside(storage.replace("{pid}", "all"), ".shadow.db")


def cache_file(storage: str) -> Path:
    """Where answers are kept with ``cache.backend: sqlite``."""
    return _beside(storage, ".cache")


def similar_file(storage: str) -> Path | None:
    """What comparing similar answers has found; as `shadow_file`."""
    return None if storage == MEMORY else _beside(storage.replace("{pid}", "all"), ".similar.db")


def _beside(storage: str, suffix: str) -> Path:
    path = sqlite_file(storage) or Path(_BESIDE_NO_FILE)
    return path.with_name(path.name + suffix)
