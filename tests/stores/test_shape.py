"""Shapes: what exchanges have in common is one object, and says what each of them says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_maker import EPOCH, Maker

from headgate.core.caller import Caller
from headgate.core.errors import UpstreamTimeout
from headgate.core.exchange import Ending, Exchange, Route
from headgate.core.guards import Finding, Verdict
from headgate.core.usage import Usage
from headgate.stores import shape as shapes
from headgate.stores.log_line import LineMaker
from headgate.stores.shape import PLAIN, shape_of

_words = st.sampled_from(["", "a", "é\x7f"])
_changes: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("exchange.ending", st.sampled_from([None, *Ending])),
    ("exchange.status", st.sampled_from([0, 200, 429])),
    ("exchange.cache", st.sampled_from(["", "miss"])),
    ("exchange.error", st.just(UpstreamTimeout("late", kind="timeout"))),
    ("exchange.waited", st.just(0.25)),
    ("exchange.guarded", st.booleans()),
    ("exchange.findings", st.just((Finding("pii", Verdict.FLAG),))),
    ("exchange.degraded", _words),
    ("exchange.pruned", _words),
    ("exchange.compacted", st.integers(0, 2)),
    ("exchange.upstream_gateway", _words),
    ("request.way_in", st.sampled_from(["gateway", "in-process"])),
    ("request.dialect", st.sampled_from(["anthropic", "openai"])),
    ("request.endpoint", _words),
    ("request.client_retries", st.integers(0, 2)),
    ("caller.key", _words),
    ("caller.tenant", _words),
    ("caller.task", _words),
    ("caller.feature", _words),
    ("caller.environment", _words),
    ("caller.tags", st.just({"team": "search"})),
    ("facts.model", _words),
    ("facts.stream", st.booleans()),
    ("facts.system", st.sampled_from([b"", b"be brief"])),
    ("attempt.route", st.builds(Route, _words, _words, st.just("anthropic"), st.just("https://x.example"))),
    ("attempt.model_served", _words),
    ("attempt.price_version", _words),
    ("attempt.stop_reason", _words),
    ("attempt.status", st.sampled_from([0, 200])),
    ("attempt.estimated", st.booleans()),
    ("attempt.simulated", st.booleans()),
    ("attempt.error", st.just(UpstreamTimeout("late", kind="timeout"))),
    ("attempt.waited", st.just(0.5)),
    ("attempt.lost", st.just(("thinking",))),
    ("attempt.prefix", _words),
    ("attempt.saved_nano", st.integers(-1, 1)),
    ("attempt.cost_nano", st.sampled_from([-5, 0, 1, 10**9 - 1, 10**9, 10**12 + 1])),
    ("attempt.usage", st.none() | st.builds(Usage, st.integers(0, 9), service_tier=_words, speed=_words)),
]
_some = st.lists(st.sampled_from(_changes).flatmap(lambda each: st.tuples(st.just(each[0]), each[1])), max_size=4)


def made(changes: list[tuple[str, Any]], attempts: int = 1, number: int = 0) -> Exchange:
    make = Maker()
    make.made = number
    exchange = make.exchange(caller=Caller(key="k1", tenant="acme"))
    for _ in range(attempts):
        make.attempt(exchange)
    if attempts:
        make.answered(exchange)
    request = exchange.request
    places: dict[str, Any] = {"exchange": exchange, "request": request, "caller": request.caller}
    places |= {"facts": request.facts, "attempt": exchange.attempts[-1] if attempts else None}
    for name, value in changes:
        place, _, field = name.partition(".")
        if places[place] is not None:
            setattr(places[place], field, value)
    return exchange


@settings(max_examples=300, deadline=None)
@given(_some, _some, st.integers(0, 2))
def test_a_shape_says_what_its_exchange_says_whatever_came_before(
    before: list[tuple[str, Any]], changes: list[tuple[str, Any]], attempts: int
) -> None:
    shape_of(made(before))
    exchange = made(changes, attempts)
    found = shape_of(exchange)
    assert tuple(found) == shapes._told(exchange, plain=found[PLAIN])
    assert exchange.shape is found is shape_of(made(changes, attempts))


@pytest.mark.parametrize(
    "change",
    [
        *[("exchange.error", UpstreamTimeout("late", kind="timeout")), ("exchange.waited", 0.25)],
        *[("exchange.guarded", True), ("exchange.findings", (Finding("pii", Verdict.FLAG),))],
        *[("exchange.degraded", "say"), ("exchange.pruned", "2 turns"), ("exchange.compacted", 1)],
        *[("exchange.upstream_gateway", "x"), ("exchange.ending", None), ("caller.tags", {"a": "b"})],
        *[("attempt.error", UpstreamTimeout("late", kind="timeout")), ("attempt.waited", 0.5)],
        *[("attempt.lost", ("thinking",)), ("attempt.prefix", "p"), ("attempt.saved_nano", 1)],
    ],
)
def test_an_exchange_with_what_few_have_is_not_plain(change: tuple[str, Any]) -> None:
    assert shape_of(made([]))[PLAIN] is True
    assert shape_of(made([change]))[PLAIN] is False


def test_only_so_many_shapes_are_remembered_and_none_with_long_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MOST_SHAPES", 8)
    for number in range(50):
        shape_of(made([("facts.model", f"m{number}"), ("exchange.waited", number % 2)]))
        assert max(len(shapes._shapes), len(shapes._plain)) <= 8
    long = [("facts.model", "m" * 5000)]
    assert shape_of(made(long)) is not shape_of(made(long))
    assert len({shape_of(made(long)) for _ in range(9)}) == 1  # else each would be a row of its own, for ever
    assert all("m" * 5000 not in key for key in (*shapes._shapes, *shapes._plain))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_some, st.integers(0, 2)), min_size=1, max_size=6), st.booleans())
def test_lines_made_at_once_are_those_made_one_by_one(
    many: list[tuple[list[tuple[str, Any]], int]], with_bodies: bool
) -> None:
    maker = LineMaker(b"k" * 32, with_bodies=with_bodies)
    exchanges = [made(changes, attempts, number) for number, (changes, attempts) in enumerate(many)]
    spoiled: list[Exception] = []
    found = maker.lines(exchanges, EPOCH, spoiled.append)
    assert found.split(b"\n") == [maker.line(each, EPOCH) for each in exchanges]
    assert spoiled == []


def test_one_line_that_cannot_be_made_costs_no_other() -> None:
    maker = LineMaker(b"k" * 32, with_bodies=True)
    good, bad, long = made([]), made([("attempt.cost_nano", "much")]), made([("exchange.response_text", "x" * 200_000)])
    spoiled: list[Exception] = []
    found = maker.lines([good, bad, long, good], EPOCH, spoiled.append)
    assert found.split(b"\n") == [maker.line(each, EPOCH) for each in (good, long, good)]
    assert len(spoiled) == 1
