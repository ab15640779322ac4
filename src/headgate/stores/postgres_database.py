"""PostgreSQL: the place that a storage URL names, connections to it, and what its errors say.

psycopg is an extra (`headgate[postgres]`) and is imported on first use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    import psycopg

OLDEST = 140000
"""PostgreSQL 14, the oldest that is still maintained (https://www.postgresql.org/support/versioning/)."""

EXPECTED = "expected postgresql://user:password@host:5432/database"
_SCHEMES = ("postgresql://", "postgres://")
_SECONDS_TO_CONNECT = 5
_DEFAULTS = {
    "connect_timeout": _SECONDS_TO_CONNECT,
    # A server that is gone without a word is noticed in about 15 s.
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "headgate",
}
"""What the URL may say otherwise, as https://www.postgresql.org/docs/current/libpq-connect.html names it."""

WRITER_SETTINGS = {
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    # Accounts are locked for the time of one round trip; should we stand still meanwhile, others must not.
    "idle_in_transaction_session_timeout": "10s",
}
"""Of the connection that writes, in the server's words."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ledger is. `name` is for people, and holds neither user nor password nor options."""

    name: str
    options: dict[str, Any] = field(repr=False)  # libpq's


def postgres_place(url: str) -> Place:
    """The place that a storage URL names.

    Raises:
        ConfigError: it is no such URL, or psycopg is not installed. The message never repeats the URL.
    """
    driver = _driver()
    scheme = next((each for each in _SCHEMES if url.startswith(each)), None)
    if scheme is None:
        raise ConfigError(f"storage: {url.partition('://')[0]}:// is not a ledger this store opens; {EXPECTED}")
    _no_stray_at(url.removeprefix(scheme))
    try:
        told = driver.conninfo.conninfo_to_dict(url)
    except driver.Error:
        # libpq's own words repeat pieces of the URL, of which any may be the password's.
        raise ConfigError(f"storage: this is no valid PostgreSQL URL; {EXPECTED}") from None
    host, port, name = (str(told.get(key) or "") for key in ("host", "port", "dbname"))
    # In a path, not in an authority: a Unix socket's folder.
    at = "" if host.startswith("/") else host + (f":{port}" if port else "")
    return Place(f"postgresql://{at}/{name}", {**_DEFAULTS, **told})


def _no_stray_at(rest: str) -> None:
    # libpq ends the credential at the first @, others at the last, and a / or ? before it ends the authority: what
    # remains of the password would be taken for the host, and be shown.
    authority = rest.partition("/")[0].partition("?")[0]
    if authority.count("@") > 1 or ("@" not in authority and "@" in rest):
        raise ConfigError(
            "storage: there is an @ out of place in the URL. In a user or password, @ : / ? # % are written as "
            "%40 %3A %2F %3F %23 %25"
        )


def _driver() -> Any:
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError as error:
        raise ConfigError(
            "storage: a ledger in PostgreSQL needs a package that is not installed: pip install 'headgate[postgres]'"
        ) from error
    return psycopg


def writer_engine(place: Place) -> Engine:
    """An engine each of whose connections is new, with :data:`WRITER_SETTINGS`. Nothing is opened yet."""

    def open_connection() -> psycopg.Connection[Any]:
        connection = _connect(place)
        try:
            _check(connection, place)
            _settle_in(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    return _engine(open_connection, "BEGIN")


def reader_engine(place: Place) -> Engine:
    """An engine whose transactions see one moment and cannot write; each use opens its own connection."""
    return _engine(lambda: _connect(place), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")


def _engine(creator: Any, begin: str) -> Engine:
    # Parameters are callers' data, and have no place in a message.
    engine = create_engine(
        "postgresql+psycopg://", creator=creator, poolclass=NullPool, use_native_hstore=False, hide_parameters=True
    )
    # psycopg is told that there are no transactions, and ours begin where SQLAlchemy says so: the same as in SQLite.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _connect(place: Place) -> psycopg.Connection[Any]:
    connection: psycopg.Connection[Any] = _driver().connect(**place.options, autocommit=True)
    return connection


def _check(connection: psycopg.Connection[Any], place: Place) -> None:
    version = connection.info.server_version
    if version < OLDEST:
        raise ConfigError(f"{place.name} is PostgreSQL {version // 10000}; the ledger needs {OLDEST // 10000} or newer")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ConfigError(
            f"the database {place.name} stores text as {encoding}; the ledger needs UTF8: "
            "CREATE DATABASE headgate TEMPLATE template0 ENCODING 'UTF8'"
        )


def _settle_in(connection: psycopg.Connection[Any]) -> None:
    # A commit is durable on return, even where the database's default is not to wait for the disk.
    told = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    connection.execute(told)
    for name, value in WRITER_SETTINGS.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


# -- errors ----------------------------------------------------------------------------------------------------------

_ROW_AT_FAULT = ("22", "23", "54")
"""Classes of SQLSTATE: data exception, integrity constraint violation, program limit exceeded (a key that is too long)
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
_TRY_AGAIN = ("40", "55")
"""Transaction rollback (a deadlock among them) and "object not in state" (a lock that took too long): the connection is
as good as before."""


def cause_of(error: BaseException) -> BaseException:
    """The driver's own error, without SQLAlchemy's statement and link."""
    found = error.orig if isinstance(error, DBAPIError) else error
    return found if found is not None else error


def from_postgres(error: BaseException) -> bool:
    """True where the driver is psycopg."""
    return hasattr(cause_of(error), "sqlstate")


def state_of(error: BaseException) -> str:
    """The SQLSTATE that the server told, "" if it told none (the connection was lost, or psycopg refused a value)."""
    return getattr(cause_of(error), "sqlstate", None) or ""


def reason(error: BaseException) -> str:
    """The error's own words on one line, without DETAIL, which may repeat a row."""
    cause: Any = cause_of(error)
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    return " ".join(str(primary or cause).split()) or type(cause).__name__


def unfit(error: BaseException) -> bool:
    """True where a row itself is at fault and no later try will help."""
    state = state_of(error)
    if state:
        return state.startswith(_ROW_AT_FAULT)
    # psycopg refuses some values before it sends anything.
    cause = cause_of(error)
    return any(each.__name__ in ("DataError", "IntegrityError") for each in type(cause).__mro__)


def keeps_connection(error: BaseException) -> bool:
    """True where the statement failed, and the connection did not."""
    return state_of(error).startswith(_ROW_AT_FAULT + _TRY_AGAIN)
