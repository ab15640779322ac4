"""Deferred jobs in a gateway: made when there is room, and their answers for those who ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING

from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded, HeadgateError, RateExceeded, Unavailable, UpstreamError
from headgate.core.exchange import Request
from headgate.engine.answer import error_answer
from headgate.stores.deferring import LIVES, Deferring
from headgate.stores.job_rows import DONE, FAILED, OVER, QUEUED, Job, JobStore
from headgate.wire import DIALECTS

if TYPE_CHECKING:
    from headgate.build import Built

WAY_IN = "deferred"
AT_ONCE = 8
LOOK = 1.0
"""Seconds between two looks at what is due."""
LONGEST = 300.0
_HOUR = 3600.0
_report = logging.getLogger("headgate.jobs")


class Deferred:
    """Of one gateway; its work is a task of the loop that it was started in."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self._engine = built.engine
        found = built.engine.ports.substitutes.get("defer")
        self._deferring = found if isinstance(found, Deferring) else None
        self._task: asyncio.Task[None] | None = None

    @property
    def store(self) -> JobStore | None:
        """None: nothing is deferred here."""
        return None if self._deferring is None else self._deferring.store

    async def start(self) -> None:
        """Go on with what was promised, by earlier processes, too."""
        if self.store is not None:
            await asyncio.to_thread(self.store.restart)
            self._task = asyncio.get_running_loop().create_task(self._working(self.store))

    async def stop(self) -> None:
        """What is under way is taken up by the next process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _working(self, store: JobStore) -> None:
        cleaned = 0.0
        while True:
            now = self._now()
            try:
                due = await asyncio.to_thread(store.take, now, AT_ONCE)
                if due:
                    await asyncio.gather(*(self._one(store, job) for job in due))
                    continue
                if now - cleaned >= _HOUR:
                    cleaned = now
                    await asyncio.to_thread(store.remove, before=now - LIVES)
            except HeadgateError as error:
                _report.error("deferred jobs wait: %s", error.message)
            await asyncio.sleep(LOOK)

    async def _one(self, store: JobStore, job: Job) -> None:
        dialect = DIALECTS[job.dialect]
        request = Request(
            dialect=job.dialect,
            endpoint=job.endpoint,
            method="POST",
            path=job.path,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in json.loads(job.headers)],
            body=job.body,
            facts=dialect.read_request(job.endpoint, job.body),
            caller=Caller(**json.loads(job.caller)),
            way_in=WAY_IN,
            correlation_id=job.id,
            provider=job.provider,
            batch=True,
        )
        exchange = self._engine.begin(request)
        try:
            reply = await self._engine.open(exchange)
            body = bytearray()
            while piece := await reply.read():
                body += piece
        except HeadgateError as error:
            if _passes(error):
                await self._again(store, job, getattr(error, "retry_after", None))
                return
            owns = self._engine.owns_retries(exchange)
            answer = error_answer(dialect, exchange, error, owns_retries=owns, now=self._now())
            await self._over(store, job, FAILED, answer.status, b"application/json", answer.body, exchange.id)
            return
        if exchange.stood_in:  # a sentence of ours is no answer to wait for
            await self._again(store, job, None)
            return
        kind = next((value for name, value in reply.headers if name == b"content-type"), b"application/json")
        await self._over(store, job, DONE, reply.status, kind, bytes(body), exchange.id)

    async def _again(self, store: JobStore, job: Job, told: float | None) -> None:
        wait = max(told or 0.0, min(LONGEST, 2.0 ** min(job.tries, 9)))
        await asyncio.to_thread(store.change, job.id, state=QUEUED, due=self._now() + wait)

    async def _over(
        self, store: JobStore, job: Job, state: str, status: int, kind: bytes, body: bytes, exchange: str
    ) -> None:
        with contextlib.suppress(Unavailable):
            await self._engine.ports.ledger.flush()  # what it has cost is on record before it is said to be over
        values = {"state": state, "status": status, "kind": kind.decode("latin-1"), "answer": body}
        await asyncio.to_thread(
            store.change, job.id, **values, exchange=exchange, body=b"", expires=self._now() + LIVES
        )

    def _now(self) -> float:
        return self._engine.ports.clock.now()


def _passes(error: HeadgateError) -> bool:
    """It may work later: the budget or limit has room again, the provider is back."""
    if isinstance(error, BudgetExceeded):
        return error.code == BudgetExceeded.code  # caps can be raised, too
    if isinstance(error, RateExceeded):
        return error.retry_after is not None
    return isinstance(error, Unavailable) or (isinstance(error, UpstreamError) and error.kind != "caller")


def told(job: Job) -> tuple[int, bytes, bytes]:
    """(status, content type, body) for who asks how far a job is."""
    if job.state in OVER and job.answer is not None:
        return job.status, job.kind.encode("latin-1"), job.answer
    said = {"id": job.id, "object": "headgate.job", "status": job.state, "tries": job.tries, "expires_at": job.expires}
    return (202 if job.state not in OVER else job.status), b"application/json", json.dumps(said).encode()
