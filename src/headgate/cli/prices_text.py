"""Rates in words and numbers, for the `prices` commands."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from headgate.cli.text import console, safe
from headgate.settings.fields import DEFAULT

if TYPE_CHECKING:
    from headgate.policy.pricebook import PriceBook
    from headgate.policy.rates import Rates
    from headgate.settings.model import Settings
    from headgate.stores.price_files import Installed

COMMON = {
    "input": "input",
    "output": "output",
    "cache_read": "cache read",
    "cache_write": "cache write",
    "cache_write_long": "long write",
}
"""Classes that nearly every model charges for: field of `policy.rates.Rates` to its name for people."""

RARE = {
    "input_audio": "audio in",
    "cache_read_audio": "cached audio in",
    "output_audio": "audio out",
    "reasoning": "reasoning",
}
PIECES = {"web_search": "web searches", "request": "requests"}
"""Charged by the piece: USD per 1,000."""

KINDS = {**COMMON, **RARE, **PIECES}


def say(text: str) -> None:
    """A sentence of any length, broken between words where a terminal is narrow."""
    from rich.text import Text

    console().print(Text(safe(text)))


def amount(kind: str, pico: int) -> str:
    """A rate as people know it: USD per million tokens, or per 1,000 pieces; exact."""
    usd = Decimal(pico) / (10**9 if kind in PIECES else 10**6)
    return f"{usd.normalize():f}" if usd else "0"


def unusual(rates: Rates) -> list[str]:
    """What beside the common classes has a price of its own, in words."""
    from headgate.policy.pricediff import PLAIN

    found = [
        f"{label} {amount(kind, getattr(rates, kind))}"
        for kind, label in RARE.items()
        if getattr(rates, kind) != getattr(rates, PLAIN[kind])
    ]
    for kind, label in PIECES.items():
        if pico := getattr(rates, kind):
            found.append(f"{label} {amount(kind, pico)} per 1,000")
    return found


def told(settings: Settings, path: str) -> str:
    """Where the configuration says something: "headgate.yaml:12:3"; "" where it does not."""
    origin = settings.origins.get(path, DEFAULT)
    return "" if origin == DEFAULT else origin


def override_line(settings: Settings, book: PriceBook, provider: str, model: str) -> str:
    """Where the override that a model's price is stands; "" where its price is from the price file."""
    key = book.overridden_by(provider, model)
    if key is None:
        return ""
    if not key[1]:
        return told(settings, f"providers.{key[0]}.price") or f"providers.{key[0]}.price"
    name = next((each for each in settings.prices if each.lower() == "/".join(key)), "/".join(key))
    return told(settings, f"prices.{name}") or f"prices.{name}"


def discount_line(settings: Settings, provider: str) -> str:
    """Where a provider's discount stands."""
    return told(settings, f"providers.{provider}.discount") or f"providers.{provider}.discount"


def origin_text(installed: Installed) -> str:
    """Where a price file came from."""
    return "came with Headgate" if installed.origin == "package" else f"installed from {installed.origin}"
