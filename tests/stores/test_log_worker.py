"""The process that takes the lines in: it keeps up, says how it stands, and ends with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from log_world import LogWorld, log_exchange

from headgate.core.errors import ConfigError, Unavailable
from headgate.stores.logs.erasing import Subject
from headgate.stores.logs.follower import SILENT_SECONDS, Follower
from headgate.stores.logs.lock import StoreLock, worker_of
from headgate.stores.logs.place import LogPlace, Logs
from headgate.stores.logs.query import LogQuery
from headgate.stores.logs.worker import Standing, Worker

PATIENCE = 30.0


def until(what: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))


@pytest.fixture
def followed(log_world: LogWorld) -> Iterator[tuple[LogWorld, Follower, Told]]:
    told = Told()
    follower = Follower(log_world.place.kept(), told, first=0.0)
    follower.start()
    until(lambda: follower.running)
    yield log_world, follower, told
    follower.close()


def test_a_process_of_its_own_takes_the_lines_in_and_one_that_is_killed_is_told(
    followed: tuple[LogWorld, Follower, Told], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, follower, told = followed
    world.write(*(log_exchange(n) for n in range(50)))
    world.write_raw(b"bad line\n")
    assert follower.catch_up(PATIENCE)
    assert len(world.ids()) == 50
    health = follower.health()
    assert (health["ok"], health["lag_seconds"], health["bad_lines"]) == (True, 0.0, 1)
    until(lambda: told.events)
    name, fields = told.events[0]
    assert (name, fields["lines"]) == ("log_lines_unreadable", 1)
    assert "DecodeError" in fields["why"]
    child = worker_of(world.place.lock_file)
    again, wait = threading.Event(), follower._closing.wait
    monkeypatch.setattr(follower._closing, "wait", lambda seconds: again.wait(PATIENCE) and wait(0.0))
    os.kill(child, signal.SIGKILL)
    until(lambda: len(told.events) == 2)
    assert told.events[1] == ("log_store_stopped", {"exit_code": -9, "again_in_seconds": 2.0})
    assert not follower.catch_up(0.1)
    assert not follower.health()["ok"]
    again.set()  # the two seconds are over when we have looked, however long that took
    world.write(log_exchange(50))
    until(lambda: follower.running)
    assert follower.catch_up(PATIENCE)
    assert len(world.ids(limit=100)) == 51
    follower.close()
    assert worker_of(world.place.lock_file) == 0


def test_a_process_that_has_fallen_silent_is_not_well_and_falls_behind(log_world: LogWorld) -> None:
    now = [100.0]
    follower = Follower(log_world.place.kept(), Told(), clock=lambda: now[0])
    follower._heard(Standing(lag_seconds=2.0))
    now[0] += SILENT_SECONDS - 1
    assert (follower.health()["ok"], follower.health()["lag_seconds"]) == (True, 2.0)
    now[0] += 1
    health = follower.health()
    assert (health["ok"], health["lag_seconds"]) == (False, 2.0 + SILENT_SECONDS)
    assert "said nothing for 30 s" in health["last_error"]
    follower._heard(Standing())
    assert (follower.health()["ok"], follower.health()["lag_seconds"]) == (True, 0.0)


PARENT = """
import sys, time
from headgate.stores.logs.follower import Follower
from headgate.stores.logs.keeper import Kept
import msgspec
follower = Follower(msgspec.json.decode(sys.argv[1], type=Kept), lambda *a, **k: None, first=0.0)
follower.start()
while not follower.running:
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(60)
"""


def test_it_takes_in_the_rest_and_ends_when_whoever_started_it_is_killed(log_world: LogWorld) -> None:
    kept = msgspec.json.encode(log_world.place.kept()).decode()
    parent = subprocess.Popen([sys.executable, "-c", PARENT, kept], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    child = worker_of(log_world.place.lock_file)
    assert child
    log_world.write(log_exchange(1))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: worker_of(log_world.place.lock_file) == 0)
    assert len(log_world.ids()) == 1


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_says_how_far_it_is_behind_and_what_is_wrong_and_tries_less_and_less_often(log_world: LogWorld) -> None:
    said: list[Standing] = []
    clock = Clock()
    worker = Worker(log_world.keeper, lambda s: said.append(msgspec.structs.replace(s)), clock)
    log_world.write(log_exchange(1))
    assert worker.turn() == pytest.approx(0.5)
    assert (said[-1].exchanges, said[-1].lag_seconds, said[-1].error) == (1, 0.0, "")
    log_world.keeper.close()
    log_world.store.write_bytes(b"this is no database, and long enough to be none" * 100)
    log_world.write(log_exchange(2))
    pauses = []
    for _ in range(8):
        clock.now += 5.0
        pauses.append(worker.turn())
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0]
    assert "not a database" in said[-1].error
    log_world.store.unlink()
    clock.now += 5.0
    worker.turn()
    assert (said[-1].exchanges, said[-1].error) == (3, "")


def test_while_another_writes_it_waits_and_an_erasure_takes_its_turn(log_world: LogWorld) -> None:
    log_world.stored(log_exchange(1, message="zebra"))
    other = StoreLock(log_world.place.lock_file)
    assert other.take()
    assert log_world.keeper.ingest_once(0.0) is None
    assert not log_world.keeper.catch_up(0.0)
    other.release()
    assert log_world.keeper.erase(Subject("user", "ada")).exchanges == 1
    other.close()


def test_whoever_searches_without_a_gateway_takes_in_what_was_logged_first(log_world: LogWorld) -> None:
    logs = Logs(log_world.place)
    log_world.write(log_exchange(1))
    assert len(logs.fresh().search(LogQuery()).rows) == 1
    log_world.write(log_exchange(2))
    assert len(logs.reader.search(LogQuery()).rows) == 1
    assert len(logs.fresh().search(LogQuery()).rows) == 2
    assert logs.erase(Subject("user", "ada")).exchanges == 2
    logs.close()


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ({"storage": "memory"}, "memory"),
        ({"storage": "sqlite:///h-{pid}.db"}, "pid"),
        ({"storage": "sqlite:///h.db", "stored": False}, "store: off"),
        ({"storage": "sqlite:///h.db", "spool": None}, "standard output"),
    ],
)
def test_where_there_is_no_log_store_it_is_said_why(log_world: LogWorld, place: dict[str, Any], why: str) -> None:
    logs = Logs(LogPlace(**{"spool": log_world.spool, **place}))
    assert why in logs.place.why_not
    with pytest.raises(ConfigError, match="there is no log store"):
        logs.fresh()
    with pytest.raises(ConfigError, match="there is no log store"):
        logs.erase(Subject("user", "ada"))
    logs.follow(Told())
    assert logs.health() is None


def test_a_store_that_is_somebody_elses_database_is_left_alone(log_world: LogWorld) -> None:
    import sqlite3

    other = sqlite3.connect(log_world.store)
    other.execute("CREATE TABLE notes (text)")
    other.commit()
    other.close()
    log_world.write(log_exchange(1))
    with pytest.raises(ConfigError, match="no log store"):
        log_world.keeper.ingest_once()
    with pytest.raises((ConfigError, Unavailable)):
        log_world.reader.search(LogQuery())
