"""Is this a price file? Every value is looked at before a file is installed; `pricefile` then trusts what it reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from headgate.core.errors import ConfigError
from headgate.policy.pricefile import FORMAT

CLASSES = ("i", "o", "r", "w", "l", "ia", "ra", "oa", "t", "ii", "iv", "ri", "oi", "ov", "oc", "s", "q")
"""What a price file may give a rate for; `scripts/compile_prices.py` says what each means."""

PER_PIECE = frozenset({"s", "q"})
"""Of them, what is charged by the search or the request instead of by the token."""

CONTEXTS = frozenset({"service_tier", "processing", "speed"})
MOST_BYTES = 16 * 1024 * 1024
"""A larger file is not a price file: ours has less than half a megabyte."""

_MOST_TOKEN_PICO = 10**12  # one dollar a token: a slip of units
_MOST_PIECE_PICO = 10**15  # a thousand dollars a search
_MOST_COUNT = 10**12
_MOST_DEPTH = 6
_MOST_TEXT = 300
_MOST_TOLD = 10

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d")
_NESTED = re.compile(r"[*+}?]\)*[*+{]")  # a repeated repetition: such an expression may take for ever


def validate(content: bytes) -> Mapping[str, Any]:
    """The decoded price file.

    Raises:
        ConfigError: it is not a price file of this format; the first ten mistakes, each with its place.
    """
    import msgspec

    if len(content) > MOST_BYTES:
        raise ConfigError(f"this is not a price file: {len(content):,} bytes, and at most {MOST_BYTES:,} are read")
    try:
        top = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        raise ConfigError("this is not a price file: it is not JSON") from None
    if not isinstance(top, dict) or top.get("format") != FORMAT:
        raise ConfigError(f"this is not a price file of format {FORMAT}; a newer Headgate may read it")
    mistakes: list[str] = []
    for mistake in _top(top):
        mistakes.append(mistake)
        if len(mistakes) > _MOST_TOLD:
            mistakes[-1] = "... and more"
            break
    if mistakes:
        raise ConfigError([f"not a price file: {mistake}" for mistake in mistakes])
    return top


def _top(top: Mapping[str, Any]) -> Iterator[str]:
    yield from _keys(top, {"format", "date", "source", "providers"}, "the file")
    if not _is_date(top.get("date")):
        yield "date: expected YYYY-MM-DD"
    if not _is_text(top.get("source")):
        yield "source: expected a text that says where the prices are from"
    providers = top.get("providers")
    if not isinstance(providers, dict) or not providers:
        yield "providers: expected a mapping of providers"
        return
    for name, provider in providers.items():
        if not _NAME.fullmatch(name):
            yield f"provider {name[:80]!r}: a name is lower-case letters, digits, ., _ and -"
        elif not isinstance(provider, dict):
            yield f"{name}: expected a mapping"
        else:
            yield from _provider(name, provider, providers)


def _provider(name: str, provider: Mapping[str, Any], providers: Mapping[str, Any]) -> Iterator[str]:
    yield from _keys(provider, {"fallback", "models"}, name)
    fallback = provider.get("fallback")
    if not isinstance(fallback, list) or not all(isinstance(other, str) and other in providers for other in fallback):
        yield f"{name}: fallback: expected a list of the file's providers"
    models = provider.get("models")
    if not isinstance(models, list):
        yield f"{name}: models: expected a list"
        return
    for place, model in enumerate(models):
        if not isinstance(model, dict) or not _is_text(model.get("id")) or not model["id"]:
            yield f"{name}: models[{place}]: expected a mapping with an id"
        else:
            yield from _model(f"{name}/{model['id']}", model)


def _model(where: str, model: Mapping[str, Any]) -> Iterator[str]:
    yield from _keys(model, {"id", "m", "p"}, where, optional={"v", "c", "x"})
    yield from _rule(model.get("m"), f"{where}: m", 0)
    for key in ("c", "x"):
        if key in model and not _whole(model[key], 1, _MOST_COUNT):
            yield f"{where}: {key}: expected a number of tokens"
    periods = model.get("p")
    if periods is not None:
        if not isinstance(periods, list) or not periods:
            yield f"{where}: p: expected a list of [constraint, rates], or null"
        else:
            for place, period in enumerate(periods):
                yield from _period(period, f"{where}: p[{place}]")
    variants = model.get("v", [])
    if not isinstance(variants, list):
        yield f"{where}: v: expected a list"
        return
    for place, variant in enumerate(variants):
        yield from _variant(variant, f"{where}: v[{place}]")


def _period(period: object, where: str) -> Iterator[str]:
    if not isinstance(period, list) or len(period) != 2:
        yield f"{where}: expected [constraint, rates]"
        return
    yield from _constraint(period[0], where)
    yield from _rates(period[1], where)
    if isinstance(period[1], dict) and period[1] and "i" not in period[1]:
        yield f"{where}: rates without i, the input"


def _variant(variant: object, where: str) -> Iterator[str]:
    if not isinstance(variant, list) or len(variant) != 3 or not isinstance(variant[0], dict):
        yield f"{where}: expected [context, constraint, rates]"
        return
    when = variant[0]
    if not when or not set(when) <= CONTEXTS or not all(_is_text(value) and value for value in when.values()):
        yield f"{where}: a context is made of {', '.join(sorted(CONTEXTS))}"
    yield from _constraint(variant[1], where)
    yield from _rates(variant[2], where)


def _constraint(constraint: object, where: str) -> Iterator[str]:
    if constraint is None or _is_date(constraint):
        return
    if isinstance(constraint, list) and len(constraint) == 2 and all(_is_clock(each) for each in constraint):
        return
    yield f"{where}: a constraint is null, a date, or two times of the day"


def _rates(rates: object, where: str) -> Iterator[str]:
    if not isinstance(rates, dict):
        yield f"{where}: expected rates by class"
        return
    for name, rate in rates.items():
        if name not in CLASSES:
            yield f"{where}: unknown class {name[:20]!r}"
            continue
        most = _MOST_PIECE_PICO if name in PER_PIECE else _MOST_TOKEN_PICO
        if not (_whole(rate, 0, most) or _is_banded(rate, most)):
            yield f"{where}: {name}: expected whole pico-dollars up to {most:.0e}, or [base, [above, rate], ...]"


def _is_banded(rate: object, most: int) -> bool:
    if not isinstance(rate, list) or len(rate) < 2 or not _whole(rate[0], 0, most):
        return False
    before = 0
    for step in rate[1:]:
        if not isinstance(step, list) or len(step) != 2 or not _whole(step[0], before + 1, _MOST_COUNT):
            return False
        if not _whole(step[1], 0, most):
            return False
        before = step[0]
    return True


def _rule(rule: object, where: str, depth: int) -> Iterator[str]:
    if not isinstance(rule, list) or len(rule) < 2 or depth > _MOST_DEPTH:
        yield f'{where}: expected a match rule, like ["=", "name"]'
        return
    kind, *rest = rule
    if kind in ("|", "&"):
        for part in rest:
            yield from _rule(part, where, depth + 1)
        return
    if kind not in _TESTS or len(rest) != 1 or not _is_text(rest[0]) or not rest[0]:
        yield f"{where}: unknown match rule {str(kind)[:20]!r}"
    elif not _TESTS[kind](rest[0]):
        yield f"{where}: {rest[0][:60]!r} is no expression that this version would run on names from outside"


def _is_expression(text: str) -> bool:
    if _NESTED.search(text):
        return False
    try:
        re.compile(text)
    except re.error:
        return False
    return True


_TESTS: Mapping[str, Callable[[str], bool]] = {
    **dict.fromkeys(("=", "^", "$", "~"), lambda text: text == text.lower()),
    "re": _is_expression,
}


def _keys(found: Mapping[str, Any], needed: set[str], where: str, optional: set[str] | None = None) -> Iterator[str]:
    for key in sorted(needed - set(found)):
        yield f"{where}: {key} is missing"
    for key in sorted(set(found) - needed - (optional or set())):
        yield f"{where}: unknown key {key[:40]!r}"


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_TEXT and value.isprintable()


def _is_clock(value: object) -> bool:
    return isinstance(value, str) and _CLOCK.fullmatch(value) is not None


def _is_date(value: object) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False
