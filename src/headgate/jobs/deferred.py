"""Deferred jobs in a gateway: made when there is room, and their answers for those who ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING

from headgate.core.errors import (
    BudgetExceeded,
    HeadgateError,
    IncidentStopped,
    RateExceeded,
    Unavailable,
    UpstreamError,
)
from headgate.engine.answer import error_answer
from headgate.jobs.paid import paid
from headgate.jobs.telling import Telling
from headgate.stores.deferring import Deferring, request_of
from headgate.stores.job_rows import DONE, FAILED, OVER, Job, JobStore
from headgate.wire import DIALECTS

if TYPE_CHECKING:
    from headgate.build import Built

AT_ONCE = 16
LOOK = 1.0
"""Seconds between two looks at what is due."""
LONGEST = 300.0
_HOUR = 3600.0
_MOST_BLOCKED = 10_000
_report = logging.getLogger("headgate.jobs")


class Deferred:
    """Of one gateway; its work is tasks of the loop that it was started in."""

    def __init__(self, built: Built) -> None:
        self._built = built
        self._engine = built.engine
        found = built.engine.ports.substitutes.get("defer")
        self._deferring = found if isinstance(found, Deferring) else None
        self._tasks: list[asyncio.Task[None]] = []
        self._running: dict[asyncio.Task[None], Job] = {}
        self._blocked: dict[str, float] = {}
        """Until when nobody else tries who waits for the same: one of them does, for all."""
        self._news = asyncio.Event()

    @property
    def store(self) -> JobStore | None:
        """None: nothing is deferred here."""
        return None if self._deferring is None else self._deferring.store

    @property
    def keeps(self) -> float:
        """Seconds for which a job that is over is kept."""
        return 0.0 if self._deferring is None else self._deferring.keep_seconds

    @property
    def waits(self) -> float:
        """Seconds for which a job may wait for room."""
        return 0.0 if self._deferring is None else self._deferring.wait_seconds

    def knows(self, webhook: str) -> bool:
        """Whether there is a webhook of this name."""
        return webhook in self._built.job_hooks

    async def start(self) -> None:
        """Go on with what was promised, by earlier processes, too."""
        store, deferring = self.store, self._deferring
        if store is None or deferring is None:
            return
        await asyncio.to_thread(self._restart, store)
        deferring.added = self._news.set
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._working(store)))
        if self._built.job_hooks:
            telling = Telling(store, self._built.job_hooks, now=self._now, tell=deferring.tell)
            self._tasks.append(loop.create_task(telling.run()))

    def _restart(self, store: JobStore) -> None:
        """What a dead process had under way is due again; where something was sent for it, it is marked."""
        lost = {} if store.place.shared else store.running()
        if lost:
            self._built.ledger.open()  # so that the sweep has been here
            known = paid(self._built.ledger, list(lost), since=min(lost.values()))
            store.restart([name for name, each in known.items() if each.nano > 0])

    async def stop(self) -> None:
        """What is under way is taken up by the next process."""
        for task in (*self._tasks, *self._running):
            task.cancel()
        left = [job.id for job in self._running.values()]
        await asyncio.gather(*self._tasks, *self._running, return_exceptions=True)
        store = self.store
        if store is not None and left:
            with contextlib.suppress(HeadgateError):  # else their leases end, or a restart finds them
                await asyncio.to_thread(store.release, left, self._now())

    async def _working(self, store: JobStore) -> None:
        cleaned = 0.0
        while True:
            now = self._now()
            self._news.clear()
            try:
                room = AT_ONCE - len(self._running)
                due = await asyncio.to_thread(store.take, now, room, keeps=self.keeps) if room > 0 else []
                for job in due:
                    await self._begin(store, job, now)
                if now - cleaned >= _HOUR:
                    cleaned = now
                    await asyncio.to_thread(store.remove, before=now)
                if len(due) == room > 0:
                    continue
            except HeadgateError as error:
                _report.error("deferred jobs wait: %s", error.message)
                self._news.clear()
            # Not `asyncio.wait_for`: until Python 3.12 it swallows a cancellation that comes with the news, and `stop`
            # would wait for ever.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._news.wait()

    async def _begin(self, store: JobStore, job: Job, now: float) -> None:
        until = self._blocked.get(job.waits_for, 0.0) if job.waits_for else 0.0
        if until > now:
            await asyncio.to_thread(store.wait, job.id, until, waits_for=job.waits_for, why=job.why, back=True)
            return
        if job.waits_for:  # it tries for all that wait for the same
            self._block(job.waits_for, now + self._wait(job, None))
        task = asyncio.get_running_loop().create_task(self._one(store, job))
        self._running[task] = job
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        job = self._running.pop(task)
        self._news.set()
        if not task.cancelled() and task.exception() is not None:
            # Its lease ends, and it is tried again: whatever this was must not end the others.
            _report.error("job %s: %s inside Headgate", job.id, type(task.exception()).__name__)

    async def _one(self, store: JobStore, job: Job) -> None:
        dialect = DIALECTS[job.dialect]
        exchange = self._engine.begin(request_of(job))
        try:
            reply = await self._engine.open(exchange)
            try:
                body = bytearray()
                while piece := await reply.read():
                    body += piece
            finally:
                reply.close()
        except HeadgateError as error:
            if _passes(error):
                await self._again(store, job, error)
                return
            self._blocked.pop(job.waits_for, None)
            owns = self._engine.owns_retries(exchange)
            answer = error_answer(dialect, exchange, error, owns_retries=owns, now=self._now())
            kind = b"application/json"
            await self._over(store, job, FAILED, answer.status, kind, answer.body, exchange.id, error.message)
            return
        if exchange.stood_in:  # a sentence of ours is no answer to wait for
            await self._again(store, job, exchange.error)
            return
        self._blocked.pop(job.waits_for, None)
        kind = next((value for name, value in reply.headers if name == b"content-type"), b"application/json")
        await self._over(store, job, DONE, reply.status, kind, bytes(body), exchange.id)

    async def _again(self, store: JobStore, job: Job, error: HeadgateError | None) -> None:
        wait, now = self._wait(job, error), self._now()
        place = _waits_for(error)
        if job.waits_for and job.waits_for != place:
            self._blocked.pop(job.waits_for, None)
        if place:
            self._block(place, now + wait)
        why = "" if error is None else error.message[:500]
        await asyncio.to_thread(store.wait, job.id, now + wait, waits_for=place, why=why)

    def _wait(self, job: Job, error: HeadgateError | None) -> float:
        """Seconds: longer each time; as long as a limit says; and not beyond the turn of a budget's period."""
        wait = min(LONGEST, 2.0 ** min(job.tries, 9))
        if isinstance(error, BudgetExceeded) and error.claim is not None:
            return min(wait, max(0.1, error.claim.end - self._now()))
        return max(getattr(error, "retry_after", None) or 0.0, wait if not isinstance(error, RateExceeded) else 0.1)

    def _block(self, place: str, until: float) -> None:
        if len(self._blocked) >= _MOST_BLOCKED:
            self._blocked.clear()
        self._blocked[place] = until

    async def _over(
        self, store: JobStore, job: Job, state: str, status: int, kind: bytes, body: bytes, exchange: str, why: str = ""
    ) -> None:
        with contextlib.suppress(Unavailable):
            await self._engine.ports.ledger.flush()  # what it has cost is on record before it is said to be over
        values = {"status": status, "kind": kind.decode("latin-1"), "answer": body, "exchange": exchange, "why": why}
        await asyncio.to_thread(store.finish, job.id, state, now=self._now(), keeps=self.keeps, **values)

    def _now(self) -> float:
        return self._engine.ports.clock.now()


def _passes(error: HeadgateError) -> bool:
    """It may work later: the budget or limit has room again, the provider is back, the incident is over."""
    if isinstance(error, BudgetExceeded):
        return error.code == BudgetExceeded.code  # caps can be raised, too
    if isinstance(error, RateExceeded):
        return error.retry_after is not None
    return isinstance(error, Unavailable | IncidentStopped) or (
        isinstance(error, UpstreamError) and error.kind != "caller"
    )


def _waits_for(error: HeadgateError | None) -> str:
    """The account of a budget that had no room. Others that wait for it need not find that out one by one."""
    if not isinstance(error, BudgetExceeded) or error.claim is None:
        return ""
    about, scope, start = error.claim.key
    return f"{about}|{scope}|{start}"


def told(job: Job) -> tuple[int, bytes, bytes]:
    """(status, content type, body) for who asks how far a job is."""
    if job.state in OVER and job.answer is not None:
        return job.status, job.kind.encode("latin-1"), job.answer
    said = {"id": job.id, "object": "headgate.job", "status": job.state, "tries": job.tries, "expires_at": job.expires}
    if job.why:
        said["why"] = job.why
    if job.twice:
        said["maybe_paid_twice"] = True
    return (202 if job.state not in OVER else job.status), b"application/json", json.dumps(said).encode()
