"""The control API's deferred jobs.

GET  /admin/api/jobs?state=queued&owner=acme&limit=50&after=job_...   (each of them optional)
GET  /admin/api/jobs/job_...
POST /admin/api/jobs/job_.../cancel
POST /admin/api/jobs/job_.../retry
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headgate.core.errors import BadRequest, NotServed
from headgate.gateway.admin_query import parameters
from headgate.jobs.shown import job_json, queue_json, shown
from headgate.stores.job_rows import STATES, JobStore

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.jobs.deferred import Deferred

_MOST = 1_000


class JobsApi:
    """Answers for the paths under `jobs`. The store is asked in threads, so the event loop never waits."""

    __slots__ = ("_built", "_deferred")

    def __init__(self, built: Built, deferred: Deferred) -> None:
        self._built = built
        self._deferred = deferred

    async def answer(self, method: str, rest: str, query: bytes, *, by: str) -> dict[str, Any]:
        """One request.

        Args:
            rest: of the path, behind ``jobs``.
            by: who asks, for the log: "api".

        Raises:
            BadRequest: a parameter cannot be used, or the job is in no state for it.
            NotServed: an unknown method or job, or nothing is deferred here.
            Unavailable: the store cannot be read or written.
        """
        store = self._deferred.store
        if store is None:
            raise NotServed("Nothing is deferred here: no `use: defer` and no `then: queue` is in the configuration.")
        job_id, _, action = rest.removeprefix("/").partition("/")
        if method == "GET" and not job_id:
            return await self._list(store, query)
        if method == "GET" and not action:
            return await self._there(store, job_id)
        if method == "POST" and action in ("cancel", "retry"):
            return await self._change(store, job_id, action, by)
        raise NotServed("The control API has no such path or method.")

    async def _list(self, store: JobStore, query: bytes) -> dict[str, Any]:
        told = parameters(query, ("state", "owner", "limit", "after"))
        state = told.get("state")
        if state is not None and state not in STATES:
            raise BadRequest(f"state is one of {', '.join(STATES)}.")
        limit = told.get("limit", "50")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= _MOST):
            raise BadRequest(f"limit has to be from 1 to {_MOST}.")

        def read() -> dict[str, Any]:
            found = store.list(state=state, owner=told.get("owner"), limit=int(limit), after=told.get("after", ""))
            return {"jobs": [job_json(each) for each in found], "queue": queue_json(store.queue())}

        return await asyncio.to_thread(read)

    async def _there(self, store: JobStore, job_id: str) -> dict[str, Any]:
        found = await asyncio.to_thread(shown, store, job_id)
        if found is None:
            raise NotServed("There is no job with this id; `headgate jobs list` shows them.", code="no_job")
        return found

    async def _change(self, store: JobStore, job_id: str, action: str, by: str) -> dict[str, Any]:
        before = await self._there(store, job_id)
        now = self._built.engine.ports.clock.now()
        if action == "cancel":
            made = await asyncio.to_thread(store.cancel, job_id, now=now, keeps=self._deferred.keeps)
        else:
            made = await asyncio.to_thread(store.retry, job_id, now=now, waits=self._deferred.waits)
        if not made:
            what = "is over" if action == "cancel" else "has not failed, expired or been cancelled"
            raise BadRequest(f"{job_id} is {before['state']}: a job that {what} cannot be {_DONE[action]}.")
        self._built.log.event(f"job_{_DONE[action]}", job=job_id, by=by)
        return await self._there(store, job_id)


_DONE = {"cancel": "cancelled", "retry": "retried"}
