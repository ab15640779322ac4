"""Our price file against genai-prices' own calculation: every model, token class, context, band and date.

genai-prices is easily misused: an unknown context silently means standard, a misspelt usage key only warns, and
`input_tokens` is the total including cache. So warnings are errors here, and contexts come from its own data.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
from genai_prices import types as gp
from genai_prices.data_snapshot import get_snapshot

from headgate.core.usage import Usage
from headgate.policy.pricebook import PriceBook
from headgate.policy.pricefile import Entry, schedule
from headgate.policy.pricing import ModelPrice, cost_tenths
from headgate.policy.rates import WEB_SEARCH_PICO, row_for

BOOK = PriceBook.load()
FILE = BOOK.file
PROVIDERS = {provider.id: provider for provider in get_snapshot().providers}
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TENTHS_PER_USD = 10**13

UNTOLD = {"input_image_mtok", "input_video_mtok", "cache_image_read_mtok", "output_image_mtok", "output_video_mtok"}
UNTOLD |= {"output_citation_mtok"}
NOISY = {"openrouter", "huggingface_together"}

FIELDS = {  # our field -> the price key that must be there for equality, and not only "at least"
    "input_tokens": "input_mtok",
    "cache_read_tokens": "cache_read_mtok",
    "cache_write_tokens": "cache_write_mtok",
    "cache_write_long_tokens": "cache_write_1h_mtok",
    "output_tokens": "output_mtok",
    "input_audio_tokens": "input_audio_mtok",
    "cache_read_audio_tokens": "cache_audio_read_mtok",
    "output_audio_tokens": "output_audio_mtok",
    "reasoning_tokens": "output_reasoning_mtok",
    "web_searches": "web_searches_kcount",
}
PARTS = {
    "input_audio_tokens": "input_tokens",
    "cache_read_audio_tokens": "cache_read_tokens",
    "output_audio_tokens": "output_tokens",
    "reasoning_tokens": "output_tokens",
}


def theirs(model: gp.ModelInfo, provider: gp.Provider, ours: Usage, at: datetime, context: dict[str, str]) -> Decimal:
    """genai-prices' answer in tenths of a pico-dollar."""
    usage = gp.Usage(
        input_tokens=ours.prompt_tokens,
        cache_read_tokens=ours.cache_read_tokens,
        cache_write_tokens=ours.cache_write_tokens + ours.cache_write_long_tokens,
        cache_write_1h_tokens=ours.cache_write_long_tokens,
        output_tokens=ours.output_tokens,
        input_audio_tokens=ours.input_audio_tokens + ours.cache_read_audio_tokens,
        cache_audio_read_tokens=ours.cache_read_audio_tokens,
        output_audio_tokens=ours.output_audio_tokens,
        output_reasoning_tokens=ours.reasoning_tokens,
        web_searches=ours.web_searches,
    )
    found = model.calc_price(usage, provider, genai_request_timestamp=at, price_context=context)
    return found.total_price * TENTHS_PER_USD


def priced(entry: Entry, at: datetime) -> ModelPrice | None:
    rates = schedule(entry, at.timestamp())
    if rates is None:
        return None
    return ModelPrice(
        provider="x", model="m", entry=entry.id, version="", source="data", schedule=rates, find=BOOK._sibling
    )


def in_context(usage: Usage, context: dict[str, str]) -> tuple[Usage, bool]:
    from dataclasses import replace

    told = replace(usage, service_tier=context.get("service_tier", ""), speed=context.get("speed", ""))
    return told, context.get("processing") == "batch"


def contexts(model: gp.ModelInfo) -> list[dict[str, str]]:
    found: list[dict[str, str]] = [{}]
    for variant in model.price_variants or ():
        if not {"route", "search_type"} & set(variant.when) and variant.when not in found:
            found.append(dict(variant.when))
    return found


def times(model: gp.ModelInfo) -> list[datetime]:
    """Now, both sides of every date and of every hour at which a price changes."""
    found = [NOW]
    periods = model.prices if isinstance(model.prices, list) else []
    for conditional in [*periods, *(model.price_variants or ())]:
        constraint = conditional.constraint
        if isinstance(constraint, gp.StartDateConstraint):
            start = datetime.combine(constraint.start_date, time(), UTC)
            found += [start - timedelta(seconds=1), start]
        elif isinstance(constraint, gp.TimeOfDateConstraint):
            for end in (constraint.start_time, constraint.end_time):
                moment = datetime.combine(NOW.date(), end.replace(tzinfo=UTC))
                found += [moment - timedelta(seconds=1), moment]
    return list(dict.fromkeys(found))


def keys(prices: gp.ModelPrice) -> set[str]:
    return {key for key, value in prices.__dict__.items() if value is not None}


def lengths(prices: gp.ModelPrice) -> list[int]:
    starts = {t.start for v in prices.__dict__.values() if isinstance(v, gp.TieredPrices) for t in v.tiers}
    return [1_000, *(start + more for start in sorted(starts) for more in (0, 1))]


def usages(prices: gp.ModelPrice, each: bool) -> Iterator[tuple[Usage, bool]]:
    """(usage, exact): one class at a time in each band, and a mixture of all that have a rate of their own."""
    has = keys(prices)
    own = [field for field, key in FIELDS.items() if key in has]
    for length in lengths(prices):
        for field in FIELDS if each else ():
            counts = {field: 7, "input_tokens": length, PARTS.get(field, "input_tokens"): length}
            if field not in PARTS and field not in ("output_tokens", "web_searches"):
                counts = {field: length}
            elif field in ("output_tokens", "web_searches"):
                counts = {"input_tokens": length, field: 7}
            elif PARTS[field] == "cache_read_tokens":
                counts = {"cache_read_tokens": length, field: 7}
            parent = PARTS.get(field)
            exact = field in own and (parent is None or parent in own)
            if field in ("output_tokens", "web_searches", "output_audio_tokens", "reasoning_tokens"):
                exact = exact and "input_tokens" in own
            yield Usage(**counts), exact
        mixture = {field: 11 + 2 * place for place, field in enumerate(own)}
        for part, parent in PARTS.items():
            if part in mixture:
                mixture[parent] = mixture.get(parent, 0) + 1_000
        if "input_tokens" in own:
            mixture["input_tokens"] += length
            yield Usage(**mixture), True


def models() -> Iterator[tuple[gp.Provider, gp.ModelInfo, Entry]]:
    for provider in PROVIDERS.values():
        part = FILE.provider(provider.id)
        assert part is not None
        assert len(part.entries) == len(provider.models)
        for model, entry in zip(provider.models, part.entries, strict=True):
            assert model.id == entry.id
            yield provider, model, entry


def rates_of(value: object) -> list[Decimal]:
    if isinstance(value, gp.TieredPrices):
        return [value.base, *(tier.price for tier in value.tiers)]
    return [value] if isinstance(value, Decimal) else []


def noise(provider: str, prices: gp.ModelPrice, usage: Usage) -> Decimal:
    """What noise in an aggregator's published rates may add: less than one pico-dollar per token."""
    if provider not in NOISY:
        return Decimal(0)
    finer = any(rate * 10**6 % 1 for value in prices.__dict__.values() for rate in rates_of(value))
    return Decimal(10 * (usage.prompt_tokens + usage.output_tokens)) if finer else Decimal(0)


def compare(where: str, mine: int, other: Decimal, usage: Usage, exact: bool, slack: Decimal) -> str | None:
    if (exact and abs(mine - other) <= slack) or (not exact and mine >= other - slack):
        return None
    return f"{where}: ours {mine} theirs {other} (tenths of a pico-dollar) for {usage}"


@pytest.fixture(autouse=True)
def _warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_every_model_class_context_band_and_date_costs_what_genai_prices_says() -> None:
    wrong: list[str] = []
    exactly = 0
    for provider, model, entry in models():
        for at in times(model):
            price = priced(entry, at)
            if price is None:
                continue
            for context in contexts(model):
                prices = model.get_prices(at, context)
                told_apart = not keys(prices) & UNTOLD
                for usage, own in usages(prices, at == NOW):
                    asked, batch = in_context(usage, context)
                    mine = cost_tenths(price, asked, at=at.timestamp(), batch=batch)
                    if entry.periods and not keys(prices):
                        assert mine == 0, f"{provider.id}/{model.id} is free"
                        continue
                    other = theirs(model, provider, usage, at, context)
                    exactly += own and told_apart
                    where = f"{provider.id}/{model.id} {context} {at:%Y-%m-%d %H:%M:%S}"
                    slack = noise(provider.id, prices, usage)
                    if problem := compare(where, mine, other, usage, own and told_apart, slack):
                        wrong.append(problem)
    assert not wrong, "\n".join(wrong[:20])
    assert exactly > 12_000


def test_a_class_without_a_rate_of_its_own_is_charged_by_our_rules_and_never_below_genai_prices() -> None:
    for provider, model, entry in models():
        rates = schedule(entry, NOW.timestamp())
        if rates is None or not keys(model.get_prices(NOW)):
            continue
        has = keys(model.get_prices(NOW))
        row = row_for(rates.standard, 1)
        if "cache_write_1h_mtok" not in has and "cache_write_mtok" in has and not has & UNTOLD:
            assert row.cache_write_long == max(2 * row.cache_write, 2 * row.input), model.id
        if "web_searches_kcount" not in has:
            assert row.web_search == WEB_SEARCH_PICO, f"{provider.id}/{model.id}"


def test_only_models_that_price_nothing_we_count_are_left_unknown() -> None:
    for provider, model, entry in models():
        if entry.periods is None:
            has = keys(model.get_prices(NOW))
            assert "input_mtok" not in has, f"{provider.id}/{model.id} has token prices"


def texts(rule: object) -> Iterator[str]:
    """The texts that a match rule is about."""
    for part in getattr(rule, "or_", None) or getattr(rule, "and_", None) or ():
        yield from texts(part)
    for kind in ("equals", "starts_with", "ends_with", "contains"):
        if text := getattr(rule, kind, None):
            yield text


def names(provider: str, model: gp.ModelInfo) -> set[str]:
    """Names for a model: as they stand, and (without the aggregator, for time) dated, prefixed and suffixed."""
    plain = {*texts(model.match), model.id}
    if provider == "openrouter":
        return plain
    forms = "{}", "{}-20260101", "{}-2026-01-01", "{}-latest", "x{}"
    return {form.format(name) for name in plain for form in forms} | {name.upper() for name in plain}


def test_every_name_finds_the_entry_that_genai_prices_finds() -> None:
    everybody = list(PROVIDERS.values())
    asked = 0
    for provider in everybody:
        for model in provider.models:
            for name in names(provider.id, model):
                expected = provider.find_model(name, all_providers=everybody)
                hit = FILE.match(provider.id, name)
                assert (hit[0].id if hit else None) == (expected.id if expected else None), f"{provider.id}: {name}"
                asked += 1
    assert asked > 10_000


@pytest.mark.parametrize("name", ["gpt-6-luna", "claude-opus-5-5", "gpt-5.2-20251211", "gpt-4o-2024-08-06"])
def test_azure_serves_others_models_at_their_standard_rates_as_genai_prices_says(name: str) -> None:
    usage = Usage(1_000, output_tokens=100)
    found = get_snapshot().calc(gp.Usage(input_tokens=1_000, output_tokens=100), name, "azure", None, NOW)
    price = BOOK.price_for("azure", name, NOW.timestamp())
    assert cost_tenths(price, usage, at=NOW.timestamp()) == found.total_price * TENTHS_PER_USD
    assert cost_tenths(price, usage, at=NOW.timestamp(), batch=True) == found.total_price * TENTHS_PER_USD


def test_longer_prompts_never_get_cheaper_rates() -> None:
    dropped: set[str] = set()
    for provider, model, entry in models():
        rates = schedule(entry, NOW.timestamp())
        if rates is None:
            continue
        for (_, lower), (_, higher) in zip(rates.standard, rates.standard[1:], strict=False):
            if lower.input > higher.input or lower.output > higher.output or lower.cache_read > higher.cache_read:
                dropped.add(f"{provider.id}/{model.id}")
    assert dropped == set()
