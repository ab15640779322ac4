"""The ledger in this process's memory: for tests and trials. It is lost when the process ends, however that happens."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from headgate.stores.ledger import MAX_QUEUED, Shared, Source, WrittenLedger
from headgate.stores.reader import Reader
from headgate.stores.session import Session, SqliteSession

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

MEMORY = "memory"
"""As a storage URL."""


class MemoryLedger(WrittenLedger):
    """A SQLite database that is no file: there is no lock, and no other process can read it.

    Two ledgers share nothing, not even in one process. After a fork the child's is empty.
    """

    def __init__(self, *, max_queued: int = MAX_QUEUED, now: Callable[[], float] = time.time) -> None:
        """
        Args:
            max_queued: exchanges not yet written above which new intents are refused; >= 1.
            now: seconds since the epoch.
        """
        super().__init__(max_queued=max_queued, now=now)
        self._key = f"{MEMORY}:{secrets.token_hex(8)}"

    @property
    def name(self) -> str:
        """ "memory"."""
        return MEMORY

    def reader(self) -> Reader:
        """For reading; its questions are asked in the writer thread, behind everything settled before."""
        return MemoryReader(self)

    def _source(self) -> Source:
        def connect(shared: Shared) -> Session:
            return SqliteSession(None, owner=shared.owner, durability="process", now=self._now)

        return Source(self._key, MEMORY, connect, "Check the memory that is left")


class MemoryReader(Reader):
    """Asks through the one connection there is. Every method blocks for the writer thread and may raise Unavailable."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    @property
    def name(self) -> str:
        """ "memory"."""
        return MEMORY

    def _ask(self, question: Callable[[Connection], T]) -> T:
        """See :meth:`Reader._ask`."""
        return self._ledger.call(question)
