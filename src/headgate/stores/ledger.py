"""A ledger over one writer thread per place and process: what SQLite and PostgreSQL share."""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from headgate.core.budget import Balance, BudgetAlert, Claim
from headgate.core.errors import ConfigError, Unavailable
from headgate.core.exchange import Attempt, Exchange, Kept
from headgate.core.ports import Ledger
from headgate.policy.budget_lines import Standing
from headgate.policy.budget_words import warning
from headgate.policy.holding import Ask, Cap
from headgate.stores.api_tokens import TokenStore
from headgate.stores.audit_log import AuditLog
from headgate.stores.commands import Call, Closed, Intent, closing_of
from headgate.stores.correcting import correct
from headgate.stores.homes import read_kept
from headgate.stores.keys import KeyStore
from headgate.stores.people import PeopleStore
from headgate.stores.reader import Reader
from headgate.stores.rows import attempt_row, intent_row
from headgate.stores.session import Session
from headgate.stores.sessions import SessionStore
from headgate.stores.waiters import BlockingWaiter, Waiter, async_waiter
from headgate.stores.writer import ADVICE, Writer, ledger_closed

T = TypeVar("T")

MAX_QUEUED = 10_000


class Source(NamedTuple):
    """Where a ledger is, in this process, and how it is opened."""

    key: str  # ledgers with the same key share a writer
    name: str  # for messages
    connect: Callable[[Shared], Session]  # called in the writer thread
    advice: str = ADVICE  # where it cannot be written


class Shared:
    """The writer of one place in this process, and how many ledgers use it."""

    __slots__ = ("inherited", "key", "owner", "pid", "stopped", "users", "writer")

    def __init__(self, source: Source, max_queued: int, now: Callable[[], float]) -> None:
        self.key = source.key
        self.pid = os.getpid()
        self.inherited = False  # from a parent process, by a fork
        self.users = 0
        self.stopped = threading.Event()
        self.owner = secrets.token_hex(8)
        connect = source.connect
        self.writer = Writer(
            lambda: connect(self),
            name=source.name,
            owner=self.owner,
            max_queued=max_queued,
            now=now,
            advice=source.advice,
        )

    def close(self) -> None:
        """Write what is queued, and close."""
        self.stopped.set()
        self.writer.close()


_registry: dict[str, Shared] = {}
_registry_lock = threading.RLock()


class WrittenLedger(ABC):
    """The durable record of money. Nothing is opened until the first use, or :meth:`open`.

    Ledgers of one place in one process share its writer.
    """

    others_write = False
    """Other processes may write it as well: keys, caps and accounts change without this one."""

    def __init__(self, *, max_queued: int = MAX_QUEUED, now: Callable[[], float] = time.time) -> None:
        """
        Args:
            max_queued: exchanges not yet written above which new intents are refused; >= 1.
            now: seconds since the epoch.
        """
        self._max_queued = max_queued
        self._now = now
        self._closed = False
        self.here: Shared | None = None  # see `shared`, without which it is for hot places of this module only
        self._killed: list[Callable[[Sequence[dict[str, Any]]], None]] = []
        self._listeners: list[Callable[[BudgetAlert], None]] = []
        self.keys = KeyStore(self.call, now=now)
        self.audit = AuditLog(self.call, now=now)
        self.people = PeopleStore(self.call, now=now)
        self.sessions = SessionStore(self.call, now=now)
        self.api_tokens = TokenStore(self.call, now=now)

    @property
    @abstractmethod
    def name(self) -> str:
        """The place in this process, for people: without a credential."""

    @abstractmethod
    def reader(self) -> Reader:
        """For reading beside the writer. Call :meth:`flush` first to see what was settled a moment ago."""

    @abstractmethod
    def _source(self) -> Source:
        """The place in this process."""

    def open(self) -> None:
        """Open it now: bring its schema up to date, and close what a dead process left open.

        After a ConfigError this ledger is closed; make another once the cause is gone.

        Raises:
            ConfigError: it cannot be ours, or a newer Headgate wrote it.
            Unavailable: the disk or the database said no.
        """
        try:
            self._call(None)
        except ConfigError:
            self.close()
            raise

    def asynchronous(self) -> Ledger:
        """The port for an engine on event loops; any number of loops in any number of threads."""
        return _Port(self, async_waiter)

    def blocking(self) -> Ledger:
        """The port for an engine without an event loop; its coroutines never suspend."""
        return _Port(self, BlockingWaiter)

    def flush(self) -> None:
        """Block until everything queued before is durable.

        Raises:
            Unavailable: it could not be written; it stays queued.
        """
        self._call(None)

    def call(self, work: Callable[[Any], T]) -> T:
        """Run `work(connection)` in a transaction of its own in the writer thread, and block for its result.

        Raises:
            Unavailable: the ledger cannot be written. Other errors of Headgate's that `work` raises pass through.
        """
        result: T = self._call(lambda session: session.call(work))
        return result

    def balances(self, claims: Sequence[Claim]) -> list[Balance]:
        """What is known of accounts, in their order; everything settled before is in it. Blocks.

        Raises:
            Unavailable: the ledger cannot be read or written.
        """
        writer = self.writer()
        found: list[Balance] = self._call(lambda session: writer.desk.balances(session, claims))
        return found

    def peek(self, claims: Sequence[Claim]) -> list[Balance]:
        """What this process knows of accounts as of its last transaction, without waiting; those that it has not met
        are left out. In PostgreSQL others may have spent on them since."""
        return self.writer().desk.peek(claims)

    def standing(self) -> Standing:
        """What this process has set aside, and how its budgets stand, as of its last transaction, without waiting."""
        return self.writer().desk.standing

    def correct(self, exchange: Exchange) -> bool:
        """Settle an exchange whose process was taken for dead, and whose bound was charged: its rows and its accounts
        say from now on what it has come to (decisions 3). Blocks.

        Args:
            exchange: settled; its attempts as they were intended, with their claims.

        Returns:
            False where nothing was charged for it, or it was corrected before: nothing is changed then.

        Raises:
            Unavailable: it could not be written.
        """
        shared = self.shared()
        desk, owner = shared.writer.desk, shared.owner
        return bool(self._call(lambda session: correct(session, desk, exchange, owner)))

    def set_cap(
        self, budget: str, scope: str, cap: Cap | None, also: Callable[[Connection], object] | None = None, /
    ) -> None:
        """Override a budget's cap for one scope value, at once and durably, in this period and later ones.

        Args:
            budget: its id.
            scope: the value, as `policy.budgets.scope_of` writes it; "" for a budget over everything.
            cap: (nano-dollars, tokens), None each for no cap of that kind; None = the budget's own cap again.
            also: what is written in the same transaction.

        Raises:
            Unavailable: it could not be written.
        """
        writer = self.writer()
        self._call(lambda session: writer.desk.set_cap(session, budget, scope, cap, also))

    def on_alert(self, listen: Callable[[BudgetAlert], None]) -> None:
        """Call `listen` with every alert of a budget, in the writer thread: it must not wait."""
        self._listeners.append(listen)
        if self.here is not None:
            self.here.writer.desk.on_alert.append(listen)

    def on_killed(self, listen: Callable[[Sequence[dict[str, Any]]], None]) -> None:
        """Call `listen` with the fields of the log's lines of exchanges whose process died, once a sweep has charged
        them; in the writer thread: it must not wait, nor raise."""
        self._killed.append(listen)
        if self.here is not None:
            self.here.writer.on_killed.append(listen)

    def publish(self, url: str, token: str) -> None:
        """Put the gateway's control address where the command line finds it: see the session's."""
        self._call(lambda session: session.publish(url, token))

    def health(self) -> dict[str, Any]:
        """See :meth:`Writer.health`. Opens nothing."""
        if self._closed:
            return {"ok": False, "ledger": self.name, "queued": 0, "last_error": "closed"}
        return self.writer().health()

    def close(self) -> None:
        """Write what is queued and give the place back, if no other ledger of this process uses it. Idempotent."""
        with _registry_lock:
            if self._closed:
                return
            self._closed = True
            shared, self.here = self.here, None
            if shared is None or shared.pid != os.getpid():
                return
            shared.users -= 1
            for listen in self._killed:  # its log is closed with it; another gate's has what comes later
                shared.writer.on_killed.remove(listen)
            last = shared.users == 0
            if last:
                _registry.pop(shared.key, None)
        if last:
            shared.close()

    def owner(self) -> str:
        """This process's id in the intent rows."""
        return self.shared().owner

    def writer(self) -> Writer:
        """This process's writer of the place, made if need be."""
        return self.shared().writer

    def shared(self) -> Shared:
        """This process's part of the ledger, made if need be.

        Raises:
            Unavailable: the ledger is closed.
        """
        shared = self.here
        if shared is not None and not shared.inherited:
            return shared
        if self._closed:
            raise ledger_closed(self.name)
        source = self._source()
        with _registry_lock:
            shared = self.here
            if shared is not None and not shared.inherited:
                return shared  # another thread was first: counted twice, it would never be given back
            if self._closed:
                raise ledger_closed(self.name)
            found = _registry.get(source.key)
            if found is None or found.pid != os.getpid():
                found = _registry[source.key] = Shared(source, self._max_queued, self._now)
                _close_in_worker()
            found.users += 1
            found.writer.desk.on_alert += self._listeners
            found.writer.on_killed += self._killed
            self.here = found
        return found

    def _call(self, work: Callable[[Session], Any] | None) -> Any:
        waiter = BlockingWaiter()
        call = Call(work, waiter)
        self.writer().call(call)
        waiter.wait()
        return call.result


class _Port:
    """:class:`headgate.core.ports.Ledger` in one colour."""

    __slots__ = ("_blocks", "_ledger", "_new_waiter")

    def __init__(self, ledger: WrittenLedger, new_waiter: Callable[[], Waiter]) -> None:
        self._ledger = ledger
        self._new_waiter = new_waiter
        self._blocks = new_waiter is BlockingWaiter

    def intend(
        self, exchange: Exchange, attempt: Attempt, *, until: float = 0.0, may_wait: bool = True
    ) -> Awaitable[None]:
        """See the port. A task cancelled while it awaits this may still have its intent on record, or wait for money;
        the engine settles it."""
        if attempt.claims:
            return self._hold(exchange, attempt, until, may_wait)
        shared = self._ledger.here
        if shared is None or shared.inherited:
            shared = self._ledger.shared()
        row = intent_row(exchange, attempt)
        if self._blocks and attempt.number == 1 and shared.writer.intend_here(row):
            return _done()
        waiter = self._new_waiter()
        shared.writer.intend(Intent(row, waiter))
        # Its future, and no coroutine of ours around it: most calls claim nothing.
        return _waited(waiter) if isinstance(waiter, BlockingWaiter) else waiter

    async def _hold(self, exchange: Exchange, attempt: Attempt, until: float, may_wait: bool) -> None:
        waiter = self._new_waiter()
        intent = Intent(intent_row(exchange, attempt), waiter)
        ask = intent.ask = Ask(
            exchange.id,
            attempt.number,
            attempt.claims,
            attempt.bound_nano or 0,
            attempt.bound_tokens,
            may_wait,
            until,
            intent,
            lasting=attempt.lasting,
        )
        self._ledger.shared().writer.intend(intent)
        try:
            if isinstance(waiter, BlockingWaiter):
                waiter.wait()
            else:
                await waiter
        except BaseException:
            del waiter, intent, ask  # the waiter keeps the error, whose traceback keeps this frame
            raise
        attempt.left_nano = ask.left_nano
        if ask.warned is not None:
            attempt.warning = warning(*ask.warned)

    def close(self, exchange: Exchange, attempt: Attempt) -> None:
        """See the port."""
        try:
            shared = self._ledger.shared()
        except Unavailable:
            return  # as in `settle`
        row = attempt_row(exchange, attempt, "failed", shared.owner)
        shared.writer.end(Closed(row, closing_of(exchange, attempt)))

    def settle(self, exchange: Exchange) -> None:
        """See the port."""
        shared = self._ledger.here
        if shared is None or shared.inherited:
            try:
                shared = self._ledger.shared()
            except Unavailable:
                return  # closed: the intents stay open and the next start charges them in full
        shared.writer.settle(exchange)

    async def kept(self, ids: Sequence[str]) -> Sequence[Kept]:
        """See the port."""
        waiter = self._new_waiter()
        call = Call(lambda session: session.call(lambda connection: read_kept(connection, ids)), waiter)
        self._ledger.writer().call(call)
        if isinstance(waiter, BlockingWaiter):
            waiter.wait()
        else:
            await waiter
        found: list[Kept] = call.result
        return found

    async def flush(self) -> None:
        """See the port.

        Raises:
            Unavailable: it could not be written; it stays queued.
        """
        waiter = self._new_waiter()
        self._ledger.writer().call(Call(None, waiter))
        if isinstance(waiter, BlockingWaiter):
            waiter.wait()
        else:
            await waiter


async def _done() -> None:
    """What has been waited for already."""


async def _waited(waiter: BlockingWaiter) -> None:
    waiter.wait()


def close_all() -> None:
    """Write what is queued in every ledger of this process. Runs at exit."""
    with _registry_lock:
        shared = [s for s in _registry.values() if s.pid == os.getpid()]
        _registry.clear()
    for each in shared:
        each.close()


def _close_in_worker() -> None:
    # A worker of `multiprocessing` leaves with os._exit, which runs its own finalizers but not atexit's.
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, close_all, exitpriority=0)


def _after_fork() -> None:
    global _registry_lock
    _registry_lock = threading.RLock()  # another thread of the parent may have held it
    for shared in _registry.values():
        shared.inherited = True
        shared.writer.forget()
    _registry.clear()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
