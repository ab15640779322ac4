"""Answers in a file: what survives, what goes, and what becomes of a broken file."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cached_answers import T0, answer

from headgate.engine.blocking import run_blocking
from headgate.stores.cache_sqlite import SqliteBackend
from headgate.stores.cache_thread import ThreadedCache


def until(true: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
    end = time.monotonic() + 30.0
    while not true():
        assert time.monotonic() < end
        meanwhile()
        time.sleep(0.01)


class Now:
    def __init__(self) -> None:
        self.seconds = T0

    def __call__(self) -> float:
        return self.seconds


Opened = Callable[..., ThreadedCache]


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def told() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def opened(tmp_path: Path, now: Now, told: list[tuple[str, dict[str, Any]]]) -> Iterator[Opened]:
    made: list[ThreadedCache] = []

    def open_(name: str = "cache.db", **more: Any) -> ThreadedCache:
        backend = SqliteBackend(tmp_path / name, now=now, **more)
        backend.patience = 30.0  # the machine may be busy
        made.append(ThreadedCache(backend, tell=lambda name, **f: told.append((name, f)), now=now, retry_seconds=0.05))
        return made[-1]

    yield open_
    for each in made:
        each.close()


def has(cache: ThreadedCache, key: str) -> bool:
    return run_blocking(cache.blocking().get(key)) is not None


def test_answers_survive_the_process_and_only_the_owner_may_read_them(opened: Opened, tmp_path: Path) -> None:
    first = opened()
    first.put("a:1", answer(b"one"))
    assert has(first, "a:1")
    assert stat.S_IMODE((tmp_path / "cache.db").stat().st_mode) == 0o600
    first.close()
    assert has(opened(), "a:1")


def test_the_file_never_holds_more_than_its_cap_and_the_least_recently_used_go_first(opened: Opened, now: Now) -> None:
    cache = opened(most_bytes=200_000)
    for number in range(40):
        now.seconds += 61.0  # "recently used" is known to the minute
        cache.put(f"a:{number}", answer(os.urandom(9_000), seconds=1e6, now=now.seconds))
        assert has(cache, "a:0")
        assert cache.stats().size <= 200_000
    assert has(cache, "a:39")
    assert not has(cache, "a:1")
    assert cache.stats().evicted >= 15
    assert cache.stats().entries == sum(has(cache, f"a:{number}") for number in range(40))


def test_the_account_of_entries_and_bytes_is_the_files_own_after_a_restart(opened: Opened) -> None:
    first = opened()
    for number in range(5):
        first.put(f"a:{number}", answer(b"x" * number * 100))
    first.put("a:0", answer(b"again"))
    assert has(first, "a:4")
    before = first.stats()
    first.close()
    again = opened()
    assert has(again, "a:4")
    assert (again.stats().entries, again.stats().size) == (before.entries, before.size)
    assert before.entries == 5


def test_what_has_expired_goes_without_being_asked_for(opened: Opened, now: Now, tmp_path: Path) -> None:
    cache = opened()
    cache.put("a:1", answer(seconds=10.0))
    cache.put("a:2", answer(seconds=1000.0))
    assert has(cache, "a:1")
    now.seconds += 10.0
    cache._tend_at = float("-inf")  # a minute later
    assert has(cache, "a:2")
    assert has(cache, "a:2")
    assert cache.stats().entries == 1


def test_what_was_forgotten_cannot_be_found_in_the_file_any_more(opened: Opened, tmp_path: Path) -> None:
    cache = opened()
    cache.put("a:1", answer(b"a very particular secret"))
    assert has(cache, "a:1")
    assert run_blocking(cache.blocking().forget("a:")) == 1
    for file in tmp_path.iterdir():
        assert b"particular" not in file.read_bytes()


@pytest.mark.parametrize(
    "junk", [b"this is no database at all, but long enough " * 100, b"SQLite format 3\x00" + b"\xff" * 5000]
)
def test_a_broken_file_is_put_aside_and_a_new_one_begun(opened: Opened, tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "cache.db").write_bytes(junk)
    cache = opened()
    assert not has(cache, "a:1")
    cache.put("a:1", answer())
    assert has(cache, "a:1")
    assert (tmp_path / "cache.db.broken").read_bytes() == junk


def test_a_file_that_breaks_while_it_is_used_is_replaced(
    opened: Opened, tmp_path: Path, told: list[tuple[str, dict[str, Any]]]
) -> None:
    cache = opened()
    for number in range(200):
        cache.put(f"a:{number}", answer(os.urandom(3000)))
    assert has(cache, "a:0")
    cache.close()
    file = tmp_path / "cache.db"
    data = bytearray(file.read_bytes())
    data[8192:] = os.urandom(len(data) - 8192)
    file.write_bytes(data)
    again = opened()
    for number in range(200):
        has(again, f"a:{number}")
    again.put("a:1", answer(b"new"))
    until(lambda: has(again, "a:1"), meanwhile=lambda: again.put("a:1", answer(b"new")))
    assert (tmp_path / "cache.db.broken").exists()


def test_a_database_of_something_else_is_left_as_it_is(
    opened: Opened, tmp_path: Path, told: list[tuple[str, dict[str, Any]]]
) -> None:
    with sqlite3.connect(tmp_path / "cache.db") as sql:
        sql.execute("CREATE TABLE theirs (x)")
    sql.close()
    before = (tmp_path / "cache.db").read_bytes()
    cache = opened()
    cache.put("a:1", answer())
    assert not has(cache, "a:1")
    assert told[0][1]["reason"] == "the file is something else's"
    assert (tmp_path / "cache.db").read_bytes() == before


def test_a_cache_of_another_layout_begins_anew(opened: Opened, tmp_path: Path) -> None:
    first = opened()
    first.put("a:1", answer())
    assert has(first, "a:1")
    first.close()
    with sqlite3.connect(tmp_path / "cache.db") as sql:
        sql.execute("PRAGMA user_version = 7")
    sql.close()
    again = opened()
    assert not has(again, "a:1")
    again.put("a:1", answer())
    assert has(again, "a:1")


def test_a_second_process_goes_without_and_says_why_once_and_takes_over_when_the_first_has_gone(
    opened: Opened, told: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(tmp_path / "cache.db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    cache = opened()
    assert [has(cache, "a:1") for _ in range(3)] == [False] * 3
    assert [name for name, _ in told] == ["cache_lost"]
    assert "another process writes it" in told[0][1]["reason"]
    holder.communicate(b"\n")
    until(lambda: has(cache, "a:1"))  # what the first has kept


_HOLDS = """
import sys
import time
from pathlib import Path
from headgate.core.cache import Stored
from headgate.engine.blocking import run_blocking
from headgate.stores.cache_sqlite import SqliteBackend
from headgate.stores.cache_thread import ThreadedCache
cache = ThreadedCache(SqliteBackend(Path(sys.argv[1]), now=lambda: 1795132800.0), tell=print, now=lambda: 1795132800.0)
cache.put("a:1", Stored("whole", 200, (), b"{}", 1795132800.0, 1795136400.0))
run_blocking(cache.blocking().forget("b:"))
print("held", flush=True)
sys.stdin.readline()
cache.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_waits_for_what_the_thread_has_begun(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened()
    assert not has(cache, "a:1")
    begun, go, count = threading.Event(), threading.Event(), cache.backend.count
    over: list[str] = []

    def counted() -> tuple[int, int]:
        begun.set()
        go.wait(30)
        over.append("counted")
        return count()

    monkeypatch.setattr(cache.backend, "count", counted)
    cache.put("a:1", answer())
    assert begun.wait(30)
    os.register_at_fork(before=go.set)  # hooks are called the last one first
    child = os.fork()
    if child == 0:
        os._exit(0 if over else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_neither_writes_the_file_nor_closes_the_parents(opened: Opened) -> None:
    cache = opened()
    cache.put("a:1", answer())
    assert has(cache, "a:1")
    child = os.fork()
    if child == 0:
        os._exit(0 if not has(cache, "a:1") and not cache.up else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    cache.put("a:2", answer())
    assert has(cache, "a:1")
    assert has(cache, "a:2")


def test_a_folder_that_is_not_there_is_told_once(opened: Opened, told: list[tuple[str, dict[str, Any]]]) -> None:
    cache = opened("missing/cache.db")
    assert not has(cache, "a:1")
    assert not has(cache, "a:1")
    assert [name for name, _ in told] == ["cache_lost"]
    assert told[0][1]["reason"] == "its lock file cannot be made"
