"""The ledger among processes: killed, forked, started twice."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ledger_maker import Maker

from headgate.core.errors import ConfigError, Unavailable
from headgate.engine.blocking import run_blocking
from headgate.stores.lockfile import lock_path, read_lock
from headgate.stores.sqlite import SqliteLedger

Open = Callable[..., SqliteLedger]

# Eight tasks at once; a line goes out only after what it says is durable.
BUSY = """
import asyncio, os, random, sys
from ledger_maker import Maker
from headgate.stores.sqlite import SqliteLedger

ledger, make = SqliteLedger(sys.argv[1]), Maker()
port = ledger.asynchronous()
ledger.open()

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

async def caller(chance):
    while True:
        exchange = make.exchange()
        await port.intend(exchange, make.attempt(exchange, bound=1000))
        say("intended", exchange.id)
        await asyncio.sleep(chance.random() / 500)
        port.settle(make.answered(exchange, cost=7))
        if chance.random() < 0.3:
            await port.flush()
            say("settled", exchange.id)

async def main():
    await asyncio.gather(*(caller(random.Random(seed)) for seed in range(8)))

asyncio.run(main())
"""

HOLD = """
import sys
from headgate.stores.sqlite import SqliteLedger
ledger = SqliteLedger(sys.argv[1])
ledger.open()
ledger.publish("http://127.0.0.1:1", "not-a-token")
print("open", flush=True)
sys.stdin.read()
"""


def start(script: str, url: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", script, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_process_leaves_one_row_for_each_exchange_it_had_on_record(
    ledgers: Open, tmp_path: Path, seed: int
) -> None:
    url = f"sqlite:///{tmp_path / 'headgate.db'}"
    intended: set[str] = set()
    settled: set[str] = set()
    with start(BUSY, url) as child:
        assert child.stdout is not None
        for _ in range(random.Random(seed).randrange(1, 400)):
            what, exchange_id = child.stdout.readline().split()
            (intended if what == "intended" else settled).add(exchange_id)
        child.send_signal(signal.SIGKILL)
        for line in child.stdout:  # what it had said but we had not read
            words = line.split()
            if len(words) == 2 and line.endswith("\n"):
                (intended if words[0] == "intended" else settled).add(words[1])
    ledger = ledgers()
    ledger.open()
    with closing(sqlite3.connect(ledger.path)) as connection:
        found = connection.execute("SELECT id, ending, cost_nano FROM exchanges").fetchall()
        still_open = connection.execute("SELECT count(*) FROM intents").fetchone()
        orphans = connection.execute(
            "SELECT count(*) FROM attempts WHERE exchange_id NOT IN (SELECT id FROM exchanges)"
        )
        assert orphans.fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    endings = {exchange_id: (ending, cost) for exchange_id, ending, cost in found}
    assert len(endings) == len(found)
    assert intended <= set(endings)
    assert still_open == (0,)
    assert {endings[exchange_id] for exchange_id in settled} <= {("complete", 7)}
    assert set(endings.values()) <= {("complete", 7), ("killed", 1000)}
    assert ledger.reader().usage().total.held_nano == 0


def test_a_second_process_is_told_its_three_choices(ledgers: Open, tmp_path: Path) -> None:
    ledger = ledgers()
    with start(HOLD, f"sqlite:///{ledger.path}") as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        with pytest.raises(ConfigError) as refused:
            ledger.open()
        message = str(refused.value)
        assert f"process {child.pid}" in message
        for choice in ("postgresql://", "headgate serve", "sqlite:///headgate-{pid}.db"):
            assert choice in message
        info = read_lock(ledger.path)
        assert info is not None
        assert (info.pid, info.url, info.token) == (child.pid, "http://127.0.0.1:1", "not-a-token")
        assert "not-a-token" not in repr(info)
        assert lock_path(ledger.path).stat().st_mode & 0o077 == 0
        child.stdin.close()
    assert read_lock(ledger.path) is None
    again = ledgers()
    again.open()


def test_an_intent_without_the_lock_is_refused_and_works_once_it_is_free(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    exchange = make.exchange()
    attempt = make.attempt(exchange)
    with start(HOLD, f"sqlite:///{ledger.path}") as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        with pytest.raises(Unavailable, match="PostgreSQL"):
            run_blocking(ledger.blocking().intend(exchange, attempt))
        child.stdin.close()
    run_blocking(ledger.blocking().intend(exchange, attempt))
    assert ledger.health()["ok"]


def test_the_lock_of_a_killed_process_is_free_and_its_file_is_not_believed(ledgers: Open) -> None:
    ledger = ledgers()
    with start(HOLD, f"sqlite:///{ledger.path}") as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    assert json.loads(lock_path(ledger.path).read_bytes())["pid"] == child.pid
    assert read_lock(ledger.path) is None
    ledger.open()


def test_a_damaged_lock_file_names_nobody(tmp_path: Path) -> None:
    ledger = tmp_path / "headgate.db"
    for content in (b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"):
        lock_path(ledger).write_bytes(content)
        assert read_lock(ledger) is None


def in_child(work: Callable[[], object]) -> str:
    """Fork, run `work` in the child, and return what it returned or raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = str(work())
        except BaseException as error:  # a forked test must never return into pytest
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


def test_a_forked_child_is_refused_while_its_parent_writes_and_harms_nothing(ledgers: Open, make: Maker) -> None:
    ledger = ledgers()
    before = make.exchange()
    run_blocking(ledger.blocking().intend(before, make.attempt(before)))

    def work() -> None:
        exchange = make.exchange()
        run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange)))

    answer = in_child(work)
    assert answer.startswith("Unavailable: ")
    assert "{pid}" in answer
    ledger.blocking().settle(make.answered(before))
    ledger.flush()
    with closing(sqlite3.connect(ledger.path)) as connection:
        assert connection.execute("SELECT id, ending FROM exchanges").fetchall() == [(before.id, "complete")]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_forked_child_with_a_file_of_its_own_writes_there(ledgers: Open, make: Maker, tmp_path: Path) -> None:
    ledger = ledgers("headgate-{pid}.db")
    first = make.exchange()
    run_blocking(ledger.blocking().intend(first, make.attempt(first)))

    def work() -> str:
        exchange = make.exchange()
        run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange)))
        ledger.blocking().settle(make.answered(exchange))
        ledger.flush()
        return str(ledger.path)

    path = in_child(work)
    assert path != str(ledger.path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT ending FROM exchanges").fetchall() == [("complete",)]
    ledger.blocking().settle(make.answered(first))
    ledger.flush()
    assert ledger.reader().usage().total.exchanges == 1


def test_a_child_that_outlives_its_parents_ledger_does_not_keep_the_lock(ledgers: Open, tmp_path: Path) -> None:
    ledger = ledgers()
    ledger.open()
    reading, writing = os.pipe()
    ready, born = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.write(born, b".")  # what a fork has to let go of is gone by now
        os.read(reading, 1)  # live on until the parent is done
        os._exit(0)
    os.close(reading)
    os.read(ready, 1)
    os.close(ready)
    os.close(born)
    ledger.close()
    again = ledgers()
    again.open()
    os.close(writing)
    os.waitpid(child, 0)


def test_a_ledger_that_was_never_closed_is_flushed_when_python_exits(ledgers: Open, tmp_path: Path) -> None:
    script = """
import sys
from ledger_maker import Maker
from headgate.engine.blocking import run_blocking
from headgate.stores.sqlite import SqliteLedger
ledger, make = SqliteLedger(sys.argv[1]), Maker()
exchange = make.exchange()
run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange)))
ledger.blocking().settle(make.answered(exchange))
"""
    with start(script, f"sqlite:///{tmp_path / 'headgate.db'}") as child:
        assert child.wait() == 0
    assert read_lock(tmp_path / "headgate.db") is None
    with closing(sqlite3.connect(tmp_path / "headgate.db")) as connection:
        assert connection.execute("SELECT ending FROM exchanges").fetchall() == [("complete",)]


def test_importing_headgate_does_not_import_a_database() -> None:
    heavy = "{'sqlalchemy', 'alembic', 'structlog'}"
    script = f"import headgate, headgate.stores, sys; print(sorted({heavy} & set(sys.modules)))"
    with start(script, "") as child:
        assert child.stdout is not None
        assert child.stdout.read().strip() == "[]"
