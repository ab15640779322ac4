"""The ledger in PostgreSQL: one writer thread per database and process, any number of processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from headgate.core.errors import ConfigError, Unavailable
from headgate.stores.commands import Call
from headgate.stores.forks import work_lock
from headgate.stores.ledger import MAX_QUEUED, Shared, Source, WrittenLedger
from headgate.stores.postgres_database import Place, postgres_place, reader_engine, reason, state_of
from headgate.stores.postgres_owners import HEARTBEAT_SECONDS, SWEEP_SECONDS
from headgate.stores.postgres_session import PostgresSession
from headgate.stores.reader import NoLedger, Reader
from headgate.stores.session import Session
from headgate.stores.waiters import BlockingWaiter
from headgate.stores.writer import Writer

T = TypeVar("T")

_ADVICE = "Check that the database is up and reachable, and its disk has room"
_NO_TABLE = "42P01"


class PostgresLedger(WrittenLedger):
    """The durable record of money in a PostgreSQL database, shared with other processes.

    A commit is durable as the database has it: on its disk, and on its replicas as `synchronous_commit` says. After a
    fork the child opens a connection of its own.
    """

    others_write = True

    def __init__(self, url: str, *, max_queued: int = MAX_QUEUED, now: Callable[[], float] = time.time) -> None:
        """
        Args:
            url: ``postgresql://user:password@host:5432/database?sslmode=verify-full``, as libpq takes it
                (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS).
            max_queued: exchanges not yet written above which new intents are refused; >= 1.
            now: seconds since the epoch, for waiting and the dates of keys. Heartbeats are by the database's clock.

        Raises:
            ConfigError: it is no such URL, or psycopg is not installed.
        """
        super().__init__(max_queued=max_queued, now=now)
        self._place = postgres_place(url)
        self._key = url

    @property
    def name(self) -> str:
        """Host and database."""
        return self._place.name

    def reader(self) -> Reader:
        """For reading beside the writer. Call :meth:`flush` first to see what was settled a moment ago."""
        return PostgresReader(self._place)

    def _source(self) -> Source:
        place = self._place

        def connect(shared: Shared) -> Session:
            session = PostgresSession(place, owner=shared.owner)
            _Heart(shared.writer, shared.stopped).start()
            return session

        return Source(self._key, place.name, connect, _ADVICE)


class PostgresReader(Reader):
    """A ledger in PostgreSQL, a connection for each question, so it can be kept for long and used by any thread."""

    def __init__(self, place: Place | str) -> None:
        """
        Args:
            place: a storage URL, or what :func:`postgres_place` made of it.

        Raises:
            ConfigError: it is no such URL, or psycopg is not installed.
        """
        self._place = postgres_place(place) if isinstance(place, str) else place
        self._engine = reader_engine(self._place)

    @property
    def name(self) -> str:
        """Host and database."""
        return self._place.name

    def _ask(self, question: Callable[[Connection], T]) -> T:
        """See :meth:`Reader._ask`."""
        name = self._place.name
        try:
            with work_lock(), self._engine.connect() as connection:
                return question(connection)
        except DBAPIError as error:
            if state_of(error) == _NO_TABLE:
                raise NoLedger(
                    f"there is no ledger in {name}: nothing was recorded yet, or `storage` names another database"
                ) from error
            raise ConfigError(f"the ledger {name} cannot be read: {reason(error)}") from error


class _Heart(threading.Thread):
    """Has the writer tell every few seconds that this process lives, also while it has nothing to write."""

    def __init__(self, writer: Writer, stopped: threading.Event) -> None:
        super().__init__(name="headgate-heart", daemon=True)
        self._writer = writer
        self._stopped = stopped

    def run(self) -> None:
        """Beat until the ledger is closed."""
        beats = 0
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            beats += 1
            self._beat(sweep=beats % round(SWEEP_SECONDS / HEARTBEAT_SECONDS) == 0)

    def _beat(self, *, sweep: bool) -> None:
        writer, waiter = self._writer, BlockingWaiter()

        def tick(session: Session) -> None:
            assert isinstance(session, PostgresSession)
            writer.swept(session, session.tick(sweep=sweep))

        try:
            writer.call(Call(tick, waiter))
            waiter.wait()
        except (Unavailable, ConfigError):
            # Whoever wants to write is told; by the next beat it may work again.
            return
