"""Erasing a subject wherever its words are: kept answers, deferred calls, batches, tool calls that wait, and the log.

The log is last, for it alone knows whose answers a user's may be among: begun anew after a failure, it does what is
left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from headgate.cache_report import prefix_of
from headgate.engine.blocking import run_blocking
from headgate.jobs.running import PASSED
from headgate.policy.caching import partition
from headgate.stores.batch_items import OVER, BatchStore
from headgate.stores.job_rows import JobStore
from headgate.stores.logs.erasing import Subject
from headgate.stores.logs.query import LARGEST_PAGE, LogQuery
from headgate.stores.logs.table_reader import NoLogStore

if TYPE_CHECKING:
    from headgate.build import Built

_EVERYTHING = ""
_BATCHES = 1_000_000


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What was erased beside the log.

    Attributes:
        answers: kept answers that were forgotten: all of those that the subject's may be among; None: the place does
            not tell how many they were.
        jobs: deferred calls, cancelled where they were not over.
        batches: that were over, with their lines and results.
        batches_left: that are not over: they are cancelled, and go with another try once they are.
        approvals: tool calls that waited for a person, or had.
    """

    answers: int | None = 0
    jobs: int = 0
    batches: int = 0
    batches_left: int = 0
    approvals: int = 0


def erase(built: Built, subject: Subject, *, cancel: Callable[[str], object], by: str) -> dict[str, Any]:
    """Take a subject's words and name out of the log, and what holds its words elsewhere; what it has cost stays, under
    a pseudonym. Blocks, for seconds, in another thread than the event loop's. It is on record in the audit log by kind
    and pseudonym, since the name is about to be erased everywhere else.

    Args:
        cancel: has a batch, by its id, end that is not over.
        by: who, for the log.

    Returns:
        What was erased: the fields of `stores.logs.erasing.Erased` and of `Elsewhere`.

    Raises:
        Unavailable: there is no log store, the disk said no, or a place cannot be reached; a second try does what is
            left.
    """
    built.logs.need()
    kind, whose = subject.kind, "" if subject.kind == "tenant" else subject.tenant or ""
    with built.ledger.audit.around("log.erase", kind, tenant=whose) as came:
        elsewhere = _erase_elsewhere(built, subject, cancel)
        told = {**asdict(built.logs.erase(subject)), **asdict(elsewhere)}
        came.subject, came.after = f"{kind} {told['pseudonym']}".rstrip(), told
    built.log.event("log_erased", by=by, kind=kind, exchanges=told["exchanges"], pseudonym=told["pseudonym"])
    return told


def _erase_elsewhere(built: Built, subject: Subject, cancel: Callable[[str], object]) -> Elsewhere:
    answers = _answers(built, subject)
    jobs, batches, left = _jobs(built, subject), 0, 0
    if _has_jobs(built):
        batches, left = _batches(built, subject, cancel)
    approvals = built.approvals.erase(subject.kind, subject.value, subject.tenant)
    return Elsewhere(answers, jobs, batches, left, approvals)


def _is(subject: Subject, caller: Mapping[str, Any]) -> bool:
    if caller.get(subject.kind, "") != subject.value:
        return False
    return subject.tenant is None or caller.get("tenant", "") == subject.tenant


def _answers(built: Built, subject: Subject) -> int | None:
    """An answer does not say which of a tenant's users it was for: all of the tenant's go. They cost a call each."""
    port = built.caching.port(blocking=True)
    found: int | None = 0
    prefixes = _prefixes(built, subject)
    for prefix in (_EVERYTHING,) if _EVERYTHING in prefixes else sorted(prefixes):
        count = run_blocking(port.forget(prefix))
        found = None if found is None or count < 0 else found + count
        for also in built.forgets:
            also(prefix)
    return found


def _prefixes(built: Built, subject: Subject) -> set[str]:
    tenant = subject.value if subject.kind == "tenant" else subject.tenant
    if tenant:
        return {prefix_of({"tenant": tenant})}
    try:
        reader = built.logs.fresh()
    except NoLogStore:
        return set()
    found: set[str] = set()
    before = ""
    while True:
        fields: dict[str, str] = {subject.kind: subject.value}
        try:
            page = reader.search(LogQuery(fields=fields, tenant=subject.tenant, limit=LARGEST_PAGE, before=before))
        except NoLogStore:
            return found
        for row in page.rows:
            # In process, without either, answers are kept by the SDK's own credential, which nobody has noted.
            known = row.tenant or row.key or row.way_in == "gateway"
            found.add(f"{partition(tenant=row.tenant, key=row.key)}:" if known else _EVERYTHING)
        before = page.next
        if not before:
            return found


def _has_jobs(built: Built) -> bool:
    """Whether anything was ever submitted: a file is not made for this."""
    place = built.jobs
    return place.shared or place.path is None or place.path.exists()


def _jobs(built: Built, subject: Subject) -> int:
    if not _has_jobs(built):
        return 0
    store, after, count = JobStore(built.jobs), "", 0
    mine = []
    while page := store.list(limit=LARGEST_PAGE, after=after):
        mine += [job.id for job in page if _is(subject, json.loads(job.caller))]
        after = page[-1].id
    for job_id in mine:
        store.cancel(job_id, now=built.engine.ports.clock.now(), keeps=0.0)  # whoever is at it throws its answer away
        store.remove(job_id)
        count += 1
    return count


def _batches(built: Built, subject: Subject, cancel: Callable[[str], object]) -> tuple[int, int]:
    """(Removed, cancelled and there until they are over)."""
    store = BatchStore(built.jobs)
    removed = left = 0
    for batch in store.batches(limit=_BATCHES):
        if not _is(subject, batch.caller):
            continue
        if batch.state in OVER:
            store.remove(batch.id)
            removed += 1
            continue
        left += 1
        if batch.via != PASSED:  # else it is forgotten once the provider has settled it
            cancel(batch.id)
    return removed, left
