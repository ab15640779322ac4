"""A ledger file opened for writing: the lock, the connection, and what is written in one transaction.

Everything here runs in the writer thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, insert
from sqlalchemy.exc import DBAPIError

from headgate.core.budget import Balance, Claim
from headgate.core.errors import ConfigError
from headgate.policy.accounts import Accounts
from headgate.policy.budgets import Account
from headgate.policy.holding import Cap, Changed
from headgate.stores import postgres_database
from headgate.stores.database import memory_engine, writer_engine
from headgate.stores.intents import Open
from headgate.stores.lockfile import LockFile
from headgate.stores.migrate import upgrade
from headgate.stores.postgres_database import from_postgres
from headgate.stores.rows import ACCOUNTS, ATTEMPTS, EXCHANGES, SHAPES, account_row, encode
from headgate.stores.schema import owners
from headgate.stores.shapes import Shapes
from headgate.stores.statements import Row
from headgate.stores.sweep import sweep

T = TypeVar("T")

Closing = tuple[str, int, int, int]
"""An attempt whose hold is closed: exchange id, number, what it cost in nano-dollars, tokens used."""

HEARTBEAT_SECONDS = 10.0

# Ids tell the time. A call that was killed has ended when a sweep closed it, perhaps by a clock that was set back.
NEWEST = "SELECT CASE WHEN ended > started THEN ended ELSE started END FROM exchange_rows ORDER BY id DESC LIMIT 1"
"""When the newest exchange was over: see `Session.newest`."""

_INTEND = "INSERT INTO intents (id, owner, intents) VALUES (?, ?, ?)"
_DELETE = "DELETE FROM intents WHERE id IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DELETED = _DELETE.count("?")
_ACCOUNT = (
    "SELECT id, spent_nano, spent_tokens, alerted, alerted_tokens FROM accounts "
    "WHERE budget = ? AND scope = ? AND period_start = ?"
)
_SET_CAP = "INSERT OR REPLACE INTO caps (budget, scope, cap_nano, cap_tokens, changed) VALUES (?, ?, ?, ?, ?)"


class Session(Protocol):
    """What the writer thread needs of an open ledger; PostgreSQL's will be another."""

    swept: int
    killed: list[dict[str, Any]]
    """The log's lines of exchanges that a sweep has closed, until the writer tells them."""
    newest: float
    """When the newest exchange was over as it was opened, seconds since the epoch; -infinity = there is none."""
    remembers: bool
    """The writer's memory is the accounts' truth, since nobody else writes; else they are read anew each time."""

    def prepare(self, accounts: Accounts, claims: Iterable[Claim], closing: Sequence[Closing]) -> Sequence[Closing]:
        """Bring accounts into memory, before decisions about them that the next `commit` makes durable.

        Args:
            accounts: where to.
            claims: what is asked for; an account that does not exist is made.
            closing: attempts whose holds are about to be closed.

        Returns:
            Those of `closing` whose holds are still open in the store.
        """
        ...

    def look(self, claim: Claim) -> Balance:
        """One account as the store has it."""
        ...

    def commit(
        self,
        intents: Sequence[Row],
        attempts: Sequence[Row],
        exchanges: Sequence[Row],
        accounts: Sequence[Changed] = (),
    ) -> None:
        """Write all of it or nothing; durable on return. Ends what `prepare` began."""
        ...

    def intend(self, intent: Row) -> bool:
        """Write one intent. Returns whether it is durable; where it is not, `commit` tells why.

        Where it `remembers`, also in the caller's own thread, in which an exception that a signal brings may cut it off
        between any two steps, and passes. Nothing then is believed that is not so; at worst a row stays until the next
        start, that counts for nothing.
        """
        ...

    def set_cap(
        self, budget: str, scope: str, cap: Cap | None, also: Callable[[Connection], object] | None = None
    ) -> None:
        """Write an override, or take it back, and what `also` writes, in one transaction."""
        ...

    def call(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own."""
        ...

    def publish(self, url: str, token: str) -> None:
        """See :meth:`LockFile.publish`."""
        ...

    def close(self) -> None:
        """Close the connection and give the lock back. Idempotent."""
        ...

    def forget(self) -> None:
        """In a forked child: let go without touching the file."""
        ...


class SqliteSession:
    """The one writing connection to a SQLite ledger. What is set aside is in the writer's memory and in `intents`.

    Rows go through the driver's own cursor with SQL compiled by SQLAlchemy: its statement objects would cost about
    15 us each, several times per batch.
    """

    def __init__(self, path: Path | None, *, owner: str, durability: str, now: Callable[[], float]) -> None:
        """Open, lock, migrate and sweep.

        Args:
            path: None: in memory, where there is nothing to lock.

        Raises:
            ConfigError: another process writes this ledger, or the file is no ledger of ours or a newer one.
            sqlite3.Error, DBAPIError: the disk said no.
        """
        self.remembers = True
        self._now = now
        self._owner = owner
        self._beat = now()
        self._lock = _locked(path, self._beat)
        self._engine: Engine | None = None
        try:
            self._engine = memory_engine() if path is None else writer_engine(path, durability=durability)
            self._connection, self.swept, self.killed = _prepare(self._engine, path, owner, self._beat)
        except BaseException:
            self.close()
            raise
        self._driver: sqlite3.Connection = _driver(self._connection)
        self._cursor = self._driver.cursor()
        self._open = Open()
        newest = self._cursor.execute(NEWEST).fetchone()
        self.newest: float = float("-inf") if newest is None else newest[0]
        self._batch = self._highest("SELECT max(id) FROM intents")
        self._shapes = Shapes(owner, self._highest("SELECT max(id) FROM shapes"))
        self._account = self._highest("SELECT max(id) FROM accounts")
        found = self._cursor.execute("SELECT budget, scope, cap_nano, cap_tokens FROM caps")
        self._caps: dict[tuple[str, str], Cap] = {
            (budget, scope): (nano, tokens) for budget, scope, nano, tokens in found
        }

    def _highest(self, query: str) -> int:
        return int(self._cursor.execute(query).fetchone()[0] or 0)

    def prepare(self, accounts: Accounts, claims: Iterable[Claim], closing: Sequence[Closing]) -> Sequence[Closing]:
        """See the protocol. Nobody else writes, so what is in memory stays true, and every hold of ours is open."""
        for claim in accounts.missing(claims):
            found = self._cursor.execute(_ACCOUNT, claim.key).fetchone()
            override = self._caps.get((claim.budget.id, claim.scope))
            if found is None:
                self._account += 1
                accounts.create(claim, self._account, override)
            else:
                number, spent, tokens, alerted, alerted_tokens = found
                known = Account(spent_nano=spent, spent_tokens=tokens)
                accounts.load(
                    claim.key, number, known, alerted=alerted, alerted_tokens=alerted_tokens, override=override
                )
        return closing

    def look(self, claim: Claim) -> Balance:
        """See the protocol."""
        found = self._cursor.execute(_ACCOUNT, claim.key).fetchone() or (0, 0, 0)
        override = self._caps.get((claim.budget.id, claim.scope))
        cap_nano, cap_tokens = override or (claim.budget.cap_nano, claim.budget.cap_tokens)
        return Balance(claim, cap_nano, cap_tokens, found[1], 0, spent_tokens=found[2], overridden=override is not None)

    def set_cap(
        self, budget: str, scope: str, cap: Cap | None, also: Callable[[Connection], object] | None = None
    ) -> None:
        """See the protocol."""

        def work(sql: Connection) -> None:
            if cap is None:
                sql.exec_driver_sql("DELETE FROM caps WHERE budget = ? AND scope = ?", (budget, scope))
            else:
                sql.exec_driver_sql(_SET_CAP, (budget, scope, *cap, self._now()))
            if also is not None:
                also(sql)

        self.call(work)
        if cap is None:
            self._caps.pop((budget, scope), None)
        else:
            self._caps[budget, scope] = cap

    def commit(
        self,
        intents: Sequence[Row],
        attempts: Sequence[Row],
        exchanges: Sequence[Row],
        accounts: Sequence[Changed] = (),
    ) -> None:
        """See the protocol."""
        now = self._now()
        beating = now - self._beat >= HEARTBEAT_SECONDS
        if attempts or exchanges or accounts or beating:
            self._transaction(intents, attempts, exchanges, accounts, now if beating else None)
        elif intents:
            # Each statement hands the interpreter to another thread and back: BEGIN and COMMIT are worth avoiding.
            self._intend(intents)
        if intents:
            self._open.add(self._batch, intents)

    def intend(self, intent: Row) -> bool:
        """See the protocol."""
        intents = (intent,)
        try:
            text = encode(intents)
        except (UnicodeEncodeError, OverflowError, TypeError):  # half of a surrogate pair, say
            return False
        self._batch = batch = self._batch + 1
        self._open.add(batch, intents)  # before it is there: to delete what is not there is nothing
        try:
            if self._driver.in_transaction:  # it would be durable with that, and no sooner
                raise sqlite3.OperationalError
            self._cursor.execute(_INTEND, (batch, self._owner, text))
        except sqlite3.Error:  # either, also where a handler has closed the ledger meanwhile
            self._open.forget(self._open.close(intents)[1])
            return False
        return True

    def _intend(self, intents: Sequence[Row]) -> None:
        self._batch += 1
        self._cursor.execute(_INTEND, (self._batch, self._owner, encode(intents)))

    def _transaction(
        self,
        intents: Sequence[Row],
        attempts: Sequence[Row],
        exchanges: Sequence[Row],
        accounts: Sequence[Changed],
        beat: float | None,
    ) -> None:
        cursor = self._cursor
        closed, done = self._open.close(exchanges)
        try:
            cursor.execute("BEGIN IMMEDIATE")
            if intents:
                self._intend(intents)
            if attempts:
                ATTEMPTS.run(cursor, attempts)
            fresh = self._settle(exchanges) if exchanges else {}
            if accounts:
                ACCOUNTS.run(cursor, [account_row(each) for each in accounts])
            for start in range(0, len(done), _DELETED):
                part = done[start : start + _DELETED]
                cursor.execute(_DELETE, part + part[:1] * (_DELETED - len(part)))
            if beat is not None:
                cursor.execute("UPDATE owners SET heartbeat = ? WHERE id = ?", (beat, self._owner))
            cursor.execute("COMMIT")
        except BaseException:
            self._open.reopen(closed)
            # Some errors (a full disk) have rolled back already.
            if self._driver.in_transaction:
                cursor.execute("ROLLBACK")
            raise
        self._open.forget(done)
        self._beat = self._beat if beat is None else beat
        if fresh:
            self._shapes.remember(fresh)

    def _settle(self, exchanges: Sequence[Row]) -> dict[Row, int]:
        """Write the rows, and those of their shapes that are new; returns the latter."""
        numbers, fresh = self._shapes.number([row[1] for row in exchanges])
        if fresh:
            SHAPES.run(self._cursor, self._shapes.rows(fresh))
        EXCHANGES.run(self._cursor, exchanges, numbers)
        return fresh

    def call(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own."""
        with self._connection.begin():
            return work(self._connection)

    def publish(self, url: str, token: str) -> None:
        """See :meth:`LockFile.publish`."""
        if self._lock is not None:
            self._lock.publish(url, token)

    def close(self) -> None:
        """Close the connection (which folds the WAL into the file) and give the lock back. Idempotent."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._lock is not None:
            self._lock.release()

    def forget(self) -> None:
        """In a forked child: keep the inherited connection from being closed, and let go of the lock's descriptor."""
        _INHERITED.append(self)
        if self._lock is not None:
            self._lock.forget()


_INHERITED: list[object] = []
"""Connections of a parent process. SQLite forbids using them here, and closing one is using it
(https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_)."""


def _locked(path: Path | None, now: float) -> LockFile | None:
    if path is None:
        return None
    if not path.parent.is_dir():
        raise ConfigError(f"the ledger {path} cannot be opened: there is no folder {path.parent}. Create it first")
    return LockFile.acquire(path, now=now)


def _prepare(engine: Engine, path: Path | None, owner: str, now: float) -> tuple[Connection, int, list[dict[str, Any]]]:
    killed: list[dict[str, Any]] = []
    try:
        connection = engine.connect()
        upgrade(connection, str(path))
        with connection.begin():
            connection.execute(insert(owners).values(id=owner, pid=os.getpid(), started=now, heartbeat=now))
            swept = sweep(connection, owner=owner, now=now, tell=killed.append)
        return connection, swept, killed
    except (DBAPIError, sqlite3.DatabaseError) as error:
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, sqlite3.OperationalError):
            raise
        raise ConfigError(f"the ledger {path} is not a SQLite database of ours: {cause}") from error


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    # Held for as long as the session lives, so that SQLAlchemy's pool never takes it back.
    return driver


def reason(error: BaseException) -> str:
    """The database's own words, without SQLAlchemy's statement, parameters and link."""
    if from_postgres(error):
        return postgres_database.reason(error)
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause) or type(cause).__name__


def unfit(error: BaseException) -> bool:
    """True where a row itself is at fault and no later try will help; False for a full disk, a lock, an I/O error."""
    if from_postgres(error):
        return postgres_database.unfit(error)
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.ProgrammingError):
        return "binding" in str(cause)  # the same class says "closed database"
    return isinstance(cause, _UNFIT)


_UNFIT = (
    UnicodeEncodeError,
    OverflowError,
    TypeError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
)
