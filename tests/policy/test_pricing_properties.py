"""What holds for any usage whatever."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.exchange import Facts
from headgate.core.usage import Iteration, Usage
from headgate.policy.estimate import bound, cut_estimate, hidden_tokens
from headgate.policy.pricebook import PriceBook, Unknown
from headgate.policy.pricing import MOST_NANO, ModelPrice, cost_nano, cost_pico, cost_tenths

AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
BOOK = PriceBook.load(
    {"acme": {"input": "0.000001", "output": 15}, "odd": {"input": 3, "output": 1, "cache_read": 9}},
    Unknown.ceiling(100),
)
NAMES = [
    ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-haiku-5-5"),
    ("anthropic", "claude-fable-5-2"),
    ("anthropic", "claude-opus-4-8"),
    ("openai", "gpt-6.1-sol"),
    ("openai", "gpt-5.5"),
    ("openai", "gpt-4o"),
    ("openai", "gpt-audio"),
    ("deepseek", "deepseek-flash"),
    ("perplexity", "sonar-deep-research"),
    ("azure", "gpt-6-luna"),
    ("acme", "m"),
    ("odd", "m"),
    ("nobody", "unknown"),
]
prices = st.sampled_from(NAMES).map(lambda name: BOOK.price_for(*name, AT))
counts = st.one_of(st.integers(0, 400_000), st.sampled_from([99_999, 100_000, 100_001, 272_000, 272_001]))
tiers = st.sampled_from(["", "standard", "default", "priority", "flex", "fast", "batch", "scale", "anything"])
speeds = st.sampled_from(["", "standard", "fast", "warp"])
geos = st.sampled_from(["", "us", "global", "not_available"])
unhurried = settings(deadline=None)  # nothing here is about time, and the machine may be busy
TOTALS = ["input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_long_tokens", "output_tokens"]

hops = st.builds(
    Iteration,
    kind=st.sampled_from(["message", "fallback_message", "advisor_message", "compaction", "newer"]),
    model=st.sampled_from(["", "claude-opus-5-5", "gpt-5.5", "made-up"]),
    **dict.fromkeys(TOTALS, counts),
)
plain = st.builds(
    Usage,
    **dict.fromkeys([*TOTALS, "reasoning_tokens"], counts),
    input_audio_tokens=counts,
    cache_read_audio_tokens=counts,
    output_audio_tokens=counts,
    web_searches=st.integers(0, 50),
    service_tier=tiers,
    speed=speeds,
    inference_geo=geos,
)
usages = st.builds(lambda usage, some: replace(usage, iterations=tuple(some)), plain, st.lists(hops, max_size=3))
anything = st.one_of(st.integers(), st.integers(-(10**40), 10**40))
absurd = st.builds(
    Usage,
    **{field.name: anything for field in fields(Usage) if field.type == "int"},
    service_tier=st.text(max_size=20),
    speed=st.text(max_size=20),
    inference_geo=geos,
    iterations=st.lists(
        st.builds(Iteration, kind=st.text(), model=st.text(), **dict.fromkeys(TOTALS, anything)), max_size=2
    ).map(tuple),
)


@unhurried
@given(prices, absurd, st.booleans())
def test_no_usage_makes_money_negative_or_wider_than_64_bits(price: ModelPrice, usage: Usage, batch: bool) -> None:
    assert 0 <= cost_nano(price, usage, at=AT, batch=batch) <= MOST_NANO
    assert cost_tenths(price, usage, at=AT, batch=batch) >= 0


@unhurried
@given(prices, usages, st.sampled_from([*TOTALS, "web_searches"]), st.integers(1, 300_000), st.booleans())
def test_more_of_anything_never_costs_less(price: ModelPrice, usage: Usage, name: str, more: int, batch: bool) -> None:
    larger = replace(usage, **{name: getattr(usage, name) + more})
    assert cost_tenths(price, larger, at=AT, batch=batch) >= cost_tenths(price, usage, at=AT, batch=batch)


@unhurried
@given(prices, usages, hops)
def test_another_iteration_never_makes_a_call_cheaper(price: ModelPrice, usage: Usage, hop: Iteration) -> None:
    if not usage.iterations:  # without a list the totals are one request, with one they may be several, banded apart
        usage = replace(usage, iterations=(Iteration("message", ""),))
    longer = replace(usage, iterations=(*usage.iterations, replace(hop, kind="advisor_message")))
    assert cost_tenths(price, longer, at=AT) >= cost_tenths(price, usage, at=AT)


@unhurried
@given(prices, st.integers(0, 40_000), st.integers(0, 40_000), st.integers(0, 9), st.integers(0, 9), tiers, geos)
def test_costs_add_up_exactly_before_rounding(
    price: ModelPrice, first: int, second: int, some: int, others: int, tier: str, geo: str
) -> None:
    def cost(count: int, output: int) -> int:
        # In one band (below every threshold) and without a price per request the cost is linear.
        return cost_tenths(price, Usage(count, output_tokens=output, service_tier=tier, inference_geo=geo), at=AT)

    assert cost(first, some) + cost(second, others) == cost(first + second, some + others) + cost(0, 0)


@unhurried
@given(prices, usages)
def test_rounding_happens_once_and_is_less_than_half_a_unit_off(price: ModelPrice, usage: Usage) -> None:
    tenths = cost_tenths(price, usage, at=AT)
    assert abs(cost_nano(price, usage, at=AT) * 10_000 - tenths) <= 5_000
    assert abs(cost_pico(price, usage, at=AT) * 10 - tenths) <= 5


@unhurried
@given(prices, st.data())
def test_a_bound_holds_for_every_usage_within_it(price: ModelPrice, data: st.DataObject) -> None:
    body = data.draw(st.one_of(st.integers(0, 400_000), st.sampled_from([98_976, 98_977, 271_744, 271_745])))
    cap = data.draw(st.integers(0, 5_000))
    choices = data.draw(st.integers(1, 4))
    held = bound(price, body, Facts(max_output_tokens=cap, choices=choices))
    assert held is not None
    most = body + hidden_tokens(price)
    cuts = sorted(data.draw(st.lists(st.integers(0, most), min_size=3, max_size=3)))
    usage = Usage(
        cuts[0],
        cuts[1] - cuts[0],
        cuts[2] - cuts[1],
        most - cuts[2],
        output_tokens=data.draw(st.integers(0, cap * choices)),
        reasoning_tokens=data.draw(counts),
        input_audio_tokens=data.draw(counts),
        cache_read_audio_tokens=data.draw(counts),
        output_audio_tokens=data.draw(counts),
        service_tier=data.draw(tiers),
        speed=data.draw(speeds),
        inference_geo=data.draw(geos),
    )
    assert cost_nano(price, usage, at=AT, batch=data.draw(st.booleans())) <= held.nano
    assert held.tokens == most + cap * choices


@unhurried
@given(prices, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 5_000), st.one_of(st.none(), plain))
def test_a_cut_stream_is_never_charged_less_than_what_was_reported(
    price: ModelPrice, body: int, content: int, cap: int, so_far: Usage | None
) -> None:
    facts = Facts(max_output_tokens=cap)
    charged = cut_estimate(price, usage=so_far, shown=content, facts=facts, body_bytes=body)
    reported = so_far or Usage()
    assert charged.prompt_tokens >= reported.prompt_tokens
    assert charged.output_tokens >= max(reported.output_tokens, min(content, cap))
    assert cost_nano(price, charged, at=AT) >= cost_nano(price, reported, at=AT)
    assert charged.service_tier == reported.service_tier
