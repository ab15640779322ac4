"""What an ordinary answer is charged at once is what each step by itself says; anything else is left to them."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.caller import Caller
from headgate.core.exchange import Attempt, Facts, Request, Route
from headgate.core.money import MOST_CHARGE
from headgate.core.usage import Iteration, Usage
from headgate.policy import charging as charging_module
from headgate.policy.calibration import THINKING, Shown
from headgate.policy.charging import Charging
from headgate.policy.estimate import Bound, bound, likely_tokens
from headgate.policy.pricebook import LONGEST_NAME, PriceBook, Unknown

AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
OVERRIDES = {
    "local": "free",
    "acme": {"input": 3, "output": 15},
    "dear": {"input": 10**6, "output": 10**6},
}
BOOK = PriceBook.load(OVERRIDES, Unknown.ceiling(100), discounts={"openai": 1250})
MODELS = [
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-haiku-5-5"),  # a longer prompt pays more
    ("openai", "gpt-6-luna"),
    ("openai", "gpt-6-sol"),
    ("openai", "gpt-4o"),
    ("openai", "text-embedding-3-small"),
    ("deepseek", "deepseek-chat"),
    ("perplexity", "sonar-pro"),  # and for the request
    ("local", "m"),
    ("acme", "m"),
    ("dear", "m"),
    ("perplexity", "sonar-deep-research"),
    ("nobody", "knows"),
]
SERVED = ["", "claude-haiku-4-5-20251001", "claude-opus-4-1", "gpt-6-sol", "gpt-4o-2024-08-06", "m", "something-else"]

small, large = st.integers(0, 3_000), st.integers(0, 300_000)
counts = st.one_of(small, large, large.map(lambda n: n * 400), st.sampled_from([-1, 2**38, 2**39, 10**12, 10**13]))
rare = st.one_of(st.just(0), st.just(0), st.just(0), st.integers(-2, 5_000), st.just(10**13))
usages = st.builds(
    Usage,
    counts,
    st.one_of(st.just(0), counts),
    st.one_of(st.just(0), counts),
    st.one_of(st.just(0), counts),
    counts,
    rare,
    rare,
    rare,
    rare,
    rare,
    st.sampled_from(["", "", "standard", "default", "priority", "batch", "flex"]),
    st.sampled_from(["", "", "standard", "fast"]),
    st.sampled_from(["", "", "global", "us", "not_available"]),
    st.sampled_from([(), (), (), (Iteration("message", "", 5, output_tokens=5),)]),
    st.sampled_from([False, False, False, True]),
)
plain_usages = st.builds(
    Usage,
    large,
    st.one_of(st.just(0), large),
    st.one_of(st.just(0), small),
    st.one_of(st.just(0), small),
    small,
    st.one_of(st.just(0), small),
    service_tier=st.sampled_from(["", "standard"]),
    inference_geo=st.sampled_from(["", "global"]),
)


def route(provider: str, model: str, dialect: str = "anthropic") -> Route:
    return Route(provider, model, dialect, "http://x")


def request(body: bytes = b'{"a":1}', **facts: Any) -> Request:
    return Request("anthropic", "messages", "POST", "/v1/messages", (), body, Facts(**facts), Caller("k"), "gateway")


def attempt(at: Route, usage: Usage | None, served: str = "", most: int | None = 10**15) -> Attempt:
    return Attempt(1, at, AT, most, usage=usage, model_served=served)


def knows(charging: Charging) -> Any:
    """Everything that was learned."""

    def told(thing: Any) -> Any:
        if hasattr(thing, "__slots__"):
            return {name: told(getattr(thing, name)) for name in thing.__slots__}
        return {key: told(value) for key, value in thing.items()} if isinstance(thing, dict) else thing

    return told(charging.calibration.models), told(charging.calibration.prompts)


@settings(max_examples=600)
@given(
    st.sampled_from(MODELS),
    st.sampled_from(SERVED),
    st.one_of(usages, plain_usages),
    st.one_of(st.just(10**15), st.integers(0, 10**12)),
)
def test_an_ordinary_answer_costs_what_the_steps_say_and_is_learned_from_as_by_them(
    model: tuple[str, str], served: str, usage: Usage, most: int
) -> None:
    at, asked = route(*model), request()
    one, other = Charging(BOOK), Charging(BOOK)
    found = one.ordinary(attempt(at, usage, served, most), asked, None)
    if found is None:
        assert knows(one) == knows(other)
        return
    assert other.believable(at, usage, AT)
    other.learn(at, usage, None, asked.facts, asked.body)
    assert found == other.charge(at, served, usage, AT)
    assert other.doubts(at, served, usage, AT) == ()
    assert found[0] <= most
    assert found[0] < MOST_CHARGE
    assert usage.whole() is usage
    assert knows(one) == knows(other)


@pytest.mark.parametrize(("provider", "model"), [m for m in MODELS if m[1] not in ("sonar-deep-research", "knows")])
def test_what_nearly_every_answer_is_is_ordinary(provider: str, model: str) -> None:
    usage = Usage(300, 2_000, 40, 0, 60, 20, service_tier="default")
    assert Charging(BOOK).ordinary(attempt(route(provider, model), usage), request(), None) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"input_tokens": 10**9},
        {"input_tokens": -1},
        {"reasoning_tokens": 10**9},
        {"web_searches": 1},
        {"input_audio_tokens": 1},
        {"cache_read_audio_tokens": 1},
        {"output_audio_tokens": 1},
        {"service_tier": "priority"},
        {"speed": "fast"},
        {"inference_geo": "us"},
        {"iterations": (Iteration("message", ""),)},
        {"bad": True},
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_the_steps(change: dict[str, Any]) -> None:
    at, usage = route("openai", "gpt-4o"), Usage(300, output_tokens=60)
    charging = Charging(BOOK)
    assert charging.ordinary(attempt(at, usage), request(), None) is not None
    before = knows(charging)
    assert charging.ordinary(attempt(at, replace(usage, **change)), request(), None) is None
    assert knows(charging) == before


def test_an_estimate_no_usage_no_bound_and_more_than_the_bound_are_left_to_the_steps() -> None:
    at, usage = route("openai", "gpt-4o"), Usage(300, output_tokens=60)
    charging = Charging(BOOK)
    found = charging.ordinary(attempt(at, usage), request(), None)
    assert found is not None
    assert charging.ordinary(attempt(at, usage, most=found[0]), request(), None) == found
    assert charging.ordinary(attempt(at, usage, most=found[0] - 1), request(), None) is None
    assert charging.ordinary(attempt(at, usage, most=None), request(), None) is None
    assert charging.ordinary(attempt(at, None), request(), None) is None
    estimated = attempt(at, usage)
    estimated.estimated = True
    assert charging.ordinary(estimated, request(), None) is None


def test_a_price_that_is_guessed_or_has_a_rate_for_reasoning_is_left_to_the_steps() -> None:
    for place in (route("nobody", "knows"), route("perplexity", "sonar-deep-research")):
        assert Charging(BOOK).ordinary(attempt(place, Usage(300)), request(), None) is None


def test_a_change_of_period_is_noticed() -> None:
    at, usage = route("deepseek", "deepseek-chat"), Usage(1_000_000, output_tokens=1_000)
    charging = Charging(PriceBook.load())
    periods = set()
    for hour in [*range(-2_000 * 24, 24, 11), *range(24)]:  # back and forth
        then = attempt(at, usage, "deepseek-chat")
        then.started = AT + hour * 3_600.0
        found = charging.ordinary(then, request(), None) or charging.ordinary(then, request(), None)
        assert found == Charging(PriceBook.load() if hour % 499 == 0 else charging.book).charge(
            at, "deepseek-chat", usage, then.started
        )
        most = charging.bound(at, Facts(max_output_tokens=9), 100, then.started)
        price = charging.book.price_for("deepseek", "deepseek-chat", then.started)
        assert most == bound(price, 100, Facts(max_output_tokens=9))
        assert price.since <= then.started < price.until
        periods.add((price.since, price.until))
    assert len(periods) > 1


def test_made_up_names_do_not_fill_the_memory() -> None:
    charging = Charging(BOOK)
    for number in range(charging_module._MOST_KEPT + 50):
        at = route("acme", f"m{number}")
        assert charging.ordinary(attempt(at, Usage(1), f"s{number}"), request(), None) is not None
    assert charging.ordinary(attempt(route("acme", "m"), Usage(1), "s" * 10**6), request(), None) is not None
    assert len(charging._ordinary) <= charging_module._MOST_KEPT
    assert max(len(name) for names in charging._ordinary for name in names) <= LONGEST_NAME


def test_streams_of_a_kind_that_is_not_known_and_prompts_nobody_counts_are_always_learned_from() -> None:
    charging, usage = Charging(BOOK), Usage(300, output_tokens=60)
    haiku, luna = route("anthropic", "claude-haiku-4-5"), route("openai", "gpt-6-luna", "openai")
    for at in (haiku, luna):
        for _ in range(300):
            charging.ordinary(attempt(at, usage), request(), None)
    known = charging.calibration.models["anthropic", "claude-haiku-4-5"]
    before = known.output.count
    for _ in range(32):
        charging.ordinary(attempt(haiku, usage), request(), Shown(240))
    assert known.output.count == before + 2
    for _ in range(32):
        charging.ordinary(attempt(haiku, usage), request(), Shown(240, kinds=THINKING))
    assert known.densities[THINKING].count == 32
    fresh = request(b"x" * 5_000, system=b"another")
    for _ in range(32):
        charging.ordinary(attempt(luna, usage), fresh, None)
    assert sum(p.density.count for key, p in charging.calibration.prompts.items() if key[2] == hash(b"another")) == 32


# Bounds and guesses


@settings(max_examples=400)
@given(
    st.sampled_from(MODELS),
    st.one_of(st.integers(-3, 400_000), st.sampled_from([2**37, 2**38, 2**39, 10**12, 10**20])),
    st.one_of(st.none(), st.integers(-3, 10**5), st.sampled_from([2**38, 10**12, 10**20])),
    st.integers(-1, 3),
    st.booleans(),
)
def test_the_bound_of_a_plain_call_is_what_the_rules_of_all_calls_say(
    model: tuple[str, str], body: int, cap: int | None, choices: int, ceiling: bool
) -> None:
    facts = Facts(max_output_tokens=cap, choices=choices)
    found = Charging(BOOK).bound(route(*model), facts, body, AT, ceiling=ceiling)
    assert found == bound(BOOK.price_for(*model, AT), body, facts, ceiling=ceiling)
    assert found is None or type(found) is Bound


def test_what_a_call_is_likely_to_take_is_what_is_expected_of_such_calls() -> None:
    rng = random.Random(3)
    charging, at = Charging(BOOK), route("openai", "gpt-6-luna", "openai")
    for _ in range(400):
        word = rng.choice([b"x", b"x", "é".encode()])
        cap = rng.choice([None, 0, -1, 10, 10_000, 10**13])
        asked = request(
            word * (rng.choice([0, 1, 2, 7, 300, 4_000, 50_000]) + rng.randint(0, 40)),
            system=rng.choice([b"", b"s", b"t%d" % rng.randint(0, 50)]),
            max_output_tokens=cap,
            choices=rng.choice([1, 1, 1, 3]),
            has_media=rng.random() < 0.1,
        )
        facts, size = asked.facts, len(asked.body)
        for _ in range(2):  # worked out, and known
            prompt, output = charging.calibration.expect("openai", "gpt-6-luna", facts.system, asked.body)
            assert charging.likely(at, facts, asked.body) == likely_tokens(facts, size, prompt, output)
        charging.learn(at, Usage(size // rng.randint(3, 5), output_tokens=rng.randint(40, 60)), None, facts, asked.body)
