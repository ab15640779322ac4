"""The doctor on what is kept: answers, deferred jobs, batches that were stopped."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from headgate.cli.doctor_cache import check_cache
from headgate.cli.doctor_jobs import check_jobs
from headgate.settings import load
from headgate.settings.model import Settings
from headgate.stores.batch_items import Batch, BatchStore
from headgate.stores.job_rows import Job, JobStore
from headgate.stores.jobs_place import JobsPlace


def settings_of(folder: Path, **told: Any) -> Settings:
    return load(env={}, overrides={"storage": f"sqlite:///{folder / 'headgate.db'}", **told})


def said(found: Any) -> list[tuple[str, str]]:
    return [(each.level, each.what) for each in found]


def test_a_cache_that_is_gone_is_a_problem_and_one_in_a_file_tells_how_full_it_is(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = settings_of(tmp_path, cache={"backend": f"redis://127.0.0.1:{port}/0"})
    ((level, what),) = said(check_cache(gone, {}, offline=False))
    assert (level, "redis" in what) == ("problem", True)
    assert said(check_cache(gone, {}, offline=True)) == [("skipped", "not asked (--offline)")]
    kept = settings_of(tmp_path, cache={"backend": "sqlite"})
    assert "nothing was kept yet" in said(check_cache(kept, {}, offline=True))[0][1]
    assert list(tmp_path.iterdir()) == []  # it changes nothing
    (tmp_path / "headgate.db.cache").touch()
    ((level, what),) = said(check_cache(kept, {}, offline=True))
    assert (level, "0 answers" in what) == ("ok", True)


def test_a_full_memory_and_damaged_entries_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"ok": True, "cache": "memory", "bytes": 10**6, "entries": 5, "evicted": 7, "corrupt": 1}
    monkeypatch.setattr("headgate.cli.cache_door.stats", lambda settings: running)
    found = said(check_cache(settings_of(tmp_path, cache={"bytes": "1MiB"}), {}, offline=True))
    assert [level for level, _ in found] == ["ok", "note", "warning"]
    assert "(95%)" in found[0][1]


def test_jobs_that_wait_are_told_with_the_oldest_and_a_batch_that_was_stopped(tmp_path: Path) -> None:
    settings, now = settings_of(tmp_path), time.time()
    assert said(check_jobs(settings, now)) == []  # nothing was ever deferred
    place = JobsPlace(settings.storage, now=time.time)
    store, batches = JobStore(place), BatchStore(place)
    job = Job(
        "job_1", "", "", "", "queued", now - 7200, now + 9, now, "anthropic", "messages", "/", "", "[]", "{}", b""
    )
    store.add(job)
    batches.create(Batch("batch_1", "in.jsonl", "anthropic", "paced", "running", now))
    place.close()
    found = said(check_jobs(settings, now))
    assert found[0] == (
        "warning",
        "1 deferred job waits, the oldest for 2 hours, and no gateway is running that makes them",
    )
    assert found[1][1].startswith("batch_1 (in.jsonl) was stopped")
