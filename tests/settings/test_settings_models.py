"""`models:` in the long form and `fallback:`: what is read, and what is told of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.build import policies_of
from headgate.core.errors import ConfigError
from headgate.policy.rules import Rule, When
from headgate.settings import load
from headgate.settings.model import RouteName, Settings


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env={})


def wrong(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return [line.partition("headgate.yaml:")[2] for line in caught.value.mistakes]


def test_weights_are_by_route_and_a_route_without_one_has_one(tmp_path: Path) -> None:
    found = read(tmp_path, "models: {m: {routes: [{to: anthropic/a, weight: 3}, anthropic/b, {to: anthropic/c}]}}")
    assert found.models["m"] == tuple(RouteName("anthropic", name) for name in "abc")
    assert found.virtual["m"].prefer == "weight"
    router = policies_of(found, {}).router
    assert router.virtual["m"].weights == {("anthropic", "a"): 3, ("anthropic", "b"): 1, ("anthropic", "c"): 1}


def test_routes_by_quality_are_the_best_first(tmp_path: Path) -> None:
    text = "models: {m: {prefer: quality, routes: [{to: openai/a, quality: 10}, {to: openai/b, quality: 90}]}}"
    router = policies_of(read(tmp_path, text), {}).router
    assert [route.model for route in router.models["m"]] == ["b", "a"]


def test_a_model_with_rules_has_all_routes_that_they_can_lead_to_each_once(tmp_path: Path) -> None:
    text = """
models:
  auto:
    rules:
      - {when: {task: [a, b], max_input_tokens: 500, tools: no}, use: more}
      - {when: {feature: f, stream: on, media: true, min_output_tokens: 9}, use: 'openai:x'}
    use: fast
  more: {rules: [{when: {user: u}, use: openai/y}], use: fast}
  fast: [openai/z, openai/x]
"""
    found = read(tmp_path, text)
    assert [str(route) for route in found.models["auto"]] == ["openai/y", "openai/z", "openai/x"]
    assert found.virtual["auto"].rules == (
        Rule(When((("task", frozenset({"a", "b"})),), max_input_tokens=500, tools=False), "more"),
        Rule(When((("feature", frozenset({"f"})),), min_output_tokens=9, media=True, stream=True), "openai/x"),
    )
    assert found.virtual["auto"].use == "fast"


def test_a_fallback_is_one_name_a_list_or_lists_by_class(tmp_path: Path) -> None:
    text = """
models:
  a: {routes: [openai/a], fallback: b}
  b: {routes: [openai/b], fallback: [openai/c, c]}
  c: {routes: [openai/c], fallback: {overload: [openai/d], context_length: openai/e, money: []}}
fallback: {refusal: [a]}
"""
    found = read(tmp_path, text)
    assert {name: dict(each.fallback) for name, each in found.virtual.items()} == {
        "a": {"any": ("b",)},
        "b": {"any": ("openai/c", "c")},
        "c": {"overload": ("openai/d",), "money": (), "context_length": ("openai/e",)},
    }
    assert found.fallback == {"refusal": ("a",)}


def test_two_routes_may_stand_in_for_each_other(tmp_path: Path) -> None:
    text = """
models:
  a: {routes: [openai/a], fallback: [openai/b]}
  b: {routes: [openai/b], fallback: [openai/a]}
"""
    assert set(read(tmp_path, text).virtual) == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{m: {}}", "1:13: models.m: a virtual model needs routes, like"),
        ("{m: {routes: []}}", "1:22: models.m.routes: a virtual model needs at least one route"),
        ("{m: {routes: [{weight: 1}]}}", "models.m.routes[0]: a route needs `to`"),
        (
            "{m: {routes: [{to: openai/a, wieght: 1}]}}",
            "models.m.routes[0]: unknown key 'wieght'; did you mean 'weight'?",
        ),
        ("{m: {routes: [{to: openai/a, weight: -1}]}}", "expected a whole number from 0 to 1_000_000"),
        ("{m: {routes: [{to: openai/a, weight: 0}]}}", "have no weight above 0: none would ever be the first"),
        ("{m: {prefer: cost, routes: [{to: openai/a, weight: 1}]}}", "models.m.prefer: stands beside weights"),
        ("{m: {prefer: speed, routes: [openai/a]}}", "expected one of cost, latency, quality"),
        ("{m: {prefer: quality, routes: [openai/a]}}", "models.m.routes: need a quality each"),
        ("{m: {routes: [{to: openai/a, quality: 1}]}}", "which means nothing without `prefer: quality`"),
        ("{m: {routes: [openai/a, openai/a]}}", "models.m.routes: names one route twice"),
        ("{m: {routes: [openai/a], use: openai/b}}", "models.m.use: means nothing without rules"),
        ("{m: {rules: [], routes: [openai/a], use: openai/a}}", "models.m.rules: stand beside routes"),
        ("{m: {rules: [{when: {tools: on}, use: openai/a}]}}", "models.m.use: is missing"),
        (
            "{m: {rules: [{when: {tools: on}, use: openai/a}], use: openai/b, prefer: cost}}",
            "means nothing beside rules",
        ),
        ("{m: {rules: [{use: openai/a}], use: openai/b}}", "models.m.rules[0].when: asks for nothing"),
        ("{m: {rules: [{when: {tools: on}}], use: openai/b}}", "models.m.rules[0].use: is missing"),
        ("{m: {rules: [{when: {colour: red}, use: openai/a}], use: openai/b}}", "unknown key 'colour'"),
        (
            "{m: {rules: [{when: {min_input_tokens: 2, max_input_tokens: 1}, use: openai/a}], use: openai/b}}",
            "models.m.rules[0].when.min_input_tokens: is above max_input_tokens",
        ),
        ("{m: {rules: [{when: {tools: on}, use: fats}], use: openai/b}, fast: [openai/c]}", "did you mean 'fast'?"),
        ("{m: {rules: [{when: {tools: on}, use: m}], use: openai/b}}", "models.m: its rules lead back to 'm' itself"),
        (
            "{m: {rules: [{when: {tools: on}, use: n}], use: openai/b}, n: {rules: [{when: {tools: on}, use: m}], "
            "use: openai/c}}",
            "models.n: its rules lead back to 'n' itself",
        ),
        ("{m: {routes: [openai/a], fallback: m}}", "models.m.fallback: 'm' would fall back to itself"),
        ("{m: {routes: [openai/a], fallback: {overlaod: [x/y]}}}", "unknown key 'overlaod'; did you mean 'overload'?"),
        ("{m: {routes: [openai/a], fallback: {timeout: [x/y]}}}", "no provider is named 'x'"),
        (
            "{m: {routes: [openai/a], fallback: {timeout: [n]}}}",
            "no virtual model is named 'n', and it is no provider/model",
        ),
        (
            "{m: {routes: [openai/a], fallback: {timeout: [openai/a]}}}",
            "is openai/a, which is the route that has failed",
        ),
        ("{m: {routes: [openai/a], fallback: [openai/b, openai/b]}}", "models.m.fallback: names one model twice"),
    ],
)
def test_a_mistake_in_a_virtual_model_says_where_and_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    found = wrong(tmp_path, f"models: {text}")
    assert any(told in line for line in found), found


def test_fallbacks_in_a_circle_are_told_once_with_the_way_and_the_place(tmp_path: Path) -> None:
    text = """models:
  a: {routes: [openai/a], fallback: {timeout: [openai/x], overload: [b]}}
  b: {routes: [openai/b], fallback: [c]}
  c: {routes: [openai/c], fallback: {overload: [a], timeout: [openai/y]}}
"""
    found = wrong(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith("2:69: models.a.fallback.overload: leads in a circle: a -> b -> c -> a. Name routes")


def test_classes_in_a_circle_are_no_circle_where_no_one_failure_goes_round(tmp_path: Path) -> None:
    text = """models:
  a: {routes: [openai/a], fallback: {context_length: [b]}}
  b: {routes: [openai/b], fallback: {refusal: [a]}}
"""
    assert set(read(tmp_path, text).virtual) == {"a", "b"}
