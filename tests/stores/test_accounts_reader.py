"""What `headgate budgets` is told, and caps that change under a ledger in use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from ledger_maker import EPOCH, Maker

from headgate.core.budget import Budget, Claim
from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded, ConfigError
from headgate.core.exchange import Exchange, Route
from headgate.engine.blocking import run_blocking
from headgate.policy.budget_scopes import claim_on
from headgate.policy.budgets import Budgets
from headgate.stores.accounts_reader import AccountsReader, Wanted, nothing_spent
from headgate.stores.cap_change import change_cap, restore_cap, target
from headgate.stores.sqlite import SqliteLedger

Open = Callable[..., SqliteLedger]

DAY = Budget("user/day", ("user",), cap_nano=10_000, every="day", source="headgate.yaml:2:5")
PAIR = Budget("tenant+user/total", ("tenant", "user"), cap_nano=50_000, cap_tokens=1_000)
ALL = Budget("all/day", cap_nano=100_000, every="day")
SOFT = Budget("user/day/soft", ("user",), cap_nano=1_000, every="day", soft=True)
BUDGETS = (DAY, PAIR, ALL, SOFT)
NOW = EPOCH + 60


class World:
    """A ledger whose clock stands still, and calls that claim budgets."""

    def __init__(self, ledgers: Open) -> None:
        self.ledger = ledgers(now=lambda: NOW)
        self.make = Maker()
        self.budgets = Budgets(BUDGETS)

    def claims(self, user: str, at: float = NOW) -> tuple[Claim, ...]:
        return self.budgets.claims(Caller(user=user, tenant="acme"), Route("", "", "", ""), "", at)

    def hold(self, user: str, bound: int = 5_000, *, at: float = NOW, may_wait: bool = False) -> Exchange:
        exchange = self.make.exchange(caller=Caller(user=user, tenant="acme"))
        attempt = self.make.attempt(exchange, bound=bound)
        attempt.claims, attempt.bound_tokens = self.claims(user, at), 20
        run_blocking(self.ledger.blocking().intend(exchange, attempt, until=NOW + 3600, may_wait=may_wait))
        return exchange

    def spend(self, user: str, cost: int, *, at: float = NOW) -> None:
        self.ledger.blocking().settle(self.make.answered(self.hold(user, at=at), cost=cost))

    def rows(self, budgets: Any = BUDGETS, at: float = NOW, **wanted: Any) -> list[tuple[Any, ...]]:
        self.ledger.flush()
        report = AccountsReader(self.ledger.reader()).accounts(budgets, at, Wanted(**wanted))
        return [
            (row["budget"], row["scope"], row["cap_usd"], row["spent_usd"], row["held_usd"], row["overridden"])
            for row in report.as_json()["budgets"]
        ]


@pytest.fixture
def world(ledgers: Open) -> World:
    return World(ledgers)


def test_every_account_has_what_is_spent_held_and_left_as_the_writer_has_it(world: World) -> None:
    world.spend("ada", 4_000)
    world.hold("ada")
    world.ledger.flush()
    report = AccountsReader(world.ledger.reader()).accounts(BUDGETS, NOW)
    ours = {row.balance.claim.key: row.balance for row in report.rows}
    theirs = {balance.claim.key: balance for balance in world.ledger.balances(world.claims("ada"))}
    assert ours == theirs
    pair = next(row for row in report.as_json()["budgets"] if row["budget"] == PAIR.id)
    assert (pair["held_usd"], pair["held_tokens"], pair["spent_usd"]) == ("0.000005", 20, "0.000004")
    assert (pair["dimensions"], pair["left_usd"]) == ({"tenant": "acme", "user": "ada"}, "0.000041")
    assert (pair["left_tokens"], pair["period_start"]) == (1_000 - pair["spent_tokens"] - 20, None)
    day = next(row for row in report.as_json()["budgets"] if row["budget"] == DAY.id)
    assert (day["share"], day["source"], day["period_end"]) == (0.4, "headgate.yaml:2:5", claim_on(DAY, "", NOW).end)


def test_a_budget_on_which_nothing_was_spent_has_one_row_for_whoever_comes_first(world: World) -> None:
    world.ledger.open()
    told = [
        ("all/day", "", "0.0001", "0", "0", False),
        ("tenant+user/total", None, "0.00005", "0", "0", False),
        ("user/day", None, "0.00001", "0", "0", False),
        ("user/day/soft", None, "0.000001", "0", "0", False),
    ]
    assert world.rows() == told
    without = nothing_spent(BUDGETS, NOW).as_json()["budgets"]
    assert [(row["budget"], row["scope"], row["cap_usd"]) for row in without] == [row[:3] for row in told]


def test_the_fullest_come_first_and_another_period_begins_at_nothing(world: World) -> None:
    world.spend("bob", 1)
    world.spend("ada", 4_000)
    assert [row[1] for row in world.rows(budget="user/day")] == ["ada", "bob"]
    tomorrow = world.rows(budget="user/day", at=NOW + 86_400)
    assert [row[1:4] for row in tomorrow] == [(None, "0.00001", "0")]
    world.spend("eve", 2, at=NOW - 86_400)
    assert [row[1] for row in world.rows(budget="user/day")] == ["ada", "bob"]
    assert [row[1] for row in world.rows(budget="user/day", all_periods=True)] == ["ada", "bob", "eve"]


def test_filters_leave_the_accounts_that_are_asked_for(world: World) -> None:
    world.spend("ada", 4_000)
    world.spend("bob", 9_000)
    assert {row[0] for row in world.rows(scope="ada")} == {"user/day", "user/day/soft", "tenant+user/total"}
    assert [row[0] for row in world.rows(scope="tenant=acme,user=bob")] == ["tenant+user/total"]
    near = world.rows(near=8_000)
    assert [row[:2] for row in near] == [("user/day", "bob"), ("user/day/soft", "bob"), ("user/day/soft", "ada")]
    assert [row[1:4] for row in world.rows(budget="user/day", scope="new")] == [("new", "0.00001", "0")]
    with pytest.raises(ConfigError, match="Did you mean user/day"):
        world.rows(budget="user/dy")


def test_only_hard_caps_of_now_that_are_spent_are_used_up(world: World) -> None:
    world.spend("ada", 10_000)
    world.spend("bob", 9_999)
    change_cap(world.ledger, DAY, "eve", NOW, nano=0, tokens=None)
    world.ledger.flush()
    reader = AccountsReader(world.ledger.reader())
    report = reader.accounts(BUDGETS, NOW, Wanted(all_periods=True))
    assert [(row.balance.claim.budget.id, row.balance.claim.scope) for row in report.rows if row.used_up] == [
        ("user/day", "ada")
    ]
    assert report.used_up == 1
    assert reader.accounts(BUDGETS, NOW + 86_400, Wanted(all_periods=True)).used_up == 0


def test_overrides_are_listed_before_anything_is_spent_and_after_their_budget_is_gone(world: World) -> None:
    change_cap(world.ledger, DAY, "ada", NOW, nano=20_000, tokens=None)
    assert world.rows(budget="user/day") == [
        ("user/day", None, "0.00001", "0", "0", False),
        ("user/day", "ada", "0.00002", "0", "0", True),
    ]
    rows = world.rows(budgets=(ALL,))
    assert [row[:3] for row in rows] == [("all/day", "", "0.0001"), ("user/day", "ada", "0.00002")]
    overrides = AccountsReader(world.ledger.reader()).overrides()
    assert overrides["user/day", "ada"][:2] == (20_000, None)
    with pytest.raises(ConfigError):
        target((ALL,), "user/day", "ada")
    budget, scope = target((ALL,), "user/day", "ada", overrides)
    assert restore_cap(world.ledger, budget, scope, NOW).made
    assert AccountsReader(world.ledger.reader()).overrides() == {}


def test_an_unset_cap_of_the_other_kind_stays_as_it_is(world: World) -> None:
    world.spend("ada", 1)
    scope = '["acme","ada"]'
    change = change_cap(world.ledger, PAIR, scope, NOW, nano=7_000, tokens=None)
    assert (change.before.cap_nano, change.after.cap_nano, change.after.cap_tokens) == (50_000, 7_000, 1_000)
    change = change_cap(world.ledger, PAIR, scope, NOW, nano=None, tokens=5)
    assert (change.after.cap_nano, change.after.cap_tokens, change.after.overridden) == (7_000, 5, True)
    change = restore_cap(world.ledger, PAIR, scope, NOW)
    assert (change.after.cap_nano, change.after.cap_tokens, change.after.overridden) == (50_000, 1_000, False)
    assert not restore_cap(world.ledger, PAIR, scope, NOW).made


def test_a_cap_below_what_is_spent_leaves_nothing_and_refuses_the_next_call(world: World) -> None:
    world.spend("ada", 4_000)
    change = change_cap(world.ledger, DAY, "ada", NOW, nano=3_000, tokens=None)
    assert (change.after.left_nano, change.after.spent_nano) == (0, 4_000)
    with pytest.raises(BudgetExceeded):
        world.hold("ada", 1)
    world.hold("bob", 1)


def test_who_waits_for_money_is_let_in_by_a_higher_cap(world: World) -> None:
    world.hold("ada", 6_000)
    let_in = threading.Event()

    def wait() -> None:
        world.hold("ada", 6_000, may_wait=True)
        let_in.set()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    while not world.ledger.health()["waiting_for_money"]:
        world.ledger.flush()
    assert not let_in.is_set()
    change_cap(world.ledger, DAY, "ada", NOW, nano=12_000, tokens=None)
    assert let_in.wait(20)
    thread.join(20)


def test_an_override_counts_in_a_ledger_that_was_opened_again_and_in_the_next_period(ledgers: Open) -> None:
    first = World(ledgers)
    change_cap(first.ledger, DAY, "ada", NOW, nano=1, tokens=None)
    first.ledger.close()
    again = World(ledgers)
    with pytest.raises(BudgetExceeded):
        again.hold("ada")
    with pytest.raises(BudgetExceeded):
        again.hold("ada", at=NOW + 86_400)
    again.hold("bob")


def test_a_ledger_that_is_not_there_is_a_sentence(ledgers: Open) -> None:
    with pytest.raises(ConfigError, match="there is no ledger"):
        AccountsReader(ledgers().reader()).accounts(BUDGETS, NOW)
