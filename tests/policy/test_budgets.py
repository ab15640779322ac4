"""Budgets: which accounts a call has to fit, and the one rule: spent + held + this <= cap."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.budget_left import BudgetLeft, tightness
from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.exchange import Route
from headgate.policy.budget_scopes import scope_named
from headgate.policy.budgets import (
    FITS,
    MOST_SCOPE_BYTES,
    NEVER,
    WAITS,
    Account,
    Budgets,
    budget_id,
    verdict,
)
from headgate.stores.postgres_accounts import writable

ROUTE = Route("anthropic", "claude-haiku-4-5", "anthropic", "https://a.example")
ADA = Caller(key="k1", tenant="acme", user="ada", task="sum", tags=MappingProxyType({"team": "red"}))
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
amounts = st.integers(min_value=0, max_value=10**12)
caps = st.none() | amounts


def _scopes(*budgets: Budget, caller: Caller = ADA) -> dict[str, str]:
    return {claim.budget.id: claim.scope for claim in Budgets(budgets).claims(caller, ROUTE, "fast", NOON)}


def test_a_budget_has_an_account_for_each_value_of_its_dimensions() -> None:
    found = _scopes(
        Budget("all"),
        Budget("user", ("user",)),
        Budget("pair", ("tenant", "user")),
        Budget("model", ("model",)),
        Budget("tag", ("tag:team",)),
    )
    assert found == {"all": "", "user": "ada", "pair": '["acme","ada"]', "model": "claude-haiku-4-5", "tag": "red"}


@pytest.mark.parametrize("bad", ["a\x00b", "a\ud800b"])
def test_a_value_that_no_database_takes_has_an_account_all_the_same(bad: str) -> None:
    budgets = (Budget("user", ("user",)), Budget("tag", ("tag:team",)))
    caller = Caller(user=bad, tags=MappingProxyType({"team": bad}))
    assert _scopes(*budgets, caller=caller) == {"user": "a?b", "tag": "a?b"}


@given(st.integers(1, 8), st.lists(st.text(), min_size=8, max_size=8), st.sampled_from([1, 400, 3_000]))
def test_a_scope_fits_a_key_however_long_its_values_are(count: int, values: list[str], times: int) -> None:
    names = [f"t{number}" for number in range(count)]
    tags = {name: f"a{value * times}" for name, value in zip(names, values, strict=False)}
    found = _scopes(Budget("b", tuple(f"tag:{name}" for name in names)), caller=Caller(tags=MappingProxyType(tags)))
    assert len(writable(found["b"]).encode()) <= MOST_SCOPE_BYTES
    if count > 1:
        assert len(json.loads(found["b"])) == count
    assert scope_named(Budget("b", tuple(f"tag:{name}" for name in names)), found["b"]) == found["b"]


def test_long_values_have_accounts_of_their_own_and_say_how_they_begin() -> None:
    budget = Budget("session", ("session",))
    one, other = (_scopes(budget, caller=Caller(session="s" * 4_000 + end))["session"] for end in "ab")
    assert one != other
    assert one.startswith("s" * 64 + "…")
    assert _scopes(budget, caller=Caller(session="é" * 333))["session"] == "é" * 333


def test_a_budget_whose_dimension_a_call_lacks_does_not_apply_to_it() -> None:
    assert _scopes(Budget("session", ("session",)), Budget("pair", ("user", "session"))) == {}


@pytest.mark.parametrize(("value", "applies"), [("acme", True), ("globex", False)])
def test_a_filter_limits_a_budget_to_the_calls_that_have_it(value: str, applies: bool) -> None:
    assert bool(_scopes(Budget("one", (), (("tenant", value),)))) is applies


def test_two_different_pairs_never_share_an_account() -> None:
    per = ("tenant", "user")
    one = _scopes(Budget("p", per), caller=Caller(tenant='a","b', user="c"))
    other = _scopes(Budget("p", per), caller=Caller(tenant="a", user='b","c'))
    assert one != other


def test_claims_come_in_the_order_of_the_accounts_whatever_the_configuration_says() -> None:
    budgets = [Budget("b", ("user",)), Budget("a"), Budget("c", ("tenant",))]
    forwards = [claim.key for claim in Budgets(budgets).claims(ADA, ROUTE, "", NOON)]
    assert forwards == [claim.key for claim in Budgets(budgets[::-1]).claims(ADA, ROUTE, "", NOON)] == sorted(forwards)


def test_an_id_says_what_the_budget_is_about_and_not_how_much() -> None:
    assert budget_id(("tenant", "user"), [("task", "x")], "day") == "tenant+user/task=x/day"
    assert budget_id((), [], "") == "all/total"
    assert budget_id((), [("tenant", "a,user=b")], "") != budget_id((), [("tenant", "a"), ("user", "b")], "")


@given(st.builds(Account, amounts, amounts, amounts, amounts), caps, caps, amounts, amounts)
def test_a_hold_fits_exactly_where_no_cap_is_exceeded_with_it(
    account: Account, cap_nano: int | None, cap_tokens: int | None, nano: int, tokens: int
) -> None:
    said = verdict(account, cap_nano, cap_tokens, nano, tokens)
    account.set_aside(nano, tokens)
    within = (cap_nano is None or account.spent_nano + account.held_nano <= cap_nano) and (
        cap_tokens is None or account.spent_tokens + account.held_tokens <= cap_tokens
    )
    assert (said == FITS) is within
    if said == WAITS:
        empty = Account(account.spent_nano, 0, account.spent_tokens, 0)
        assert verdict(empty, cap_nano, cap_tokens, nano, tokens) == FITS


def test_a_call_larger_than_its_cap_never_fits_however_long_it_waits() -> None:
    assert verdict(Account(), 5, None, 6, 0) == NEVER
    assert verdict(Account(held_nano=5), 5, None, 5, 0) == WAITS
    assert verdict(Account(), 0, None, 0, 0) == FITS


def test_a_kept_claim_is_of_the_period_that_the_call_is_in() -> None:
    budgets = Budgets([Budget("day", every="day"), Budget("minute", every="minute")])
    for at in (NOON, NOON + 30, NOON + 61, NOON + 86_400, NOON):
        for claim in budgets.claims(ADA, ROUTE, "", at):
            assert claim.start <= at < claim.end
            assert claim.key == (claim.budget.id, "", claim.start)


def test_what_applies_is_the_same_object_until_a_period_is_over_or_the_call_is_another() -> None:
    budgets = Budgets(
        [Budget("a", ("user",), every="minute"), Budget("b", only=(("model", "fast"),)), Budget("c", ("tag:team",))]
    )
    fast, slow = Route("p", "fast", "", ""), Route("p", "slow", "", "")
    red = Caller(user="ada", tags={"team": "red"})
    found = budgets.applying(red, fast, "fast", NOON)
    assert budgets.applying(red, fast, "fast", NOON + 1) is found
    others = [(red, slow, NOON), (Caller(user="ada"), fast, NOON), (Caller(user="bob"), fast, NOON)]
    for caller, route, at in [*others, (red, fast, NOON + 61)]:
        fresh = Budgets(budgets.all).applying(caller, route, route.model, at)
        assert budgets.applying(caller, route, route.model, at) == fresh != found


def test_what_is_kept_of_scopes_is_bounded_and_one_that_comes_again_has_the_same_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Budgets, "MOST", 6)
    monkeypatch.setattr(Budgets, "MOST_COMBINED", 4)
    budgets = Budgets([Budget("all"), Budget("session", ("session",))])
    first = budgets.claims(Caller(session="0"), ROUTE, "", NOON)
    always = budgets.applying(ADA, ROUTE, "", NOON)
    for n in range(20):
        budgets.claims(Caller(session=str(n)), ROUTE, "", NOON)
        assert budgets.applying(ADA, ROUTE, "", NOON) is always  # asked for lately
    assert len(budgets._applying) <= 4
    assert all(len(kept.claims) <= 6 for kept in budgets._kept)
    assert budgets.claims(Caller(session="0"), ROUTE, "", NOON) == first


def test_the_tightest_account_comes_first_also_where_it_lacks_tokens() -> None:
    def left(name: str, usd: str | None, tokens: int | None, *, soft: bool = False) -> BudgetLeft:
        dollars = None if usd is None else Decimal(usd)
        none = Decimal(0)
        return BudgetLeft(name, "", dollars, none, none, dollars, tokens, 0, 0, tokens, soft, False, None, None)

    found = [
        left("soft", "0", None, soft=True),
        left("much", "20", None),
        left("tokens", None, 0),
        left("few", "1", 500),
        left("fewer", "1", 400),
        left("gone", "0", 9),
    ]
    assert [each.budget for each in sorted(found, key=tightness)] == ["gone", "tokens", "fewer", "few", "much", "soft"]


def test_scopes_that_nobody_asks_for_any_more_are_forgotten_whichever_way_the_clock_goes() -> None:
    budgets = Budgets([Budget("all"), Budget("session", ("session",))])
    for way in (1, -1):
        for n in range(100):
            budgets.claims(Caller(session=str(n)), ROUTE, "", NOON)
        kept = budgets.applying(ADA, ROUTE, "", NOON)
        for turn in (1, 2, 3):
            at = NOON + way * turn * Budgets.IDLE_SECONDS
            assert budgets.applying(ADA, ROUTE, "", at) is kept
            budgets.claims(Caller(session=f"{way} {turn}"), ROUTE, "", at)
        assert len(budgets._applying) <= 3
        assert all(len(each.claims) <= 3 for each in budgets._kept)
