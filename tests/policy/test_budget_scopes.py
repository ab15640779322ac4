"""Which budget and which account somebody means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.exchange import Route
from headgate.policy.budget_scopes import (
    MAX_SCOPE,
    budget_named,
    claim_on,
    scope_named,
    scope_told,
    scope_words,
    values_of,
)
from headgate.policy.budgets import Budgets, scope_of

USER = Budget("user/day", ("user",), every="day", cap_nano=1)
PAIR = Budget("tenant+user/total", ("tenant", "user"), cap_nano=1)
TAGS = Budget("model+tag:team/total", ("model", "tag:team"), cap_nano=1)
ALL = Budget("all/total", cap_nano=1)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
# What the words are made of, so that they come often.
TRICKY = st.lists(st.sampled_from(["user=", "tenant=", ",", "=", '["a","b"]', "[", '"', "ada", " "]), min_size=1)
VALUES = TEXT | TRICKY.map("".join)


@given(VALUES)
def test_the_words_for_any_value_lead_back_to_its_account(value: str) -> None:
    assert scope_named(USER, scope_words(USER, value)) == value


@given(VALUES, VALUES)
def test_the_words_for_any_combination_lead_back_to_its_account(one: str, other: str) -> None:
    for budget, caller, route in (
        (PAIR, Caller(tenant=one, user=other), Route("", "", "", "")),
        (TAGS, Caller(tags={"team": other}), Route("", one, "", "")),
    ):
        scope = scope_of(budget.per, caller, route, "")
        assert scope is not None
        assert scope_named(budget, scope_words(budget, scope)) == scope
        assert scope_named(budget, scope) == scope
        assert list(values_of(budget, scope).values()) == [one, other]


@given(VALUES, VALUES)
def test_what_a_caller_is_told_by_is_the_account_his_calls_claim(tenant: str, user: str) -> None:
    caller, route = Caller(tenant=tenant, user=user), Route("p", "m", "", "")
    for claim in Budgets([USER, PAIR, ALL]).claims(caller, route, "m", 1e9):
        assert scope_told(claim.budget, caller) == claim.scope
        assert claim_on(claim.budget, claim.scope, 1e9) == claim


@pytest.mark.parametrize(
    ("budget", "text", "scope"),
    [
        (ALL, "", ""),
        (USER, "ada", "ada"),
        (USER, "user=ada", "ada"),
        (USER, "user=user=ada", "user=ada"),
        (USER, '["ada"]', '["ada"]'),
        (PAIR, "user=ada,tenant=acme", '["acme","ada"]'),
        (PAIR, "tenant=acme, inc,user=a=b", '["acme, inc","a=b"]'),
        (PAIR, '[ "acme", "ada" ]', '["acme","ada"]'),
        (TAGS, "tag:team=search,model=m", '["m","search"]'),
    ],
)
def test_an_account_is_named_by_its_values_in_any_order_or_in_the_raw_form(
    budget: Budget, text: str, scope: str
) -> None:
    assert scope_named(budget, text) == scope


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (ALL, "ada"),
        (USER, ""),
        (USER, "user="),
        (USER, "x" * (MAX_SCOPE + 1)),
        (USER, "\ud800"),
        (PAIR, ""),
        (PAIR, "ada"),
        (PAIR, "user=ada"),
        (PAIR, "tenant=acme,user="),
        (PAIR, "tenant=acme,tenant=acme"),
        (PAIR, "tenant=acme,user=ada,user=bob"),
        (PAIR, "session=s,user=ada"),
        (PAIR, '["acme"]'),
        (PAIR, '["acme",""]'),
        (PAIR, '["acme",1]'),
        (PAIR, "[" * 3000),
    ],
)
def test_what_names_no_account_is_a_sentence_that_names_the_dimensions(budget: Budget, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        scope_named(budget, text)
    assert len(str(caught.value)) < 300


def test_an_unknown_id_names_the_nearest_and_lists_them_all() -> None:
    with pytest.raises(ConfigError, match=r"'user/dya'. Did you mean user/day\? There are: all/total, tenant\+user"):
        budget_named([USER, PAIR, ALL], "user/dya")
    many = [Budget(f"tag:t{n}/total") for n in range(500)]
    with pytest.raises(ConfigError, match="and 450 more"):
        budget_named(many, "zzz")
    with pytest.raises(ConfigError, match="has no budgets"):
        budget_named([], "user/day")
    assert budget_named([USER, PAIR], "user/day") is USER


def test_a_caller_without_a_dimension_has_no_account() -> None:
    with pytest.raises(ConfigError, match="tenant and user"):
        scope_told(PAIR, Caller(user="ada"))


def test_a_scope_that_is_not_of_this_budget_has_no_values() -> None:
    assert values_of(PAIR, "ada") == {}
    assert values_of(PAIR, '["a"]') == {}
    assert values_of(ALL, "") == {}
    assert scope_words(PAIR, "ada") == "ada"
