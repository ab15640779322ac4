"""Keeps a log store up to date with the JSON lines, and forgets what is old or has to go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from headgate.core.errors import Unavailable
from headgate.stores.logs.erasing import Erased, Subject
from headgate.stores.logs.keeps import Keeps, keeps_of, put_keeps
from headgate.stores.logs.lock import StoreLock
from headgate.stores.logs.spool import Spool
from headgate.stores.logs.store import LogStore, Progress, Pruned

MOST_IN_ONE = 8
"""Reads of the spool in one transaction, while there is more to read."""
_TRIES = 3
"""To empty a spool: it is begun anew where the file was moved away meanwhile."""
ERASE_SECONDS = 60.0
"""How long an erasure waits for its turn."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What one turn took in. `behind` is how many bytes of the spool are left."""

    exchanges: int = 0
    events: int = 0
    bad: int = 0
    behind: int = 0
    why_bad: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept where, in words that another process can be told.

    Attributes:
        database: the log store's SQLite file, or a PostgreSQL URL, which is no one else's to see.
        installation: with PostgreSQL, whose spool it is: see `postgres_store`; "" = it is a SQLite file.
        lock, spool: files. `keep_seconds`, `keep_bytes`, `spool_bytes`: see `LogKeeper`.
    """

    database: str = field(repr=False)
    lock: str
    spool: str
    keep_seconds: float
    keep_bytes: int
    spool_bytes: int
    installation: str = ""


def open_keeper(kept: Kept, now: Callable[[], float] = time.time) -> LogKeeper:
    """What keeps it. Nothing is opened before its first use.

    Raises:
        ConfigError: a package that it needs is not installed.
    """
    store: LogStore
    if kept.installation:
        from headgate.stores.logs.postgres_store import PostgresStore

        store = PostgresStore(kept.database, kept.installation, now=now)
    else:
        from headgate.stores.logs.sqlite_store import SqliteStore

        store = SqliteStore(Path(kept.database), keep_seconds=kept.keep_seconds, now=now)
    return LogKeeper(
        store,
        Path(kept.lock),
        Path(kept.spool),
        keep_seconds=kept.keep_seconds,
        keep_bytes=kept.keep_bytes,
        spool_bytes=kept.spool_bytes,
        now=now,
    )


class LogKeeper:
    """Writes the log store. Every method blocks; any thread may call them, one at a time gets its turn.

    Several processes may have one for the same store: a lock file says whose turn it is.

    Args:
        store: what is written; closed with this.
        lock: a file that says whose turn it is.
        spool: the JSON lines; None: there are none to take in.
        keep_seconds: how long exchanges are kept, > 0.
        keep_bytes: how large the file may become, > 0.
        spool_bytes: the spool is emptied when it is larger and all of it was taken in.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        store: LogStore,
        lock: Path,
        spool: Path | None,
        *,
        keep_seconds: float,
        keep_bytes: int,
        spool_bytes: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keeps = Keeps(keep_seconds, keep_bytes)
        self._spool_bytes = spool_bytes
        self._now = now
        self._mutex = threading.Lock()
        self._lock = StoreLock(lock)
        self._store = store
        self._spool = None if spool is None else Spool(spool)
        self._progress: Progress | None = None
        self._last_took = 0
        self._unheard = 0  # the last erasure that the spool was not emptied for

    def ingest_once(self, wait: float = 0.0) -> Ingested | None:
        """Take in what is in the spool now, in one transaction of at most 32 MB.

        Args:
            wait: seconds to wait for the turn.

        Returns:
            None where it is another process's turn.

        Raises:
            Unavailable: the store or the spool cannot be written or read; nothing was taken in, nothing is lost.
            ConfigError: the store is none of ours.
        """
        with self._turn(wait) as got:
            if not got:
                return None
            return self._ingest()

    def catch_up(self, wait: float = 5.0) -> bool:
        """Take in all that is in the spool now; whether that was done."""
        while True:
            found = self.ingest_once(wait)
            if found is None:
                return False
            if not found.behind or not (found.exchanges or found.events or found.bad):
                return True

    def behind(self) -> int:
        """Bytes of the spool that were not taken in yet, by a look at the files alone once it was read from."""
        with self._mutex:
            if self._spool is None:
                return 0
            on_record = self._store.progress(self._name)
            if on_record != self._progress:
                self._progress = on_record
                self._spool.begin(on_record.position, on_record.head)
            return self._spool.behind()

    def erase(self, subject: Subject) -> Erased:
        """Take a subject's words out of the store and the spool, and its name. See docs/log-and-ledger.md.

        Raises:
            Unavailable: it is not the turn for too long, or the disk said no; a second try does what is left.
        """
        with self._turn(ERASE_SECONDS) as got:
            if not got:
                raise Unavailable("the log store is busy: another process is writing it; try again")
            try:
                while self._ingest().behind and self._last_took:
                    pass
                found = self._store.erase(subject, "" if self._spool is None else self._name)
                return replace(found, spool_emptied=self._empty_spool())
            finally:
                self._store.close()  # what it knew by heart may have been erased

    def prune(self, seconds: float = 0.0) -> Pruned:
        """Forget what is older than is kept, and the oldest while the file is too large: a slice of it, in one turn.
        How much is kept is put on record for others.

        Args:
            seconds: to wait for the turn.
        """
        with self._turn(seconds) as got:
            if not got:
                return Pruned()
            with self._store.transaction() as sql:
                put_keeps(sql, self._keeps)
            return self._pruned(self._keeps)

    def prune_beside(self, *, alone: bool) -> Pruned:
        """As `prune`, for who is no gateway: nothing goes that a gateway has on record as kept, whatever is said here.

        Args:
            alone: where no gateway has anything on record, what is said here holds; else nothing goes.
        """
        with self._turn(0.0) as got:
            if not got:
                return Pruned()
            with self._store.transaction() as sql:
                known = keeps_of(sql) or (self._keeps if alone else None)
            return Pruned() if known is None else self._pruned(known.or_more(self._keeps))

    def _pruned(self, keeps: Keeps) -> Pruned:
        return self._store.prune(self._now() - keeps.seconds, keeps.size)

    def announce(self, pid: int) -> None:
        """Say in the lock file that process `pid` takes the lines in all the time; 0: nobody does any more."""
        with self._mutex:
            self._lock.announce(pid)

    def close(self) -> None:
        """Let go of the files. Idempotent."""
        with self._mutex:
            self._store.close()
            if self._spool is not None:
                self._spool.close()
            self._lock.close()
            self._progress = None

    @contextmanager
    def _turn(self, wait: float) -> Iterator[bool]:
        with self._mutex:
            got = self._lock.take(wait)
            try:
                yield got
            finally:
                if got:
                    self._lock.release()

    @property
    def _name(self) -> str:
        assert self._spool is not None
        return str(self._spool.path.absolute())

    def _ingest(self) -> Ingested:
        spool = self._spool
        if spool is None:
            return Ingested()
        found = self._take(spool)
        if self._unheard and not found.behind:
            self._empty_spool()  # by what another process has erased; where it cannot be now, in the next turn
        elif spool.position > self._spool_bytes and not found.behind:
            with spool.held():
                more = self._take(spool)
                self._cut(spool)
            found = replace(
                more,
                exchanges=found.exchanges + more.exchanges,
                events=found.events + more.events,
                bad=found.bad + more.bad,
                why_bad=found.why_bad or more.why_bad,
            )
        return found

    def _take(self, spool: Spool) -> Ingested:
        exchanges = events = bad = 0
        why = ""
        try:
            on_record = self._store.progress(self._name)
            if on_record != self._progress:  # another process has read on
                self._progress = on_record
                spool.begin(on_record.position, on_record.head)
            raw = spool.read()
            if not raw and spool.position == on_record.position:
                self._last_took = 0
                self._unheard = self._store.unheard(self._name)
                self._store.rest()
                return Ingested(behind=spool.behind())
            with self._store.transaction():
                self._unheard = self._store.unheard(self._name)
                for _ in range(MOST_IN_ONE):
                    if not raw:
                        break
                    lines = self._store.take(raw)
                    exchanges, events, bad = (
                        exchanges + len(lines.exchanges),
                        events + len(lines.events),
                        bad + len(lines.bad),
                    )
                    why = why or (lines.bad[0].why if lines.bad else "")
                    spool.advance(len(raw))
                    raw = spool.read()
                progress = Progress(spool.position, spool.head, on_record.bad + bad)
                self._store.note(self._name, progress)
            self._progress = progress
        except BaseException as error:
            self._progress = None
            if isinstance(error, OSError):
                raise Unavailable(f"the log {spool.path} cannot be read: {error.strerror}") from error
            raise
        self._last_took = exchanges + events + bad
        return Ingested(exchanges, events, bad, spool.behind(), why)

    def _empty_spool(self) -> bool:
        """Take in what is there, and empty the file; whether it is empty."""
        spool = self._spool
        if spool is None:
            return True
        done = self._emptied(spool)
        if done and self._unheard:
            self._store.heard(self._name, self._unheard)
            self._unheard = 0
        return done

    def _emptied(self, spool: Spool) -> bool:
        for _ in range(_TRIES):
            with spool.held():
                while self._take(spool).behind and self._last_took:
                    pass
                if self._cut(spool):
                    return True
        return spool.empty()

    def _cut(self, spool: Spool) -> bool:
        """Empty it, and put on record what it was emptied of: so that what comes next is found where it has moved."""
        if not spool.cut():
            return False
        self._take(spool)
        return True
