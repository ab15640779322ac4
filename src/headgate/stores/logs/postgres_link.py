"""A connection to PostgreSQL that takes the log store's statements, and the log store's tables there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from headgate.core.errors import ConfigError, Unavailable
from headgate.stores.logs import postgres_erasures, user_sums
from headgate.stores.logs.rollups import COUNTS
from headgate.stores.postgres_database import OLDEST, Place, postgres_place, reason

VERSION = 3
_LOCK = 0x68656164_67617402
"""Of PostgreSQL's advisory locks: "headgat", 2. Whoever writes the log store has it, so that rows become visible in the
order of their numbers."""
_SECONDS_TO_LOCK = "30s"

_NUMBERED = "n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
_SUMS = ", ".join(f"{name} bigint NOT NULL" for name in COUNTS)
_USER_SUMS = (
    "CREATE TABLE log_user_sums (step bigint, tenant text, start bigint, names bytea NOT NULL, "
    f"{', '.join(f'{name} bytea NOT NULL' for name in COUNTS)}, PRIMARY KEY (step, tenant, start))"
)
_SCHEMA = (
    "CREATE TABLE log_meta (name text PRIMARY KEY, value bigint NOT NULL)",
    "CREATE TABLE log_spools (spool text PRIMARY KEY, position bigint NOT NULL, head bytea NOT NULL, "
    "bad bigint NOT NULL)",
    "CREATE TABLE log_shapes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, hash bigint NOT NULL, "
    "tail bytea NOT NULL)",
    "CREATE INDEX log_shapes_hash ON log_shapes (hash)",
    "CREATE TABLE log_rows (n bigint PRIMARY KEY, at float8 NOT NULL, shape bigint NOT NULL, "
    "exchange_id text NOT NULL, "
    'request_id text NOT NULL, correlation_id text NOT NULL, session text NOT NULL, "user" text NOT NULL, '
    "input_tokens bigint NOT NULL, output_tokens bigint NOT NULL, cache_read_tokens bigint NOT NULL, "
    "cache_write_tokens bigint NOT NULL, latency_ms float8, ttft_ms float8, cost_nano bigint NOT NULL, "
    "saved_nano bigint NOT NULL, more text NOT NULL, keys bigint[] NOT NULL)",
    "CREATE INDEX log_rows_keys ON log_rows USING gin (keys)",
    "CREATE INDEX log_rows_exchange ON log_rows (exchange_id)",
    "CREATE INDEX log_rows_at ON log_rows USING brin (at)",
    "CREATE TABLE log_bodies (n bigint PRIMARY KEY, user_message text NOT NULL, response_text text NOT NULL, "
    "discarded text NOT NULL, words tsvector NOT NULL)",
    "CREATE INDEX log_bodies_words ON log_bodies USING gin (words)",
    "CREATE TABLE log_requests (n bigint PRIMARY KEY, body bytea NOT NULL)",
    f"CREATE TABLE log_events ({_NUMBERED}, at float8 NOT NULL, name text NOT NULL, fields text NOT NULL)",
    "CREATE INDEX log_events_name ON log_events (name, n)",
    f"CREATE TABLE log_bad ({_NUMBERED}, found float8 NOT NULL, why text NOT NULL, line bytea NOT NULL)",
    f"CREATE TABLE log_rollups (step bigint, dimension text, start bigint, tenant text, value text, {_SUMS}, "
    "latency bytea NOT NULL, ttft bytea NOT NULL, PRIMARY KEY (step, dimension, tenant, start, value))",
    _USER_SUMS,
    *postgres_erasures.TABLE,
)


class Link:
    """One connection. Not for several threads."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Any:
        """See `sql.Sql`."""
        return self.connection.execute(_marked(statement), values)

    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> None:
        """See `sql.Sql`."""
        with self.connection.cursor() as cursor:
            cursor.executemany(_marked(statement), list(values))

    def close(self) -> None:
        """Let go of it."""
        self.connection.close()

    @contextmanager
    def transaction(self, begin: str) -> Iterator[None]:
        """Everything in it or nothing."""
        self.connection.execute(begin)
        try:
            yield
        except BaseException:
            if not self.connection.closed:
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")


def _marked(statement: str) -> str:
    return statement.replace("%", "%%").replace("?", "%s")


def connect(url: str) -> tuple[Link, Place]:
    """A connection to where a storage URL leads.

    Raises:
        ConfigError: it is no such URL, psycopg is not installed, or the server is too old.
        Unavailable: it does not answer.
    """
    place = postgres_place(url)
    import psycopg

    try:
        connection = psycopg.connect(**place.options, autocommit=True)
    except psycopg.Error as error:
        raise Unavailable(
            f"the log store in {place.name} cannot be reached: {reason(error)}",
            told="the log store cannot be reached now",
        ) from error
    if connection.info.server_version < OLDEST:
        connection.close()
        raise ConfigError(f"{place.name} is too old; the log store needs PostgreSQL {OLDEST // 10000} or newer")
    return Link(connection), place


def take_turn(link: Link) -> None:
    """Wait for others that write the log store, until the transaction's end; make its tables where there are none.

    Raises:
        ConfigError: it is of a newer Headgate.
    """
    link.execute(f"SET LOCAL lock_timeout = '{_SECONDS_TO_LOCK}'")
    link.execute("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
    if not has_tables(link):
        for statement in _SCHEMA:
            link.execute(statement)
        link.execute("INSERT INTO log_meta VALUES ('version', ?), ('summed_to', 0)", (VERSION,))
    row = link.execute("SELECT value FROM log_meta WHERE name = 'version'").fetchone()
    if row is not None and row[0] in (1, 2):
        if row[0] == 1:
            link.execute(_USER_SUMS)
            user_sums.move(link)
        for statement in postgres_erasures.TABLE:
            link.execute(statement)
        link.execute("UPDATE log_meta SET value = ? WHERE name = 'version'", (VERSION,))
    elif row is None or row[0] != VERSION:
        raise ConfigError("the log store in this database was written by a newer Headgate; use that one")


def has_tables(link: Link) -> bool:
    """Whether the log store is there."""
    return bool(link.execute("SELECT to_regclass('log_meta') IS NOT NULL").fetchone()[0])
