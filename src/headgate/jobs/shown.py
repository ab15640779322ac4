"""A deferred job as JSON, for the control API, the command line and the dashboard: never its request."""

from __future__ import annotations

import json
from typing import Any

from headgate.stores.job_rows import Job, JobStore, Queue, Telling


def job_json(job: Job, telling: Telling | None = None) -> dict[str, Any]:
    """One. Times are seconds since the epoch; the answer is not in it."""
    caller = json.loads(job.caller)
    names = ("key", "tenant", "user", "session", "task", "feature", "environment")
    told: dict[str, Any] = {
        "id": job.id,
        "state": job.state,
        "owner": job.owner,
        "endpoint": job.endpoint,
        "caller": {name: caller.get(name, "") for name in names},
        "created": job.created,
        "expires": job.expires,
        "due": job.due,
        "tries": job.tries,
        "status": job.status,
        "exchange": job.exchange,
        "maybe_paid_twice": bool(job.twice),
        "why": job.why,
        "webhook": None,
    }
    if job.webhook:
        state = {"name": job.webhook, "state": "", "tries": 0, "said": ""}
        if telling is not None:
            state |= {"state": telling.state, "tries": telling.tries, "said": telling.said}
        told["webhook"] = state
    return told


def shown(store: JobStore, job_id: str) -> dict[str, Any] | None:
    """One that is on record; None where there is none. Blocks."""
    job = store.get(job_id)
    return None if job is None else job_json(job, store.telling(job.id) if job.webhook else None)


def queue_json(queue: Queue) -> dict[str, Any]:
    """How the queue stands."""
    return {
        "states": queue.states,
        "oldest": queue.oldest,
        "webhooks_waiting": queue.untold,
        "webhooks_lost": queue.lost,
    }
