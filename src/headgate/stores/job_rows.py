"""Deferred jobs, as rows: a call whose answer is fetched later (docs/jobs.md)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from headgate.stores.jobs_place import JobsPlace, metadata

QUEUED, RUNNING, DONE, FAILED, EXPIRED = "queued", "running", "done", "failed", "expired"
OVER = frozenset({DONE, FAILED, EXPIRED})

LEASE_SECONDS = 900.0
"""After which a job that is said to run is taken up again: whoever ran it is gone."""

jobs = Table(
    "deferred_jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("idempotency", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("due", Float, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("headers", Text, nullable=False),
    Column("caller", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("answer", LargeBinary),
    Column("exchange", Text, nullable=False),
    Index("deferred_jobs_due", "state", "due"),
    Index("deferred_jobs_idempotency", "owner", "idempotency", "digest"),
)


@dataclass(slots=True)
class Job:
    """One; see the table. Times are seconds since the epoch.

    Attributes:
        owner: whose it is (`policy.homes.owner`); nobody else sees it.
        idempotency: the caller's own `Idempotency-Key`; with `digest`, of its path and body, it makes one job of many
            requests. "" = none.
        due: when it is tried next; of one that runs, when it is taken for abandoned.
        tries: so far.
        headers, caller: JSON.
        status, kind, answer: of HTTP; `kind` is its content type.
        exchange: that answered, or the last that failed.
    """

    id: str
    owner: str
    idempotency: str
    digest: str
    state: str
    created: float
    expires: float
    due: float
    dialect: str
    endpoint: str
    path: str
    provider: str
    headers: str
    caller: str
    body: bytes
    tries: int = 0
    status: int = 0
    kind: str = ""
    answer: bytes | None = None
    exchange: str = ""


class JobStore:
    """See the module. Every method is one transaction, and blocks."""

    def __init__(self, place: JobsPlace) -> None:
        self.place = place

    def add(self, job: Job) -> str:
        """Put it on record; returns its id, or that of the one that the same request has already."""
        j = jobs.c

        def work(connection: Connection) -> str:
            if job.idempotency:
                same = select(j.id).where(
                    j.owner == job.owner, j.idempotency == job.idempotency, j.digest == job.digest
                )
                known = connection.execute(same).scalar()
                if known is not None:
                    return str(known)
            connection.execute(insert(jobs).values(asdict(job)))
            return job.id

        return self.place.run(work)

    def get(self, job_id: str) -> Job | None:
        """One."""
        row = self.place.run(lambda c: c.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first())
        return None if row is None else Job(**row)

    def take(self, now: float, count: int) -> list[Job]:
        """Up to `count` that are due, which run from now on; those that have expired are so instead."""
        j = jobs.c

        def work(connection: Connection) -> list[Job]:
            late = update(jobs).where(j.state == QUEUED, j.expires <= now).values(state=EXPIRED, status=504)
            connection.execute(late)
            wanted = select(jobs).where(j.state.in_((QUEUED, RUNNING)), j.due <= now).order_by(j.due).limit(count)
            taken = []
            for row in connection.execute(wanted).mappings().all():
                job = Job(**row)
                mine = update(jobs).where(j.id == job.id, j.state == job.state, j.due == job.due)
                mine = mine.values(state=RUNNING, due=now + LEASE_SECONDS, tries=job.tries + 1)
                if connection.execute(mine).rowcount:
                    job.tries += 1
                    taken.append(job)
            return taken

        return self.place.run(work)

    def change(self, job_id: str, **values: Any) -> None:
        """Set columns of one."""
        self.place.run(lambda c: c.execute(update(jobs).where(jobs.c.id == job_id).values(values)))

    def restart(self) -> None:
        """Those that a dead process ran are due again: where this process alone works at them."""
        if not self.place.shared:
            again = update(jobs).where(jobs.c.state == RUNNING).values(state=QUEUED, due=0.0)
            self.place.run(lambda c: c.execute(again))

    def remove(self, job_id: str = "", *, before: float | None = None) -> None:
        """Forget one; or all that are over and expired before then."""
        gone = delete(jobs)
        if before is None:
            gone = gone.where(jobs.c.id == job_id)
        else:
            gone = gone.where(jobs.c.state.in_(OVER), jobs.c.expires < before)
        self.place.run(lambda c: c.execute(gone))
