"""Real processes on one database and one budget: never over the cap, alerts once, and what a killed one leaves."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledger_maker import Maker
from postgres_server import Server, database_of, server

from headgate.core.budget import Budget, Claim
from headgate.stores.postgres import PostgresLedger

__all__ = ["server"]

CAP, BOUND = 300_000, 1_000
PROCESSES = 3

# "sent" goes out once the intent is durable, with what the provider will bill; so what was sent and is not in the
# ledger, or for less, would show.
CALLS = """
import asyncio, os, random, sys
from ledger_maker import Maker
from headgate.core.budget import Budget, Claim
from headgate.core.errors import BudgetExceeded
from headgate.stores.postgres import PostgresLedger

url, number, cap, bound, stays = sys.argv[1], *map(int, sys.argv[2:])
ledger, make, chance = PostgresLedger(url), Maker(), random.Random(number)
make.made = number * 1_000_000
budget = Budget("all/day", cap_nano=cap, every="day", alerts=(5_000, 8_000))
claims = (Claim(budget, "", 0.0, 4e9, ("all/day", "", 0.0)),)

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

ledger.on_alert(lambda alert: say("alert", alert.share))
ledger.open()
port = ledger.asynchronous()

async def call():
    exchange = make.exchange()
    attempt = make.attempt(exchange, bound=bound)
    attempt.claims = claims
    await port.intend(exchange, attempt, until=4e9)
    return exchange, chance.randrange(bound // 2, bound + 1)

async def caller():
    while True:
        try:
            exchange, cost = await call()
        except BudgetExceeded as error:
            say("refused", error.why)
            return
        say("sent", exchange.id, cost)
        await asyncio.sleep(chance.random() / 200)
        port.settle(make.answered(exchange, cost=cost))

async def main():
    # On a busy machine, two may have spent it all before the third is given a core: each has its part before that.
    exchange, cost = await call()
    say("ready")
    sys.stdin.readline()
    say("sent", exchange.id, cost)
    if not stays:
        port.settle(make.answered(exchange, cost=cost))
    await asyncio.gather(*(caller() for _ in range(20)))
    await port.flush()
    if stays:  # with that one call under way, until it is killed: however slow whoever kills it is
        await asyncio.Event().wait()

asyncio.run(main())
ledger.close()
"""


@pytest.fixture
def url(server: Server) -> str:
    return server.seem_long_up(server.url())


@pytest.fixture
def ledger(url: str) -> Iterator[PostgresLedger]:
    """The test's own process among the writers; it has made the tables."""
    found = PostgresLedger(f"{url}?application_name=test")
    found.open()
    yield found
    found.close()


Start = Callable[..., "list[subprocess.Popen[str]]"]


@pytest.fixture
def start(url: str) -> Iterator[Start]:
    """Starts the processes, and lets them go at the same moment."""
    running: list[subprocess.Popen[str]] = []

    def go(stays: int = 0) -> list[subprocess.Popen[str]]:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
        for number in range(1, PROCESSES + 1):
            told = [sys.executable, "-c", CALLS, url, *map(str, (number, CAP, BOUND, int(number == stays)))]
            running.append(subprocess.Popen(told, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env))
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return running

    yield go
    for process in running:
        process.kill()
        process.communicate()


def figures(ledger: PostgresLedger) -> tuple[int, int]:
    """(spent, held) of the budget."""
    claim = Claim(Budget("all/day", cap_nano=CAP, every="day"), "", 0.0, 4e9, ("all/day", "", 0.0))
    (found,) = ledger.balances([claim])
    return found.spent_nano, found.held_nano


class Said:
    """What the processes have said."""

    def __init__(self, lines: list[str]) -> None:
        words = [line.split() for line in lines]
        # A kill may cut the last line.
        whole = [each for each in words if len(each) == 3 and each[0] == "sent" and len(each[1]) == LENGTH]
        self.sent = {exchange: int(cost) for _, exchange, cost in whole}
        self.refused = Counter(each[1] for each in words if each[0] == "refused" and len(each) == 2)
        self.alerts = [each[1] for each in words if each[0] == "alert" and len(each) == 2]


LENGTH = len(Maker().exchange().id)


def some_lines(process: subprocess.Popen[str], most: int) -> str:
    """What it says, up to so many lines; fewer where it says nothing for a second, for the others were quicker."""
    assert process.stdout is not None
    place, said = process.stdout.fileno(), b""
    while said.count(b"\n") < most and select.select([place], [], [], 1.0)[0] and (piece := os.read(place, 65_536)):
        said += piece
    return said.decode()


def test_processes_spend_one_budget_to_the_cap_and_not_beyond_and_alert_once(
    ledger: PostgresLedger, start: Start
) -> None:
    running = start()
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES
    said = Said([line for text in outputs for line in text.splitlines()])
    spent, held = figures(ledger)
    assert held == 0
    assert CAP - BOUND < spent <= CAP
    assert sum(said.sent.values()) == spent == ledger.reader().usage().total.cost_nano
    assert said.refused == {"spent": PROCESSES * 20}
    assert sorted(said.alerts) == ["5000", "8000"]
    assert all("sent" in text for text in outputs)


def test_what_a_killed_process_held_is_charged_by_the_others_which_go_on(
    server: Server, url: str, ledger: PostgresLedger, start: Start
) -> None:
    running = start(stays=1)
    victim = running[0]
    said_before = some_lines(victim, random.Random(7).randrange(20, 60))
    owners = "SELECT id FROM owners WHERE pid = {}"
    ((dead,),) = server.run(owners.format(victim.pid), database_of(url))
    victim.kill()
    assert victim.stdout is not None
    lines = (said_before + victim.stdout.read()).splitlines()
    server.run(f"UPDATE owners SET heartbeat = heartbeat - 61 WHERE id = '{dead}'", database_of(url))
    ledger._call(lambda session: session.tick(sweep=True))  # if another of them has not swept first
    assert server.run(f"SELECT count(*) FROM intents WHERE owner = '{dead}'", database_of(url)) == [(0,)]
    for process in running[1:]:
        lines += process.communicate(timeout=120)[0].splitlines()
    assert [process.returncode for process in running[1:]] == [0] * (PROCESSES - 1)
    said = Said(lines)
    spent, held = figures(ledger)
    assert held == 0
    assert sum(said.sent.values()) <= spent <= CAP
    assert spent > CAP - BOUND
    rows = {row["id"]: row["cost_nano"] for row in ledger.reader().recent(limit=1_000_000)}
    assert sum(rows.values()) == spent
    assert {exchange for exchange, cost in said.sent.items() if rows[exchange] < cost} == set()
    assert BOUND in rows.values()  # what it held was charged
    assert server.run("SELECT count(*) FROM intents", database_of(url)) == [(0,)]
