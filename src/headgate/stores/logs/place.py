"""Where the log store of a configuration is, and the one door to it: for whoever searches, erases or keeps it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.core.errors import ConfigError, Unavailable
from headgate.stores.log_key import log_key
from headgate.stores.logs.lock import worker_of
from headgate.stores.memory import MEMORY
from headgate.stores.opening import is_postgres_url, log_key_file, log_store_file

if TYPE_CHECKING:
    from headgate.stores.logs.erasing import Erased, Subject
    from headgate.stores.logs.follower import Follower
    from headgate.stores.logs.keeper import Kept, LogKeeper
    from headgate.stores.logs.reader import LogReader

CATCH_UP_SECONDS = 2.0
PRUNE_SECONDS = 60.0
"""Without a process that does so all the time, what is old goes so often at most: when somebody looks."""
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class LogPlace:
    """What a configuration says of its log store.

    Attributes:
        storage: the ledger's URL; the log store is beside it, or in its PostgreSQL database.
        spool: the JSON lines; None: they go elsewhere (standard output), and nothing is stored.
        stored: `log.store`.
        keep_seconds, keep_bytes, spool_bytes: see `keeper.LogKeeper`.
    """

    storage: str = field(repr=False)
    spool: Path | None
    stored: bool = True
    keep_seconds: float = 30 * 86_400.0
    keep_bytes: int = 10 * 1000**3
    spool_bytes: int = 256 * 1000**2

    @property
    def why_not(self) -> str:
        """Why there is no log store, in words; "" where there is one."""
        if not self.stored:
            return "log: {store: off}"
        if self.storage == MEMORY:
            return "storage: memory; a log store needs a file or PostgreSQL"
        if "{pid}" in self.storage and not is_postgres_url(self.storage):
            return "storage: there is a ledger for each process ({pid})"
        if self.spool is None:
            return "the log goes to standard output"
        return ""

    @property
    def lock_file(self) -> Path:
        """Says whose turn it is to take in the JSON lines."""
        path = log_store_file(self.storage)
        return path.with_name(path.name + ".lock")

    def kept(self) -> Kept:
        """What is kept where.

        Raises:
            ConfigError: there is no log store.
        """
        self._check()
        from headgate.stores.logs.keeper import Kept

        shared = is_postgres_url(self.storage)
        return Kept(
            self.storage if shared else str(log_store_file(self.storage).absolute()),
            str(self.lock_file.absolute()),
            str(Path(self.spool or "").absolute()),
            self.keep_seconds,
            self.keep_bytes,
            self.spool_bytes,
            self._installation() if shared else "",
        )

    def _installation(self) -> str:
        """What tells this folder's log from those of other machines: its key, which is made with the log."""
        return sha256(log_key(log_key_file(self.storage))).hexdigest()[:16]

    def keeper(self, now: Callable[[], float] = time.time) -> LogKeeper:
        """What writes it. Nothing is opened before its first use.

        Raises:
            ConfigError: there is none; or a package that it needs is not installed.
        """
        from headgate.stores.logs.keeper import open_keeper

        return open_keeper(self.kept(), now)

    def reader(self) -> LogReader:
        """For searching, beside whoever writes it; keep it, it opens what it needs once.

        Raises:
            ConfigError: there is none.
        """
        self._check()
        if is_postgres_url(self.storage):
            from headgate.stores.logs.postgres_reader import PostgresLogReader

            return PostgresLogReader(self.storage, self._installation())
        from headgate.stores.logs.sqlite_reader import SqliteLogReader

        return SqliteLogReader(log_store_file(self.storage))

    def _check(self) -> None:
        if self.why_not:
            raise ConfigError(f"there is no log store: {self.why_not}")


class Logs:
    """The log store as a process sees it. Safe to share between threads.

    Args:
        place: where it is.
        flush: brings what is logged in this process into the JSON lines.
    """

    def __init__(self, place: LogPlace, flush: Callable[[], None] = lambda: None) -> None:
        self.place = place
        self._flush = flush
        self._lock = threading.Lock()
        self._reader: LogReader | None = None
        self._keeper: LogKeeper | None = None
        self._follower: Follower | None = None
        self._pruned = -PRUNE_SECONDS

    def follow(self, tell: Callable[..., None], *, first: float | None = None) -> None:
        """Have a process of its own take the lines in from now on; nothing where there is no log store.

        Args:
            tell: writes an event, as `LineLog.event`.
            first: see `follower.Follower`.
        """
        if self.place.why_not or self._follower is not None:
            return
        from headgate.stores.logs.follower import FIRST_SECONDS, Follower

        self._follower = Follower(self.place.kept(), tell, first=FIRST_SECONDS if first is None else first)
        self._follower.start()

    def need(self) -> None:
        """Raises Unavailable where there is no log store."""
        if self.place.why_not:
            raise Unavailable(f"There is no log store: {self.place.why_not}.", code="no_log_store")

    def health(self) -> dict[str, Any] | None:
        """How the process stands that takes the lines in: `Follower.health`; None where there is none."""
        return None if self._follower is None else self._follower.health()

    @property
    def reader(self) -> LogReader:
        """Over what was taken in. Raises ConfigError where there is no log store."""
        with self._lock:
            if self._reader is None:
                self._reader = self.place.reader()
            return self._reader

    def fresh(self, seconds: float = CATCH_UP_SECONDS) -> LogReader:
        """As `reader`, with what was logged before now, and without what is older than is kept: lines are taken in
        first, and old ones go, here where nobody else does so.

        Args:
            seconds: to wait for whoever else is at it.

        Raises:
            ConfigError: there is no log store.
        """
        if self.place.why_not:
            return self.reader  # which says why
        self._flush()
        follower = self._follower
        try:
            if follower is not None and follower.running:
                follower.catch_up(seconds)
            elif worker_of(self.place.lock_file):
                self._wait(seconds)
            else:
                self._keep_up(seconds)
        except Unavailable:
            pass  # a disk that is full keeps nobody from reading
        return self.reader

    def _keep_up(self, seconds: float) -> None:
        """Take in what is there, and forget what is old, but nothing that a gateway keeps: what of it can be done in
        so many seconds."""
        keeper, end = self._keeping(), time.monotonic() + seconds
        keeper.catch_up(seconds)
        if time.monotonic() - self._pruned < PRUNE_SECONDS:
            return
        alone = not is_postgres_url(self.place.storage)  # else it is other machines' as well
        while keeper.prune_beside(alone=alone).more:
            if time.monotonic() >= end:
                return  # the rest goes the next time
        self._pruned = time.monotonic()

    def _wait(self, seconds: float) -> None:
        """For a process that is another gateway's."""
        keeper, end = self._keeping(), time.monotonic() + seconds
        while keeper.behind() and time.monotonic() < end:
            time.sleep(_PAUSE_SECONDS)

    def erase(self, subject: Subject) -> Erased:
        """Take a subject's words and name out of the log store and the JSON lines. Blocks, for seconds.

        Raises:
            ConfigError: there is no log store.
            Unavailable: the disk said no, or somebody else writes for too long; a second try does what is left.
        """
        self._flush()
        return self._keeping().erase(subject)

    def close(self) -> None:
        """Let go of files, connections and the process. Idempotent."""
        if self._follower is not None:
            self._follower.close()
        with self._lock:
            if self._reader is not None:
                self._reader.close()
            if self._keeper is not None:
                self._keeper.close()
            self._reader = self._keeper = None

    def _keeping(self) -> LogKeeper:
        with self._lock:
            if self._keeper is None:
                self._keeper = self.place.keeper()
            return self._keeper
