"""The log store in PostgreSQL, read: from any machine, from any thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from headgate.core.errors import Unavailable
from headgate.stores.logs.filters import Filter
from headgate.stores.logs.postgres_guard_counts import guard_counts
from headgate.stores.logs.postgres_link import Link, connect, has_tables
from headgate.stores.logs.postgres_rows import PostgresFinder
from headgate.stores.logs.rows import Shapes
from headgate.stores.logs.table_reader import SEARCH_SECONDS, NoLogStore, TableReader
from headgate.stores.postgres_database import reason

_STATEMENT_SECONDS = 10


class PostgresLogReader(TableReader):
    """:class:`headgate.stores.logs.reader.LogReader` over the database.

    Args:
        url: as `storage` has it.
        installation: see `postgres_store.PostgresStore`.
        seconds, clock: see `TableReader`.
    """

    def __init__(
        self,
        url: str,
        installation: str,
        *,
        seconds: float = SEARCH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(seconds, clock, guard_counts)
        self._url = url
        self._installation = installation
        self._lock = threading.Lock()
        self._shapes = Shapes()
        self._idle: list[Link] = []

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for link in idle:
            link.close()

    def _spool_name(self, path: Path) -> str:
        return f"{self._installation}:{path}"

    def _finder(
        self,
        sql: Link,
        shapes: Shapes,
        wanted: Filter,
        newest_first: bool,
        start: int | None,
        more_time: Callable[[], bool],
    ) -> PostgresFinder:
        return PostgresFinder(sql, shapes, wanted, newest_first=newest_first, start=start, more_time=more_time)

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[Link, Shapes]]:
        import psycopg

        with self._lock:
            link = self._idle.pop() if self._idle else None
        if link is None:
            link, _ = connect(self._url)
            link.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
        try:
            with link.transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"):
                if not has_tables(link):
                    raise NoLogStore("there is no log store in this database yet: it is made when exchanges are logged")
                with self._lock:
                    self._shapes.refresh(link)
                yield link, self._shapes
        except psycopg.Error as error:
            link.close()
            raise Unavailable(
                f"the log store cannot be read: {reason(error)}", told="the log store cannot be read now"
            ) from error
        except BaseException:
            link.close()
            raise
        with self._lock:
            self._idle.append(link)
