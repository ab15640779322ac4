"""The one door: what each `storage` opens, what lies beside it, and a ledger that is nowhere but in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anthropic
import pytest
from ledger_maker import Maker

from headgate import Gate
from headgate.core.budget import Budget
from headgate.core.errors import BudgetExceeded, ConfigError, Unavailable
from headgate.engine.blocking import run_blocking
from headgate.policy.budget_scopes import claim_on
from headgate.stores.accounts_reader import AccountsReader
from headgate.stores.billing_reader import BillingReader
from headgate.stores.memory import MemoryLedger
from headgate.stores.opening import log_file, log_key_file, open_beside, open_ledger, open_reader, stored_keys
from headgate.stores.postgres import PostgresLedger, PostgresReader
from headgate.stores.reader import NoLedger, Reader
from headgate.stores.sqlite import SqliteLedger
from headgate.testing.server import SimulatorServer

POSTGRES = "postgresql://db.example/headgate"


@pytest.mark.parametrize(
    ("storage", "kind", "name"),
    [
        ("sqlite:///some.db", SqliteLedger, "some.db"),
        (POSTGRES, PostgresLedger, POSTGRES),
        ("postgres://ada:pw@db.example/headgate", PostgresLedger, POSTGRES),
        ("memory", MemoryLedger, "memory"),
    ],
)
def test_each_storage_opens_its_kind_of_ledger_and_none_touches_a_disk_before_it_is_used(
    storage: str, kind: type, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = open_ledger(storage)
    assert type(ledger) is kind
    assert ledger.name == ledger.reader().name == name
    assert list(tmp_path.iterdir()) == []


def test_readers_are_of_the_same_kinds() -> None:
    assert type(open_reader("sqlite:///some.db")) is Reader
    assert type(open_reader(POSTGRES)) is PostgresReader


@pytest.mark.parametrize("door", [open_reader, open_beside])
@pytest.mark.parametrize(
    ("storage", "why"),
    [
        ("memory", r"no other can reach it.*sqlite:///headgate\.db or postgresql://"),
        ("sqlite:///headgate-{pid}.db", r"a ledger for each process.*name one of them"),
    ],
)
def test_what_another_process_cannot_reach_says_so(door: Any, storage: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        door(storage)


def test_where_there_is_no_ledger_there_are_no_keys(tmp_path: Path) -> None:
    assert stored_keys(f"sqlite:///{tmp_path / 'none.db'}") == []
    assert stored_keys("memory") == []
    with pytest.raises(NoLedger):
        open_reader(f"sqlite:///{tmp_path / 'none.db'}").keys()


@pytest.mark.parametrize(
    ("storage", "log", "key"),
    [
        ("sqlite:///a/h.db", "a/h.db.log.jsonl", "a/h.db.logkey"),
        (POSTGRES, "headgate.log.jsonl", "headgate.logkey"),
        ("memory", "headgate.log.jsonl", "headgate.logkey"),
    ],
)
def test_the_log_is_beside_the_ledger_or_in_the_working_directory(storage: str, log: str, key: str) -> None:
    assert (log_file(storage), log_key_file(storage)) == (Path(log), Path(key))


# -- memory ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger() -> Any:
    found = MemoryLedger()
    yield found
    found.close()


def spend(ledger: MemoryLedger, make: Maker, cost: int) -> str:
    exchange = make.exchange()
    run_blocking(ledger.blocking().intend(exchange, make.attempt(exchange)))
    ledger.blocking().settle(make.answered(exchange, cost=cost))
    return exchange.id


def test_every_reader_sees_what_was_settled_without_a_flush(ledger: MemoryLedger, make: Maker) -> None:
    ids = [spend(ledger, make, cost) for cost in (1, 2)]
    reader = ledger.reader()
    assert reader.usage(by=["user"]).rows[0].amounts.cost_nano == 3
    assert [row["id"] for row in reader.recent()] == ids[::-1]
    found = reader.exchange(ids[0])
    assert found is not None
    assert len(found.attempts) == 1
    assert BillingReader(reader).tenants(0, 4e9) == ["acme"]
    budget = Budget("all/day", cap_nano=10, every="day")
    ledger.set_cap("all/day", "", (5, None))
    (row,) = AccountsReader(reader).accounts([budget], 1_800_000_000.0).rows
    assert (row.balance.cap_nano, row.balance.overridden) == (5, True)
    key = ledger.keys.create("dev").key
    assert reader.keys() == [key]


def test_two_ledgers_in_memory_share_nothing(ledger: MemoryLedger, make: Maker) -> None:
    spend(ledger, make, 1)
    other = MemoryLedger()
    assert other.reader().usage().total.exchanges == 0
    other.close()


def test_once_it_is_closed_nothing_is_left_to_ask(ledger: MemoryLedger, make: Maker) -> None:
    spend(ledger, make, 1)
    ledger.close()
    with pytest.raises(Unavailable, match="closed"):
        ledger.reader().usage()


def test_its_budgets_hold_and_refuse(ledger: MemoryLedger, make: Maker) -> None:
    claim = claim_on(Budget("all/day", cap_nano=6_000, every="day"), "", 1_800_000_000.0)
    for refused in (False, True):
        exchange = make.exchange()
        attempt = make.attempt(exchange, bound=5_000)
        attempt.claims = (claim,)
        if not refused:
            run_blocking(ledger.blocking().intend(exchange, attempt))
            continue
        with pytest.raises(BudgetExceeded):
            run_blocking(ledger.blocking().intend(exchange, attempt, may_wait=False))
    (balance,) = ledger.balances([claim])
    assert (balance.spent_nano, balance.held_nano) == (0, 5_000)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_an_empty_one_of_its_own(ledger: MemoryLedger, make: Maker) -> None:
    spend(ledger, make, 1)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            spend(ledger, make, 5)
            status = 0 if ledger.reader().usage().total.cost_nano == 5 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert ledger.reader().usage().total.cost_nano == 1


@pytest.mark.filterwarnings("ignore:storage:headgate.ConfigWarning")
def test_a_gate_over_memory_leaves_its_log_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SimulatorServer() as sim:
        env = {"ANTHROPIC_BASE_URL": sim.url}
        budgets = [{"usd": 1, "every": "day"}]
        with Gate.load(env=env, storage="memory", budgets=budgets) as gate:
            client = anthropic.Anthropic(api_key="k", base_url=sim.url, http_client=gate.client())
            question: Any = {"role": "user", "content": "Hello"}
            client.messages.create(model="claude-haiku-4-5", max_tokens=20, messages=[question])
            (left,) = gate.budget()
            assert left.spent_usd is not None
            assert int(left.spent_usd * 10**9) == gate.usage().total.cost_nano > 0
            gate.flush()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["headgate.log.jsonl", "headgate.logkey"]


def test_the_door_imports_neither_psycopg_nor_alembic() -> None:
    script = "import sys, headgate.stores.opening; sys.exit(bool({'psycopg', 'alembic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
