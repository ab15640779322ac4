"""A look at a ledger in PostgreSQL from outside, for `headgate doctor`: what is there, and whether it will do."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from headgate.core.errors import ConfigError
from headgate.stores.postgres_database import postgres_place, reader_engine, reason
from headgate.stores.postgres_owners import DEAD_SECONDS


class Look(NamedTuple):
    """What was seen.

    Attributes:
        version: of the server, as 150004.
        encoding: of the database; the ledger needs UTF8.
        encrypted: this connection.
        local: the server is on this machine, as far as can be told.
        ledger: there is one.
        may_create: the role may make tables.
        size: of the database, bytes.
        owners: processes that write, and have told lately that they live.
        silent: those that have not, and that the next sweep takes for dead.
    """

    name: str
    version: int
    encoding: str
    encrypted: bool
    local: bool
    ledger: bool
    may_create: bool
    size: int
    owners: int
    silent: int


def look(url: str) -> Look:
    """Look at what a storage URL names, in one connection; nothing is changed.

    Raises:
        ConfigError: it is no such URL, psycopg is not installed, or the database does not answer.
    """
    place = postgres_place(url)
    try:
        with reader_engine(place).connect() as connection:
            return _seen(connection, place.name)
    except DBAPIError as error:
        raise ConfigError(f"{place.name} does not answer: {reason(error)}") from error


def _seen(connection: Connection, name: str) -> Look:
    driver: Any = connection.connection.driver_connection
    info = driver.info
    ledger = _one(connection, "SELECT to_regclass('owners') IS NOT NULL AND to_regclass('alembic_version') IS NOT NULL")
    owners = silent = 0
    if ledger:
        alive = f"heartbeat > extract(epoch from clock_timestamp())::float8 - {DEAD_SECONDS}"
        counted = text(f"SELECT count(*) FILTER (WHERE {alive}), count(*) FROM owners")  # noqa: S608 (a constant)
        owners, every = connection.execute(counted).one()
        silent = every - owners
    return Look(
        name,
        info.server_version,
        str(info.parameter_status("server_encoding")),
        bool(info.pgconn.ssl_in_use),
        _is_local(str(info.host or "")),
        bool(ledger),
        bool(_one(connection, "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")),
        int(_one(connection, "SELECT pg_database_size(current_database())")),
        owners,
        silent,
    )


def _one(connection: Connection, query: str) -> Any:
    return connection.execute(text(query)).scalar_one()


def _is_local(host: str) -> bool:
    # "" and a path are Unix sockets.
    return not host or host.startswith(("/", "@", "127.")) or host in ("localhost", "::1")
