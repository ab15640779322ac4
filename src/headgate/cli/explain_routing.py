"""Which rule or preference chose the routes, what a call is tied to, and what would follow a failure of which class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from headgate.cli.explain_record import BUILT_IN, REQUEST, Explanation, Origins
from headgate.core.money import usd_text
from headgate.engine.choosing import ANSWERS
from headgate.policy.error_classes import ANY, FAILURES
from headgate.policy.preferences import EXPLORED
from headgate.policy.rules import Rule, When, input_tokens
from headgate.settings.fields import DEFAULT
from headgate.wire.continuing import has_thinking, in_tool_turn

if TYPE_CHECKING:
    from headgate.core.exchange import Request, Route
    from headgate.engine.plan import Policies
    from headgate.settings.model import Settings, VirtualSettings


def chosen(said: Explanation, asked: Request, settings: Settings, policies: Policies, now: float) -> None:
    """The rules that lead from the model asked for to the one that serves, and its preference."""
    way = policies.router.led(asked)
    for name, use in pairwise(way):
        rules = settings.virtual[name].rules
        place = next((n for n, rule in enumerate(rules) if rule.when.holds(asked)), None)
        if place is None:
            what = "no rule holds" if rules else "there are no rules"
            said.add("routes", "rule", f"{name}: {what}: {use}", settings.origins.get(f"models.{name}.use", DEFAULT))
        else:
            origin = settings.origins.get(f"models.{name}.rules[{place}]", DEFAULT)
            said.add("routes", "rule", f"{name}: {_rule(rules[place], asked)}: {use}", origin)
    virtual = settings.virtual.get(way[-1])
    if virtual is not None and virtual.prefer:
        routes = policies.router.models[way[-1]]
        path = f"models.{way[-1]}.{'routes' if virtual.prefer == 'weight' else 'prefer'}"
        said.add(
            "routes",
            "prefer",
            _preference(virtual, routes, asked, policies, now),
            settings.origins.get(path, DEFAULT),
        )


def _rule(rule: Rule, asked: Request) -> str:
    return f"{' and '.join(_conditions(rule.when, asked))}"


def _conditions(when: When, asked: Request) -> Iterator[str]:
    for name, _ in when.callers:
        yield f"{name} {getattr(asked.caller, name)}"
    if when.min_input_tokens is not None or when.max_input_tokens is not None:
        yield f"about {input_tokens(asked):,} input tokens"
    if when.min_output_tokens is not None or when.max_output_tokens is not None:
        yield f"an output cap of {asked.facts.max_output_tokens or 0:,} tokens"
    for word, told in (("tools", when.tools), ("media", when.media), ("a stream", when.stream)):
        if told is not None:
            yield word if told else f"no {word.removeprefix('a ')}"


def _preference(
    virtual: VirtualSettings, routes: Sequence[Route], asked: Request, policies: Policies, now: float
) -> str:
    names = [f"{route.provider}/{route.model}" for route in routes]
    if virtual.prefer == "weight":
        weights = [virtual.weights.get(name, 1) for name in names]
        return "drawn by weight: " + ", ".join(
            f"{name} {weight / sum(weights):.0%}" for name, weight in zip(names, weights, strict=True)
        )
    if virtual.prefer == "quality":
        return "quality: " + ", ".join(f"{name} {virtual.qualities[name]}" for name in names)
    if virtual.prefer == "latency":
        return f"latency: nothing is measured before calls are made; {EXPLORED:.0%} of calls try a route without a time"
    preferences = policies.router.preferences
    costs = preferences.costs(routes, asked, now) if preferences is not None else [None for _ in routes]
    return "cost, as expected: " + ", ".join(
        f"{name} {'unknown' if cost is None else f'${usd_text(cost)}'}" for name, cost in zip(names, costs, strict=True)
    )


def tied(said: Explanation, asked: Request, routes: Sequence[Route], origins: Origins) -> str:
    """What keeps the call with one model; "" = nothing does."""
    if asked.endpoint not in ANSWERS or len({route.model for route in routes}) < 2:
        return ""
    thinking = has_thinking(asked.endpoint, asked.body)
    if not thinking and not in_tool_turn(asked.endpoint, asked.body):
        return ""
    what = "earlier thinking" if thinking else "a tool turn in progress"
    drops = origins.task is not None and origins.task.thinking == "drop"
    then = "left out for other models" if drops else "other models are skipped"
    origin = origins.of("thinking")
    said.add("routes", "tied", f"{what}: {then}", BUILT_IN if origin == DEFAULT else origin)
    return "" if drops else what


def fallbacks(said: Explanation, asked: Request, settings: Settings, policies: Policies) -> None:
    """What follows a failure, by its class."""
    router = policies.router
    if not router.fallbacks or asked.endpoint not in ANSWERS:
        return
    if asked.provider:
        said.add("fallback", "none", "the path names a provider: no other may serve", REQUEST)
        return
    way = router.led(asked)
    for name in FAILURES:
        names = router.fallbacks.after(way, name)
        if names:
            said.add("fallback", name, ", then ".join(names), _fallback_origin(name, way, settings))


def _fallback_origin(name: str, way: Sequence[str], settings: Settings) -> str:
    paths = [f"models.{model}.fallback" for model in reversed(way)]
    for path in (*paths, "fallback"):
        for each in (f"{path}.{name}", f"{path}.{ANY}"):
            if settings.origins.get(each, DEFAULT) != DEFAULT:
                return settings.origins[each]
        model = settings.virtual.get(path.removeprefix("models.").removesuffix(".fallback"))
        lists = settings.fallback if path == "fallback" else model.fallback if model is not None else {}
        if ANY in lists:  # a list alone
            return settings.origins.get(path, DEFAULT)
    return DEFAULT


def route_origin(route: Route, asked: Request, settings: Settings, policies: Policies) -> str:
    """The line that a route is written at."""
    name = policies.router.led(asked)[-1]
    written = f"{route.provider}/{route.model}"
    places = [n for n, each in enumerate(settings.models.get(name, ())) if str(each) == written]
    for path in (f"models.{name}.routes", f"models.{name}"):
        origin = settings.origins.get(f"{path}[{places[0]}]", DEFAULT) if places else DEFAULT
        if origin != DEFAULT:
            return origin
    if name in settings.models:
        return settings.origins.get(f"models.{name}", DEFAULT)
    return DEFAULT if asked.facts.model == route.model else REQUEST
