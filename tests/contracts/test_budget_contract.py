"""What every ledger must do with money that is set aside, whatever database is behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from ledger_maker import ROUTE
from money_store import NOW, Money, claim  # it lies beside this file

from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded, Unavailable
from headgate.core.money import MOST_CHARGE
from headgate.policy.budgets import Budgets


@pytest.fixture
def money(each_store: Any) -> Iterator[Money]:
    found = Money(each_store)
    yield found
    found.close()


def test_a_hold_is_on_disk_with_its_intent_when_intend_returns(money: Money) -> None:
    assert money.ask("a", 20).state == "in"
    (intent,) = money.store.open_intents()
    assert (intent["bound_nano"], len(intent["accounts"])) == (20, 3)
    assert money.balance("user/day", "a") == (0, 20)


def test_who_has_been_told_is_not_kept_by_what_he_holds(money: Money) -> None:
    money.ask("a", 20)
    held = money.store.ledger.writer().desk._accounts._holds.values()
    assert [each.bearer for each in held] == [None]


def test_it_is_settled_once_with_the_cost_however_often_that_is_said(money: Money) -> None:
    caller = money.ask("a", 20)
    money.settle(caller, 7)
    money.settle(caller, 7)
    assert money.balance("user/day", "a") == money.balance("all/day", "") == (7, 0)
    assert money.store.open_intents() == []


B = (claim("user/day", "b"),)


def test_a_charge_beyond_what_a_column_holds_spends_its_own_accounts_and_harms_no_other(money: Money) -> None:
    one, other = money.ask("a", 20), money.start("b", 10, B)
    money.look()
    with money.busy():  # one transaction
        money.over(one, 2**70)
        money.over(other, 7)
        third = money.start("b", 5, B)
    money.look()
    assert (money.balance("user/day", "b"), third.state) == ((7, 5), "in")
    spent, held = money.balance("user/day", "a")
    assert (spent >= MOST_CHARGE, held) == (True, 0)
    assert money.ask("a", 1).state == "refused"
    money.settle(third, 2)
    assert money.balance("user/day", "b") == (9, 0)
    assert money.store.ledger.health()["ok"]
    assert money.store.open_intents() == []


def test_an_exchange_that_is_not_taken_closes_no_hold_and_its_neighbours_are_settled(
    money: Money, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = money.ask("a", 20), money.start("b", 10, B)
    money.look()
    session = money.store.ledger.writer()._session
    commit = session.commit

    def refusing(intents: Any, attempts: Any, exchanges: Any, accounts: Any = ()) -> None:
        if any(row[0] == one.exchange.id for row in exchanges):
            raise TypeError("no such row")
        commit(intents, attempts, exchanges, accounts)

    monkeypatch.setattr(session, "commit", refusing)
    with money.busy():
        money.over(one, 4)
        money.over(other, 7)
        third = money.start("b", 5, B)
    money.look()
    assert (third.state, money.balance("user/day", "b")) == ("in", (7, 5))
    assert money.balance("user/day", "a") == (0, 20)  # as its intent says
    assert {each["exchange_id"] for each in money.store.open_intents()} == {one.exchange.id, third.exchange.id}
    assert money.store.ledger.health()["rejected"] == 1
    assert money.store.ledger.health()["ok"]


def test_a_clock_set_back_between_two_starts_opens_no_earlier_period(money: Money) -> None:
    for ahead, why in ((-1.0, None), (100_000.0, "period"), (32 * 86_400.0, None)):
        money.store.ledger.writer().desk.began(NOW + ahead)
        refused = money.ask("b", 1, day=-1)
        assert getattr(refused.error, "why", None) == why
        assert getattr(refused.error, "not_before", 0.0) == (NOW + ahead if why else 0.0)
        assert money.ask("b", 1, day=1).state == "in"
    for caller in money.callers:
        if caller.state == "in":
            money.settle(caller, 1)
    if money.store.survives:
        money.store.reopen()
        assert money.store.ledger.writer()._session.newest == max(each.exchange.ended or 0.0 for each in money.callers)


def test_a_call_waits_for_others_to_settle_and_is_then_let_in(money: Money) -> None:
    first, second = money.ask("a", 20), money.ask("a", 20)
    assert (first.state, second.state) == ("in", "waits")
    money.settle(first, 3)
    assert second.state == "in"


def test_or_is_refused_with_the_reason_as_soon_as_it_cannot_fit(money: Money) -> None:
    first, second = money.ask("a", 20), money.ask("a", 20)
    money.settle(first, 6)
    assert second.state == "refused"
    assert isinstance(second.error, BudgetExceeded)
    assert (second.error.why, second.error.room_nano) == ("spent", 19)
    assert second.error.claim == claim("user/day", "a")


def test_a_call_that_may_not_wait_is_refused_at_once(money: Money) -> None:
    money.ask("a", 20)
    caller = money.ask("a", 20, may_wait=False)
    assert isinstance(caller.error, BudgetExceeded)
    assert caller.error.why == "held"


def test_a_waiter_whose_time_is_up_is_refused(money: Money) -> None:
    money.ask("a", 20)
    caller = money.ask("a", 20, until=NOW - 1)
    money.look()  # it waits first: its time is looked at behind the others
    assert isinstance(caller.error, BudgetExceeded)
    assert caller.error.why == "waited"


def test_a_waiter_that_is_cancelled_holds_nothing_and_lets_the_next_one_in(money: Money) -> None:
    first, large, small = money.ask("a", 15), money.ask("a", 20), money.ask("a", 10)
    large.task.cancel()
    money.settle(large, 0)
    assert (first.state, small.state) == ("in", "in")
    assert money.balance("user/day", "a") == (0, 25)


def test_a_call_that_is_cancelled_before_the_store_has_looked_at_it_holds_nothing(money: Money) -> None:
    with money.busy():
        caller = money.start("a", 20)
        money.cancel(caller)
    money.look()
    assert money.balance("user/day", "a") == money.balance("all/day", "") == (0, 0)
    assert money.ask("a", 25).state == "in"


def test_nor_does_it_wait_for_what_nobody_would_give_back(money: Money) -> None:
    first = money.ask("a", 20)
    with money.busy():
        money.cancel(money.start("a", 20))
    money.look()
    money.settle(first, 0)
    assert money.balance("user/day", "a") == (0, 0)


@pytest.mark.parametrize("bad", ["a\x00b", "a\ud800b"])
def test_a_caller_whose_name_no_database_takes_spoils_nobody_elses_call(money: Money, bad: str) -> None:
    budgets = Budgets([Budget("user/day", ("user",), cap_nano=20, every="day")])
    with money.busy():
        callers = [Caller(user="x"), Caller(user=bad, session=bad, tags={"a": bad})]
        asked = [money.start("", 20, budgets.claims(each, ROUTE, "", NOW), caller=each) for each in callers]
    money.look()
    assert [caller.state for caller in asked] == ["in", "in"]
    money.settle(asked[1], 20)
    assert money.balance("user/day", "a?b") == (20, 0)


def test_a_failed_attempt_gives_back_what_it_held_before_the_next_one_asks(money: Money) -> None:
    first = money.ask("a", 20)
    money.fail(first, 4)
    assert money.balance("user/day", "a") == (4, 0)
    second = money.again(first, 20)
    assert second.state == "in"
    money.settle(second, 5)
    assert money.balance("user/day", "a") == (9, 0)


def test_tokens_are_capped_as_well_as_dollars(money: Money) -> None:
    assert money.ask("a", 1, tokens=200).state == "in"
    assert money.ask("a", 1, tokens=100, may_wait=False).state == "refused"


def test_a_charge_belongs_to_the_period_of_its_hold(money: Money) -> None:
    yesterday = money.ask("a", 20, day=-1, until=NOW)
    assert money.ask("a", 20).state == "in"
    money.settle(yesterday, 8)
    assert money.balance("user/day", "a", day=-1) == (8, 0)
    assert money.balance("user/day", "a") == (0, 20)


@pytest.mark.needs("survives")
def test_an_override_counts_at_once_for_waiters_too_and_outlives_a_restart(money: Money) -> None:
    money.ask("a", 20)
    second = money.ask("a", 20)
    money.store.ledger.set_cap("user/day", "a", (100, None))
    money.look()
    assert second.state == "in"
    money.store.reopen()
    (balance,) = money.store.ledger.balances([claim("user/day", "a")])
    assert (balance.cap_nano, balance.overridden) == (100, True)
    money.store.ledger.set_cap("user/day", "a", None)
    (balance,) = money.store.ledger.balances([claim("user/day", "a")])
    assert (balance.cap_nano, balance.overridden) == (25, False)


@pytest.mark.needs("survives")
def test_alerts_come_once_for_each_share_and_a_restart_repeats_none(money: Money) -> None:
    money.settle(money.ask("a", 20), 20)
    assert money.alerts == [(*claim("user/day", "a").key, 8_000)]
    money.store.reopen()
    money.listen()
    money.settle(money.ask("a", 5), 5)
    money.settle(money.ask("b", 15), 15)
    told = [(name, share) for name, _, _, share in money.alerts]
    assert told == [("user/day", 8_000), ("user/day", 10_000), ("tenant/day", 8_000), ("tenant/day", 10_000)]


def test_who_is_near_a_cap_is_told_what_is_left(money: Money) -> None:
    money.settle(money.ask("a", 20), 20)
    caller = money.ask("a", 2)
    assert caller.attempt.left_nano == 3
    assert caller.attempt.warning == "user/day past 80%"


@pytest.mark.needs("survives")
def test_a_crash_charges_what_was_held_and_nothing_stays_held(money: Money) -> None:
    money.settle(money.ask("a", 20), 1)
    money.ask("a", 20)
    waiting = money.ask("a", 20)
    money.store.crash()
    money.look()
    assert isinstance(waiting.error, Unavailable)
    assert money.balance("user/day", "a") == money.balance("all/day", "") == (21, 0)
    assert money.ask("a", 5).state == "refused"


def test_a_disk_that_takes_nothing_refuses_and_nothing_stays_held(money: Money) -> None:
    first = money.ask("a", 10)
    with money.store.broken():
        broken = money.ask("a", 10)
        assert isinstance(broken.error, Unavailable)
        with contextlib.suppress(Unavailable):
            money.settle(first, 4)
    money.look()
    assert money.balance("user/day", "a") == (4, 0)
    assert money.ask("a", 20).state == "in"


# -- settled late: others have taken this process for dead, and have charged what it held ----------------------------


@pytest.mark.needs("has_rivals")
@pytest.mark.parametrize("disturb", ["", "lose_connection"])
@pytest.mark.parametrize("cost", [0, 7, 20, 31])
def test_a_settle_behind_a_sweep_corrects_every_account_and_holds_nothing(
    money: Money, cost: int, disturb: str
) -> None:
    """Above the bound, too: what the provider reports is charged (decisions 2)."""
    caller = money.ask("a", 20)
    assert money.balance("user/day", "a") == money.balance("all/day", "") == (0, 20)
    money.store.be_taken_for_dead()
    assert money.balance("user/day", "a") == money.balance("all/day", "") == (20, 0)
    if disturb:
        getattr(money.store, disturb)()
    money.settle(caller, cost)
    money.settle(caller, cost)
    for name, scope in (("user/day", "a"), ("tenant/day", "acme"), ("all/day", "")):
        assert money.balance(name, scope) == (cost, 0)
    (row,) = money.store.rows("SELECT cost_nano, ending FROM exchanges")
    assert row == {"cost_nano": cost, "ending": "complete"}


@pytest.mark.needs("has_rivals")
def test_a_hold_taken_behind_the_sweep_is_not_mistaken_for_one_before_it(money: Money) -> None:
    before = money.ask("a", 10)
    money.store.be_taken_for_dead()
    after = money.ask("a", 10)
    assert money.balance("user/day", "a") == (10, 10)
    money.settle(after, 4)
    assert money.balance("user/day", "a") == (14, 0)
    money.settle(before, 3)
    assert money.balance("user/day", "a") == (7, 0)


@pytest.mark.needs("has_rivals")
def test_of_a_call_with_two_attempts_each_is_corrected_once(money: Money) -> None:
    caller = money.ask("a", 10)
    money.store.be_taken_for_dead()
    money.fail(caller, 2)
    second = money.again(caller, 10)
    assert money.balance("user/day", "a") == (2, 10)
    money.store.be_taken_for_dead()
    assert money.balance("user/day", "a") == (12, 0)
    money.settle(second, 5)
    assert money.balance("user/day", "a") == money.balance("all/day", "") == (7, 0)
    assert money.store.rows("SELECT sum(cost_nano) AS cost FROM exchanges") == [{"cost": 7}]


@pytest.mark.needs("has_rivals")
def test_who_waits_behind_a_hold_that_was_charged_is_refused_or_let_in_by_what_is_left(money: Money) -> None:
    first, second = money.ask("a", 20), money.ask("a", 10)
    assert second.state == "waits"
    money.store.be_taken_for_dead()
    money.look()
    assert second.state == "refused"
    money.settle(first, 5)
    assert money.ask("a", 10).state == "in"


@pytest.mark.needs("has_rivals")
def test_a_connection_lost_between_two_commits_disturbs_no_account(money: Money) -> None:
    first, second = money.ask("a", 10), money.ask("b", 10)
    money.store.lose_connection()
    money.settle(first, 4)
    money.store.lose_connection()
    third = money.ask("a", 10)
    assert third.state == "in"
    assert money.balance("all/day", "") == (4, 20)
    money.settle(second, 1)
    money.settle(third, 2)
    assert money.balance("all/day", "") == (7, 0)
    assert money.store.open_intents() == []
