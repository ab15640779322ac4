"""One process working at one batch, from wherever it is to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headgate.core.errors import BudgetExceeded, ConfigError, HeadgateError
from headgate.jobs.batch import BEAT, STALE, OnProgress, cancel_mark, new_owner, recover, status_of
from headgate.jobs.holding import BatchHolds
from headgate.jobs.paced import Paced
from headgate.jobs.provider import OVER as OVER_SHARD
from headgate.jobs.provider import Submitting
from headgate.stores.batch_items import CANCELLED, OVER, Batch, BatchStore

if TYPE_CHECKING:
    from headgate.build import Built

PASSED = "passed"
"""Of a batch that its caller has submitted through the gateway."""

LOOK = 0.5
"""Seconds between two looks at whether it was cancelled, and two reports of progress."""
_report = logging.getLogger("headgate.batches")


async def open_batches(built: Built, store: BatchStore, untold: str) -> Sequence[Batch]:
    """Batches that are not over, the newest 1,000; nothing is opened where there is nothing.

    Args:
        untold: what is not done where they cannot be read, for the log: none of them is found then.
    """
    path = built.jobs.path
    if not built.jobs.shared and (path is None or not await asyncio.to_thread(path.exists)):
        return ()
    try:
        return await asyncio.to_thread(store.batches, limit=1000, open_only=True)
    except HeadgateError as error:
        _report.error("%s: %s", untold, error.message)
        return ()


class Running:
    """See the module.

    Args:
        on_progress: see `BatchJob.run`.
        concurrency: likewise.
    """

    def __init__(
        self, built: Built, store: BatchStore, batch: Batch, on_progress: OnProgress | None, concurrency: int
    ) -> None:
        self._built = built
        self._store = store
        self._batch = batch
        self._on_progress = on_progress
        self._holds = BatchHolds(built, store, batch)
        self._owner = new_owner()
        self._submitting = Submitting(built, store, batch, self._holds)
        self._paced = Paced(built, store, batch, self._holds, most=concurrency)

    def stop(self) -> None:
        """Begin nothing more."""
        self._paced.stop = self._submitting.stop = True

    async def run(self) -> None:
        """See `BatchJob.run`."""
        batch, store = self._batch, self._store
        if batch.state == "reading":
            raise ConfigError(f"{batch.id} was never read to its end: submit its file again")
        if batch.state in OVER:
            return
        if not await asyncio.to_thread(store.claim, batch.id, self._owner, self._now(), stale=STALE):
            raise ConfigError(f"another process works at {batch.id}: `headgate batch status {batch.id}` shows how far")
        looking = asyncio.create_task(self._looking())
        try:
            await asyncio.to_thread(recover, self._built, store, batch, self._holds)
            if batch.state == "ready":
                batch.state = "running"
                await asyncio.to_thread(store.change, batch.id, state="running", why="")
            if batch.state == "running":
                await self._work()
            if self._cancelled() and batch.via == "provider":
                self._submitting.stop = False
                await self._submitting.run(cancel=True)
        except BudgetExceeded as error:
            await asyncio.to_thread(store.change, batch.id, state="ready", why=error.message)
            raise
        except HeadgateError as error:
            await asyncio.to_thread(store.change, batch.id, why=error.message)
            raise
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await asyncio.to_thread(self._leave)
        if self._on_progress is not None:
            self._on_progress(status_of(store, batch))

    async def _work(self) -> None:
        if self._batch.via == PASSED:
            await self._submitting.run()
            return
        if self._batch.via == "provider":
            # Out of our hands once it is submitted: on record in any case, and held wherever a budget applies.
            await self._holds.take(always=True)
            await self._submitting.run()
            return
        if self._batch.hold:
            await self._holds.take(always=False)
        await self._paced.run()

    def _cancelled(self) -> bool:
        return self._batch.state == "cancelling"

    async def _looking(self) -> None:
        """Say that this process lives; see whether it was cancelled; tell how far it is."""
        beat = self._now()
        while True:
            await asyncio.sleep(LOOK)
            # A report that cannot be made, or a beat that cannot be written, ends no work: the next one may be.
            with contextlib.suppress(HeadgateError):
                known = await asyncio.to_thread(self._store.batch, self._batch.id)
                if known is None or known.state == "cancelling" or self._asked_to_cancel():
                    if self._batch.state != "cancelling":
                        self.stop()
                    self._batch.state = "cancelling"
                if self._now() - beat >= BEAT:
                    beat = self._now()
                    await asyncio.to_thread(self._store.claim, self._batch.id, self._owner, beat, stale=STALE)
                if self._on_progress is not None:
                    self._on_progress(await asyncio.to_thread(status_of, self._store, self._batch))

    def _asked_to_cancel(self) -> bool:
        path = self._store.place.path
        if path is None or not (mark := cancel_mark(path, self._batch.id)).exists():
            return False
        mark.unlink(missing_ok=True)
        return True

    def _leave(self) -> None:
        """Give back what is not used, and say how it stands."""
        store, batch = self._store, self._batch
        with contextlib.suppress(HeadgateError):  # what cannot be written now, the next run puts right
            if batch.via == "paced" or not any(each.state != OVER_SHARD for each in store.shards(batch.id)):
                self._holds.give_back()  # else it is at the provider, and may cost what is set aside for it
            late = batch.deadline is not None and self._now() >= batch.deadline
            if batch.state == "cancelling":
                store.end_waiting(batch.id, CANCELLED, "cancelled before it was sent")
            elif late and batch.state == "running":
                store.end_waiting(batch.id, CANCELLED, "the deadline came before it was sent")
            counts = store.counts(batch.id)
            values: dict[str, object] = {"owner": "", "heartbeat": 0.0}
            if not counts.left and batch.state in ("running", "cancelling"):
                values |= {"state": "cancelled" if batch.state == "cancelling" else "ended", "ended": self._now()}
                if late:
                    values["why"] = "the deadline came before it was done"
            store.change(batch.id, **values)

    def _now(self) -> float:
        return self._built.engine.ports.clock.now()
