"""Webhooks of deferred jobs: told when a job is over, again and again until they have heard it, or it is too late.

What is to be told is on record with the job's end, so that it survives the process. Its id is the job's: a receiver
that hears it twice knows that it does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headgate.core.errors import HeadgateError
from headgate.stores.deferring import PATH
from headgate.stores.job_rows import LOST, TOLD, WAITING, Job, JobStore
from headgate.stores.job_rows import Telling as Row
from headgate.upstream.job_hook import GONE

if TYPE_CHECKING:
    from headgate.upstream.job_hook import JobHook

AT_ONCE = 8
LOOK = 1.0
FIRST_WAIT, LONGEST_WAIT = 2.0, 3600.0
"""Seconds: each wait is four times the one before."""
MOST_ANSWER = 1024 * 1024
"""Bytes of an answer that is sent along; a larger one is fetched."""
_report = logging.getLogger("headgate.jobs")


class Telling:
    """Of one gateway.

    Args:
        now: seconds since the epoch.
        tell: the log's `event`.
    """

    def __init__(
        self, store: JobStore, hooks: Mapping[str, JobHook], *, now: Callable[[], float], tell: Callable[..., None]
    ) -> None:
        self._store = store
        self._hooks = hooks
        self._now = now
        self._tell = tell

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                rows = await asyncio.to_thread(self._store.untold, self._now(), AT_ONCE)
                await asyncio.gather(*(asyncio.to_thread(self._one, row) for row in rows))
                if rows:
                    continue
            except HeadgateError as error:
                _report.error("webhooks of deferred jobs wait: %s", error.message)
            await asyncio.sleep(LOOK)

    def _one(self, row: Row) -> None:
        job, hook = self._store.get(row.job), self._hooks.get(row.webhook)
        if job is None or hook is None:
            self._lost(row, "it is not in the configuration any more" if hook is None else "the job is gone")
            return
        said = hook.send(event_id(job), json.dumps(payload(job)).encode(), self._now())
        if not said:
            self._store.told(row.job, TOLD)
            return
        due = self._now() + min(LONGEST_WAIT, FIRST_WAIT * 4.0 ** min(row.tries - 1, 9))
        if said == GONE or due >= job.expires:
            self._lost(row, said)
        else:
            self._store.told(row.job, WAITING, due=due, said=said)

    def _lost(self, row: Row, why: str) -> None:
        self._store.told(row.job, LOST, said=why)
        self._tell("job_webhook_lost", job=row.job, webhook=row.webhook, tries=row.tries, error=why[:200])


def event_id(job: Job) -> str:
    """The same however often it is sent. One for each end: a job that was tried again ends another time."""
    return f"msg_{job.id.removeprefix('job_')}_{job.tries}"


def payload(job: Job) -> dict[str, Any]:
    """What a webhook gets: how the job ended and, where it is no larger than 1 MiB, the answer."""
    told: dict[str, Any] = {
        "id": job.id,
        "status": job.state,
        "url": PATH + job.id,
        "created_at": job.created,
        "expires_at": job.expires,
        "http_status": job.status,
        "exchange": job.exchange,
        "maybe_paid_twice": bool(job.twice),
    }
    if job.answer is not None and len(job.answer) <= MOST_ANSWER:
        told["content_type"] = job.kind
        try:
            told["answer"] = json.loads(job.answer)
        except (ValueError, RecursionError):
            told["answer_base64"] = base64.b64encode(job.answer).decode()
    return {"type": f"job.{job.state}", "data": told}
