# ruff: noqa: E501  (one bill per line reads as a table)
"""Worked bills from wire-formats 1.4, 2.2, 2.5 and 5: every number here was computed by hand.

One USD per million tokens is 1,000 nano-dollars per token, so a line reads `tokens x nano per token`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headgate.core.usage import Iteration, Usage
from headgate.policy.pricebook import PriceBook
from headgate.policy.pricing import cost_nano, cost_pico, cost_tenths, doubts

AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
BOOK = PriceBook.load()
A, OA = "anthropic", "openai"
HAIKU45, HAIKU55, FABLE, OPUS55 = "claude-haiku-4-5", "claude-haiku-5-5", "claude-fable-5-2", "claude-opus-5-5"


def hop(kind: str, model: str, **counts: int) -> Iteration:
    return Iteration(kind, model, **counts)


# name, provider, model, usage, batch, nano-dollars
BILLS = [
    # Anthropic, the plain classes
    ("haiku 4.5: 1,000x1,000 + 300x5,000", A, HAIKU45, Usage(1_000, output_tokens=300), False, 2_500_000),
    ("its dated id costs the same", A, "claude-haiku-4-5-20251001", Usage(1_000, output_tokens=300), False, 2_500_000),
    ("cache read: 10,000x100", A, HAIKU45, Usage(cache_read_tokens=10_000), False, 1_000_000),
    ("5-minute write: 10,000x1,250", A, HAIKU45, Usage(cache_write_tokens=10_000), False, 12_500_000),
    ("1-hour write: 10,000x2,000", A, HAIKU45, Usage(cache_write_long_tokens=10_000), False, 20_000_000),
    (
        "all classes: 100x1,000 + 2,000x100 + 300x1,250 + 40x2,000 + 500x5,000",
        A,
        HAIKU45,
        Usage(100, 2_000, 300, 40, 500),
        False,
        3_255_000,
    ),
    ("thinking is inside the output: 700x5,000", A, HAIKU45, Usage(output_tokens=700, reasoning_tokens=600), False, 3_500_000),
    ("fable 5.2: 1,000x8,000 + 100x40,000", A, FABLE, Usage(1_000, output_tokens=100), False, 12_000_000),
    ("fable 5.2 reads cost 2.5%: 100,000x200", A, FABLE, Usage(cache_read_tokens=100_000), False, 20_000_000),
    ("mythos 5.2 as fable: 10x8,000 + 10x40,000", A, "claude-mythos-5-2", Usage(10, output_tokens=10), False, 480_000),
    ("fable 5.1 reads: 100,000x250", A, "claude-fable-5-1", Usage(cache_read_tokens=100_000), False, 25_000_000),
    ("fable 5: 1x10,000 + 1x50,000", A, "claude-fable-5", Usage(1, output_tokens=1), False, 60_000),
    ("opus 5.5 reads cost 5%: 100,000x200", A, OPUS55, Usage(cache_read_tokens=100_000), False, 20_000_000),
    ("opus 5: 1,000x5,000 + 1,000x25,000", A, "claude-opus-5", Usage(1_000, output_tokens=1_000), False, 30_000_000),
    ("opus 4.5: 1,000 1h writes x10,000", A, "claude-opus-4-5-20251101", Usage(cache_write_long_tokens=1_000), False, 10_000_000),
    ("sonnet 5.5 reads: 1,000x100", A, "claude-sonnet-5-5", Usage(cache_read_tokens=1_000), False, 100_000),
    ("sonnet 5 reads: 1,000x200", A, "claude-sonnet-5", Usage(cache_read_tokens=1_000), False, 200_000),
    (
        "sonnet 4.6 is flat over 200k: 250,000x3,000 + 10x15,000",
        A,
        "claude-sonnet-4-6",
        Usage(250_000, output_tokens=10),
        False,
        750_150_000,
    ),
    # Anthropic, priced by length: the total prompt decides, and everything moves
    ("haiku 5.5 at 100,000: x100 + 1,000x500", A, HAIKU55, Usage(100_000, output_tokens=1_000), False, 10_500_000),
    ("haiku 5.5 at 100,001: x500 + 1,000x2,500", A, HAIKU55, Usage(100_001, output_tokens=1_000), False, 52_500_500),
    (
        "cache counts: 1x500 + 90,000x50 + 10,000x625 + 100x2,500",
        A,
        HAIKU55,
        Usage(1, 90_000, 10_000, 0, 100),
        False,
        11_000_500,
    ),
    (
        "1h writes count too: 60,000x50 + 40,001x1,000",
        A,
        HAIKU55,
        Usage(0, 60_000, 0, 40_001),
        False,
        43_001_000,
    ),
    ("exactly 100,000 with cache stays: 50,000x100 + 50,000x10", A, HAIKU55, Usage(50_000, 50_000), False, 5_500_000),
    # Anthropic, batch, fast, geography, searches
    ("batch: 1,000x500 + 300x2,500", A, HAIKU45, Usage(1_000, output_tokens=300), True, 1_250_000),
    ("batch as reported", A, HAIKU45, Usage(1_000, output_tokens=300, service_tier="batch"), False, 1_250_000),
    ("batch stacks with cache: 1,000x50 + 100x625 + 10x1,000", A, HAIKU45, Usage(0, 1_000, 100, 10), True, 122_500),
    ("batch over 100k: 100,001x250 + 10x1,250", A, HAIKU55, Usage(100_001, output_tokens=10), True, 25_012_750),
    ("fast fable: 1,000x16,000 + 100x80,000", A, FABLE, Usage(1_000, output_tokens=100, speed="fast"), False, 24_000_000),
    ("fast opus 5.5: 10x8,000 + 10x40,000", A, OPUS55, Usage(10, output_tokens=10, speed="fast"), False, 480_000),
    ("fast opus 4.8 cache: 1,000x1,000 + 100x12,500", A, "claude-opus-4-8", Usage(0, 1_000, 100, speed="fast"), False, 2_250_000),
    ("standard speed is standard", A, OPUS55, Usage(10, output_tokens=10, speed="standard"), False, 240_000),
    ("us: (1,000x1,000 + 300x5,000) x1.1", A, HAIKU45, Usage(1_000, output_tokens=300, inference_geo="us"), False, 2_750_000),
    ("global is not us", A, HAIKU45, Usage(1_000, output_tokens=300, inference_geo="global"), False, 2_500_000),
    ("us and cache: 10x100x1.1", A, HAIKU45, Usage(cache_read_tokens=10, inference_geo="us"), False, 1_100),
    ("3 searches: 3x10,000,000", A, HAIKU45, Usage(web_searches=3), False, 30_000_000),
    ("1.1x spares searches: 1,100,000 + 10,000,000", A, HAIKU45, Usage(1_000, web_searches=1, inference_geo="us"), False, 11_100_000),
    ("a batch spares searches: 500,000 + 10,000,000", A, HAIKU45, Usage(1_000, web_searches=1), True, 10_500_000),
    ("fast, us and a search: 10x16,000x1.1 + 10,000,000", A, FABLE, Usage(10, web_searches=1, speed="fast", inference_geo="us"), False, 10_176_000),
    # OpenAI, plain, cache, length
    ("luna: 1,000x100 + 300x500", OA, "gpt-6-luna", Usage(1_000, output_tokens=300), False, 250_000),
    ("luna cache: 600x100 + 300x10 + 100x125", OA, "gpt-6-luna", Usage(600, 300, 100), False, 75_500),
    ("astra: 10x10,000 + 10x50,000", OA, "gpt-6-astra", Usage(10, output_tokens=10), False, 600_000),
    ("6.1 sol reads cost 5%: 1,000x100", OA, "gpt-6.1-sol", Usage(cache_read_tokens=1_000), False, 100_000),
    ("6 sol reads cost 10%: 1,000x200", OA, "gpt-6-sol", Usage(cache_read_tokens=1_000), False, 200_000),
    ("terra 12-hour writes cost $2.50: 1,000x2,500", OA, "gpt-6.1-terra", Usage(cache_write_long_tokens=1_000), False, 2_500_000),
    ("sol at 272,000: x2,000 + 100x10,000", OA, "gpt-6.1-sol", Usage(272_000, output_tokens=100), False, 545_000_000),
    ("sol at 272,001: x4,000 + 100x15,000", OA, "gpt-6.1-sol", Usage(272_001, output_tokens=100), False, 1_089_504_000),
    (
        "sol over with cache: 2,001x4,000 + 260,000x200 + 10,000x5,000 + 100x15,000",
        OA,
        "gpt-6.1-sol",
        Usage(2_001, 260_000, 10_000, 0, 100),
        False,
        111_504_000,
    ),
    ("5.5 at 272,001: x10,000 + 1x45,000", OA, "gpt-5.5", Usage(272_001, output_tokens=1), False, 2_720_055_000),
    ("gpt-5: 1,000x1,250 + 1,000x125 + 10x10,000", OA, "gpt-5", Usage(1_000, 1_000, output_tokens=10), False, 1_475_000),
    ("4o mini: 1x150 + 1x75 + 1x600", OA, "gpt-4o-mini", Usage(1, 1, output_tokens=1), False, 825),
    ("embedding: 1,000x20", OA, "text-embedding-3-small", Usage(1_000), False, 20_000),
    # OpenAI, tiers as reported, batch
    ("flex is half: 1,000x50 + 300x250", OA, "gpt-6-luna", Usage(1_000, output_tokens=300, service_tier="flex"), False, 125_000),
    ("priority is double", OA, "gpt-6-luna", Usage(1_000, output_tokens=300, service_tier="priority"), False, 500_000),
    ("fast is priority", OA, "gpt-6-luna", Usage(1_000, output_tokens=300, service_tier="fast"), False, 500_000),
    ("default is standard", OA, "gpt-6-luna", Usage(1_000, output_tokens=300, service_tier="default"), False, 250_000),
    ("5.5 priority is 2.5x: 10x12,500 + 10x75,000", OA, "gpt-5.5", Usage(10, output_tokens=10, service_tier="priority"), False, 875_000),
    ("4o priority: 10x4,250 + 10x2,125 + 10x17,000", OA, "gpt-4o", Usage(10, 10, output_tokens=10, service_tier="priority"), False, 233_750),
    ("flex over 272k: 272,001x2,000 + 10x7,500", OA, "gpt-6-sol", Usage(272_001, output_tokens=10, service_tier="flex"), False, 544_077_000),
    ("batch: 1,000x1,000 + 10x5,000", OA, "gpt-6.1-sol", Usage(1_000, output_tokens=10, service_tier="default"), True, 1_050_000),
    ("4.1 batch keeps the cached rate: 100x1,000 + 100x500 + 10x4,000", OA, "gpt-4.1", Usage(100, 100, output_tokens=10), True, 190_000),
    ("a search: 10,000,000", OA, "gpt-6-sol", Usage(web_searches=1), False, 10_000_000),
    # Audio is a part of its count
    (
        "gpt-audio: 900x2,500 + 100x32,000 + 40x10,000 + 10x64,000",
        OA,
        "gpt-audio",
        Usage(1_000, output_tokens=50, input_audio_tokens=100, output_audio_tokens=10),
        False,
        6_490_000,
    ),
    (
        "cached audio on realtime mini: 20x80 + 30x300",
        OA,
        "gpt-realtime-mini-2025-12-15",
        Usage(0, 50, cache_read_audio_tokens=30),
        False,
        # Cached images cost 80 on this model and no usage tells them from cached text at 60: the dearer is charged.
        10_600,
    ),
    # Iterations
    (
        "compaction is outside the totals: 100x4,000+10x20,000 + 5,000x4,000+200x20,000",
        A,
        OPUS55,
        Usage(
            100,
            output_tokens=10,
            iterations=(
                hop("compaction", "", input_tokens=5_000, output_tokens=200),
                hop("message", OPUS55, input_tokens=100, output_tokens=10),
            ),
        ),
        False,
        24_600_000,
    ),
    (
        "an advisor pays its own rates: 100x2,000+10x10,000 + 100x4,000+10x20,000",
        A,
        "claude-sonnet-5-5",
        Usage(
            100,
            output_tokens=10,
            iterations=(
                hop("message", "", input_tokens=100, output_tokens=10),
                hop("advisor_message", OPUS55, input_tokens=100, output_tokens=10),
            ),
        ),
        False,
        900_000,
    ),
    (
        "after a fallback both hops are paid: 1,000x8,000+1x40,000 + 1,000x2,000+50x10,000",
        A,
        "claude-sonnet-5-5",
        Usage(
            1_000,
            output_tokens=50,
            iterations=(
                hop("message", FABLE, input_tokens=1_000, output_tokens=1),
                hop("fallback_message", "claude-sonnet-5-5", input_tokens=1_000, output_tokens=50),
            ),
        ),
        False,
        10_540_000,
    ),
    (
        "each hop has its own band: 60,000x100 + 100,001x500",
        A,
        HAIKU55,
        Usage(
            160_001,
            iterations=(hop("message", "", input_tokens=60_000), hop("message", "", input_tokens=100_001)),
        ),
        False,
        56_000_500,
    ),
    (
        "a list that misses tokens does not make them free: 100x4,000 + 400x4,000",
        A,
        OPUS55,
        Usage(500, iterations=(hop("message", "", input_tokens=100),)),
        False,
        2_000_000,
    ),
    (
        "searches are not in the entries: 10x4,000 + 10,000,000",
        A,
        OPUS55,
        Usage(10, web_searches=1, iterations=(hop("message", "", input_tokens=10),)),
        False,
        10_040_000,
    ),
    ("nothing used costs nothing", A, HAIKU45, Usage(), False, 0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "model", "usage", "batch", "nano"), [b[1:] for b in BILLS], ids=[b[0] for b in BILLS]
)
def test_a_worked_bill_comes_out_to_the_nano_dollar(
    provider: str, model: str, usage: Usage, batch: bool, nano: int
) -> None:
    assert cost_nano(BOOK.price_for(provider, model, AT), usage, at=AT, batch=batch) == nano


def test_there_are_at_least_forty_worked_bills() -> None:
    assert len(BILLS) >= 40


def test_an_attempt_is_rounded_half_up_once() -> None:
    price = BOOK.price_for(OA, "gpt-5-nano", AT)  # flex: cached input at $0.0025 is 2.5 nano per token
    one = Usage(cache_read_tokens=1, service_tier="flex")
    assert cost_pico(price, one, at=AT) == 2_500
    assert cost_nano(price, one, at=AT) == 3
    assert cost_nano(price, Usage(cache_read_tokens=2, service_tier="flex"), at=AT) == 5


def test_one_point_one_keeps_its_fraction_until_the_sum_is_made() -> None:
    # At 1 pico-dollar per token, 1 token in the US costs 1.1.
    book = PriceBook.load({"acme": {"input": "0.000001", "output": 0}})
    price = book.price_for("acme", "m", AT)
    assert cost_tenths(price, Usage(1, inference_geo="us"), at=AT) == 11
    assert cost_tenths(price, Usage(10, inference_geo="us"), at=AT) == 110
    assert cost_pico(price, Usage(5, inference_geo="us"), at=AT) == 6  # 5.5, half-up


def test_a_tier_the_model_has_no_rates_for_costs_its_dearest_and_is_said() -> None:
    price = BOOK.price_for(OA, "gpt-6-luna", AT)
    odd = Usage(1_000, output_tokens=300, service_tier="ultrafast")
    assert cost_nano(price, odd, at=AT) == 500_000
    assert "ultrafast" in doubts(price, odd, at=AT)[0]
    assert doubts(price, Usage(1, service_tier="priority"), at=AT) == ()


def test_a_dearest_tier_is_taken_class_by_class_where_bands_differ() -> None:
    # gpt-5.5 has length bands at standard but none at priority: over 272k the unknown tier pays the dearer of each.
    price = BOOK.price_for(OA, "gpt-5.5", AT)
    assert cost_nano(price, Usage(272_001, output_tokens=1, service_tier="scale"), at=AT) == 272_001 * 12_500 + 75_000


def test_fast_on_a_model_without_fast_rates_is_said() -> None:
    price = BOOK.price_for(A, "claude-haiku-4-5", AT)
    assert cost_nano(price, Usage(1_000, speed="fast"), at=AT) == 1_000_000
    assert "fast" in doubts(price, Usage(1_000, speed="fast"), at=AT)[0]


def test_an_iteration_under_an_unknown_model_costs_the_dearest_of_the_provider_and_is_said() -> None:
    price = BOOK.price_for(A, "claude-haiku-4-5", AT)
    usage = Usage(iterations=(hop("advisor_message", "claude-next-9", input_tokens=1_000),))
    assert cost_nano(price, usage, at=AT) >= 15_000_000  # Opus 4.1 at $15 is the dearest input without fast mode
    assert "claude-next-9" in doubts(price, usage, at=AT)[0]


def test_an_odd_tier_does_not_make_an_unknown_iteration_free() -> None:
    price = BOOK.price_for(A, "claude-haiku-4-5", AT)
    usage = Usage(service_tier="odd", iterations=(hop("advisor_message", "claude-next-9", input_tokens=1_000),))
    assert cost_nano(price, usage, at=AT) >= 15_000_000


def test_a_price_found_at_another_time_is_found_again_for_the_bill() -> None:
    before = datetime(2026, 10, 13, 23, 59, tzinfo=UTC).timestamp()
    price = BOOK.price_for(A, "claude-haiku-4-5", before)
    assert cost_nano(price, Usage(1_000), at=before, batch=True) == 1_000_000
    assert cost_nano(price, Usage(1_000), at=AT, batch=True) == 500_000


def test_the_whole_usage_of_one_models_iterations_costs_what_they_cost_each() -> None:
    price = BOOK.price_for(A, HAIKU45, AT)
    usage = Usage(
        1_000,
        200,
        output_tokens=50,
        iterations=(hop("compaction", "", input_tokens=700, output_tokens=9), hop("message", "", input_tokens=400)),
    )
    whole = usage.whole()
    assert (whole.input_tokens, whole.cache_read_tokens, whole.output_tokens) == (1_700, 200, 59)
    assert whole.iterations == ()
    assert cost_nano(price, whole, at=AT) == cost_nano(price, usage, at=AT)
    assert whole.whole() is whole
