"""The money desk: no account is ever over its cap, every hold is closed once, whoever waits is served or told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from headgate.core.budget import Budget, Claim
from headgate.policy.accounts import Accounts
from headgate.policy.budgets import FITS, NEVER, WAITS, Account
from headgate.policy.holding import Ask


def claim(name: str = "all", cap: int | None = 10, scope: str = "", **more: Any) -> Claim:
    return Claim(Budget(name, cap_nano=cap, **more), scope, 0.0, 100.0, (name, scope, 0.0))


class Desk:
    """Accounts without a store: what is missing is empty."""

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.made = 0
        self.told: dict[str, str] = {}

    def ask(self, nano: int, *claims: Claim, **more: Any) -> str:
        self.made += 1
        name = f"x{self.made}"
        for each in self.accounts.missing(claims):
            self.accounts.load(each.key, self.made, Account())
        self.accounts.ask(Ask(name, 1, tuple(sorted(claims, key=lambda c: c.key)), nano, 0, **more))
        self.tell()
        return name

    def close(self, name: str, nano: int) -> None:
        self.accounts.close(name, 1, nano, 0)
        self.tell()

    def tell(self) -> None:
        self.accounts.serve()
        for ask, denial in self.accounts.outcomes():
            self.told[ask.exchange] = "in" if denial is None else denial.why
        self.accounts.commit()


def test_a_call_that_would_fit_after_others_settle_waits_for_them() -> None:
    desk, one = Desk(), claim(cap=10)
    first, second = desk.ask(8, one), desk.ask(8, one)
    assert desk.told == {first: "in"}
    desk.close(first, 2)
    assert desk.told[second] == "in"


def test_it_is_refused_as_soon_as_it_cannot_fit_any_more() -> None:
    desk, one = Desk(), claim(cap=10)
    first, second = desk.ask(8, one), desk.ask(8, one)
    desk.close(first, 3)
    assert desk.told[second] == "spent"
    assert desk.accounts.waiting == 0


def test_a_call_larger_than_its_cap_is_refused_at_once_though_others_hold() -> None:
    desk, one = Desk(), claim(cap=10)
    desk.ask(8, one)
    assert desk.told[desk.ask(11, one)] == "too_large"


def test_who_came_first_is_served_first_and_a_small_one_does_not_pass_a_large_one() -> None:
    desk, one = Desk(), claim(cap=10)
    first = desk.ask(8, one)
    large, small = desk.ask(9, one), desk.ask(1, one)
    assert desk.told == {first: "in"}
    desk.close(first, 0)
    assert desk.told[large] == "in"
    assert desk.told[small] == "in"


def test_an_exhausted_user_holds_up_nobody_else() -> None:
    desk, everything = Desk(), claim("all", cap=100)
    ada, bob = claim("user", cap=10, scope="ada"), claim("user", cap=10, scope="bob")
    desk.ask(10, everything, ada)
    waits = desk.ask(10, everything, ada)
    assert waits not in desk.told
    assert desk.told[desk.ask(10, everything, bob)] == "in"


def test_nor_does_one_who_waits_for_money_of_his_own_stand_in_a_queue_that_others_share() -> None:
    desk, everybody = Desk(), claim(cap=20)
    hers = claim("user", cap=10, scope="ada", per=("user",))
    desk.ask(8, everybody, hers)
    desk.ask(8, everybody)
    waiting = desk.ask(9, everybody, hers)  # neither has room for it
    small = desk.ask(3, everybody)
    assert desk.told.get(waiting) is None
    assert desk.told.get(small) == "in"


def test_who_may_not_wait_is_told_of_the_budget_that_has_another_model_for_him() -> None:
    desk, everybody = Desk(), claim(cap=10, degrade_to="fast")
    hers = claim("user", cap=10, scope="ada", per=("user",))
    desk.ask(8, everybody, hers)
    ask = Ask("x", 1, (everybody, hers), 8, 0, may_wait=False)
    desk.accounts.ask(ask)
    ((_, denial),) = desk.accounts.outcomes()
    assert denial is not None
    assert (denial.why, denial.claim) == ("held", everybody)


def test_a_budget_is_claimed_with_all_others_or_not_at_all() -> None:
    desk, everything, ada = Desk(), claim("all", cap=100), claim("user", cap=5, scope="ada")
    assert desk.told[desk.ask(10, everything, ada)] == "too_large"
    assert desk.accounts.balances([everything])[0].held_nano == 0


def test_two_calls_that_wait_for_each_others_accounts_are_both_served() -> None:
    desk, a, b = Desk(), claim("a", cap=10), claim("b", cap=10)
    on_a, on_b = desk.ask(10, a), desk.ask(10, b)
    both, again = desk.ask(6, a, b), desk.ask(6, b, a)
    desk.close(on_b, 0)
    assert both not in desk.told
    desk.close(on_a, 0)
    assert desk.told[both] == "in"
    desk.close(both, 0)
    assert desk.told[again] == "in"


def test_a_waiter_whose_caller_has_gone_is_forgotten_and_the_next_one_let_in() -> None:
    desk, one = Desk(), claim(cap=10)
    first, large, small = desk.ask(5, one), desk.ask(9, one), desk.ask(5, one)
    desk.accounts.leave(large)
    desk.tell()
    assert desk.told == {first: "in", small: "in"}


def test_a_waiter_is_refused_when_its_time_is_up_and_told_whether_a_new_period_has_begun() -> None:
    desk, one = Desk(), claim(cap=10)
    desk.ask(8, one)
    soon, later = desk.ask(8, one, until=50.0), desk.ask(8, one, until=100.0)
    assert desk.accounts.next_expiry == 50.0
    desk.accounts.expire(50.0)
    desk.tell()
    assert desk.told[soon] == "waited"
    desk.accounts.expire(100.0)
    desk.tell()
    assert desk.told[later] == "period"


def test_a_raised_cap_lets_waiters_in_and_a_lowered_one_refuses_them() -> None:
    desk, one = Desk(), claim(cap=10)
    desk.ask(8, one)
    second = desk.ask(8, one)
    desk.accounts.set_cap("all", "", (20, None))
    desk.tell()
    assert desk.told[second] == "in"
    third = desk.ask(8, one)
    desk.accounts.set_cap("all", "", (1, None))
    desk.tell()
    assert desk.told[third] == "too_large"


def test_a_soft_budget_refuses_nothing_and_alerts() -> None:
    desk, soft = Desk(), claim("soft", cap=10, soft=True)
    first = desk.ask(100, soft)
    assert desk.told[first] == "in"
    desk.accounts.close(first, 1, 8, 0)
    assert [(alert.share, alert.unit) for alert in desk.accounts.commit()] == [(8_000, "usd")]


def test_each_share_is_alerted_once_however_often_it_is_passed() -> None:
    desk, one = Desk(), claim(cap=10)
    names = [desk.ask(2, one) for _ in range(5)]
    alerts = []
    for name in names:
        desk.accounts.close(name, 1, 2, 0)
        alerts += [alert.share for alert in desk.accounts.commit()]
        desk.accounts.close(name, 1, 2, 0)
    assert alerts == [8_000, 10_000]


def test_a_raised_cap_warns_and_alerts_anew_at_its_own_shares() -> None:
    desk, one = Desk(), claim(cap=10)
    accounts = desk.accounts
    accounts.close(desk.ask(9, one), 1, 9, 0)
    assert [alert.share for alert in accounts.commit()] == [8_000]
    assert accounts.left([one]) == (1, one, 8_000)
    accounts.set_cap("all", "", (100, None))
    assert accounts.left([one]) == (91, None, 0)
    accounts.close(desk.ask(71, one), 1, 71, 0)
    assert [(alert.share, alert.cap) for alert in accounts.commit()] == [(8_000, 100)]


def test_what_could_not_be_written_did_not_happen() -> None:
    desk, one = Desk(), claim(cap=10)
    first = desk.ask(8, one)
    accounts = desk.accounts
    accounts.close(first, 1, 9, 0)
    accounts.ask(Ask("late", 1, (one,), 1, 0))
    accounts.rollback()
    accounts.outcomes()
    balance = accounts.balances([one])[0]
    assert (balance.spent_nano, balance.held_nano) == (0, 8)
    desk.close(first, 9)
    assert [(b.spent_nano, b.held_nano) for b in accounts.balances([one])] == [(9, 0)]


CAPS = {"all": 50, "user": 20, "task": 15}
amounts = st.integers(0, 25)


def test_accounts_that_a_call_claims_stay_in_memory_however_many_others_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.policy.accounts.MOST_IDLE", 4)
    monkeypatch.setattr("headgate.policy.accounts.MOST_CLAIMED", 4)  # those of the last two calls stay, too
    desk, one = Desk(), claim(cap=100)
    for user in range(20):  # the account of everybody is the oldest, and nothing is held on it in between
        desk.close(desk.ask(1, one, claim("user", scope=str(user))), 1)
    assert list(desk.told.values()) == ["in"] * 20
    assert len(desk.accounts._places) <= 6


def test_nor_are_those_of_a_waiter_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.policy.accounts.MOST_IDLE", 4)
    desk, one = Desk(), claim(cap=10)
    first, second = desk.ask(8, one), desk.ask(8, one, claim("user", scope="ada"))
    for user in range(20):
        desk.close(desk.ask(1, claim("user", scope=str(user))), 1)
    desk.close(first, 0)
    assert desk.told[second] == "in"


class Model(RuleBasedStateMachine):
    """Any order of asking, closing, leaving, expiring, changing caps, failing commits."""

    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.accounts = Accounts()
        self.made = 0
        self.now = 0.0
        self.caps: dict[tuple[str, str], int] = {}
        self.overrides: dict[tuple[str, str], int | None] = {}
        self.over: set[tuple[str, str]] = set()  # a cap was lowered below what was held or spent already
        self.state: dict[str, str] = {}  # waits, in, refused, closed
        self.asks: dict[str, Ask] = {}
        self.spent: dict[tuple[str, str], int] = {}

    def finish(self, *, fails: bool = False) -> None:
        self.accounts.serve()
        outcomes = self.accounts.outcomes()
        for ask, denial in outcomes:
            self.state[ask.exchange] = "in" if denial is None and not fails else "refused"
        if fails:
            self.accounts.rollback()
        else:
            self.accounts.commit()

    @rule(
        target=asked,
        nano=amounts,
        names=st.sets(st.sampled_from(sorted(CAPS)), min_size=1),
        user=st.sampled_from("ab"),
        wait=st.booleans(),
        patience=st.integers(1, 50),
        fails=st.booleans(),
    )
    def ask(self, nano: int, names: set[str], user: str, wait: bool, patience: int, fails: bool) -> str:
        self.made += 1
        claims = tuple(claim(name, CAPS[name], "" if name == "all" else user) for name in sorted(names))
        for each in self.accounts.missing(claims):
            cap = self.overrides.get(each.key[:2])
            self.accounts.load(each.key, self.made, Account(), override=None if cap is None else (cap, None))
        name = f"x{self.made}"
        ask = self.asks[name] = Ask(name, 1, claims, nano, 0, may_wait=wait, until=self.now + patience)
        said = self.accounts.ask(ask)
        assert said != WAITS or wait
        self.state[name] = {FITS: "in", WAITS: "waits", NEVER: "refused"}[said]
        self.finish(fails=fails)
        return name

    @rule(name=asked, share=st.integers(0, 100), fails=st.booleans())
    def close(self, name: str, share: int, fails: bool) -> None:
        ask = self.asks[name]
        cost = ask.nano * share // 100
        self.accounts.close(name, 1, cost, 0)
        held = self.state[name] == "in"
        if held and not fails:
            self.state[name] = "closed"
            for each in ask.claims:
                self.spent[each.key[:2]] = self.spent.get(each.key[:2], 0) + cost
        self.finish(fails=fails)

    @rule(name=asked)
    def leave(self, name: str) -> None:
        self.accounts.leave(name)
        if self.state[name] == "waits":
            self.state[name] = "refused"
        self.finish()

    @rule(seconds=st.integers(1, 30))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        self.accounts.expire(self.now)
        self.finish()

    @rule(name=st.sampled_from(sorted(CAPS)), user=st.sampled_from("ab"), cap=st.none() | st.integers(0, 60))
    def change(self, name: str, user: str, cap: int | None) -> None:
        scope = "" if name == "all" else user
        self.overrides[name, scope] = cap
        self.accounts.set_cap(name, scope, None if cap is None else (cap, None))
        self.caps[name, scope] = CAPS[name] if cap is None else cap
        self.over = {key for key in self._keys() if self._used(key) > self._cap(key)}
        self.finish()

    def _keys(self) -> set[tuple[str, str]]:
        return {each.key[:2] for ask in self.asks.values() for each in ask.claims}

    def _cap(self, key: tuple[str, str]) -> int:
        return self.caps.get(key, CAPS[key[0]])

    def _held(self, key: tuple[str, str]) -> int:
        inside = (ask for name, ask in self.asks.items() if self.state[name] == "in")
        return sum(ask.nano for ask in inside if any(each.key[:2] == key for each in ask.claims))

    def _used(self, key: tuple[str, str]) -> int:
        return self._held(key) + self.spent.get(key, 0)

    @invariant()
    def the_accounts_say_what_happened_and_nothing_is_over_its_cap(self) -> None:
        for key in self._keys():
            balance = self.accounts.balances([claim(key[0], CAPS[key[0]], key[1])])[0]
            assert (balance.spent_nano, balance.held_nano) == (self.spent.get(key, 0), self._held(key))
            assert self._used(key) <= self._cap(key) or key in self.over

    @invariant()
    def whoever_waits_lacks_room_or_stands_behind_somebody_who_does(self) -> None:
        waiting = [ask for name, ask in self.asks.items() if self.state[name] == "waits"]
        assert self.accounts.waiting == len(waiting)
        for ask in waiting:
            keys = [each.key[:2] for each in ask.claims]
            full = any(self._used(key) + ask.nano > self._cap(key) for key in keys)
            older = any(o.ticket < ask.ticket and {e.key[:2] for e in o.claims} & set(keys) for o in waiting)
            assert full or older

    def teardown(self) -> None:
        for name, state in self.state.items():
            if state == "waits":
                self.accounts.leave(name)
                self.state[name] = "refused"
        self.finish()
        for name in [name for name, state in self.state.items() if state == "in"]:
            self.close(name, 100, False)
        assert all(self._held(key) == 0 for key in self._keys())


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
