"""The ledger in one SQLite file: both colours of the port over one writer thread per file and process."""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from headgate.core.budget import Balance, BudgetAlert, Claim
from headgate.core.errors import ConfigError, Unavailable
from headgate.core.exchange import Attempt, Exchange
from headgate.core.ports import Ledger
from headgate.policy.accounts import Ask, Cap
from headgate.stores.database import ledger_path
from headgate.stores.keys import KeyStore
from headgate.stores.reader import Reader
from headgate.stores.rows import attempt_row, intent_row
from headgate.stores.session import Session, SqliteSession
from headgate.stores.waiters import AsyncWaiter, BlockingWaiter, Waiter
from headgate.stores.writer import Call, Closed, Intent, Writer, closing_of

T = TypeVar("T")
Durability = Literal["process", "full"]

MAX_QUEUED = 10_000


class _Shared:
    """The writer of one file in this process, and how many ledgers use it."""

    __slots__ = ("inherited", "owner", "path", "pid", "users", "writer")

    def __init__(self, path: Path, durability: Durability, max_queued: int, now: Callable[[], float]) -> None:
        self.path = path
        self.pid = os.getpid()
        self.inherited = False  # from a parent process, by a fork
        self.users = 0
        self.owner = owner = secrets.token_hex(8)

        def connect() -> Session:
            return SqliteSession(path, owner=owner, durability=durability, now=now)

        self.writer = Writer(connect, name=str(path), owner=owner, max_queued=max_queued, now=now)


_registry: dict[str, _Shared] = {}
_registry_lock = threading.RLock()


class SqliteLedger:
    """The durable record of money in a SQLite file.

    Nothing is opened until the first use, or :meth:`open`. After a fork the child opens the file anew, which works only
    where the URL has ``{pid}`` or the parent is gone. Ledgers of one file in one process share its writer.
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
        self._url = url
        self._durability: Durability = durability
        self._max_queued = max_queued
        self._now = now
        self._closed = False
        self._shared: _Shared | None = None
        self._path = ledger_path(url)
        self.keys = KeyStore(self.call, now=now)

    @property
    def path(self) -> Path:
        """The file, in this process."""
        return self._path

    def open(self) -> None:
        """Open the file now: lock it, bring its schema up to date, and close what a dead process left open.

        After a ConfigError this ledger is closed; make another once the cause is gone.

        Raises:
            ConfigError: another process writes it, it is not ours, or a newer Headgate wrote it.
            Unavailable: the disk said no.
        """
        try:
            self._call(None)
        except ConfigError:
            self.close()
            raise

    def asynchronous(self) -> Ledger:
        """The port for an engine on event loops; any number of loops in any number of threads."""
        return _Port(self, AsyncWaiter)

    def blocking(self) -> Ledger:
        """The port for an engine without an event loop; its coroutines never suspend."""
        return _Port(self, BlockingWaiter)

    def reader(self) -> Reader:
        """For reading beside the writer. Call :meth:`flush` first to see what was settled a moment ago."""
        return Reader(self._path)

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
        found: list[Balance] = self._call(lambda session: writer.balances(session, claims))
        return found

    def set_cap(self, budget: str, scope: str, cap: Cap | None) -> None:
        """Override a budget's cap for one scope value, at once and durably, in this period and later ones.

        Args:
            budget: its id.
            scope: the value, as `policy.budgets.scope_of` writes it; "" for a budget over everything.
            cap: (nano-dollars, tokens), None each for no cap of that kind; None = the budget's own cap again.

        Raises:
            Unavailable: it could not be written.
        """
        writer = self.writer()
        self._call(lambda session: writer.set_cap(session, budget, scope, cap))

    def on_alert(self, listen: Callable[[BudgetAlert], None]) -> None:
        """Call `listen` with every alert of a budget, in the writer thread: it must not wait."""
        self.writer().on_alert.append(listen)

    def publish(self, url: str, token: str) -> None:
        """Put the gateway's control address into the lock file, for the command line (`lockfile.read_lock`)."""
        self._call(lambda session: session.publish(url, token))

    def health(self) -> dict[str, Any]:
        """See :meth:`Writer.health`. Opens nothing."""
        if self._closed:
            return {"ok": False, "ledger": str(self._path), "queued": 0, "last_error": "closed"}
        return self.writer().health()

    def close(self) -> None:
        """Write what is queued and give the file back, if no other ledger of this process uses it. Idempotent."""
        if self._closed:
            return
        self._closed = True
        shared, self._shared = self._shared, None
        if shared is None or shared.pid != os.getpid():
            return
        with _registry_lock:
            shared.users -= 1
            last = shared.users == 0
            if last:
                _registry.pop(str(shared.path), None)
        if last:
            shared.writer.close()

    def owner(self) -> str:
        """This process's id in the intent rows."""
        return self._join().owner

    def writer(self) -> Writer:
        """This process's writer of the file, made if need be."""
        return self._join().writer

    def _join(self) -> _Shared:
        shared = self._shared
        if shared is not None and not shared.inherited:
            return shared
        if self._closed:
            raise Unavailable(f"the ledger {self._path} is closed: Headgate is shutting down")
        self._path = ledger_path(self._url)
        path = Path(os.path.realpath(self._path))
        with _registry_lock:
            found = _registry.get(str(path))
            if found is None or found.pid != os.getpid():
                found = _registry[str(path)] = _Shared(path, self._durability, self._max_queued, self._now)
                _close_in_worker()
            found.users += 1
        self._shared = found
        return found

    def _call(self, work: Callable[[Session], Any] | None) -> Any:
        waiter = BlockingWaiter()
        call = Call(work, waiter)
        self.writer().call(call)
        waiter.wait()
        return call.result


class _Port:
    """:class:`headgate.core.ports.Ledger` in one colour."""

    __slots__ = ("_ledger", "_new_waiter")

    def __init__(self, ledger: SqliteLedger, new_waiter: Callable[[], Waiter]) -> None:
        self._ledger = ledger
        self._new_waiter = new_waiter

    async def intend(self, exchange: Exchange, attempt: Attempt, *, until: float = 0.0, may_wait: bool = True) -> None:
        """See the port. A task cancelled here may still have its intent on record, or wait for money; the engine
        settles it."""
        waiter = self._new_waiter()
        intent = Intent(intent_row(exchange, attempt), waiter)
        if attempt.claims:
            intent.ask = Ask(
                exchange.id,
                attempt.number,
                attempt.claims,
                attempt.bound_nano or 0,
                attempt.bound_tokens,
                may_wait,
                min(until, *[claim.end for claim in attempt.claims]),
                intent,
            )
        self._ledger._join().writer.intend(intent)
        if isinstance(waiter, AsyncWaiter):
            await waiter.future
        else:
            waiter.wait()
        if intent.ask is not None:
            attempt.left_nano, attempt.warning = intent.left_nano, intent.warning

    def close(self, exchange: Exchange, attempt: Attempt) -> None:
        """See the port."""
        try:
            shared = self._ledger._join()
        except Unavailable:
            return  # as in `settle`
        row = attempt_row(exchange, attempt, "failed", shared.owner)
        shared.writer.end(Closed(row, closing_of(exchange, attempt)))

    def settle(self, exchange: Exchange) -> None:
        """See the port."""
        try:
            writer = self._ledger._join().writer
        except Unavailable:
            return  # closed: the intents stay open and the next start charges them in full
        writer.settle(exchange)

    async def flush(self) -> None:
        """See the port.

        Raises:
            Unavailable: it could not be written; it stays queued.
        """
        waiter = self._new_waiter()
        self._ledger.writer().call(Call(None, waiter))
        if isinstance(waiter, AsyncWaiter):
            await waiter.future
        else:
            waiter.wait()


def close_all() -> None:
    """Write what is queued in every ledger of this process. Runs at exit."""
    with _registry_lock:
        shared = [s for s in _registry.values() if s.pid == os.getpid()]
        _registry.clear()
    for each in shared:
        each.writer.close()


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
