"""Moving a ledger from SQLite to PostgreSQL: the same answers, and it goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ledger_maker import Maker
from postgres_server import Server, server, url

from headgate.core.budget import Budget, Claim
from headgate.core.errors import BudgetExceeded, ConfigError
from headgate.engine.blocking import run_blocking
from headgate.stores.moving import main, move
from headgate.stores.opening import open_ledger, open_reader

__all__ = ["server", "url"]

SOON = 1e12


def claim(scope: str, *, name: str = "user/day", end: float = 4e9) -> Claim:
    return Claim(Budget(name, per=("user",), cap_nano=10_000, every="day"), scope, 0.0, end, (name, scope, 0.0))


def call(ledger: Any, make: Maker, user: str, cost: int | None) -> None:
    """One that is settled, or (None) left open."""
    exchange = make.exchange()
    make.failed(make.attempt(exchange, bound=10))
    attempt = make.attempt(exchange, bound=5_000)
    attempt.claims = (claim(user), claim(user, name="user", end=float("inf")))
    run_blocking(ledger.blocking().intend(exchange, attempt, until=SOON))
    if cost is not None:
        ledger.blocking().settle(make.answered(exchange, cost=cost))


@pytest.fixture
def old(tmp_path: Path, make: Maker) -> str:
    place = f"sqlite:///{tmp_path / 'headgate.db'}"
    ledger = open_ledger(place)
    for user, cost in (("ada", 1_000), ("bob", 2_000), ("odd\x00name", 3_000), ("eve", None)):
        call(ledger, make, user, cost)
    ledger.keys.create("dev", tenant="acme")
    ledger.keys.revoke(ledger.keys.create("gone").key.id)
    ledger.set_cap("user/day", "bob", (9_000, None))
    ledger.close()
    return place


def test_the_moved_ledger_answers_the_same_and_nothing_is_open(old: str, url: str) -> None:
    counts = move(old, url)
    before, after = open_reader(old), open_reader(url)
    assert after.keys() == before.keys()
    for by in ([], ["user"], ["tenant", "model"], ["day"]):
        assert after.usage(by=by).as_json() == before.usage(by=by).as_json()
    assert after.usage().total.held_nano == 0
    for row in before.recent(limit=100):
        found, known = after.exchange(row["id"]), before.exchange(row["id"])
        assert found == known
    assert (counts["exchange_rows"], counts["keys"], counts["caps"]) == (4, 2, 1)


def test_budgets_go_on_from_what_was_spent(old: str, url: str, make: Maker) -> None:
    move(old, url)
    ledger = open_ledger(url)
    claims = [claim(user) for user in ("ada", "bob", "odd\x00name", "eve")]
    found = ledger.balances(claims)
    assert [(each.spent_nano, each.held_nano, each.cap_nano) for each in found] == [
        (1_000, 0, 10_000),
        (2_000, 0, 9_000),
        (3_000, 0, 10_000),
        (5_000, 0, 10_000),  # what was open is charged in full
    ]
    make.made = 1_000
    call(ledger, make, "new", 100)  # an account with a number that no moved one has
    call(ledger, make, "ada", 4_000)
    call(ledger, make, "ada", 4_500)
    with pytest.raises(BudgetExceeded):
        call(ledger, make, "ada", 1)
    ledger.flush()
    spent = [each.spent_nano for each in ledger.balances([claim("new"), claim("ada"), claim("bob")])]
    assert spent == [100, 9_500, 2_000]
    ledger.close()


def test_into_a_ledger_that_holds_something_nothing_is_moved(old: str, url: str) -> None:
    ledger = open_ledger(url)
    ledger.keys.create("first")
    ledger.close()
    with pytest.raises(ConfigError, match=r"not empty \(keys, audit_log\).*a new database"):
        move(old, url)
    assert open_reader(url).usage().total.exchanges == 0


def test_a_ledger_that_is_being_written_is_not_moved(old: str, url: str) -> None:
    script = f"from headgate.stores.opening import open_ledger; l = open_ledger({old!r}); l.open(); print(); input()"
    import subprocess
    import sys

    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(ConfigError):
            move(old, url)
        child.communicate(b"\n")


def test_it_can_be_run_as_the_page_says(
    old: str, server: Server, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([old, "env:DATABASE_URL"]) == 2
    assert "DATABASE_URL is not set" in capsys.readouterr().err
    monkeypatch.setenv("DATABASE_URL", url)
    assert main([old, "env:DATABASE_URL"]) == 0
    assert "4  exchange_rows" in capsys.readouterr().out
    assert main([old]) == 2
