"""Prices from the configuration: `providers.*.price` and `prices:`, read exactly.

The shape is plain data, as the settings hand it over: ``{"acme": {...}, "local": "free", "openai/gpt-9": {...}}``, a
provider's name for all of its models or "provider/model" for one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from headgate.core.errors import ConfigError
from headgate.policy.rates import Schedule, prompt_field

TOKEN_KEYS = {
    "input": "i",
    "output": "o",
    "cache_read": "r",
    "cache_write": "w",
    "cache_write_1h": "l",
    "input_audio": "ia",
    "output_audio": "oa",
    "cache_read_audio": "ra",
}
"""Keys of a price in USD per million tokens, and the price file's names for them."""

SEARCH_KEY = "web_search"
"""USD per 1,000 web searches; 10 if absent."""

KEYS = frozenset({*TOKEN_KEYS, SEARCH_KEY})

_PER_MTOK = 10**6
_PER_THOUSAND = 10**9
_MOST_USD = Decimal(1_000_000)  # a price above this is a slip of units


def pico(value: object, unit: int = _PER_MTOK) -> int:
    """USD per million tokens (or per 1,000 with that `unit`) as pico-dollars, exactly as written.

    A float is read by its shortest text, so that a YAML `0.3` is three tenths.

    Raises:
        ValueError: not a number, negative, too large, or finer than a pico-dollar.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("must be a number")
    try:
        usd = Decimal(str(value).strip())
    except InvalidOperation:
        raise ValueError(f"must be a number, not {str(value)[:40]!r}") from None
    if not usd.is_finite() or usd < 0 or usd > _MOST_USD:
        raise ValueError(f"must be between 0 and {_MOST_USD}, not {str(value)[:40]}")
    exact = usd * unit
    if exact != exact.to_integral_value():
        raise ValueError(f"may have at most {6 if unit == _PER_MTOK else 9} decimals, not {str(value)[:40]}")
    return int(exact)


class Override:
    """One price of the configuration: one flat row, whatever the length, tier, speed or batch."""

    __slots__ = ("rates", "schedule")

    def __init__(self, rates: Mapping[str, int]) -> None:
        self.rates = dict(rates)
        self.schedule = Schedule(_complete(rates) if rates else {})
        self.schedule.prompt_field = prompt_field(rates)  # by what was written, not by what was added


def _complete(rates: Mapping[str, int]) -> dict[str, int]:
    """What is absent costs the dearest sensible rate.

    A cache read costs the input rate (`fill`). A short write costs 1.25x the input (Anthropic, OpenAI) and a long one
    twice the short (OpenAI; Anthropic's is less), because a provider that reports writes charges for them.
    """
    complete = dict(rates)
    if "w" not in complete:
        complete["w"] = -(-complete["i"] * 5 // 4)
    return complete


def parse(overrides: Mapping[str, object]) -> dict[tuple[str, str], Override]:
    """Overrides by (provider, lower-case model); the model is "" for a whole provider.

    Raises:
        ConfigError: naming every mistake at once.
    """
    mistakes: list[str] = []
    found: dict[tuple[str, str], Override] = {}
    for name, price in overrides.items():
        provider, _, model = name.partition("/")
        if not provider or (not model and "/" in name):
            mistakes.append(f"price of {name!r}: write the provider's name, or provider/model")
            continue
        rates = _rates(name, price, mistakes)
        if rates is not None:
            found[provider, model.lower()] = Override(rates)
    if mistakes:
        raise ConfigError(mistakes)
    return found


def _rates(name: str, price: object, mistakes: list[str]) -> dict[str, int] | None:
    """One override's rates; {} is free. None after a mistake, which is added to `mistakes`."""
    if price == "free":
        return {}
    if not isinstance(price, Mapping):
        mistakes.append(f"price of {name}: write `free`, or {{input: …, output: …}} in USD per million tokens")
        return None
    before = len(mistakes)
    rates: dict[str, int] = {}
    for key, value in price.items():
        if key not in KEYS:
            mistakes.append(f"price of {name}: unknown key {str(key)[:40]!r}; the keys are {', '.join(sorted(KEYS))}")
            continue
        try:
            if key == SEARCH_KEY:
                rates["s"] = pico(value, _PER_THOUSAND)
            else:
                rates[TOKEN_KEYS[key]] = pico(value)
        except ValueError as error:
            mistakes.append(f"price of {name}: `{key}` {error}")
    mistakes.extend(
        f"price of {name}: `{key}` is missing (USD per million tokens; 0 if it costs nothing)"
        for key in ("input", "output")
        if key not in price
    )
    return rates if len(mistakes) == before else None


def fingerprint(overrides: Mapping[tuple[str, str], Override]) -> str:
    """8 hex digits that change when any override does; the order they are written in does not matter."""
    canonical = sorted([provider, model, sorted(o.rates.items())] for (provider, model), o in overrides.items())
    return hashlib.sha256(json.dumps(canonical).encode()).hexdigest()[:8]
