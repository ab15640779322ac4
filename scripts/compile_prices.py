#!/usr/bin/env python3
"""Compile genai-prices (a development dependency) into our own dated price file (decisions 7).

    .venv/bin/python scripts/compile_prices.py --date 2026-11-20            # write the file, print its hash
    .venv/bin/python scripts/compile_prices.py --date 2026-11-20 --check    # exit 1 if the file would change

The output depends on nothing but the installed genai-prices and the date, which is passed and never taken from a clock.
Afterwards put the printed name and hash into `src/headgate/policy/pricepins.py` and run the differential test.

Rates become integers of pico-dollars per token (per search, per request), and the compilation fails where that is not
exact. The one exception: two aggregators publish rates with floating-point noise; see `_noisy`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import types as gp
from genai_prices.data_snapshot import get_snapshot

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "src" / "headgate" / "data"
FORMAT = 1

# genai-prices' price key -> our short class name and the pico-dollars of one USD in its unit (USD per million tokens,
# or USD per thousand searches or requests).
MTOK, THOUSAND = 10**6, 10**9
CLASSES: dict[str, tuple[str, int]] = {
    "input_mtok": ("i", MTOK),
    "output_mtok": ("o", MTOK),
    "cache_read_mtok": ("r", MTOK),
    "cache_write_mtok": ("w", MTOK),
    "cache_write_1h_mtok": ("l", MTOK),
    "input_audio_mtok": ("ia", MTOK),
    "cache_audio_read_mtok": ("ra", MTOK),
    "output_audio_mtok": ("oa", MTOK),
    "output_reasoning_mtok": ("t", MTOK),
    # No provider's chat usage tells these apart; the reader charges the dearest of the direction.
    "input_image_mtok": ("ii", MTOK),
    "input_video_mtok": ("iv", MTOK),
    "cache_image_read_mtok": ("ri", MTOK),
    "output_image_mtok": ("oi", MTOK),
    "output_video_mtok": ("ov", MTOK),
    "output_citation_mtok": ("oc", MTOK),
    "web_searches_kcount": ("s", THOUSAND),
    "requests_kcount": ("q", THOUSAND),
}
# Charged per hour, page, character, message or file search: nothing that a usage of ours counts.
UNCOUNTED = {
    "audio_hours",
    "input_audio_hours",
    "input_mchars",
    "input_text_messages_kcount",
    "input_document_kpages",
    "input_annotated_document_kpages",
    "storage_searches_kcount",
}
CONTEXTS = {"service_tier", "processing", "speed"}
UNTOLD = {"route", "search_type"}  # contexts that no response reports

# Aggregators whose published rates carry floating-point noise (0.18000000000000002, 0.08333333333333334).
NOISY = {"openrouter", "huggingface_together"}

# An empty price means free only where somebody says so; the others are unknown, never $0.
FREE = {
    ("github-copilot", "gpt-3.5-turbo"),  # in the subscription (genai-prices' comments)
    ("github-copilot", "gpt-4.1"),
    ("github-copilot", "gpt-4o"),
    ("github-copilot", "gpt-4o-mini"),
    ("google", "gemma-3"),  # the Gemini API lists them without a paid tier
    ("google", "gemma-3n"),
    ("google", "gemma-4-26b-a4b-it"),
    ("google", "gemma-4-31b-it"),
    ("openai", "moderation"),  # the moderation endpoint is free of charge
}

# Largest output of one answer, in tokens, from the vendors' model pages; genai-prices has none. Only for models whose
# cap may be absent from a request. Missing means unknown, and an uncapped request is then unbounded.
MAX_OUTPUT: dict[str, dict[str, int]] = {
    "anthropic": {
        **dict.fromkeys(("claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"), 64_000),
        **dict.fromkeys(("claude-fable-5-1", "claude-opus-5-5", "claude-opus-5", "claude-sonnet-5"), 128_000),
    },
    "openai": {
        **dict.fromkeys(("gpt-4o", "gpt-4o-mini"), 16_384),
        **dict.fromkeys(("gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"), 32_768),
        **dict.fromkeys(("o3", "o3-mini", "o4-mini"), 100_000),
        **dict.fromkeys(("gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5.1", "gpt-5.2"), 128_000),
        **dict.fromkeys(("gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano", "gpt-5.5"), 128_000),
        **dict.fromkeys(("gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna"), 128_000),
        **dict.fromkeys(("gpt-6-sol", "gpt-6-luna", "gpt-6-astra", "gpt-6.1-sol", "gpt-6.1-terra"), 128_000),
    },
}


class CannotCompile(Exception):
    """The data holds something this script does not know how to carry over without loss."""


def _noisy(pico: Decimal) -> int:
    """A rate of an aggregator: noise is rounded away, a repeating decimal is rounded up (never below the provider)."""
    nearest = pico.to_integral_value(ROUND_HALF_EVEN)
    if abs(pico - nearest) < Decimal("1e-6"):
        return int(nearest)
    return int(pico.to_integral_value(ROUND_CEILING))


def _pico(usd: Decimal, unit: int, where: str, *, noisy: bool) -> int:
    if not isinstance(usd, Decimal) or not usd.is_finite() or usd < 0:
        raise CannotCompile(f"{where}: {usd!r} is not a price")
    pico = usd * unit
    if pico == pico.to_integral_value():
        return int(pico)
    if noisy:
        return _noisy(pico)
    raise CannotCompile(f"{where}: {usd} is finer than a pico-dollar")


def _rates(prices: gp.ModelPrice, where: str, *, noisy: bool) -> dict[str, Any]:
    """Short class name -> rate, or [base, [above, rate], ...] where the prompt's length moves the rate."""
    rates: dict[str, Any] = {}
    for key, value in prices.__dict__.items():
        if value is None or key in UNCOUNTED:
            continue
        if key not in CLASSES:
            raise CannotCompile(f"{where}: a price key this script does not know: {key}")
        name, unit = CLASSES[key]
        here = f"{where} {key}"
        if isinstance(value, gp.TieredPrices):
            steps = [[tier.start, _pico(tier.price, unit, here, noisy=noisy)] for tier in value.tiers]
            rates[name] = [_pico(value.base, unit, here, noisy=noisy), *steps]
        else:
            rates[name] = _pico(value, unit, here, noisy=noisy)
    return dict(sorted(rates.items()))


def _when(constraint: object, where: str) -> Any:
    """None: always; "2026-10-14": from that day, UTC; ["01:00:00", "04:00:00"]: daily between, UTC."""
    if constraint is None:
        return None
    if isinstance(constraint, gp.StartDateConstraint):
        return constraint.start_date.isoformat()
    if isinstance(constraint, gp.TimeOfDateConstraint):
        ends = (constraint.start_time, constraint.end_time)
        if any(end.utcoffset() for end in ends):
            raise CannotCompile(f"{where}: a time of day that is not UTC")
        return [end.strftime("%H:%M:%S") for end in ends]
    raise CannotCompile(f"{where}: an unknown constraint {constraint!r}")


def _match(rule: object, where: str) -> list[Any]:
    """A match rule as a small list: equal "=", prefix "^", suffix "$", part "~", regex "re", any "|", all "&"."""
    if isinstance(rule, gp.ClauseEquals):
        return ["=", rule.equals.lower()]
    if isinstance(rule, gp.ClauseStartsWith):
        return ["^", rule.starts_with.lower()]
    if isinstance(rule, gp.ClauseEndsWith):
        return ["$", rule.ends_with.lower()]
    if isinstance(rule, gp.ClauseContains):
        return ["~", rule.contains.lower()]
    if isinstance(rule, gp.ClauseRegex):
        return ["re", rule.regex]
    if isinstance(rule, gp.ClauseOr):
        return ["|", *(_match(part, where) for part in rule.or_)]
    if isinstance(rule, gp.ClauseAnd):
        return ["&", *(_match(part, where) for part in rule.and_)]
    raise CannotCompile(f"{where}: an unknown match rule {rule!r}")


def _standard(provider: str, model: gp.ModelInfo, where: str) -> list[Any] | None:
    """[[constraint, rates], ...], the last active wins; None (unknown) where nothing that we count is priced."""
    periods = model.prices
    if isinstance(periods, gp.ModelPrice):
        periods = [gp.ConditionalPrice(prices=periods)]
    compiled = [[_when(p.constraint, where), _rates(p.prices, where, noisy=provider in NOISY)] for p in periods]
    free = model.id.endswith(":free") or (provider, model.id) in FREE
    for period, (_, rates) in zip(periods, compiled, strict=True):
        empty = not any(value is not None for value in period.prices.__dict__.values())
        if "i" not in rates and not (empty and free):
            return None
    return compiled


def _variants(provider: str, model: gp.ModelInfo, where: str) -> list[Any]:
    """[[context, constraint, rates], ...] in genai-prices' order: the first that matches wins, class by class."""
    found: list[Any] = []
    for variant in model.price_variants or ():
        unknown = set(variant.when) - CONTEXTS - UNTOLD
        if unknown:
            raise CannotCompile(f"{where}: an unknown price context {sorted(unknown)}")
        rates = _rates(variant.prices, where, noisy=provider in NOISY)
        if rates and not set(variant.when) & UNTOLD:
            found.append([dict(sorted(variant.when.items())), _when(variant.constraint, where), rates])
    return found


def _model(provider: str, model: gp.ModelInfo) -> dict[str, Any]:
    where = f"{provider}/{model.id}"
    entry: dict[str, Any] = {"id": model.id, "m": _match(model.match, where), "p": _standard(provider, model, where)}
    if variants := _variants(provider, model, where):
        entry["v"] = variants
    if model.context_window:
        entry["c"] = model.context_window
    if most := MAX_OUTPUT.get(provider, {}).get(model.id):
        entry["x"] = most
    return entry


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=True)


def _lines(date: str, providers: Iterable[gp.Provider]) -> Iterable[str]:
    """One model per line, so that a change of prices reads as a short diff."""
    yield f'{{"format":{FORMAT},"date":{_text(date)},"source":{_text("genai-prices " + version("genai-prices"))},'
    yield '"providers":{'
    ordered = sorted(providers, key=lambda provider: provider.id)
    for number, provider in enumerate(ordered):
        yield f'{_text(provider.id)}:{{"fallback":{_text(provider.fallback_model_providers or [])},"models":['
        entries = [_text(_model(provider.id, model)) for model in provider.models]  # their order decides a match
        yield ",\n".join(entries)
        yield "]}" + ("," if number + 1 < len(ordered) else "")
    yield "}}"


def _unused(providers: Iterable[gp.Provider]) -> list[str]:
    """Rows of our own tables that name no model (a typing mistake, or a model that is gone)."""
    known = {(provider.id, model.id) for provider in providers for model in provider.models}
    ours = FREE | {(provider, model) for provider, models in MAX_OUTPUT.items() for model in models}
    return [f"{provider}/{model}" for provider, model in sorted(ours - known)]


def compile_prices(date: str) -> bytes:
    """The whole price file.

    Raises:
        CannotCompile: the data holds a key, rule, context or rate that cannot be carried over without loss.
    """
    providers = get_snapshot().providers
    if unused := _unused(providers):
        raise CannotCompile(f"tables of this script name models that are not there: {', '.join(unused)}")
    return ("\n".join(_lines(date, providers)) + "\n").encode()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compile genai-prices into src/headgate/data/prices-DATE.json.")
    parser.add_argument("--date", required=True, help="the date of the data, YYYY-MM-DD")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is not up to date")
    options = parser.parse_args(arguments)
    content = compile_prices(options.date)
    path = DATA / f"prices-{options.date}.json"
    if options.check:
        same = path.exists() and path.read_bytes() == content
        print(f"{path.name}: {'up to date' if same else 'would change'}")
        return 0 if same else 1
    path.write_bytes(content)
    counts: Mapping[str, Any] = json.loads(content)["providers"]
    models = sum(len(provider["models"]) for provider in counts.values())
    print(f"{path.name}: {len(counts)} providers, {models} models, {len(content)} bytes")
    print(f'PRICES_FILE = "{path.name}"\nPRICES_SHA256 = "{hashlib.sha256(content).hexdigest()}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
