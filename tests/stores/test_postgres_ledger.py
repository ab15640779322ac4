"""A ledger in PostgreSQL as the engine sees it: outages, replicas, kills, forks; and that no credential shows."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ledger_maker import Maker
from postgres_server import LOCKED_OUT, Server, database_of, own_server, server

from headgate.core.errors import ConfigError, Unavailable
from headgate.engine.blocking import run_blocking
from headgate.stores import postgres_database
from headgate.stores.postgres import PostgresLedger, PostgresReader, _Heart
from headgate.stores.postgres_database import postgres_place

__all__ = ["own_server", "server"]

Open = Callable[..., PostgresLedger]
PASSWORD = "swordfish-7"


@pytest.fixture
def url(server: Server) -> str:
    """A database of this test's own, on a server that seems to have been up for long."""
    return server.seem_long_up(server.url())


@pytest.fixture
def ledgers(url: str) -> Iterator[Open]:
    """Replicas: ledgers on one database, each with a writer of its own."""
    opened: list[PostgresLedger] = []

    def open_ledger(place: str = "", **options: Any) -> PostgresLedger:
        opened.append(PostgresLedger(place or f"{url}?application_name=replica{len(opened)}", **options))
        return opened[-1]

    yield open_ledger
    for ledger in opened:
        ledger.close()


def intend(ledger: PostgresLedger, make: Maker, **options: Any) -> Any:
    exchange = make.exchange(**options)
    run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange, bound=1_000)))
    return exchange


# -- outages ---------------------------------------------------------------------------------------------------------


def test_a_database_that_is_away_refuses_in_plain_words_and_recovers_by_itself(
    own_server: Server, ledgers: Open, make: Maker
) -> None:
    ledger = ledgers(own_server.url())
    exchange = intend(ledger, make)
    own_server.stop()
    with pytest.raises(Unavailable, match=r"postgresql://127\.0\.0\.1:\d+/t\w+ cannot be .*nothing is sent.*up"):
        intend(ledger, make)
    ledger.blocking().settle(make.answered(exchange, cost=3))
    assert ledger.health()["ok"] is False
    own_server.start()
    ledger.flush()
    assert ledger.reader().usage().total.cost_nano == 3
    assert ledger.reader().usage().total.held_nano == 0
    assert ledger.health()["ok"] is True


def test_what_was_committed_survives_the_death_of_the_database(own_server: Server, ledgers: Open, make: Maker) -> None:
    ledger = ledgers(own_server.url())
    sent = [intend(ledger, make).id for _ in range(20)]
    own_server.stop(signal.SIGQUIT)
    own_server.start()
    assert [ledger.reader().exchange(each) is not None for each in sent] == [True] * 20


def test_commits_wait_for_the_disk_even_where_the_database_would_not(server: Server, url: str, ledgers: Open) -> None:
    server.run(f"ALTER DATABASE {database_of(url)} SET synchronous_commit = off", database_of(url))
    ledger = ledgers()
    found = ledger.call(lambda connection: connection.exec_driver_sql("SHOW synchronous_commit").scalar())
    assert found == "on"


def test_a_database_that_was_never_there_is_no_ledger_yet_and_may_come(ledgers: Open, server: Server) -> None:
    ledger = ledgers(server.url().replace("/t", "/not_"))
    with pytest.raises(Unavailable, match="does not exist"):
        ledger.open()


def test_many_loops_and_threads_share_one_connection(server: Server, url: str, ledgers: Open) -> None:
    ledger = ledgers(url)
    ledger.open()

    async def call(make: Maker) -> None:
        port = ledger.asynchronous()
        exchange = make.exchange()
        await port.intend(exchange, make.attempt(exchange))
        port.settle(make.answered(exchange, cost=5))

    async def calls(number: int) -> None:
        make = Maker()
        make.made = number * 100_000
        await asyncio.gather(*(call(make) for _ in range(25)))

    threads = [threading.Thread(target=lambda n=n: asyncio.run(calls(n))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.flush()
    assert ledger.reader().usage().total.cost_nano == 75 * 5
    writing = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database_of(url)}'"
    assert server.run(writing) == [(1,)]


# -- replicas --------------------------------------------------------------------------------------------------------


def test_replicas_see_each_others_exchanges_and_leave_each_others_intents_alone(ledgers: Open, make: Maker) -> None:
    one, two = ledgers(), ledgers()
    first, second = intend(one, make), intend(two, make)
    two.blocking().settle(make.answered(second, cost=4))
    two.flush()
    total = one.reader().usage().total
    assert (total.cost_nano, total.held_nano) == (4, 1_000)
    one.blocking().settle(make.answered(first, cost=6))
    one.flush()
    total = two.reader().usage().total
    assert (total.cost_nano, total.held_nano) == (10, 0)


def test_a_key_made_by_one_replica_works_at_the_others(ledgers: Open) -> None:
    one, two = ledgers(), ledgers()
    key = one.keys.create("dev").key
    assert two.keys.load_all() == {key.hash: key}


class Ticks:
    """In place of the event that ends a heart: so many beats, at once."""

    def __init__(self, beats: int) -> None:
        self.left = beats

    def wait(self, seconds: float) -> bool:
        assert seconds == 10.0
        self.left -= 1
        return self.left < 0


def beaten(ledger: PostgresLedger, beats: int) -> None:
    heart: Any = _Heart(ledger.writer(), Ticks(beats))  # type: ignore[arg-type]
    heart.run()


def test_a_heart_beats_while_there_is_nothing_to_write_and_every_third_beat_sweeps(
    server: Server, url: str, ledgers: Open, make: Maker
) -> None:
    one, two = ledgers(), ledgers()
    lost = intend(two, make)
    one.open()
    server.run("UPDATE owners SET heartbeat = heartbeat - 61", database_of(url))
    beaten(one, 2)
    assert one.health()["swept"] == 0
    beaten(one, 3)
    assert one.health()["swept"] == 1
    found = one.reader().exchange(lost.id)
    assert found is not None
    assert found.exchange["ending"] == "killed"


def test_a_heart_outlives_an_outage(own_server: Server, ledgers: Open, make: Maker) -> None:
    ledger = ledgers(own_server.url())
    intend(ledger, make)
    own_server.stop()
    beaten(ledger, 3)
    own_server.start()
    beaten(ledger, 1)
    assert ledger.reader().usage().total.held_nano == 1_000


# -- kills and forks -------------------------------------------------------------------------------------------------

# As in `test_processes.py`: a line goes out only after what it says is durable.
BUSY = """
import asyncio, os, random, sys
from ledger_maker import Maker
from headgate.stores.postgres import PostgresLedger

ledger, make = PostgresLedger(sys.argv[1]), Maker()
make.made = int(sys.argv[2])
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


def started(script: str, *told: str) -> subprocess.Popen[str]:
    here = str(Path(__file__).parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    return subprocess.Popen([sys.executable, "-c", script, *told], stdout=subprocess.PIPE, text=True, env=env)


def test_killed_replicas_lose_no_attempt_and_hold_nothing(server: Server, url: str, ledgers: Open, make: Maker) -> None:
    chance = random.Random(4)
    ledger = ledgers(url)
    ledger.open()  # the schema is there: the two below start at once
    killed = [started(BUSY, url, str(n * 1_000_000)) for n in (1, 2)]
    said: list[list[str]] = []
    for process in killed:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(chance.randrange(50, 200))]
        process.kill()
        said += [line.split() for line in [*lines, *process.stdout.read().splitlines()] if line.strip()]
        process.wait()
    server.run(f"UPDATE owners SET heartbeat = heartbeat - 61 WHERE id <> '{ledger.owner()}'", database_of(url))
    beaten(ledger, 3)
    reader = ledger.reader()
    assert reader.usage().total.held_nano == 0
    rows = {row["id"]: row for row in reader.recent(limit=1_000_000)}
    told = [each for each in said if len(each) == 2 and len(each[1]) == LENGTH]  # a kill may cut the last line
    assert len(told) > 100
    for what, exchange_id in told:
        row = rows[exchange_id]
        assert (row["ending"], row["cost_nano"]) in ([("complete", 7)] if what == "settled" else ENDINGS), row


LENGTH = len(Maker().exchange().id)
ENDINGS = [("complete", 7), ("killed", 1_000)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_both_write_over_connections_of_their_own(ledgers: Open, make: Maker, url: str) -> None:
    ledger = ledgers(url)
    intend(ledger, make)
    make.made = 500
    pid = os.fork()
    if not pid:
        status = 1
        try:
            intend(ledger, make)
            ledger.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    make.made = 600
    intend(ledger, make)
    assert ledger.reader().usage().total.held_nano == 3_000


# -- places and credentials ------------------------------------------------------------------------------------------


def test_a_wrong_password_is_told_without_the_password(
    server: Server, ledgers: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.run(f"CREATE ROLE {LOCKED_OUT} LOGIN PASSWORD 'other'")
    ledger = ledgers(server.url(user=LOCKED_OUT, password=PASSWORD, options="?application_name=x"))
    with pytest.raises(Unavailable, match="password authentication failed") as caught:
        ledger.open()
    with pytest.raises(ConfigError, match="password authentication failed") as read:
        ledger.reader().usage()
    shown = [str(caught.value), repr(caught.value), str(read.value), str(ledger.health()), caplog.text, ledger.name]
    shown += [repr(ledger), repr(ledger._place), repr(ledger.writer())]
    assert [each for each in shown if PASSWORD in each] == []


def test_the_name_of_a_place_holds_neither_credential_nor_options() -> None:
    place = postgres_place(f"postgres://ada:{PASSWORD}@db.example:6432/headgate?sslmode=require&password={PASSWORD}2")
    assert place.name == "postgresql://db.example:6432/headgate"
    assert place.options["sslmode"] == "require"
    assert place.options["user"] == "ada"
    assert PASSWORD not in repr(place)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:x@{PASSWORD}@db/headgate",
        f"postgresql://ada:{PASSWORD}/y@db/headgate",
        f"postgresql://ada:?{PASSWORD}@db/headgate",
        f"postgresql://db:{PASSWORD}/headgate?nonsense={PASSWORD}",
        f"postgresql://ada:{PASSWORD}%zz@db/headgate",
        f"postgresql://[{PASSWORD}/headgate",
        f"mysql://ada:{PASSWORD}@db/headgate",
    ],
)
def test_an_odd_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^storage: ") as caught:
        PostgresLedger(url)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_password_may_be_written_with_percent_signs() -> None:
    place = postgres_place("postgresql://ada:p%40ss%2Fw%3F@db/headgate")
    assert (place.options["password"], place.name) == ("p@ss/w?", "postgresql://db/headgate")


def test_without_psycopg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'headgate\[postgres\]'"):
        PostgresLedger("postgresql://db/headgate")


def test_an_old_server_is_refused(ledgers: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_database, "OLDEST", 990000)
    with pytest.raises(ConfigError, match=r"is PostgreSQL \d+; the ledger needs 99 or newer"):
        ledgers().open()


def test_the_url_may_say_otherwise_than_our_defaults() -> None:
    assert postgres_place("postgresql://db/x?connect_timeout=1").options["connect_timeout"] == "1"
    assert postgres_place("postgresql://db/x").options["connect_timeout"] == 5


def test_importing_the_ledger_does_not_import_psycopg() -> None:
    script = "import sys, headgate.stores.postgres; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_reader_is_made_of_a_url_too(ledgers: Open, url: str) -> None:
    ledgers(url).open()
    assert PostgresReader(url).usage().total.exchanges == 0
