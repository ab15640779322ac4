"""Accounts that memory lets go of are read again from the store, and nobody can tell by what is let in or charged."""

from __future__ import annotations

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
)


def claim(budget: Budget, scope: str = "") -> Claim:
    return Claim(budget, scope, 0.0, 100.0, (budget.id, scope, 0.0))


class Store:
    """A ledger of SQLite's kind: nobody else writes it, and what is held is in memory only."""

    def __init__(self) -> None:
        self.accounts = Accounts()
        self.rows: dict[AccountKey, tuple[int, int]] = {}  # number, spent
        self.told: list[tuple[str, str]] = []

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

    def take(self, made: int, step: tuple[str, int, int]) -> None:
        kind, which, nano = step
        if kind == "ask":
            self.ask(made, which, nano)
        else:
            self.accounts.close(f"x{which}", 1, nano, 0)
            self.commit()


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=60))
def test_money_is_the_same_however_few_accounts_memory_keeps(taken: list[tuple[str, int, int]]) -> None:
    large = Store()
    with patch.object(module, "MOST_IDLE", 2), patch.object(module, "MOST_CLAIMED", 2):
        small = Store()
        for made, step in enumerate(taken):
            small.take(made, step)
            large.take(made, step)
            assert len(small.accounts._places) <= 4 + len(small.accounts._holds)
            assert len(small.accounts._claimed) <= 2
    assert small.told == large.told
    assert small.rows == large.rows


def test_a_new_account_that_several_calls_ask_for_at_once_is_made_once() -> None:
    store, kept = Store(), (claim(ALL),)
    store.prepare([old := Ask("x0", 1, kept, 1, 0)])
    store.accounts.let_in([old])
    session = claim(USER, "ada")
    asks = [Ask(f"x{n}", 1, (claim(ALL), session), 1, 0) for n in (1, 2)]
    assert store.accounts.missing(store.accounts.strange(asks)) == [session]
    store.prepare(asks)
    assert store.accounts.strange([old]) == []  # what was looked up before still is
