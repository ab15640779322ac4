"""The way that most calls take to their money, against the one that looks at every account closely."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.core.budget import Budget, Claim
from headgate.policy.accounts import Accounts
from headgate.policy.budgets import Account
from headgate.policy.holding import Ask

BUDGETS = (
    Budget("all", cap_nano=50, cap_tokens=40),
    Budget("soft", cap_nano=10, soft=True, alerts=(5_000, 10_000)),
    Budget("tokens", ("user",), cap_tokens=20),
    Budget("user", ("user",), cap_nano=20, alerts=()),
)


def claims_of(*budgets: int) -> tuple[Claim, ...]:
    return tuple(Claim(BUDGETS[n], "", 0.0, 100.0, (BUDGETS[n].id, "", 0.0)) for n in budgets)


KINDS = (claims_of(0, 1, 2, 3), claims_of(0, 3), claims_of(1), claims_of(2), ())
EVERY = KINDS[0]

amounts = st.integers(0, 12)
asking = st.tuples(st.just("ask"), st.lists(st.tuples(st.integers(0, 4), amounts, amounts), max_size=4))
closing = st.tuples(st.just("close"), st.integers(0, 9), amounts, amounts)
capping = st.tuples(st.just("cap"), st.integers(0, 3), st.none() | st.tuples(st.none() | amounts, st.none() | amounts))
ending = st.tuples(st.sampled_from(["commit", "rollback"]))


class Side:
    """Accounts, asked one way or the other."""

    def __init__(self, *, at_once: bool) -> None:
        self.accounts = Accounts()
        self.at_once = at_once
        for number, claim in enumerate(EVERY):
            self.accounts.load(claim.key, number, Account())

    def step(self, made: int, step: tuple[object, ...]) -> object:
        accounts = self.accounts
        match step:
            case "ask", list(wanted):
                return self.ask(
                    [Ask(f"x{made}", n, KINDS[k], a, t, may_wait=False) for n, (k, a, t) in enumerate(wanted)]
                )
            case "close", int(number), int(nano), int(tokens):
                for attempt in range(4):
                    accounts.close(f"x{number}", attempt, nano, tokens)
            case "cap", int(number), cap:
                accounts.set_cap(BUDGETS[number].id, "", cap)  # type: ignore[arg-type]  # as `capping` makes it
            case ("commit",):
                return accounts.commit()
            case _:
                accounts.rollback()
        return None

    def ask(self, asks: list[Ask]) -> object:
        accounts, done = self.accounts, 0
        if self.at_once:
            done = accounts.let_in(asks)
        for ask in asks[done:]:
            accounts.ask(ask)
        told = [(ask.exchange, ask.number, None if no is None else no.why) for ask, no in accounts.outcomes()]
        return told, [(ask.left_nano, ask.warned) for ask in asks]


@given(st.lists(asking | closing | capping | ending, max_size=25))
def test_letting_in_at_once_decides_holds_and_tells_as_asking_does(steps: list[tuple[object, ...]]) -> None:
    fast, close = Side(at_once=True), Side(at_once=False)
    for made, step in enumerate(steps):
        assert fast.step(made, step) == close.step(made, step)
        assert fast.accounts.balances(EVERY) == close.accounts.balances(EVERY)
        assert fast.accounts.left(EVERY) == close.accounts.left(EVERY)
        for held in (True, False):
            assert fast.accounts.changed(held=held) == close.accounts.changed(held=held)
    for side in (fast, close):
        side.accounts.commit()
        for number in range(len(steps)):
            side.step(0, ("close", number, 0, 0))
        assert [each.held_nano + each.held_tokens for each in side.accounts.balances(EVERY)] == [0, 0, 0, 0]


@given(st.lists(asking | closing, max_size=12), st.lists(asking | closing, max_size=12))
def test_a_transaction_that_fails_leaves_no_trace(
    before: list[tuple[object, ...]], after: list[tuple[object, ...]]
) -> None:
    side = Side(at_once=True)
    for made, step in enumerate(before):
        side.step(made, step)
    side.accounts.commit()
    was = side.accounts.balances(EVERY), side.accounts.left(EVERY)
    for made, step in enumerate(after, len(before)):
        side.step(made, step)
    side.accounts.rollback()
    assert (side.accounts.balances(EVERY), side.accounts.left(EVERY)) == was
    assert side.accounts.changed(held=True) == []


def test_configurations_that_share_an_account_each_keep_their_own_cap() -> None:
    accounts = Accounts()
    (one,) = claims_of(3)
    other = Claim(Budget("user", ("user",), cap_nano=5), "", 0.0, 100.0, one.key)
    accounts.load(one.key, 1, Account())
    wide, narrow = (one,), (other,)
    assert accounts.let_in([Ask("a", 1, wide, 5, 0)]) == 1
    assert accounts.let_in([Ask("b", 1, narrow, 1, 0)]) == 0
    assert accounts.let_in([Ask("c", 1, wide, 15, 0), Ask("d", 1, wide, 1, 0)]) == 1
