"""The ledger in one SQLite file: one writer thread per file and process, one writing process per file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from headgate.stores.database import ledger_path
from headgate.stores.ledger import MAX_QUEUED, Shared, Source, WrittenLedger, close_all
from headgate.stores.reader import Reader
from headgate.stores.session import Session, SqliteSession

__all__ = ["MAX_QUEUED", "Durability", "SqliteLedger", "close_all"]

Durability = Literal["process", "full"]


class SqliteLedger(WrittenLedger):
    """The durable record of money in a SQLite file.

    After a fork the child opens the file anew, which works only where the URL has ``{pid}`` or the parent is gone.
    """

    def __init__(
        self,
        url: str,
        *,
        durability: Durability = "process",
        max_queued: int = MAX_QUEUED,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            url: ``sqlite:///headgate.db``; ``{pid}`` in it stands for the process id.
            durability: "process" (default) survives `kill -9`, "full" a power cut too (decisions 6).
            max_queued: exchanges not yet written above which new intents are refused; >= 1.
            now: seconds since the epoch.

        Raises:
            ConfigError: the URL does not name a file.
        """
        super().__init__(max_queued=max_queued, now=now)
        self._url = url
        self._durability: Durability = durability
        self._path = ledger_path(url)

    @property
    def path(self) -> Path:
        """The file, in this process."""
        return self._path

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self._path)

    def reader(self) -> Reader:
        """For reading beside the writer. Call :meth:`flush` first to see what was settled a moment ago."""
        return Reader(self._path)

    def _source(self) -> Source:
        self._path = ledger_path(self._url)
        path = Path(os.path.realpath(self._path))

        def connect(shared: Shared) -> Session:
            return SqliteSession(path, owner=shared.owner, durability=self._durability, now=self._now)

        return Source(str(path), str(path), connect)
