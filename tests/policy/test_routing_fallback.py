"""Which models follow a failure of which class."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.caller import Caller
from headgate.core.errors import NoTurn, UpstreamError, UpstreamTimeout
from headgate.core.exchange import Attempt, Facts, Request, Route
from headgate.policy.error_classes import ANY, FAILURES, PROVIDERS, class_of
from headgate.policy.fallback import Fallbacks, expanded, loop, loops
from headgate.policy.recovery import GiveUp, Recovery, Retry
from headgate.policy.routing import Router

NAMES = ("a", "b", "c", "d")
lists_of = st.dictionaries(st.sampled_from((*FAILURES, ANY)), st.lists(st.sampled_from((*NAMES, "p/x")), max_size=3))
models_of = st.dictionaries(st.sampled_from(NAMES), lists_of.map(lambda found: {k: tuple(v) for k, v in found.items()}))


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (UpstreamError("x", kind="busy"), "overload"),
        (UpstreamError("x", kind="too_long"), "context_length"),
        (UpstreamError("x", kind="truncated"), "server"),
        (UpstreamTimeout("x", kind="connect"), "timeout"),
        (NoTurn("x", kind="open", retry_after=1.0, cause="failures"), "overload"),
        (NoTurn("x", kind="open", retry_after=1.0, cause="money"), "money"),
        (NoTurn("x", kind="open", retry_after=1.0, cause="forbidden"), "auth"),
        (NoTurn("x", kind="paced", retry_after=1.0), "overload"),
        (UpstreamError("x", kind="caller"), ""),
    ],
)
def test_a_failure_is_of_one_class_and_a_callers_own_mistake_of_none(error: UpstreamError, name: str) -> None:
    assert class_of(error) == name


@given(models_of, st.sampled_from(NAMES), st.sampled_from(FAILURES))
def test_a_list_ends_names_everything_once_and_never_its_own_model(
    models: dict[str, dict[str, tuple[str, ...]]], model: str, name: str
) -> None:
    found = expanded(models, model, name) or ()
    assert len(found) == len(set(found))
    assert model not in found


@given(models_of)
def test_a_way_in_a_circle_is_a_way(models: dict[str, dict[str, tuple[str, ...]]]) -> None:
    for model, name, way in loops(models):
        assert way[0] == way[-1] == model
        for source, target in pairwise(way):
            lists = models[source]
            assert target in lists.get(name, lists.get(ANY, ()) if name in PROVIDERS else ())


@given(models_of, st.sampled_from(FAILURES))
def test_without_a_circle_no_model_can_be_reached_from_itself(
    models: dict[str, dict[str, tuple[str, ...]]], name: str
) -> None:
    for model in models:
        if not loop(models, model, name):
            after = expanded(models, model, name) or ()
            assert all(model not in (expanded(models, each, name) or ()) for each in after)


def test_a_virtual_model_in_a_list_brings_its_own_list_behind_it() -> None:
    models = {"a": {"overload": ("b", "p/x")}, "b": {ANY: ("c", "p/y")}, "c": {"timeout": ("p/z",)}}
    assert expanded(models, "a", "overload") == ("b", "c", "p/y", "p/x")
    assert expanded(models, "a", "timeout") is None


def test_any_is_not_about_what_a_provider_has_answered_and_means_it() -> None:
    found = Fallbacks({"a": {ANY: ("b",)}}, {"refusal": ("c",)})
    assert found.after(("a",), "money") == ("b",)
    assert found.after(("a",), "context_length") == ()
    assert found.after(("a",), "refusal") == ("c",)
    assert found.after(("a",), "") == ()
    assert (found.of_refusals, Fallbacks({"a": {ANY: ("b",)}}).of_refusals) == (True, False)


def test_the_last_model_that_rules_lead_to_speaks_first_then_the_first_then_the_default() -> None:
    found = Fallbacks({"auto": {"timeout": ("x",), "money": ("y",)}, "fast": {"timeout": ("z",)}}, {ANY: ("w", "fast")})
    assert found.after(("auto", "fast"), "timeout") == ("z",)
    assert found.after(("auto", "fast"), "money") == ("y",)
    assert found.after(("auto", "fast"), "overload") == ("w",)
    assert found.after(("gpt",), "overload") == ("w", "fast")


def test_an_empty_list_is_a_models_next_routes_whatever_the_default_says() -> None:
    assert Fallbacks({"a": {"overload": ()}}, {ANY: ("b",)}).after(("a",), "overload") == ()


# The routes of a fallback

ANTHROPIC = Route("anthropic", "", "anthropic", "https://claude.test")
OPENAI = Route("openai", "", "openai", "https://gpt.test/v1")
ROUTER = Router(
    {"anthropic": ANTHROPIC, "openai": OPENAI},
    {"fast": (replace(ANTHROPIC, model="haiku"),), "gpt": (replace(OPENAI, model="luna"),)},
    {"anthropic": "anthropic", "openai": "openai"},
    unready={"none": "no key"},
)


def asked(direct: Route | None = None) -> Request:
    facts = Facts(model="claude")
    return Request("anthropic", "messages", "POST", "/v1/messages", (), b"", facts, Caller(), "gateway", direct=direct)


def test_a_fallback_is_a_virtual_model_or_a_route_and_nothing_where_it_cannot_serve() -> None:
    assert ROUTER.after_failure(asked(), "fast", 0.0) == [replace(ANTHROPIC, model="haiku")]
    assert ROUTER.after_failure(asked(), "anthropic/opus", 0.0) == [replace(ANTHROPIC, model="opus")]
    unready = replace(ROUTER, unready={"anthropic": "no key"})
    assert unready.after_failure(asked(), "fast", 0.0) == ()


def test_in_process_a_fallback_at_the_sdks_own_provider_has_its_key_and_others_the_configurations() -> None:
    direct = Route("anthropic", "", "anthropic", "https://own.test")
    assert ROUTER.after_failure(asked(direct), "fast", 0.0) == [replace(direct, model="haiku")]
    elsewhere = Route("unknown", "", "anthropic", "https://own.test")
    assert ROUTER.after_failure(asked(elsewhere), "anthropic/x", 0.0) == [replace(ANTHROPIC, model="x")]


# What follows at once


@pytest.mark.parametrize("kind", ["overloaded", "server"])
def test_what_is_named_for_a_failure_follows_at_once_and_without_it_the_same_route_does(kind: str) -> None:
    routes = [replace(ANTHROPIC, model=name) for name in "ab"]
    error = UpstreamError("x", kind=kind, retryable=True, elsewhere=True)
    made = [Attempt(1, routes[0], 0.0, error=error)]
    assert Recovery().next(made, routes, left=100, jitter=0.5, at_once=True) == Retry(1, 0.0)
    assert Recovery().next(made, routes, left=100, jitter=0.5) == Retry(0, 0.25)


@pytest.mark.parametrize("named", [True, False])
def test_what_follows_silence_is_another_route_in_any_case(named: bool) -> None:
    routes = [replace(ANTHROPIC, model=name) for name in "ab"]
    error = UpstreamError("x", kind="timeout", retryable=True, elsewhere=True)
    made = [Attempt(1, routes[0], 0.0, error=error)]
    assert Recovery().next(made, routes, left=100, jitter=0.5, at_once=named) == Retry(1, 0.0, 2.0)


def test_nothing_follows_at_once_past_the_last_attempt_or_the_deadline() -> None:
    routes = [replace(ANTHROPIC, model=name) for name in "ab"]
    error = UpstreamError("x", kind="too_long", elsewhere=True)
    made = [Attempt(1, routes[0], 0.0, error=error)]
    assert Recovery(attempts=1).next(made, routes, left=100, jitter=0.5, at_once=True) == GiveUp(error)
    assert Recovery().next(made, routes, left=0, jitter=0.5, at_once=True) == GiveUp(error)
