"""Contract discounts: exact to the pico-dollar, on list rates only, and told by the row's price version."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import ConfigError
from headgate.core.usage import Usage
from headgate.policy.discounts import discount_text, discounted
from headgate.policy.pricebook import PriceBook, Unknown
from headgate.policy.pricing import cost_nano

AT = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
LIST = PriceBook.load()


def nano(book: PriceBook, provider: str, model: str, usage: Usage) -> int:
    return cost_nano(book.price_for(provider, model, AT), usage, at=AT)


@given(rate=st.integers(0, 10**12), points=st.integers(0, 9_999))
def test_every_rate_is_the_list_rate_less_the_discount_rounded_half_up_once(rate: int, points: int) -> None:
    exact = Decimal(rate) * (10_000 - points) / 10_000
    expected = int(exact.to_integral_value(ROUND_HALF_UP))
    found = discounted({"i": rate, "o": [rate, [272_000, rate]], "s": rate}, points)
    assert found == {"i": expected, "o": [expected, [272_000, expected]], "s": rate}


def test_whole_percents_of_whole_cents_are_exact() -> None:
    book = PriceBook.load(discounts={"anthropic": 1250})
    usage = Usage(8_000, 240, 80, 40, 500)
    full = nano(LIST, "anthropic", "claude-haiku-4-5", usage)
    assert nano(book, "anthropic", "claude-haiku-4-5", usage) * 8 == full * 7


def test_bands_tiers_batch_and_bounds_are_discounted_too() -> None:
    book = PriceBook.load(discounts={"openai": 5_000})
    for usage in (
        Usage(300_000, output_tokens=10),
        Usage(100, service_tier="priority"),
        Usage(100, service_tier="flex"),
    ):
        assert nano(book, "openai", "gpt-6-sol", usage) * 2 == nano(LIST, "openai", "gpt-6-sol", usage)
    cheap, dear = (each.price_for("openai", "gpt-6-sol", AT).schedule for each in (book, LIST))
    assert cheap.bands("", "", True)[0][1].input * 2 == dear.bands("", "", True)[0][1].input
    assert [(a, i * 2, o * 2) for a, (i, o, _) in cheap.dearest_rates] == [
        (a, i, o) for a, (i, o, _) in dear.dearest_rates
    ]


def test_web_searches_cost_the_list_price() -> None:
    book = PriceBook.load(discounts={"anthropic": 5_000})
    assert nano(book, "anthropic", "claude-haiku-4-5", Usage(web_searches=3)) == 30_000_000


def test_your_own_prices_and_the_ceiling_are_not_discounted() -> None:
    overrides = {"anthropic/claude-haiku-4-5": {"input": 1, "output": 5}}
    book = PriceBook.load(overrides, Unknown.ceiling(100), discounts={"anthropic": 5_000})
    own = book.price_for("anthropic", "claude-haiku-4-5", AT)
    assert (own.source, own.version) == ("override", book.version)
    assert own.schedule.standard[0][1].input == 1_000_000
    unknown = book.price_for("anthropic", "claude-nobody-1", AT)
    assert unknown.version == f"{book.version}+ceiling"
    assert unknown.schedule.standard[0][1].input == 100_000_000


def test_only_the_provider_with_the_contract_is_discounted() -> None:
    book = PriceBook.load(discounts={"anthropic": 1_000, "openai": 0})
    assert book.price_for("openai", "gpt-6-sol", AT).version == "2026-11-20"
    assert nano(book, "openai", "gpt-6-sol", Usage(9)) == nano(LIST, "openai", "gpt-6-sol", Usage(9))


@pytest.mark.parametrize(
    ("points", "told"),
    [(1250, "12.5%"), (1, "0.01%"), (9_999, "99.99%"), (1_000, "10%"), (250, "2.5%"), (505, "5.05%")],
)
def test_the_rows_version_tells_the_discount(points: int, told: str) -> None:
    assert discount_text(points) == told
    book = PriceBook.load(discounts={"anthropic": points})
    price = book.price_for("anthropic", "claude-haiku-4-5", AT)
    assert price.version == f"2026-11-20+discount-{told}"
    assert book.version == "2026-11-20"


def test_a_model_that_an_iteration_names_is_discounted_alike() -> None:
    book = PriceBook.load(discounts={"anthropic": 5_000})
    other = book.price_for("anthropic", "claude-haiku-4-5", AT).of("claude-opus-5", AT)
    assert other.schedule.standard[0][1].input == 2_500_000
    assert other.version == "2026-11-20+discount-50%"


@pytest.mark.parametrize("points", [-1, 10_000, 20_000])
def test_a_discount_is_below_the_whole_and_not_a_surcharge(points: int) -> None:
    with pytest.raises(ConfigError, match="discount of anthropic"):
        PriceBook.load(discounts={"anthropic": points})
    with pytest.raises(ValueError, match="discount"):
        discounted({"i": 1}, points)
