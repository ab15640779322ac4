"""Accounts that memory lets go of are read again from the store, and nobody can tell by what is let in or charged."""

from __future__ import annotations

import gc
import weakref
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.budget import AccountKey, Budget, Claim
from headgate.policy import accounts as module
from headgate.policy.accounts import Accounts
from headgate.policy.budgets import Account
from headgate.policy.holding import Ask

ALL, USER = Budget("all", cap_nano=120), Budget("user", ("user",), cap_nano=20)
USERS = 8
steps = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, USERS - 1), st.integers(0, 15)),
    st.tuples(st.just("close"), st.integers(0, 30), st.integers(0, 15)),
    st.tuples(st.just("later"), st.integers(0, 3), st.just(0)),
)


def claim(budget: Budget, scope: str = "") -> Claim:
    return Claim(budget, scope, 0.0, 1e9, (budget.id, scope, 0.0))


class Queue(list[Ask]):
    pass


class Store:
    """A ledger of SQLite's kind: nobody else writes it, and what is held is in memory only."""

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.rows: dict[AccountKey, tuple[int, int]] = {}  # number, spent
        self.told: list[tuple[str, str]] = []
        self.now = 1000.0
        self.rests = False

    def prepare(self, asks: list[Ask]) -> None:
        for each in self.accounts.missing(self.accounts.strange(asks)):
            row = self.rows.get(each.key)
            if row is None:
                self.accounts.create(each, len(self.rows) + 1)
            else:
                self.accounts.load(each.key, row[0], Account(spent_nano=row[1]))

    def ask(self, made: int, user: int, nano: int) -> None:
        ask = Ask(f"x{made}", 1, (claim(ALL), claim(USER, str(user))), nano, 0, may_wait=False)
        self.prepare([ask])
        if not self.accounts.let_in([ask]):
            self.accounts.ask(ask)
        self.commit()

    def commit(self) -> None:
        self.told += [(ask.exchange, "in" if no is None else no.why) for ask, no in self.accounts.outcomes()]
        self.rows |= {each.key: (each.number, each.spent_nano) for each in self.accounts.changed()}
        self.accounts.commit()
        if self.rests:
            self.accounts.rest(self.now)

    def take(self, made: int, step: tuple[str, int, int]) -> None:
        kind, which, nano = step
        if kind == "ask":
            self.ask(made, which, nano)
        elif kind == "later":
            self.now += which * module.IDLE_SECONDS / 2
            self.commit()
        else:
            self.accounts.close(f"x{which}", 1, nano, 0)
            self.commit()


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=60))
def test_money_is_the_same_however_few_accounts_memory_keeps(taken: list[tuple[str, int, int]]) -> None:
    large = Store()
    with (
        patch.object(module, "MOST_IDLE", 2),
        patch.object(module, "MOST_CLAIMED", 2),
        patch.object(module, "FEW_IDLE", 1),
    ):
        small = Store()
        small.rests = True
        for made, step in enumerate(taken):
            small.take(made, step)
            large.take(made, step)
            assert len(small.accounts._places) <= 4 + len(small.accounts._holds)
            assert len(small.accounts._claimed) <= 2
    assert small.told == large.told
    assert small.rows == large.rows


def test_accounts_that_nobody_asks_for_any_more_are_forgotten_but_those_that_hold_money_and_a_few() -> None:
    with patch.object(module, "FEW_IDLE", 2):
        store = Store()
        store.rests = True
        for user in range(USERS):
            store.ask(user, user, 1)
        for user in range(1, USERS):
            store.take(0, ("close", user, 1))
        accounts = store.accounts
        for _ in range(2):
            assert len(accounts._places) == USERS + 1
            store.now += module.IDLE_SECONDS
            store.commit()
        # The first user's, on which money is set aside, everybody's with it, and of all others two.
        assert {key[:2] for key in accounts._places} >= {("all", ""), ("user", "0")}
        assert len(accounts._places) == 2 + 2
        assert len(accounts._claimed) == 0
        store.ask(USERS, 5, 14)  # its account comes back with what was spent on it
        assert accounts.balances([claim(USER, "5")])[0].spent_nano == 1


def test_a_new_account_that_several_calls_ask_for_at_once_is_made_once() -> None:
    store, kept = Store(), (claim(ALL),)
    store.prepare([old := Ask("x0", 1, kept, 1, 0)])
    store.accounts.let_in([old])
    session = claim(USER, "ada")
    asks = [Ask(f"x{n}", 1, (claim(ALL), session), 1, 0) for n in (1, 2)]
    assert store.accounts.missing(store.accounts.strange(asks)) == [session]
    store.prepare(asks)
    assert store.accounts.strange([old]) == []  # what was looked up before still is


def test_a_forgotten_account_is_free_at_once_without_the_collector() -> None:
    with patch.object(module, "FEW_IDLE", 0):
        store = Store()
        store.rests = True
        store.ask(0, 1, 0)
        store.take(0, ("close", 0, 1))
        place = store.accounts._places["user", "1", 0.0]
        place.queue = Queue()  # its own can have no weak references
        gone = weakref.ref(place.queue)
        del place
        gc.disable()
        try:
            for _ in range(2):
                store.now += module.IDLE_SECONDS
                store.commit()
            assert gone() is None
        finally:
            gc.enable()


def test_of_idle_accounts_the_fullest_stay_so_that_metrics_go_on_telling_of_them() -> None:
    with patch.object(module, "FEW_IDLE", 3):
        store = Store()
        store.rests = True
        for user, nano in enumerate((20, 1, 17, 2, 3)):
            store.ask(user, user, nano)
            store.take(user, ("close", user, nano))
        for _ in range(2):
            store.now += module.IDLE_SECONDS
            store.commit()
        line = store.accounts.standing(store.now).lines["user"]
        assert (line.accounts, line.fullest, line.over_80, line.full) == (2, 1.0, 2, 1)


def test_of_idle_accounts_those_of_budgets_over_everything_go_last() -> None:
    with patch.object(module, "FEW_IDLE", 1):
        store = Store()
        store.rests = True
        store.ask(0, 1, 0)
        store.take(0, ("close", 0, 1))
        for _ in range(2):
            store.now += module.IDLE_SECONDS
            store.commit()
        assert [key[:2] for key in store.accounts._places] == [("all", "")]
        assert [each.spent_nano for each in store.accounts.known((claim(ALL), claim(USER, "1")))] == [1]
