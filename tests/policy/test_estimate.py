"""Bounds before sending, and what to charge for a stream without a final count."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.exchange import Facts
from headgate.core.money import MOST_CHARGE
from headgate.core.usage import Iteration, Usage
from headgate.policy.estimate import (
    COUNT_FLOOR,
    FREE_OUTPUT_TOKENS,
    HIDDEN_TOKENS,
    IMAGE_TOKENS,
    ITERATIONS,
    MOST_SEARCHES,
    UNKNOWN_WINDOW,
    Bound,
    believable,
    bound,
    credible,
    cut_estimate,
    hidden_tokens,
)
from headgate.policy.pricebook import PriceBook
from headgate.policy.pricing import MOST_NANO, ModelPrice, cost_nano


def nano(price: ModelPrice, body_bytes: int, facts: Facts) -> int | None:
    """The bound's money."""
    most = bound(price, body_bytes, facts)
    return None if most is None else most.nano


AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
BOOK = PriceBook.load({"local": "free", "acme": {"input": 3, "output": 15}})


def price(provider: str, model: str) -> ModelPrice:
    return BOOK.price_for(provider, model, AT)


HAIKU = price("anthropic", "claude-haiku-4-5")
LUNA = price("openai", "gpt-6-luna")


def test_a_bound_is_bytes_at_the_dearest_input_rate_plus_the_cap_at_the_dearest_output_rate() -> None:
    # (976 + 1,024 hidden) x 2,000 (1-hour write) + 300 x 5,000 = 5,500,000; x1.1 = 6,050,000
    assert nano(HAIKU, 976, Facts(max_output_tokens=300)) == 6_050_000


def test_a_bound_counts_the_dearest_service_tier_and_every_choice() -> None:
    # (744 + 256) x 500 (priority: a 12-hour write at twice 250) + 3 x 100 x 1,000 (priority), x1.1
    assert nano(LUNA, 744, Facts(max_output_tokens=100, choices=3)) == (500_000 + 300_000) * 11 // 10


def test_a_bound_counts_the_band_that_the_prompt_can_reach_and_no_dearer_one() -> None:
    haiku55 = price("anthropic", "claude-haiku-5-5")
    below = 100_000 - HIDDEN_TOKENS
    assert nano(haiku55, below, Facts(max_output_tokens=0)) == 100_000 * 200 * 11 // 10
    assert nano(haiku55, below + 1, Facts(max_output_tokens=0)) == 100_001 * 1_000 * 11 // 10


def test_without_a_cap_the_models_largest_output_counts() -> None:
    assert nano(HAIKU, 976, Facts()) == (2_000 * 2_000 + 64_000 * 5_000) * 11 // 10


def test_without_a_cap_and_without_a_known_largest_output_there_is_no_bound() -> None:
    assert nano(price("acme", "m"), 100, Facts()) is None


def test_an_embedding_needs_no_cap() -> None:
    embedding = price("openai", "text-embedding-3-small")
    assert nano(embedding, 744, Facts()) == 1_000 * 20 * 11 // 10


def test_what_is_free_is_bounded_by_nothing() -> None:
    assert nano(price("local", "m"), 10**9, Facts()) == 0


def test_server_side_work_has_no_bound() -> None:
    assert nano(HAIKU, 100, Facts(max_output_tokens=10, server_side=True)) is None


def test_media_are_bounded_by_the_context_window_or_not_at_all() -> None:
    facts = Facts(max_output_tokens=0, has_media=True)
    assert nano(HAIKU, 100, facts) == 200_000 * 2_000 * 11 // 10
    assert nano(price("acme", "m"), 100, facts) is None


def test_a_large_body_with_media_is_not_bounded_by_a_smaller_window() -> None:
    facts = Facts(max_output_tokens=0, has_media=True)
    assert nano(HAIKU, 10**6, facts) == (10**6 + HIDDEN_TOKENS) * 2_000 * 11 // 10


@pytest.mark.parametrize(("body", "cap", "choices"), [(-5, -5, -5), (0, 0, 0), (10**30, 10**30, 10**30)])
def test_absurd_requests_have_a_bound_within_64_bits(body: int, cap: int, choices: int) -> None:
    most = nano(HAIKU, body, Facts(max_output_tokens=cap, choices=choices))
    assert most is not None
    assert 0 <= most <= MOST_NANO


def test_a_bound_is_rounded_up() -> None:
    book = PriceBook.load({"acme": {"input": "0.000001", "output": 0, "cache_write": 0, "cache_write_1h": 0}})
    assert nano(book.price_for("acme", "m", AT), 0, Facts(max_output_tokens=1)) == 2  # 1,024 pico x1.1


def test_a_price_per_request_is_in_the_bound() -> None:
    sonar = price("perplexity", "sonar-pro")
    most = nano(sonar, 0, Facts(max_output_tokens=0))
    assert most is not None
    assert most >= cost_nano(sonar, Usage(hidden_tokens(sonar)), at=AT) >= 14_000_000


# Cut streams


def test_a_cut_stream_keeps_the_reported_prompt_and_counts_content_by_bytes() -> None:
    told = Usage(100, 2_000, 300, 40, 1, service_tier="priority", speed="fast", inference_geo="us")
    charged = cut_estimate(HAIKU, usage=told, shown=80, facts=Facts(max_output_tokens=300), body_bytes=9_999)
    assert charged == Usage(100, 2_000, 300, 40, 80, service_tier="priority", speed="fast", inference_geo="us")


def test_content_by_bytes_never_goes_above_what_the_caller_allowed() -> None:
    facts = Facts(max_output_tokens=50, choices=2)
    charged = cut_estimate(LUNA, usage=None, shown=10_000, facts=facts, body_bytes=0)
    assert charged.output_tokens == 100


def test_output_that_was_reported_is_charged_even_where_no_content_was_seen() -> None:
    told = Usage(10, output_tokens=77)
    charged = cut_estimate(HAIKU, usage=told, shown=5, facts=Facts(max_output_tokens=50), body_bytes=0)
    assert charged.output_tokens == 77


def test_without_a_cap_every_byte_of_content_is_a_token() -> None:
    charged = cut_estimate(LUNA, usage=None, shown=123, facts=Facts(), body_bytes=0)
    assert charged.output_tokens == 123


@pytest.mark.parametrize(
    ("provider", "model", "field"),
    [
        ("anthropic", "claude-haiku-4-5", "cache_write_long_tokens"),
        ("openai", "gpt-6-luna", "cache_write_tokens"),  # GPT-5.6 and later cache, and bill for it, without being asked
        ("openai", "gpt-4o", "input_tokens"),
        ("acme", "m", "input_tokens"),
        ("local", "m", "input_tokens"),
    ],
)
def test_a_prompt_that_nobody_counted_is_its_byte_bound_in_the_dearest_class_the_price_names(
    provider: str, model: str, field: str
) -> None:
    route = price(provider, model)
    charged = cut_estimate(route, usage=None, shown=0, facts=Facts(), body_bytes=1_000)
    assert charged == Usage(**{field: 1_000 + hidden_tokens(route)})


def test_an_empty_usage_is_not_a_reported_prompt() -> None:
    told = Usage(service_tier="flex")
    charged = cut_estimate(LUNA, usage=told, shown=7, facts=Facts(), body_bytes=744)
    assert charged == Usage(cache_write_tokens=1_000, output_tokens=7, service_tier="flex")


def test_a_cut_after_iterations_charges_the_content_on_top_of_them() -> None:
    told = Usage(10, iterations=(Iteration("message", "", input_tokens=10),))
    charged = cut_estimate(HAIKU, usage=told, shown=20, facts=Facts(max_output_tokens=300), body_bytes=0)
    assert cost_nano(HAIKU, charged, at=AT) == 10 * 1_000 + 20 * 5_000


def test_uncounted_media_are_charged_as_a_full_context_window() -> None:
    facts = Facts(max_output_tokens=10, has_media=True)
    charged = cut_estimate(HAIKU, usage=None, shown=0, facts=facts, body_bytes=100)
    assert charged.prompt_tokens == 200_000


def test_what_goes_on_from_the_providers_state_is_charged_as_a_full_context_window_where_nobody_counted() -> None:
    facts = Facts(max_output_tokens=10, server_side=True)
    charged = cut_estimate(LUNA, usage=None, shown=4, facts=facts, body_bytes=100)
    assert (charged.prompt_tokens, charged.output_tokens) == (LUNA.context_window, 4)
    told = Usage(70, output_tokens=1)
    assert cut_estimate(HAIKU, usage=told, shown=4, facts=facts, body_bytes=100).prompt_tokens == 70


def test_what_goes_on_in_the_background_is_charged_with_all_the_output_it_may_make() -> None:
    for cap, output in ((300, 300), (None, LUNA.max_output_tokens)):
        facts = Facts(max_output_tokens=cap, background=True)
        charged = cut_estimate(LUNA, usage=None, shown=40, facts=facts, body_bytes=100)
        assert charged.output_tokens == output


# Bounds in tokens, counted prompts, ceilings


def held(price_: ModelPrice, body_bytes: int, facts: Facts, **more: Any) -> Bound:
    most = bound(price_, body_bytes, facts, **more)
    assert most is not None
    return most


def test_a_bound_in_tokens_is_the_prompts_bytes_and_every_choices_cap() -> None:
    assert held(HAIKU, 976, Facts(max_output_tokens=300)).tokens == 2_000 + 300
    assert held(LUNA, 744, Facts(max_output_tokens=100, choices=3)).tokens == 1_000 + 300


def test_the_cap_to_inject_is_the_callers_or_else_the_models_largest_output() -> None:
    assert held(HAIKU, 10, Facts(max_output_tokens=300)).output_cap == 300
    assert held(HAIKU, 10, Facts()).output_cap == 64_000
    assert held(price("local", "m"), 10, Facts()).output_cap == 0


def test_a_free_model_without_a_known_largest_output_is_held_at_a_documented_number_of_tokens() -> None:
    assert held(price("local", "m"), 0, Facts()) == Bound(0, HIDDEN_TOKENS + FREE_OUTPUT_TOKENS, 0)


def test_a_counted_prompt_holds_with_a_margin_and_never_for_more_than_the_bytes() -> None:
    facts = Facts(max_output_tokens=0)
    assert held(HAIKU, 10_000, facts, prompt_tokens=1_000).tokens == 1_100 + COUNT_FLOOR
    assert held(HAIKU, 10_000, facts, prompt_tokens=1_001).tokens == 1_001 + 101 + COUNT_FLOOR
    assert held(HAIKU, 100, facts, prompt_tokens=10**6) == held(HAIKU, 100, facts)
    assert held(HAIKU, 100, facts, prompt_tokens=-5).tokens == COUNT_FLOOR


def test_a_counted_prompt_bounds_media_and_not_server_side_work() -> None:
    media = Facts(max_output_tokens=0, has_media=True)
    assert held(HAIKU, 10**6, media, prompt_tokens=1_600).tokens == 1_760 + COUNT_FLOOR
    assert bound(HAIKU, 100, Facts(max_output_tokens=0, server_side=True), prompt_tokens=10) is None


def test_a_ceiling_is_ten_full_windows_with_the_cap_and_a_search_each() -> None:
    facts = Facts(max_output_tokens=300, server_side=True)
    most = held(HAIKU, 100, facts, ceiling=True)
    once = (200_000 * 2_000 + 300 * 5_000) * 11 // 10 + 10_000_000  # a web search is a cent
    assert (most.nano, most.tokens, most.output_cap) == (ITERATIONS * once, ITERATIONS * 200_300, 300)


def test_a_ceiling_exists_for_what_nothing_is_known_of_and_changes_no_bound() -> None:
    acme = price("acme", "m")
    assert bound(acme, 100, Facts()) is None
    most = held(acme, 100, Facts(), ceiling=True)
    assert (most.tokens, most.output_cap) == (ITERATIONS * 2 * UNKNOWN_WINDOW, 0)
    facts = Facts(max_output_tokens=5)
    assert held(HAIKU, 100, facts, ceiling=True) == held(HAIKU, 100, facts)


def test_an_image_in_the_body_is_bounded_by_its_vendors_largest_and_not_by_its_bytes() -> None:
    facts = Facts(max_output_tokens=0, has_media=True, images=2, image_bytes=4_000_000)
    assert held(HAIKU, 4_000_976, facts).tokens == 976 + HIDDEN_TOKENS + 2 * IMAGE_TOKENS["anthropic"]
    assert held(LUNA, 4_000_000, facts).tokens == hidden_tokens(LUNA) + 2 * IMAGE_TOKENS["openai"]
    assert bound(price("acme", "m"), 4_000_000, facts) is None  # nobody has told us acme's formula


@given(
    st.integers(0, 10**7),
    st.one_of(st.none(), st.integers(0, 10**5)),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    st.sampled_from([HAIKU, LUNA, price("acme", "m"), price("local", "m")]),
)
def test_every_call_has_a_ceiling_and_no_bound_is_above_it(
    body: int, cap: int | None, choices: int, media: bool, server_side: bool, model: ModelPrice
) -> None:
    facts = Facts(max_output_tokens=cap, choices=choices, has_media=media, server_side=server_side)
    most = held(model, body, facts, ceiling=True)
    found = bound(model, body, facts)
    assert 0 <= most.nano <= MOST_NANO
    assert found is None or found == most


# Counts that cannot be


def test_a_hundred_context_windows_are_believed_and_more_are_not() -> None:
    assert believable(HAIKU, Usage(200_000 * 100))
    assert not believable(HAIKU, Usage(200_000 * 100, output_tokens=1))
    assert believable(price("acme", "m"), Usage(UNKNOWN_WINDOW * 100))
    assert not believable(HAIKU, Usage(1, bad=True))


def test_searches_parts_and_iterations_beyond_all_measure_are_not_believed_either() -> None:
    assert believable(HAIKU, Usage(10, web_searches=MOST_SEARCHES))
    assert not believable(HAIKU, Usage(10, web_searches=MOST_SEARCHES + 1))
    most = 200_000 * 100
    assert believable(HAIKU, Usage(10, iterations=(Iteration("compaction", "", most),)))
    assert not believable(HAIKU, Usage(10, iterations=(Iteration("compaction", "", most), Iteration("message", "", 1))))
    for name in ("cache_read_tokens", "cache_write_tokens", "cache_write_long_tokens", "output_tokens"):
        assert not believable(HAIKU, Usage(10, iterations=(Iteration("compaction", "", **{name: most + 1}),)))
    for name in ("reasoning_tokens", "input_audio_tokens", "cache_read_audio_tokens", "output_audio_tokens"):
        assert not believable(HAIKU, Usage(10, **{name: most + 1}))


def test_a_hop_under_another_model_may_fill_the_largest_window_there_is() -> None:
    most = UNKNOWN_WINDOW * 100
    assert believable(HAIKU, Usage(10, iterations=(Iteration("advisor_message", "claude-other", most),)))
    assert not believable(HAIKU, Usage(10, iterations=(Iteration("advisor_message", "claude-other", most + 1),)))


def test_what_can_be_believed_of_a_usage_is_where_its_estimate_begins() -> None:
    hop = Iteration("compaction", "", 7)
    told = Usage(10, output_tokens=5, reasoning_tokens=10**15, web_searches=3, iterations=(hop,))
    assert credible(HAIKU, told) == Usage(10, output_tokens=5, reasoning_tokens=5, web_searches=3, iterations=(hop,))
    absurd = Usage(10, output_tokens=5, web_searches=2**53, iterations=(Iteration("compaction", "", 10**12), hop))
    assert credible(HAIKU, absurd) == Usage(10, output_tokens=5, web_searches=ITERATIONS, iterations=(hop,))
    assert credible(HAIKU, Usage(10**12, iterations=(hop,))) is None


def test_no_attempt_is_held_or_charged_for_more_than_a_million_dollars() -> None:
    assert nano(HAIKU, 10, Facts(max_output_tokens=10**18)) == MOST_CHARGE
    assert cost_nano(HAIKU, Usage(10, web_searches=10**12), at=AT) == MOST_CHARGE


def test_what_is_wrong_with_a_usage_never_lowers_the_charge() -> None:
    told = Usage(5, output_tokens=9, bad=True)
    charged = cut_estimate(HAIKU, usage=told, shown=3, facts=Facts(max_output_tokens=300), body_bytes=976)
    assert (charged.cache_write_long_tokens, charged.output_tokens) == (2_000, 9)
    more = Usage(5_000, output_tokens=9, bad=True)
    charged = cut_estimate(HAIKU, usage=more, shown=30, facts=Facts(max_output_tokens=300), body_bytes=976)
    assert (charged.input_tokens, charged.prompt_tokens, charged.output_tokens) == (5_000, 5_000, 30)


def test_a_calibrated_prompt_is_charged_where_nobody_counted_it() -> None:
    prompt = Usage(40, cache_read_tokens=60)
    charged = cut_estimate(LUNA, usage=None, shown=3, facts=Facts(), body_bytes=10**4, prompt=prompt)
    assert charged == Usage(40, 60, output_tokens=3)
    reported = cut_estimate(LUNA, usage=Usage(7), shown=3, facts=Facts(), body_bytes=10**4, prompt=prompt)
    assert reported == Usage(7, output_tokens=3)
    media = cut_estimate(LUNA, usage=None, shown=3, facts=Facts(has_media=True), body_bytes=10, prompt=prompt)
    assert media.prompt_tokens == LUNA.context_window


def test_who_bills_to_the_end_is_charged_all_that_was_allowed() -> None:
    for cap, choices, output in ((300, 1, 300), (300, 2, 600), (None, 1, 64_000)):
        facts = Facts(max_output_tokens=cap, choices=choices)
        charged = cut_estimate(HAIKU, usage=Usage(10), shown=3, facts=facts, body_bytes=10, to_end=True)
        assert charged == Usage(10, output_tokens=output)
