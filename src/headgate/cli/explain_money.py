"""Prices and bounds in words, for `headgate explain`."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from headgate.core.money import usd_text
from headgate.policy.estimate import hidden_tokens
from headgate.settings.fields import DEFAULT

if TYPE_CHECKING:
    from headgate.core.exchange import Facts
    from headgate.policy.pricing import ModelPrice
    from headgate.policy.rates import Rates
    from headgate.settings.model import Settings

_CLASSES = (
    ("input", "input"),
    ("output", "output"),
    ("cache_read", "cache read"),
    ("cache_write", "cache write"),
    ("cache_write_long", "long cache write"),
)


def price_text(price: ModelPrice) -> Iterator[str]:
    """The standard rates, a line for each length band, and what they come from."""
    rows = price.schedule.standard
    for place, (above, rates) in enumerate(rows):
        band = f"above {above:,} prompt tokens: " if place else ""
        yield f"{band}{_rates(rates)}"
    unit = "USD per million tokens; " if any(rows[0][1].input or rates.output for _, rates in rows) else ""
    known = f", as {price.entry}" if price.entry not in ("", price.model) else ""
    yield f"{unit}prices {price.version}{known}"


def _rates(rates: Rates) -> str:
    values = [(label, _per_million(getattr(rates, name))) for name, label in _CLASSES]
    if all(value == 0 for _, value in values):
        return "free"
    return ", ".join(f"{label} {value.normalize():f}" for label, value in values)


def _per_million(pico: int) -> Decimal:
    return Decimal(pico) / 10**6


def price_fields(price: ModelPrice) -> dict[str, Any]:
    """For JSON: the standard rates of the shortest prompts, in USD per million tokens, as decimal strings."""
    rates = price.schedule.standard[0][1]
    return {
        "source": price.source,
        "version": price.version,
        "entry": price.entry,
        "usd_per_mtok": {name: f"{_per_million(getattr(rates, name)).normalize():f}" for name, _ in _CLASSES},
    }


def price_origin(price: ModelPrice, settings: Settings) -> str:
    """The line of the configuration, or the price file that came with this version."""
    if price.source == "ceiling":
        return settings.origins.get("unknown_price", DEFAULT)
    if price.source == "override":
        for path in (f"prices.{price.provider}/{price.model}", f"providers.{price.provider}.price"):
            if settings.origins.get(path, DEFAULT) != DEFAULT:
                return settings.origins[path]
        return "prices"
    return "the price file"


def bound_text(bound: int | None, price: ModelPrice, facts: Facts, body_bytes: int) -> str:
    """What one attempt can cost at most, and what that counts."""
    if bound is None:
        return f"none: {_why_unbounded(price, facts)}"
    cap = facts.max_output_tokens if facts.max_output_tokens is not None else price.max_output_tokens
    prompt = f"{body_bytes:,} bytes + {hidden_tokens(price):,} hidden tokens in"
    if facts.has_media and price.context_window is not None:
        prompt = f"media: the context window of {price.context_window:,} tokens in"
    told = "" if facts.max_output_tokens is not None else " (the model's most: the request has no cap)"
    times = f" x {facts.choices}" if facts.choices > 1 else ""
    out = f", {cap:,}{times} out{told}" if cap is not None else ""
    return f"${usd_text(bound)} for one attempt: {prompt}{out}, at the dearest rates"


def _why_unbounded(price: ModelPrice, facts: Facts) -> str:
    if facts.server_side:
        return "server-side tools or stored state, whose tokens are not in the body"
    if facts.has_media and price.context_window is None:
        return "it has media, and the model's context window is not known"
    return "the request has no output cap, and the model's largest output is not known"
