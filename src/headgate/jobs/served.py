"""Batches that a gateway works at: handed to it by the command line, run to their end through restarts.

A ledger in SQLite has one writer. Where that is a gateway, a batch is run by it, beside its calls and behind them:
lines have priority `batch`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headgate.core.caller import Caller
from headgate.core.errors import BadRequest, BudgetExceeded, ConfigError, HeadgateError, NotServed
from headgate.jobs.batch import BatchStatus, status_of
from headgate.jobs.paced import MOST
from headgate.jobs.running import PASSED, Running, open_batches
from headgate.jobs.submitting import Submitted, Terms, submit
from headgate.stores.batch_items import OVER, Batch, BatchStore

if TYPE_CHECKING:
    from headgate.build import Built

AGAIN = 30.0
"""Seconds until a batch that could not go on is tried again."""
LEAVE_SECONDS = 10.0
"""How long lines that are under way may take when the gateway stops."""
_report = logging.getLogger("headgate.batches")


@dataclass(slots=True)
class _Work:
    task: asyncio.Task[None]
    running: Running | None = None
    stopping: bool = False


class ServedBatches:
    """Of one gateway. Its work is tasks of the loop that it was started in."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self._store = BatchStore(built.jobs)
        self._work: dict[str, _Work] = {}

    async def start(self) -> None:
        """Go on with what was handed to an earlier process; nothing is opened where there is nothing."""
        for batch in await open_batches(self._built, self._store, "batches are not gone on with"):
            if batch.served:
                self._begin(batch.id, MOST)

    async def stop(self) -> None:
        """Begin nothing more, and leave the rest to the next process."""
        tasks = []
        for work in self._work.values():
            work.stopping = True
            if work.running is not None:
                work.running.stop()
            tasks.append(work.task)
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=LEAVE_SECONDS)
            for task in left:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def submit(self, file: str, terms: Terms) -> Submitted:
        """Read a file of this machine and write it down; nothing is sent. Raises as `submitting.submit`."""
        return await asyncio.to_thread(submit, self._built, self._store, file, terms, Caller())

    async def run(self, name: str, *, retry_failed: bool = False, concurrency: int = MOST) -> dict[str, Any]:
        """Work at a batch from now on; returns how it stands.

        Raises:
            BadRequest: it was never read to its end, or its caller has submitted it to the provider.
            NotServed: there is none.
            Unavailable: the store cannot be written.
        """
        batch = await self._found(name)
        if batch.state == "reading" or batch.via == PASSED:
            raise BadRequest(f"{batch.id} cannot be run: it was never read to its end, or is its caller's own.")
        if retry_failed and batch.id not in self._work:
            await asyncio.to_thread(self._store.retry, batch.id)
            anew: dict[str, Any] = {"state": "ready", "ended": None, "why": "", "deadline": None}
            await asyncio.to_thread(self._store.change, batch.id, **anew)
            batch.state = "ready"
        if batch.state not in OVER:
            await asyncio.to_thread(self._store.change, batch.id, served=1)
            self._begin(batch.id, concurrency)
        return await self.status(batch.id)

    async def cancel(self, name: str) -> dict[str, Any]:
        """Have nothing more of it begun; what a provider has is cancelled there. Raises as `run`."""
        batch = await self._found(name)
        if batch.state not in OVER and batch.via != PASSED:
            await asyncio.to_thread(self._store.change, batch.id, state="cancelling", served=1)
            self._begin(batch.id, 1)
        return await self.status(batch.id)

    async def remove(self, name: str) -> None:
        """Forget it, with its requests and results; the ledger keeps what it has cost.

        Raises:
            BadRequest: it is not over.
            NotServed: there is none.
        """
        batch = await self._found(name)
        if batch.state not in OVER or batch.id in self._work:
            raise BadRequest(f"{batch.id} is not over: cancel it first.")
        await asyncio.to_thread(self._store.remove, batch.id)

    async def status(self, name: str) -> dict[str, Any]:
        """How far it is, and whether somebody works at it here: ``{"batch": {…}, "working": true}``."""
        batch = await self._found(name)
        told = await asyncio.to_thread(status_of, self._store, batch)
        return {"batch": status_json(told), "working": batch.id in self._work}

    async def _found(self, name: str) -> Batch:
        batch = await asyncio.to_thread(self._store.batch, name)
        if batch is None:
            raise NotServed(f"There is no batch {name[:60]}; `headgate batch status` lists them.", code="no_batch")
        return batch

    def _begin(self, batch_id: str, concurrency: int) -> None:
        if batch_id not in self._work:
            task = asyncio.get_running_loop().create_task(self._working(batch_id, concurrency))
            self._work[batch_id] = _Work(task)
            task.add_done_callback(lambda _: self._work.pop(batch_id, None))

    async def _working(self, batch_id: str, concurrency: int) -> None:
        work = self._work[batch_id]
        while not work.stopping:
            try:
                batch = await asyncio.to_thread(self._store.batch, batch_id)
                if batch is None or batch.state in OVER or not batch.served:
                    return
                work.running = Running(self._built, self._store, batch, None, concurrency)
                await work.running.run()
                if not work.stopping:
                    await asyncio.to_thread(self._store.change, batch_id, served=0)
                return
            except BudgetExceeded:
                await asyncio.to_thread(self._store.change, batch_id, served=0)  # why it stopped is on record
                return
            except HeadgateError as error:
                _report.error("the batch %s is gone on with in %d s: %s", batch_id, AGAIN, error.message)
            await asyncio.sleep(AGAIN)


def status_json(status: BatchStatus) -> dict[str, Any]:
    """A status as JSON, from which `status_from` makes it again: money as a decimal string, times in seconds."""
    told = {name: getattr(status, name) for name in BatchStatus.__slots__}
    return told | {"cost_usd": f"{status.cost_usd:f}"}


def terms_of(told: dict[str, Any]) -> Terms:
    """The terms of a batch, from JSON.

    Raises:
        BadRequest: they cannot be used.
    """
    known: dict[str, tuple[type, ...]] = {
        "via": (str,),
        "dialect": (str,),
        "model": (str,),
        "deadline_seconds": (int, float, type(None)),
        "hold": (bool,),
        "dedupe": (str,),
    }
    for name, value in told.items():
        if name not in known or not isinstance(value, known[name]) or (isinstance(value, bool) and name != "hold"):
            raise BadRequest(f"{name[:60]}: unknown, or of another type; known are {', '.join(known)}.")
    try:
        return Terms(**told)
    except ConfigError as error:
        raise BadRequest(str(error)) from None
