"""Where deferred jobs are read and changed: in their file, through the gateway that writes it, or in PostgreSQL."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headgate.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate.settings.model import Settings
    from headgate.stores.job_rows import JobStore


class Door:
    """Answers are as `jobs.shown` writes them.

    Every method raises ConfigError for an unknown id and a job in another state than it has to be in; Unavailable
    where the store cannot be read or written.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list(self, state: str | None, owner: str | None, limit: int) -> dict[str, Any]:
        """The newest first, and how the queue stands."""
        from headgate.jobs.shown import job_json, queue_json
        from headgate.stores.job_rows import Queue
        from headgate.stores.jobs_place import NoJobs

        try:
            with self._store(read_only=True) as store:
                found = store.list(state=state, owner=owner, limit=limit)
                return {"jobs": [job_json(each) for each in found], "queue": queue_json(store.queue())}
        except NoJobs:
            return {"jobs": [], "queue": queue_json(Queue({}, None, 0, 0))}

    def show(self, job_id: str) -> dict[str, Any]:
        """One of them."""
        from headgate.jobs.shown import shown
        from headgate.stores.jobs_place import NoJobs

        try:
            with self._store(read_only=True) as store:
                found = shown(store, job_id)
        except NoJobs:
            found = None
        if found is None:
            raise ConfigError(f"there is no job {job_id[:64]!r}; `headgate jobs list` shows them")
        return found

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Have one that waits or runs end without an answer."""
        return self._change(job_id, "cancel")

    def retry(self, job_id: str) -> dict[str, Any]:
        """Have one that has failed, expired or was cancelled wait anew."""
        return self._change(job_id, "retry")

    def _change(self, job_id: str, action: str) -> dict[str, Any]:
        from headgate.cli.control import ask_running
        from headgate.jobs.shown import shown
        from headgate.stores.opening import sqlite_file

        before = self.show(job_id)  # what is not there is told without making a file
        file = sqlite_file(self._settings.storage)
        path = f"/jobs/{quote(job_id, safe='')}/{action}"
        answer = None if file is None else ask_running(file, "POST", path, {})
        if answer is not None:
            return answer
        told, now = self._settings.jobs, time.time()
        with self._store(read_only=False) as store:
            if action == "cancel":
                made = store.cancel(job_id, now=now, keeps=told.keep_seconds)
            else:
                made = store.retry(job_id, now=now, waits=told.wait_seconds)
            after = shown(store, job_id)
        if not made or after is None:
            raise ConfigError(f"{job_id} is {before['state']}: nothing was changed")
        return after

    @contextmanager
    def _store(self, *, read_only: bool) -> Iterator[JobStore]:
        from headgate.stores.job_rows import JobStore
        from headgate.stores.jobs_place import JobsPlace

        told = self._settings
        place = JobsPlace(told.storage, durability=told.durability, now=time.time, read_only=read_only)
        try:
            yield JobStore(place)
        finally:
            place.close()
