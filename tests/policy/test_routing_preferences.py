"""In which order a virtual model's routes are tried: weights, cost, latency, rules; and what a session is tied to."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.caller import Caller
from headgate.core.exchange import Facts, Request, Route
from headgate.policy.latencies import FRESH_SECONDS, MOST_ROUTES, SAMPLES, Latencies
from headgate.policy.preferences import EXPLORED, Preferences, Virtual, by_cost, by_latency, by_weight, spot
from headgate.policy.routing import Router
from headgate.policy.rules import Rule, When, input_tokens
from headgate.policy.sessions import Sessions, at_model

ANTHROPIC = Route("anthropic", "", "anthropic", "https://claude.test")
ROUTES = [replace(ANTHROPIC, model=name) for name in "abcde"]
PROVIDERS = {"anthropic": ANTHROPIC}
DEFAULTS = {"anthropic": "anthropic"}


def asked(model: str = "m", body: bytes = b"", caller: Caller | None = None, **facts: object) -> Request:
    told = Facts(model=model, **facts)  # type: ignore[arg-type]  # by name, as the test says
    return Request(
        "anthropic", "messages", "POST", "/v1/messages", (), body, told, caller or Caller(), way_in="gateway"
    )


def no_costs(routes: object, request: object, now: float) -> list[int | None]:
    return []


weights_of = st.lists(st.integers(0, 1_000_000), min_size=5, max_size=5)


@given(weights_of, st.integers())
def test_drawn_by_weight_every_route_is_there_once_and_those_of_0_are_last(weights: list[int], seed: int) -> None:
    told = {spot(route): weight for route, weight in zip(ROUTES, weights, strict=True)}
    found = by_weight(ROUTES, told, random.Random(seed).random)
    assert sorted(found, key=spot) == ROUTES
    drawn = [bool(told[spot(route)]) for route in found]
    assert drawn == sorted(drawn, reverse=True)


def test_drawn_by_weight_the_first_and_the_second_come_in_proportion() -> None:
    told = {spot(route): weight for route, weight in zip(ROUTES, (6, 3, 1, 0, 0), strict=True)}
    draw = random.Random(7).random
    orders = [by_weight(ROUTES, told, draw) for _ in range(20_000)]
    first = Counter(order[0].model for order in orders)
    assert {name: round(count / 20_000, 2) for name, count in first.items()} == {"a": 0.6, "b": 0.3, "c": 0.1}
    behind = Counter(order[1].model for order in orders if order[0].model == "a")
    assert round(behind["b"] / first["a"], 2) == 0.75
    assert {tuple(route.model for route in order[3:]) for order in orders} == {("d", "e")}


@given(st.lists(st.none() | st.integers(0, 10**12), min_size=5, max_size=5))
def test_by_cost_every_route_is_there_once_the_cheapest_first_and_the_unknown_last(costs: list[int | None]) -> None:
    found = by_cost(ROUTES, costs)
    assert sorted(found, key=spot) == ROUTES
    told = [costs[ROUTES.index(route)] for route in found]
    known = [cost for cost in told if cost is not None]
    assert told == sorted(known) + [None] * (len(told) - len(known))


def test_equal_costs_keep_the_order_written() -> None:
    assert by_cost(ROUTES, [5, 5, 5, 0, None]) == [ROUTES[3], *ROUTES[:3], ROUTES[4]]


@given(st.lists(st.none() | st.floats(0, 600), min_size=5, max_size=5), st.floats(0, 1, exclude_max=True))
def test_by_latency_every_route_is_there_once_and_the_soonest_is_before_the_slower(
    seconds: list[float | None], draw: float
) -> None:
    found = by_latency(ROUTES, seconds, lambda: draw)
    assert sorted(found, key=spot) == ROUTES
    known = [told for route in found if (told := seconds[ROUTES.index(route)]) is not None]
    assert known == sorted(known)


def test_a_share_of_calls_begins_with_a_route_that_has_no_time_and_none_does_where_all_have_one() -> None:
    draw = random.Random(3).random
    first = Counter(by_latency(ROUTES[:3], [2.0, None, None], draw)[0].model for _ in range(20_000))
    assert round((first["b"] + first["c"]) / 20_000, 2) == EXPLORED
    assert 0.8 < first["b"] / first["c"] < 1.25
    assert {by_latency(ROUTES[:2], [2.0, 1.0], draw)[0].model for _ in range(1_000)} == {"b"}


def test_a_time_is_the_median_of_the_newest_and_of_two_the_longer() -> None:
    known = Latencies()
    key = ("anthropic", "a", True)
    for place, seconds in enumerate((1.0, 9.0)):
        known.note(key, seconds, float(place))
    assert known.of(key, 2.0) == 9.0
    for place in range(SAMPLES):
        known.note(key, 2.0, 3.0 + place)
    assert known.of(key, 40.0) == 2.0
    assert known.of(("anthropic", "a", False), 40.0) is None


def test_a_route_that_has_not_answered_for_long_has_no_time_and_begins_anew() -> None:
    known = Latencies()
    key = ("anthropic", "a", True)
    known.note(key, 60.0, 0.0)
    assert known.of(key, FRESH_SECONDS + 1) is None
    known.note(key, 1.0, FRESH_SECONDS + 1)
    assert known.of(key, FRESH_SECONDS + 1) == 1.0


def test_the_routes_remembered_are_bounded() -> None:
    known = Latencies()
    for number in range(MOST_ROUTES + 1):
        known.note(("p", str(number), True), 1.0, 0.0)
    assert known.of(("p", "0", True), 0.0) is None
    assert known.of(("p", "1", True), 0.0) == 1.0


def test_the_router_orders_a_virtual_models_routes_by_what_it_prefers() -> None:
    draws = iter([0.9, 0.1] * 2)
    preferences = Preferences(lambda: next(draws), lambda routes, request, now: [30, 10])
    kinds = {name: Virtual(prefer=name) for name in ("weight", "cost", "latency")}
    router = Router(
        PROVIDERS, dict.fromkeys(kinds, tuple(ROUTES[:2])), DEFAULTS, virtual=kinds, preferences=preferences
    )
    assert [route.model for route in router.routes(asked("weight"))] == ["b", "a"]
    assert [route.model for route in router.routes(asked("cost"))] == ["b", "a"]
    router.measured(ROUTES[0], 3.0, 5.0, stream=False)
    router.measured(ROUTES[1], 2.0, 5.0, stream=False)
    assert [route.model for route in router.routes(asked("latency"), 6.0)] == ["b", "a"]
    assert [route.model for route in router.routes(asked("latency", stream=True), 6.0)] == ["a", "b"]


# Rules


def ruled(*rules: Rule) -> Router:
    models = {"m": tuple(ROUTES), "small": (ROUTES[0],)}
    return Router(PROVIDERS, models, DEFAULTS, virtual={"m": Virtual(rules=rules, use="anthropic/e")})


def test_the_first_rule_that_holds_decides_and_use_where_none_does() -> None:
    router = ruled(
        Rule(When(callers=(("task", frozenset({"classify", "extract"})),)), "small"),
        Rule(When(max_input_tokens=10, tools=False), "anthropic/b"),
        Rule(When(tools=True), "anthropic/c"),
    )

    def served(request: Request) -> list[str]:
        return [route.model for route in router.routes(request)]

    assert served(asked(caller=Caller(task="extract"), body=b"x" * 400)) == ["a"]
    assert served(asked(body=b"x" * 43)) == ["b"]
    assert served(asked(body=b"x" * 44)) == ["e"]
    assert served(asked(has_tools=True)) == ["c"]
    assert router.led(asked(has_tools=True)) == ("m", "anthropic/c")


@pytest.mark.parametrize(
    ("when", "facts", "holds"),
    [
        (When(media=True), {"has_media": True}, True),
        (When(media=False), {"has_media": True}, False),
        (When(stream=False), {}, True),
        (When(stream=True), {}, False),
        (When(max_output_tokens=10), {"max_output_tokens": 10}, True),
        (When(max_output_tokens=10), {"max_output_tokens": 11}, False),
        (When(max_output_tokens=10), {}, False),
        (When(min_output_tokens=10), {}, False),
        (When(min_input_tokens=2), {}, True),
        (When(min_input_tokens=3), {}, False),
    ],
)
def test_a_condition_is_about_what_the_call_is(when: When, facts: dict[str, object], holds: bool) -> None:
    assert when.holds(asked(body=b"12345678", **facts)) is holds


def test_an_image_counts_by_itself_and_not_by_its_bytes() -> None:
    assert input_tokens(asked(body=b"x" * 1_000_400, has_media=True, images=2, image_bytes=1_000_000)) == 3_100


def test_what_a_provider_keeps_decides_before_rules_do() -> None:
    router = ruled(Rule(When(), "small"))
    assert [route.model for route in router.routes(asked(state=("resp_1",)))] == ["a"]


def test_rules_in_a_circle_end_although_no_configuration_has_them() -> None:
    virtual = {"m": Virtual(rules=(), use="n"), "n": Virtual(rules=(), use="m")}
    router = Router(PROVIDERS, {"m": (ROUTES[0],), "n": (ROUTES[1],)}, DEFAULTS, virtual=virtual)
    assert router.led(asked()) == ("m", "n")
    assert router.routes(asked()) == [ROUTES[1]]


def test_a_virtual_model_under_a_providers_path_is_its_routes_there() -> None:
    acme = replace(ROUTES[0], provider="acme")
    router = Router({**PROVIDERS, "acme": acme}, {"m": (ROUTES[1], acme)}, DEFAULTS)
    assert router.routes(replace(asked(), provider="acme")) == [acme]


# Sessions


def test_a_session_is_remembered_by_its_owner_and_by_the_model_that_was_asked_for() -> None:
    known = Sessions(most=2)
    ada = Caller(tenant="acme", session="s")
    known.remember(ada, "m", ROUTES[1])
    known.remember(Caller(tenant="acme"), "m", ROUTES[2])
    assert known.find(ada, "m") == ("anthropic", "b")
    assert known.find(ada, "n") is None
    assert known.find(Caller(tenant="other", session="s"), "m") is None
    for name in ("t", "u"):
        known.remember(Caller(session=name), "m", ROUTES[0])
    assert known.find(ada, "m") is None


def test_routes_at_a_model_are_those_of_its_provider_first_and_the_first_routes_where_none_is() -> None:
    acme = [replace(route, provider="acme") for route in ROUTES[:2]]
    routes = [ROUTES[0], acme[1], ROUTES[1], acme[0]]
    assert at_model(routes, ("anthropic", "b")) == [ROUTES[1], acme[1]]
    assert at_model(routes, ("anthropic", "z")) == [ROUTES[0], acme[0]]
