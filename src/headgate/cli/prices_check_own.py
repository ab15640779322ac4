"""The configuration's own prices, beside the list's and beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headgate.cli.doctor_report import NOTE, OK, WARNING, Finding
from headgate.cli.prices_text import COMMON, amount, discount_line, override_line
from headgate.policy.discounts import discount_text
from headgate.policy.pricebook import PriceBook, Unknown
from headgate.policy.pricediff import ABSURD

if TYPE_CHECKING:
    from headgate.policy.overrides import Override
    from headgate.policy.pricing import ModelPrice
    from headgate.settings.model import Settings


_FIELDS = {"i": "input", "o": "output", "r": "cache_read", "w": "cache_write", "l": "cache_write_long"}


def check_own(settings: Settings, book: PriceBook, now: float) -> Iterator[Finding]:
    """A finding for each price of the configuration.

    Args:
        now: seconds since the epoch.
    """
    plain = PriceBook(book.file, {}, Unknown())
    meant: dict[tuple[str, str], str] = {}
    for provider, model in book.overrides:
        if not model:
            yield _whole_provider(settings, book, provider)
            continue
        line = override_line(settings, book, provider, model)
        listed = plain.find(provider, model, now)
        if listed is None:
            yield Finding("own", OK, f"{provider}/{model} ({line}): the list has no price for it")
            continue
        other = meant.setdefault((provider, listed.entry), model)
        if other != model and book.overrides[provider, other].rates != book.overrides[provider, model].rates:
            said = f"{provider}/{other} and {provider}/{model} ({line}) are one model, {listed.entry}, with two prices"
            yield Finding("own", WARNING, said, "keep one of them: it holds for all the names of the model")
        yield _one_model(f"{provider}/{model} ({line})", book.overrides[provider, model], listed)
    for provider, points in book.discounts.items():
        yield _discount(settings, book, provider, points)


def _whole_provider(settings: Settings, book: PriceBook, provider: str) -> Finding:
    line = override_line(settings, book, provider, "")
    part = book.listed(provider)
    if part is None:
        return Finding("own", OK, f"one price for all models of {provider} ({line})")
    said = f"one price for all models of {provider} ({line}) stands in for {len(part.entries)} list prices"
    return Finding("own", WARNING, said, "give prices by model, or a discount, unless they really cost the same")


def _one_model(name: str, own: Override, listed: ModelPrice) -> Finding:
    mine, lists = own.schedule.standard[0][1], listed.schedule.standard[0][1]
    unlike = [kind for kind in COMMON if getattr(mine, kind) != getattr(lists, kind)]
    replaced = _replaced(listed)
    told = ", ".join(
        f"{COMMON[kind]} {amount(kind, getattr(mine, kind))} (list {amount(kind, getattr(lists, kind))})"
        for kind in unlike
    )
    written = {_FIELDS[short] for short in own.rates if short in _FIELDS}
    if written and written.isdisjoint(unlike):
        more = f"; what it leaves out is {told}" if told else ""
        said = f"{name} says what the list says{f', and replaces its {replaced}' if replaced else ''}{more}"
        return Finding("own", WARNING, said, "remove it: it would hide the list's next price")
    if any(_absurd(getattr(mine, kind), getattr(lists, kind)) for kind in unlike):
        said = f"{name} contradicts the list by more than {ABSURD}x: {told}"
        return Finding("own", WARNING, said, "is it in USD per million tokens?")
    return Finding("own", NOTE, f"{name}: {told}{f'; it replaces the {replaced}' if replaced else ''}")


def _replaced(listed: ModelPrice) -> str:
    """What one flat row stands in for."""
    others = [service for service, _ in listed.schedule.contexts()][1:]
    found = ["length bands"] if len(listed.schedule.standard) > 1 else []
    return " and ".join(found + ([f"rates for {', '.join(others)}"] if others else []))


def _absurd(one: int, other: int) -> bool:
    return max(one, other) > ABSURD * min(one, other)


def _discount(settings: Settings, book: PriceBook, provider: str, points: int) -> Finding:
    name = f"{discount_text(points)} off the list prices of {provider} ({discount_line(settings, provider)})"
    if book.listed(provider) is None:
        return Finding("own", WARNING, f"{name}: the list has none", "remove it, or give its models their prices")
    apart = sum(owner == provider for owner, _ in book.overrides)
    return Finding("own", OK, f"{name}{f', but not off its {apart} own prices here' if apart else ''}")
