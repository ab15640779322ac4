"""Deferred jobs, as rows: a call whose answer is fetched later (docs/jobs.md), and who is to be told of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from headgate.core.text import storable
from headgate.stores.dialects import is_postgres
from headgate.stores.jobs_place import JobsPlace, metadata

QUEUED, RUNNING, DONE, FAILED, EXPIRED, CANCELLED = "queued", "running", "done", "failed", "expired", "cancelled"
STATES = (QUEUED, RUNNING, DONE, FAILED, EXPIRED, CANCELLED)
OVER = frozenset({DONE, FAILED, EXPIRED, CANCELLED})
AGAIN = frozenset({FAILED, EXPIRED, CANCELLED})
"""What can be tried again: their requests are kept."""

WAITING, TOLD, LOST = "waiting", "told", "lost"
"""States of what a webhook is to be told."""

LEASE_SECONDS = 900.0
"""After which a job that is said to run is taken up again: whoever ran it is gone."""
TELL_SECONDS = 120.0
"""Likewise of a webhook that is being told."""

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
    Column("webhook", Text, nullable=False, server_default=""),
    Column("twice", Integer, nullable=False, server_default="0"),
    Column("waits_for", Text, nullable=False, server_default=""),
    Column("why", Text, nullable=False, server_default=""),
    Index("deferred_jobs_due", "state", "due"),
    Index("deferred_jobs_idempotency", "owner", "idempotency", "digest"),
)

webhooks = Table(
    "deferred_webhooks",
    metadata,
    Column("job", Text, primary_key=True),
    Column("webhook", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due", Float, nullable=False),
    Column("said", Text, nullable=False),
    Index("deferred_webhooks_due", "state", "due"),
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
        webhook: whom to tell of the answer, by its name in the configuration; "" = nobody.
        twice: it was under way when its process died, and was sent again: it may have been paid twice.
        waits_for: the budget's account or the limit that had no room for it; "" = none.
        why: why it waits, or has failed, in words.
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
    webhook: str = ""
    twice: int = 0
    waits_for: str = ""
    why: str = ""


@dataclass(slots=True)
class Telling:
    """What a webhook is to be told: that of a job that is over."""

    job: str
    webhook: str
    state: str
    tries: int
    due: float
    said: str  # what went wrong the last time; "" = nothing


@dataclass(frozen=True, slots=True)
class Queue:
    """How the queue stands: jobs by state, when the oldest that waits was made, webhooks that wait or were lost."""

    states: dict[str, int]
    oldest: float | None
    untold: int
    lost: int


class JobStore:
    """See the module. Every method is one transaction, and blocks."""

    def __init__(self, place: JobsPlace) -> None:
        self.place = place

    def add(self, job: Job, *, most: int | None = None) -> str:
        """Put it on record; returns its id, or that of the one that the same request has already; "" where its owner
        has `most` that wait."""
        j = jobs.c
        waiting = select(func.count()).where(j.owner == job.owner, j.state == QUEUED)

        def work(connection: Connection) -> str:
            if job.idempotency:
                if is_postgres(connection):  # a file has one writer; here the same may come to two at once
                    turn = select(func.pg_advisory_xact_lock(func.hashtext(f"{job.owner}/{job.idempotency}")))
                    connection.execute(turn)
                same = select(j.id).where(
                    j.owner == job.owner, j.idempotency == job.idempotency, j.digest == job.digest
                )
                known = connection.execute(same).scalar()
                if known is not None:
                    return str(known)
            if most is not None and (connection.execute(waiting).scalar() or 0) >= most:
                return ""
            connection.execute(insert(jobs).values(asdict(job)))
            return job.id

        return self.place.run(work)

    def get(self, job_id: str) -> Job | None:
        """One."""
        row = self.place.run(lambda c: c.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first())
        return None if row is None else Job(**row)

    def list(
        self, *, state: str | None = None, owner: str | None = None, limit: int = 50, after: str = ""
    ) -> Sequence[Job]:
        """The newest first, without their requests and answers.

        Args:
            after: the id of the last one of the page before.
        """
        j = jobs.c
        shown: list[Any] = [each for each in j if each.name not in ("body", "answer")]
        wanted = select(*shown).order_by(j.created.desc(), j.id.desc()).limit(limit)
        if state is not None:
            wanted = wanted.where(j.state == state)
        if owner is not None:
            wanted = wanted.where(j.owner == owner)

        def work(connection: Connection) -> list[Job]:
            page = wanted
            if after:
                at = connection.execute(select(j.created).where(j.id == after)).scalar()
                if at is None:
                    return []
                page = page.where((j.created < at) | ((j.created == at) & (j.id < after)))
            return [Job(**row, body=b"") for row in connection.execute(page).mappings().all()]

        return self.place.run(work)

    def queue(self) -> Queue:
        """How it stands."""
        j, w = jobs.c, webhooks.c

        def work(connection: Connection) -> Queue:
            states = {
                row[0]: int(row[1]) for row in connection.execute(select(j.state, func.count()).group_by(j.state))
            }
            oldest = connection.execute(select(func.min(j.created)).where(j.state == QUEUED)).scalar()
            told = {row[0]: int(row[1]) for row in connection.execute(select(w.state, func.count()).group_by(w.state))}
            return Queue(states, oldest, told.get(WAITING, 0), told.get(LOST, 0))

        return self.place.run(work)

    def take(self, now: float, count: int, *, keeps: float = 0.0) -> Sequence[Job]:
        """Up to `count` that are due, which run from now on; those that have expired are so instead.

        Args:
            keeps: seconds for which those that have expired are kept.
        """
        j = jobs.c

        def work(connection: Connection) -> list[Job]:
            late = j.state == QUEUED, j.expires <= now
            _tell(connection, *late, now=now)
            connection.execute(update(jobs).where(*late).values(state=EXPIRED, status=504, expires=now + keeps))
            wanted = select(jobs).where(j.state.in_((QUEUED, RUNNING)), j.due <= now).order_by(j.due).limit(count)
            taken = []
            for row in connection.execute(wanted).mappings().all():
                job = Job(**row)
                lost = job.state == RUNNING  # nobody has said what became of it
                mine = update(jobs).where(j.id == job.id, j.state == job.state, j.due == job.due)
                mine = mine.values(state=RUNNING, due=now + LEASE_SECONDS, tries=job.tries + 1)
                if connection.execute(mine.values(twice=1) if lost else mine).rowcount:
                    job.tries, job.twice, job.state = job.tries + 1, 1 if lost else job.twice, RUNNING
                    taken.append(job)
            return taken

        return self.place.run(work)

    def wait(self, job_id: str, due: float, *, waits_for: str = "", why: str = "", back: bool = False) -> None:
        """One that runs is tried again then. Nothing where it was cancelled meanwhile.

        Args:
            back: it was not really tried.
        """
        j = jobs.c
        values: dict[str, Any] = {"state": QUEUED, "due": due, "waits_for": waits_for, "why": storable(why)}
        if back:
            values["tries"] = case((j.tries > 0, j.tries - 1), else_=0)
        waits = update(jobs).where(j.id == job_id, j.state == RUNNING).values(values)
        self.place.run(lambda c: c.execute(waits))

    def finish(self, job_id: str, state: str, *, now: float, keeps: float, **values: Any) -> bool:
        """One that runs is over; whoever is to be told of it will be. False where it was cancelled meanwhile.

        Args:
            keeps: seconds for which it is kept.
            values: of other columns.
        """
        j = jobs.c

        def work(connection: Connection) -> bool:
            mine = j.id == job_id, j.state == RUNNING
            _tell(connection, *mine, now=now)
            told = {"state": state, "expires": now + keeps, "waits_for": "", **values}
            told["why"] = storable(told.get("why", ""))
            if state == DONE:
                told["body"] = b""  # the others can be tried again
            return bool(connection.execute(update(jobs).where(*mine).values(told)).rowcount)

        return self.place.run(work)

    def cancel(self, job_id: str, *, now: float, keeps: float) -> bool:
        """One that waits or runs is cancelled: its answer is thrown away. False where it is over."""
        j = jobs.c

        def work(connection: Connection) -> bool:
            open_ = j.id == job_id, j.state.in_((QUEUED, RUNNING))
            _tell(connection, *open_, now=now)
            values = {"state": CANCELLED, "status": 410, "expires": now + keeps, "why": "cancelled", "waits_for": ""}
            return bool(connection.execute(update(jobs).where(*open_).values(values)).rowcount)

        return self.place.run(work)

    def retry(self, job_id: str, *, now: float, waits: float) -> bool:
        """One that has failed, expired or was cancelled waits anew. False where it is none of these."""
        j = jobs.c

        def work(connection: Connection) -> bool:
            again = update(jobs).where(j.id == job_id, j.state.in_(AGAIN))
            again = again.values(state=QUEUED, due=now, expires=now + waits, status=0, kind="", answer=None, why="")
            if not connection.execute(again).rowcount:
                return False
            connection.execute(delete(webhooks).where(webhooks.c.job == job_id))
            return True

        return self.place.run(work)

    def release(self, names: Collection[str], now: float) -> None:
        """Whoever ran these has left them, in good order: they are taken up at once, as one whose lease has ended."""
        left = update(jobs).where(jobs.c.id.in_(list(names)), jobs.c.state == RUNNING).values(due=now)
        self.place.run(lambda c: c.execute(left))

    def running(self) -> Mapping[str, float]:
        """When those were made that are said to run, by their ids."""
        wanted = select(jobs.c.id, jobs.c.created).where(jobs.c.state == RUNNING)
        return {str(row[0]): float(row[1]) for row in self.place.run(lambda c: c.execute(wanted).all())}

    def restart(self, sent: Collection[str] = ()) -> None:
        """Those that a dead process ran are due again: where this process alone works at them.

        Args:
            sent: of these something was sent; they are marked.
        """
        if self.place.shared:
            return
        j = jobs.c
        again = update(jobs).where(j.state == RUNNING)
        again = again.values(state=QUEUED, due=0.0, twice=case((j.id.in_(list(sent)), 1), else_=j.twice))
        self.place.run(lambda c: c.execute(again))

    def remove(self, job_id: str = "", *, before: float | None = None) -> None:
        """Forget one; or all that are over and expired before then."""
        gone: ColumnElement[bool] = jobs.c.id == job_id
        if before is not None:
            gone = jobs.c.state.in_(OVER) & (jobs.c.expires < before)

        def work(connection: Connection) -> None:
            connection.execute(delete(webhooks).where(webhooks.c.job.in_(select(jobs.c.id).where(gone))))
            connection.execute(delete(jobs).where(gone))

        self.place.run(work)

    def untold(self, now: float, count: int) -> Sequence[Telling]:
        """Up to `count` webhooks whose turn it is; whoever asks tells them now."""
        w = webhooks.c

        def work(connection: Connection) -> list[Telling]:
            wanted = select(webhooks).where(w.state == WAITING, w.due <= now).order_by(w.due).limit(count)
            taken = []
            for row in connection.execute(wanted).mappings().all():
                each = Telling(**row)
                mine = update(webhooks).where(w.job == each.job, w.state == WAITING, w.due == each.due)
                if connection.execute(mine.values(due=now + TELL_SECONDS, tries=each.tries + 1)).rowcount:
                    each.tries += 1
                    taken.append(each)
            return taken

        return self.place.run(work)

    def telling(self, job_id: str) -> Telling | None:
        """What became of telling a job's webhook; None: nobody is to be told."""
        wanted = select(webhooks).where(webhooks.c.job == job_id)
        row = self.place.run(lambda c: c.execute(wanted).mappings().first())
        return None if row is None else Telling(**row)

    def told(self, job_id: str, state: str, *, due: float = 0.0, said: str = "") -> None:
        """A webhook was told, is lost, or waits for its next try."""
        change = update(webhooks).where(webhooks.c.job == job_id).values(state=state, due=due, said=said[:200])
        self.place.run(lambda c: c.execute(change))


def _tell(connection: Connection, *which: ColumnElement[bool], now: float) -> None:
    """The webhooks of jobs that are about to be over will be told, in the same transaction."""
    j = jobs.c
    named = connection.execute(select(j.id, j.webhook).where(*which, j.webhook != "")).all()
    for job_id, name in named:
        connection.execute(delete(webhooks).where(webhooks.c.job == job_id))
        row = {"job": job_id, "webhook": name, "state": WAITING, "tries": 0, "due": now, "said": ""}
        connection.execute(insert(webhooks).values(row))
