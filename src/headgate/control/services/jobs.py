"""Batches and deferred calls: how far they are; cancelled, and tried again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headgate.control.people import Principal, Right
from headgate.control.problems import Conflict
from headgate.control.services import Rows
from headgate.core.actors import acting
from headgate.core.errors import BadRequest, NotServed
from headgate.jobs.batch import status_of
from headgate.jobs.running import PASSED
from headgate.jobs.shown import job_json, queue_json, shown
from headgate.stores.audit_log import Outcome
from headgate.stores.batch_items import OVER, Batch, BatchStore
from headgate.stores.job_rows import STATES, Job, JobStore
from headgate.stores.jobs_place import JobsPlace, NoJobs

if TYPE_CHECKING:
    from headgate.control.context import Control

MOST = 1_000

_LINES = ("total", "succeeded", "failed", "broken", "cancelled", "waiting", "sent", "same", "maybe_twice")


class Jobs:
    """A tenant-admin sees its tenant's deferred calls and batches, and changes none."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._deferred = control.gateway.deferred
        self._storage = control.built.settings.storage

    def list(self, who: Principal, *, state: str | None = None, limit: int = 50, after: str = "") -> dict[str, Any]:
        """``{"jobs": [...], "queue": {...} or None}``: deferred calls, the newest first.

        Args:
            state: one of `stores.job_rows.STATES`; None: all.
            limit: 1 to 1,000.
            after: the id of the last one of the page before.

        Raises:
            BadRequest: there is no such state, or the limit is out of range.
        """
        who.need(Right.READ)
        tenant, store = who.tenant_scope(), self._deferred.store
        if state is not None and state not in STATES:
            raise BadRequest(f"state is one of {', '.join(STATES)}.")
        if not 1 <= limit <= MOST:
            raise BadRequest(f"limit is from 1 to {MOST}.")
        if store is None:
            return {"jobs": [], "queue": None}
        found = [job_json(each) for each in store.list(state=state, owner=tenant, limit=limit, after=after)]
        if tenant is not None:  # an owner may be a key with the tenant's name, too
            return {"jobs": [job for job in found if job["caller"]["tenant"] == tenant], "queue": None}
        return {"jobs": found, "queue": queue_json(store.queue())}

    def show(self, who: Principal, job_id: str) -> dict[str, Any]:
        """One. Raises NotServed."""
        who.need(Right.READ)
        store, job = self._own(who, job_id)
        return shown(store, job.id) or job_json(job)

    def cancel(self, who: Principal, job_id: str) -> dict[str, Any]:
        """Have it not done. Raises NotServed, and Conflict where it is over."""
        who.need(Right.JOBS)
        store, job = self._own(who, job_id)
        now, keeps = self._control.now(), self._deferred.keeps
        return self._changed(who, store, job, "cancelled", lambda: store.cancel(job_id, now=now, keeps=keeps))

    def retry(self, who: Principal, job_id: str) -> dict[str, Any]:
        """Have it done again. Raises NotServed, and Conflict where it has not failed, expired or been cancelled."""
        who.need(Right.JOBS)
        store, job = self._own(who, job_id)
        now, waits = self._control.now(), self._deferred.waits
        return self._changed(who, store, job, "retried", lambda: store.retry(job_id, now=now, waits=waits))

    def batches(self, who: Principal, *, limit: int = 50) -> Rows:
        """Batches, the newest first.

        Raises:
            BadRequest: the limit is out of range.
        """
        who.need(Right.READ)
        tenant = who.tenant_scope()
        if not 1 <= limit <= MOST:
            raise BadRequest(f"limit is from 1 to {MOST}.")
        store = self._batches()
        try:
            found = store.batches(limit=limit if tenant is None else MOST)
            mine = [batch for batch in found if tenant is None or batch.caller.get("tenant", "") == tenant]
            return [_batch(store, each) for each in mine[:limit]]
        except NoJobs:
            return []
        finally:
            store.place.close()

    def cancel_batch(self, who: Principal, batch_id: str) -> dict[str, Any]:
        """Have nothing more of a batch begun, whoever works at it; what a provider has is cancelled there.

        Raises:
            NotServed: there is none with that id.
            Conflict: it is over, or its caller has submitted it to the provider.
        """
        who.need(Right.JOBS)
        with self._found(batch_id) as (store, batch):
            if batch.state in OVER:
                raise Conflict(f"The batch is {batch.state}, and cannot be cancelled.", code="job_state")
            if batch.via == PASSED:
                raise Conflict(
                    "The batch is its caller's own: it is cancelled where it was submitted.", code="callers_own"
                )
            with self._on_record(who, "batch.cancel", batch.id, str(batch.caller.get("tenant", "")), batch.state):
                self._control.awaited(lambda: self._control.gateway.batches.cancel(batch_id))
            return _batch(store, store.batch(batch.id) or batch)

    def retry_batch(self, who: Principal, batch_id: str) -> dict[str, Any]:
        """Have the lines that failed or were cancelled done again, by this gateway.

        Raises:
            BadRequest: it is its caller's own, or was never read to its end.
            NotServed: there is none with that id.
            Conflict: it is not over.
        """
        who.need(Right.JOBS)
        with self._found(batch_id) as (store, batch):
            if batch.state not in OVER:
                raise Conflict("The batch is not over: its lines are still worked at.", code="job_state")
            with self._on_record(who, "batch.retry", batch.id, str(batch.caller.get("tenant", "")), batch.state):
                self._control.awaited(lambda: self._control.gateway.batches.run(batch_id, retry_failed=True))
            return _batch(store, store.batch(batch.id) or batch)

    @contextmanager
    def _found(self, batch_id: str) -> Iterator[tuple[BatchStore, Batch]]:
        """A batch, and where it is.

        Raises:
            NotServed: there is none.
        """
        store = self._batches()
        try:
            try:
                batch = store.batch(batch_id)
            except NoJobs:
                batch = None
            if batch is None:
                raise NotServed("There is no batch with this id.", code="no_batch")
            yield store, batch
        finally:
            store.place.close()

    @contextmanager
    def _on_record(self, who: Principal, action: str, subject: str, tenant: str, state: str) -> Iterator[Outcome]:
        audit = self._control.built.ledger.audit
        with acting(who.actor), audit.around(action, subject, tenant=tenant, before={"state": state}) as came:
            yield came

    def _batches(self) -> BatchStore:
        """Beside whoever writes: to open the file for writing would keep `headgate batch` out of it."""
        return BatchStore(JobsPlace(self._storage, now=self._control.now, read_only=True))

    def _own(self, who: Principal, job_id: str) -> tuple[JobStore, Job]:
        store, tenant = self._deferred.store, who.tenant_scope()
        job = None if store is None else store.get(job_id)
        if store is None or job is None or (tenant is not None and job_json(job)["caller"]["tenant"] != tenant):
            raise NotServed("There is no deferred call with this id.", code="no_job")
        return store, job

    def _changed(
        self, who: Principal, store: JobStore, job: Job, done: str, change: Callable[[], bool]
    ) -> dict[str, Any]:
        """`change` tells whether it was made: the state may not be one for it."""
        before = job_json(job)
        action = "job.cancel" if done == "cancelled" else "job.retry"
        with self._on_record(who, action, job.id, before["caller"]["tenant"], before["state"]) as came:
            made = change()
            came.after = {"made": made}
        if not made:
            raise Conflict(f"The call is {job.state}, and cannot be {done}.", code="job_state")
        self._control.built.log.event(f"job_{done}", job=job.id, by=who.name)
        return shown(store, job.id) or before


def _batch(store: BatchStore, batch: Batch) -> dict[str, Any]:
    status = status_of(store, batch)
    return {
        "id": status.id,
        "name": status.name,
        "via": status.via,
        "state": status.state,
        "tenant": str(batch.caller.get("tenant", "")),
        **{name: getattr(status, name) for name in _LINES},
        "cost_usd": f"{status.cost_usd:f}",
        "created": status.created,
        "ended": status.ended,
        "why": status.why,
    }
