"""A batch, as Python and the command line see it: run it, look at it, fetch its results."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.core.errors import ConfigError
from headgate.core.money import usd
from headgate.jobs.holding import BatchHolds
from headgate.jobs.paced import MOST
from headgate.jobs.paid import paid
from headgate.jobs.requests import correlation
from headgate.jobs.results import failures, result_lines
from headgate.stores.batch_items import (
    BROKEN,
    CANCELLED,
    DONE,
    FAILED,
    OVER,
    SAME,
    SENT,
    WAITING,
    Batch,
    BatchStore,
    Counts,
    Ended,
)
from headgate.stores.jobs_place import JobsPlace

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.jobs.submitting import Submitted

STALE = 90.0
"""Seconds without a sign of life after which another process may go on with a batch (PostgreSQL)."""
BEAT = 15.0

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How far a batch is. Lines: `total` is the sum of the others.

    Attributes:
        state: "ready", "running", "cancelling", "ended", "cancelled".
        succeeded, failed, cancelled: over; `broken` could not be run.
        waiting, sent: not over.
        same: answered with another line that asks the same.
        maybe_twice: sent again after a kill: they may have been paid twice.
        cost_usd: of all attempts so far.
        why: it stopped before it was done, in words.
    """

    id: str
    name: str
    via: str
    state: str
    total: int
    succeeded: int
    failed: int
    broken: int
    cancelled: int
    waiting: int
    sent: int
    same: int
    maybe_twice: int
    cost_usd: Decimal
    created: float
    ended: float | None
    why: str

    @property
    def over(self) -> bool:
        """Nothing more happens to it by itself."""
        return self.state in OVER

    @property
    def done(self) -> int:
        """Lines that are over."""
        return self.total - self.waiting - self.sent


OnProgress = Callable[[BatchStatus], object]


class BatchJob:
    """One batch of a gate. Made by `Gate.batch` and `Gate.open_batch`."""

    def __init__(self, built: Built, store: BatchStore, batch_id: str, submitted: Submitted | None = None) -> None:
        self._built = built
        self._store = store
        self.id = batch_id
        self.submitted = submitted
        """What became of its file; None where that was read by another process."""
        self._stopping: list[Callable[[], None]] = []

    @property
    def status(self) -> BatchStatus:
        """How far it is, as it is on record. Blocks for the store.

        Raises:
            ConfigError: it was removed.
        """
        return status_of(self._store, self._batch())

    def _batch(self) -> Batch:
        return found(self._store, self.id)

    def run(self, *, on_progress: OnProgress | None = None, concurrency: int = MOST) -> BatchStatus:
        """Work at it until it is over; what was done before stays done. Blocks, in an event loop of its own.

        Args:
            on_progress: called with the status, at most every half second, and at the end.
            concurrency: calls under way at once, at most; for `paced`.

        Raises:
            BudgetExceeded: what it can cost cannot be set aside; nothing was sent.
            ConfigError: another process works at it.
            Unavailable: the ledger or the store cannot be written.
        """
        return asyncio.run(self.arun(on_progress=on_progress, concurrency=concurrency))

    async def arun(self, *, on_progress: OnProgress | None = None, concurrency: int = MOST) -> BatchStatus:
        """As `run`, in the running asyncio loop."""
        from headgate.jobs.running import Running

        running = Running(self._built, self._store, self._batch(), on_progress, concurrency)
        self._stopping.append(running.stop)
        try:
            await running.run()
        finally:
            self._stopping.remove(running.stop)
        return self.status

    def stop(self) -> None:
        """Begin nothing more: `run` returns when what is under way has ended. From any thread, and signal handlers."""
        for each in self._stopping:
            each()

    def results(self) -> Iterator[dict[str, Any]]:
        """A result for each line, in the order of the input, in the vendor's format; lines that are not over have
        none yet."""
        for line in result_lines(self._store, self._batch()):
            yield json.loads(line)

    def write(self, path: str | Path) -> int:
        """Write the results as JSONL, whole or not at all; returns how many there are.

        Raises:
            ConfigError: the file cannot be written.
        """
        return write_results(self._store, self._batch(), path)

    def failures(self, limit: int = 20) -> list[tuple[int, str, str]]:
        """(line, custom id, why) of the first that have failed or could not be run."""
        return [(each.line, each.custom_id, each.reason) for each in failures(self._store, self._batch(), limit=limit)]

    def retry_failed(self) -> int:
        """Have what has failed or was cancelled wait again; returns how many that are. `run` sends them."""
        count = self._store.retry(self.id)
        if count:
            self._store.change(self.id, state="ready", ended=None, why="", deadline=None)
        return count

    def cancel(self) -> None:
        """Have nothing more begun. Lines that a provider has are cancelled there when it is run next; what is over
        stays, and is paid."""
        batch = self._batch()
        if batch.state not in OVER:
            self._store.change(self.id, state="cancelling")

    def remove(self) -> None:
        """Forget it, with its requests and results; the ledger keeps what it has cost.

        Raises:
            ConfigError: it is not over.
        """
        if self._batch().state not in OVER:
            raise ConfigError(f"{self.id} is not over: `headgate batch cancel {self.id}` first")
        self._store.remove(self.id)


def write_results(store: BatchStore, batch: Batch, path: str | Path) -> int:
    """See `BatchJob.write`."""
    count = 0
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            for line in result_lines(store, batch):
                file.write(line + b"\n")
                count += 1
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    return count


def ask_to_cancel(storage: str, batch: Batch) -> bool:
    """Have the process that works at a batch cancel it; False where none does. For SQLite, whose file it alone writes;
    in PostgreSQL everybody may."""
    path = JobsPlace(storage, now=lambda: 0.0).path
    if path is None or not batch.owner or batch.state in OVER:
        return False
    cancel_mark(path, batch.id).touch()
    return True


def cancel_mark(path: Path, batch_id: str) -> Path:
    """A file that is there while a cancellation is asked for."""
    return path.with_name(f"{path.name}.cancel-{batch_id}")


def found(store: BatchStore, batch_id: str) -> Batch:
    """The batch.

    Raises:
        ConfigError: there is none.
    """
    batch = store.batch(batch_id)
    if batch is None:
        raise ConfigError(f"there is no batch {batch_id}: `headgate batch status` lists those that there are")
    return batch


def status_of(store: BatchStore, batch: Batch) -> BatchStatus:
    """How far it is. Those that ask the same as another are over with it."""
    counts: Counts = store.counts(batch.id)
    n = counts.states.get
    return BatchStatus(
        id=batch.id,
        name=batch.name,
        via=batch.via,
        state=batch.state,
        total=counts.total,
        succeeded=n(DONE, 0),
        failed=n(FAILED, 0),
        broken=n(BROKEN, 0),
        cancelled=n(CANCELLED, 0),
        waiting=n(WAITING, 0),
        sent=n(SENT, 0),
        same=n(SAME, 0),
        maybe_twice=counts.twice,
        cost_usd=usd(counts.cost_nano),
        created=batch.created,
        ended=batch.ended,
        why=batch.why,
    )


def recover(built: Built, store: BatchStore, batch: Batch, holds: BatchHolds) -> None:
    """What a dead process has left: lines that it had under way wait again, with what the ledger says they have cost;
    and what was set aside for them is settled with that. Blocks."""
    built.ledger.open()  # so that the sweep has been here
    after, sent = -1, list[int]()
    while lost := store.page(batch.id, after=after, limit=_AT_ONCE, states=(SENT,)):
        after = lost[-1].place
        own = {correlation(batch.id, each.line): each for each in lost if each.shard is None}
        known = paid(built.ledger, list(own), since=batch.created)
        ended = []
        for name, item in own.items():
            if name in known:
                more = max(0, known[name].nano - item.cost_nano)
                drawn = more if item.hold is not None else 0
                tokens = known[name].tokens if drawn else 0
                ended.append(
                    Ended(item.place, SENT, exchange=known[name].exchange, cost_nano=more, drawn_nano=drawn,
                          drawn_tokens=tokens)
                )  # fmt: skip
        store.finish(batch.id, ended)
        sent += [each.place for each in ended]
    store.recover(batch.id, sent)
    if batch.via != "paced":
        holds.adopt_old()
    else:
        holds.end_old()


def new_owner() -> str:
    """This process, among those that may work at a batch."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"
