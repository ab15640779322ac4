"""Deferred jobs and batches: what waits, for how long, and whether anybody works at it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from headgate.cli.doctor_report import NOTE, OK, WARNING, Finding
from headgate.core.errors import HeadgateError

if TYPE_CHECKING:
    from headgate.settings.model import Settings
    from headgate.stores.batch_items import Batch
    from headgate.stores.job_rows import Queue

_LONG = 0.5
"""Of `jobs.wait`: a job that has waited for so long will probably expire."""


def check_jobs(settings: Settings, now: float) -> Iterator[Finding]:
    """Args: `now`: seconds since the epoch."""
    from headgate.stores.batch_items import BatchStore
    from headgate.stores.job_rows import JobStore
    from headgate.stores.jobs_place import JobsPlace, NoJobs
    from headgate.stores.memory import MEMORY

    if settings.storage == MEMORY:
        return
    place = JobsPlace(settings.storage, now=time.time, read_only=True)
    try:
        queue = JobStore(place).queue()
        stopped = [each for each in BatchStore(place).batches(limit=100, open_only=True) if _stopped(each)]
    except NoJobs:
        return
    except HeadgateError as error:
        yield Finding("jobs", WARNING, error.message, "a gateway of this version brings the file up to date")
        return
    finally:
        place.close()
    yield from _deferred(settings, queue, now)
    for batch in stopped:
        what = f"{batch.id} ({batch.name}) was stopped before its end"
        yield Finding("jobs", NOTE, what, f"headgate batch run {batch.id}, or: headgate batch cancel {batch.id}")


def _deferred(settings: Settings, queue: Queue, now: float) -> Iterator[Finding]:
    waiting = queue.states.get("queued", 0)
    if not waiting or queue.oldest is None:
        yield Finding("jobs", OK, "no deferred job waits")
    else:
        age = max(0.0, now - queue.oldest)
        what = f"{waiting:,} deferred {'job waits' if waiting == 1 else 'jobs wait'}, the oldest for {_time(age)}"
        if not _served(settings):
            yield Finding("jobs", WARNING, f"{what}, and no gateway is running that makes them", "headgate serve")
        elif age >= _LONG * settings.jobs.wait_seconds:
            remedy = "headgate jobs list --state queued says why they wait; raise jobs.wait, or what has no room"
            yield Finding(
                "jobs", WARNING, f"{what}: those that wait {_time(settings.jobs.wait_seconds)} expire", remedy
            )
        else:
            yield Finding("jobs", OK, what)
    if queue.lost:
        what = f"{queue.lost:,} webhooks of jobs were never told"
        yield Finding("jobs", WARNING, what, "see job_webhook_lost in the log: is the place up, and the URL right?")


def _served(settings: Settings) -> bool:
    """A gateway runs, as far as can be told: with PostgreSQL it cannot."""
    from headgate.stores.lockfile import read_lock
    from headgate.stores.opening import sqlite_file

    file = sqlite_file(settings.storage)
    lock = None if file is None else read_lock(file)
    return file is None or bool(lock is not None and lock.url)


def _stopped(batch: Batch) -> bool:
    return batch.state in ("running", "cancelling") and not batch.owner and not batch.served


def _time(seconds: float) -> str:
    for size, unit in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
