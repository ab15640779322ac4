"""A ledger in PostgreSQL opened for writing, beside any number of others. Everything here runs in the writer thread.

One batch is one transaction of one or two round trips, however much is in it: where accounts are claimed, they are
locked and read in the first (`prepare`), and everything is written in the second (`commit`).

A connection that is lost is opened anew by the next command. Whether its last commit was taken is then not known, so
the intents in it, on which nobody was let through, are removed first (`postgres_owners.enter`). What was settled is
written again, which changes nothing where it was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from headgate.core.budget import Balance, Claim
from headgate.core.errors import ConfigError
from headgate.policy.accounts import Accounts
from headgate.policy.holding import Cap, Changed
from headgate.stores import postgres_accounts as ledger_accounts
from headgate.stores.intents import Open
from headgate.stores.migrate import upgrade
from headgate.stores.postgres_database import Place, keeps_connection, reason, state_of, writer_engine
from headgate.stores.postgres_owners import beat, enter, first_number, leave, sweep_dead
from headgate.stores.postgres_statements import ATTEMPTS, EXCHANGES, INTENTS, SETTLED, SHAPES, last_of_each, told
from headgate.stores.rows import encode
from headgate.stores.session import NEWEST, Closing
from headgate.stores.shapes import Shapes
from headgate.stores.statements import Row

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

WELL_BEATS = 6
"""Heartbeats in a row before we call others dead after our own connection was lost: theirs may have been, too."""

_ENTRY = "SELECT 1 FROM owners WHERE id = %s AND session = %s::bigint FOR SHARE"

_NOT_OURS = ("42", "3F")
"""Classes of SQLSTATE: syntax error or access rule violation, as where a table of another application has our name;
invalid schema name."""


class Unlocked(Exception):
    """The accounts that were decided on are locked no longer; the decision has to be taken again."""


class PostgresSession:
    """This process's connection to the ledger. See the module."""

    remembers = False

    def __init__(self, place: Place, *, owner: str) -> None:
        """Connect, migrate, enter among the writers, and sweep.

        Raises:
            ConfigError: the database is not ours to use, too old, or a newer Headgate's.
            DBAPIError: it cannot be reached, or said no.
        """
        self._place = place
        self._owner = owner
        self._engine = writer_engine(place)
        self._sql: Connection | None = None
        self._driver: psycopg.Connection[Any]
        self._session = 0  # see `postgres_owners.enter`
        self._batch = 0  # the last row of `intents`
        self._shapes = Shapes(owner, 0)
        self._open = Open()
        self._doubtful: list[int] = []  # rows of `intents` of commits whose end we were not told
        self._prepared = False  # a transaction of `prepare` is under way
        self._beats = WELL_BEATS
        self.killed: list[dict[str, Any]] = []
        self._ready()
        self._beats = WELL_BEATS
        self.newest = self._newest()
        self.swept = self._sweep()

    def _newest(self) -> float:
        found = self._alone(lambda driver: driver.execute(NEWEST).fetchone())
        return float("-inf") if found is None else float(found[0])

    # -- the connection ------------------------------------------------------------------------------------------

    def _ready(self) -> Connection:
        sql = self._sql
        if sql is not None:
            return sql
        self._sql = sql = self._engine.connect()
        try:
            self._driver = _driver_of(sql)
            _bring_up_to_date(sql, self._place)
            self._enter()
        except BaseException:
            self._drop()
            raise
        return sql

    def _enter(self) -> None:
        self._session = enter(self._ready(), self._owner, self._doubtful)
        self._doubtful = []
        self._batch = first_number(self._session)
        self._shapes.restart(self._batch)
        self._beats = 0

    def _drop(self) -> None:
        sql, self._sql, self._prepared = self._sql, None, False
        if sql is not None:
            sql.invalidate()
            sql.close()

    def _failed(self, error: BaseException, intents: int | None = None) -> None:
        """Be ready for the next command.

        Args:
            intents: the row of `intents` whose commit has failed.
        """
        self._prepared = False
        if keeps_connection(error):
            try:
                self._driver.rollback()
            except self._errors():
                self._drop()
            return
        if intents is not None:
            self._doubtful.append(intents)
        self._drop()

    def _errors(self) -> type[Exception]:
        import psycopg

        return psycopg.Error

    def _idle(self) -> Connection:
        """The connection, outside a transaction: one of `prepare` that no `commit` has ended is given up."""
        if self._prepared:
            self._prepared = False
            try:
                self._driver.rollback()
            except self._errors():
                self._drop()
        return self._ready()

    # -- the writer's commands -------------------------------------------------------------------------------------

    def prepare(self, accounts: Accounts, claims: Iterable[Claim], closing: Sequence[Closing]) -> Sequence[Closing]:
        """See the protocol. Locks the accounts until the next `commit`, and our entry among the writers: nobody can
        take us for dead meanwhile."""
        wanted = list(claims)
        # Without accounts in memory there is no hold of ours to close.
        return self._patiently(lambda: self._enter_and_lock(accounts, wanted, closing)) if wanted else ()

    def _enter_and_lock(self, accounts: Accounts, claims: list[Claim], closing: Sequence[Closing]) -> Sequence[Closing]:
        self._idle()
        still_open = self._lock(accounts, claims, closing)
        if still_open is None:
            self._enter()
            still_open = self._lock(accounts, claims, closing)
            if still_open is None:
                raise Unlocked("our entry among the ledger's writers was lost twice")
        return still_open

    def _lock(self, accounts: Accounts, claims: list[Claim], closing: Sequence[Closing]) -> Sequence[Closing] | None:
        """None: we are no longer among the writers."""
        driver = self._driver
        question = ledger_accounts.asked(claims)
        try:
            self._prepared = True
            with driver.pipeline():
                driver.execute("BEGIN")
                entry = driver.execute(_ENTRY, (self._owner, self._session), prepare=True)
                locked = ledger_accounts.Locked(driver, question, closing)
            if entry.fetchone() is None:
                self._idle()
                return None
            return locked.load(accounts)
        except BaseException as error:
            self._failed(error)
            raise

    def look(self, claim: Claim) -> Balance:
        """See the protocol."""
        return self._patiently(lambda: self._alone(lambda driver: ledger_accounts.look(driver, claim)))

    def set_cap(
        self, budget: str, scope: str, cap: Cap | None, also: Callable[[Connection], object] | None = None
    ) -> None:
        """See the protocol."""

        def work(sql: Connection) -> None:
            ledger_accounts.set_cap(sql, budget, scope, cap)
            if also is not None:
                also(sql)

        self._patiently(lambda: self.call(work))

    def _alone(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Statements that are each a transaction of their own."""
        self._idle()
        try:
            return work(self._driver)
        except BaseException as error:
            self._failed(error)
            raise

    def intend(self, intent: Row) -> bool:
        """See the protocol: a database elsewhere is for groups of them."""
        return False

    def commit(
        self,
        intents: Sequence[Row],
        attempts: Sequence[Row],
        exchanges: Sequence[Row],
        accounts: Sequence[Changed] = (),
    ) -> None:
        """See the protocol."""
        if accounts:
            # What was decided under the locks is worth nothing without them.
            self._enter_and_write(intents, attempts, exchanges, accounts)
        else:
            self._patiently(lambda: self._enter_and_write(intents, attempts, exchanges, ()))

    def _patiently(self, work: Callable[[], T]) -> T:
        """Run `work`; where a connection that was open turns out to be lost, once more on a new one."""
        was_open = self._sql is not None
        try:
            return work()
        except (DBAPIError, self._errors()):
            if not was_open or self._sql is not None:
                raise
        return work()

    def _enter_and_write(
        self, intents: Sequence[Row], attempts: Sequence[Row], exchanges: Sequence[Row], accounts: Sequence[Changed]
    ) -> None:
        self._ready()
        if accounts and not self._prepared:
            raise Unlocked("the connection was lost while accounts of budgets were locked")
        if not self._write(intents, attempts, exchanges, accounts):
            # Taken for dead while we stood still, or while the database was away. What was settled is written.
            self._enter()
            if not self._write(intents, (), (), ()):
                raise Unlocked("our entry among the ledger's writers was lost twice")

    def _write(
        self, intents: Sequence[Row], attempts: Sequence[Row], exchanges: Sequence[Row], accounts: Sequence[Changed]
    ) -> bool:
        """False: all is written but the intents, because we are no longer among the writers."""
        batch = self._batch = self._batch + 1
        settled = last_of_each(exchanges, lambda row: row[0])
        numbers, fresh = self._shapes.number([row[1] for row in settled])
        statements: list[tuple[str, tuple[Any, ...]]] = []
        if attempts:
            statements.append((ATTEMPTS, (told(last_of_each(attempts, lambda row: row[:2])),)))
        if fresh:
            statements.append((SHAPES, (told(self._shapes.rows(fresh)),)))
        if settled:
            rows = [(row[0], number, *row[2:]) for row, number in zip(settled, numbers, strict=True)]
            statements.append((EXCHANGES, (told(rows),)))
        text = encode(intents) if intents else ""
        closed, done = self._open.close(settled)
        if done:
            statements.append((SETTLED, (done,)))
        try:
            taken = self._transaction(batch, text, statements, accounts)
        except BaseException as error:
            self._open.reopen(closed)
            self._failed(error, batch if intents else None)
            raise
        self._open.forget(done)
        self._shapes.remember(fresh)
        if intents and taken:
            self._open.add(batch, intents)
        return taken

    def _transaction(
        self, batch: int, intents: str, statements: list[tuple[str, tuple[Any, ...]]], accounts: Sequence[Changed]
    ) -> bool:
        driver, written = self._driver, None
        with driver.pipeline():
            if not self._prepared:
                driver.execute("BEGIN")
            if intents:
                entry = (batch, intents, self._owner, self._session)
                written = driver.execute(INTENTS, entry, prepare=True)
            for statement, values in statements:
                driver.execute(statement, values, prepare=True)
            if accounts:
                ledger_accounts.write(driver, accounts)
            driver.execute("COMMIT")
        self._prepared = False
        return written is None or written.rowcount == 1

    def call(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own."""
        sql = self._idle()
        try:
            with sql.begin():
                return work(sql)
        except DBAPIError as error:
            self._failed(error)
            raise

    def tick(self, *, sweep: bool) -> int:
        """Tell the others that we live, and look after those who do not.

        Returns:
            The number of exchanges of dead processes that were charged.
        """
        sql = self._idle()
        try:
            if not beat(sql, self._owner, self._session):
                self._enter()
            self._beats += 1
        except DBAPIError as error:
            self._failed(error)
            raise
        return self._sweep() if sweep and self._beats >= WELL_BEATS else 0

    def _sweep(self) -> int:
        killed: list[dict[str, Any]] = []
        try:
            count = sweep_dead(self._ready(), killed.append)
            self.killed += killed
            return count
        except DBAPIError as error:
            self._failed(error)
            if self._sql is None:
                raise
            return 0  # somebody else was at the same rows, perhaps their owner, who lives; the next sweep looks again

    def publish(self, url: str, token: str) -> None:
        """Nothing: the command line writes to the database itself."""

    def close(self) -> None:
        """Leave the writers and close the connection. Idempotent."""
        if self._sql is not None:
            try:
                leave(self._idle(), self._owner)
            except (DBAPIError, self._errors()):
                # The others will find us silent.
                self._prepared = False
            self._drop()
        self._engine.dispose()

    def forget(self) -> None:
        """In a forked child: the connection is the parent's, and closing it here would end it there."""
        _INHERITED.append(self)


_INHERITED: list[object] = []


def _driver_of(connection: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


def _bring_up_to_date(connection: Connection, place: Place) -> None:
    try:
        upgrade(connection, place.name)
    except DBAPIError as error:
        if state_of(error).startswith(_NOT_OURS):
            raise ConfigError(
                f"the ledger {place.name} cannot be set up: {reason(error)}. Headgate needs a database, or a schema, "
                "of its own, and a role that may create tables in it"
            ) from error
        raise
