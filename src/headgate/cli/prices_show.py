"""`headgate prices show`: every rate of a model, and the line it comes from."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.since import read_moment
from headgate.cli.text import console, count, moment, print_json, print_table, safe

if TYPE_CHECKING:
    from headgate.policy.pricebook import PriceBook
    from headgate.policy.pricing import ModelPrice
    from headgate.settings.model import Settings
    from headgate.stores.price_files import Installed

_MOST_NOTES = 12  # models; beyond it a line for each would only be in the way


@dataclass(frozen=True, slots=True)
class _Shown:
    """A model and its price. `line`: of the configuration, "" for a list price without a discount."""

    price: ModelPrice
    line: str
    discount: int


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--provider", metavar="NAME", help="Only this provider's; any that the price file has.")
@click.option("--at", metavar="DATE", help="The prices of that day (2026-11-20). Default: now.")
@json_option
@config_option
def show(models: Sequence[str], provider: str | None, at: str | None, as_json: bool, config: str | None) -> None:
    """What a model costs: every rate, in USD per million tokens.

    MODEL is a name as a request would have it, provider/model, a virtual model, or a pattern (claude-*). Without any,
    everything that the configuration's providers have. The configuration's own prices and discounts are applied, and
    marked with the line they stand in.

    \b
    Example:
      headgate prices show claude-haiku-4-5 'openai/gpt-6*'
      headgate prices show --provider google --at 2026-12-01
    """
    settings = settings_of(config)
    when = time.time() if at is None else read_moment(at, now=time.time(), option="--at")
    from headgate.settings.price_book import book_of
    from headgate.stores.price_files import PriceFiles, prices_folder

    files = PriceFiles(prices_folder(os.environ))
    installed = files.in_use()
    search = _Search(settings, book_of(settings, files, installed), provider, when)
    found, missing = search.all(models)
    if as_json:
        print_json(_json(search, installed, found, missing))
    else:
        if found:
            _print(found, installed, None if at is None else when)
        for name in missing:
            sys.stderr.write(f"headgate: {safe(search.advice(name))}\n")
    if missing:
        raise click.exceptions.Exit(1)


class _Search:
    """Models by what people write for them."""

    def __init__(self, settings: Settings, book: PriceBook, provider: str | None, at: float) -> None:
        self.settings, self.book, self.at = settings, book, at
        if provider is not None and provider not in settings.providers and book.listed(provider) is None:
            known = ", ".join(sorted({*settings.providers, *book.file.providers}))
            raise click.BadParameter(f"no such provider; there are {known}", param_hint="--provider")
        self.providers = list(settings.providers) if provider is None else [provider]

    def all(self, names: Sequence[str]) -> tuple[list[_Shown], list[str]]:
        """The prices of everything named, each once, and the names that have none."""
        found: dict[tuple[str, str], _Shown] = {}
        missing = []
        for name in names or [""]:
            hits = [price for route in self._routes(name) if (price := self._price(*route)) is not None]
            if not hits and name:
                missing.append(name)
            found.update({(shown.price.provider, shown.price.model): shown for shown in hits})
        return list(found.values()), missing

    def _routes(self, name: str) -> Iterator[tuple[str, str]]:
        if not name:
            for provider in self.providers:
                yield from self._everything(provider)
            return
        if name in self.settings.models:
            yield from ((route.provider, route.model) for route in self.settings.models[name])
            return
        owner, sign, rest = name.partition("/")
        named = sign and (owner in self.settings.providers or self.book.listed(owner) is not None)
        providers, pattern = ([owner], rest) if named else (self.providers, name)
        for provider in providers:
            if not any(sign in pattern for sign in "*?["):
                if named or self.book.overridden_by(provider, pattern) != (provider, ""):
                    yield provider, pattern
            else:
                yield from (each for each in self._everything(provider) if fnmatchcase(each[1], pattern.lower()))

    def _everything(self, provider: str) -> Iterator[tuple[str, str]]:
        part = self.book.listed(provider)
        ids = [entry.id for entry in part.entries] if part else []
        known = {name.lower() for name in ids}
        yield from ((provider, name) for name in ids)
        for owner, model in self.book.overrides:
            if owner == provider and model not in known:
                yield provider, model or "*"

    def _price(self, provider: str, model: str) -> _Shown | None:
        price = self.book.find(provider, model, self.at)
        if price is None:
            return None
        from headgate.cli.prices_text import discount_line, override_line

        points = self.book.discounts.get(provider, 0) if price.source == "data" else 0
        line = override_line(self.settings, self.book, provider, model)
        return _Shown(price, discount_line(self.settings, provider) if points else line, points)

    def advice(self, name: str) -> str:
        """What to do about a name without a price."""
        elsewhere = [each for each in self.book.file.providers if self.book.file.match(each, name.partition("/")[2])]
        elsewhere += [each for each in self.book.file.providers if self.book.file.match(each, name)]
        hint = f" The price file has it for {', '.join(dict.fromkeys(elsewhere))}: --provider." if elsewhere else ""
        return f"no price is known for {name}.{hint} Your own goes into headgate.yaml under `prices:`"


def _print(found: list[_Shown], installed: Installed, at: float | None) -> None:
    from headgate.cli.prices_text import COMMON, origin_text

    day = "" if at is None else f", as of {moment(at)[:10]}"
    click.echo(f"USD per million tokens{day}; prices of {installed.version} ({origin_text(installed)}).\n")
    heads = ("service", "prompt", *COMMON.values())
    if console().is_terminal:  # a table for each, which fits into 80 columns
        for shown in found:
            title = f"{_name(shown)}: {_from(shown)}"
            print_table(heads, list(_rows(shown)), left=2, title=title)
            click.echo(f"{safe(_note(shown))}\n")
        return
    rows = [[_name(shown), _from(shown), *row] for shown in found for row in _rows(shown)]
    print_table(("model", "from", *heads), rows, left=4)
    if len(found) <= _MOST_NOTES:
        click.echo("")
        for shown in found:
            click.echo(safe(f"{_name(shown)}: {_note(shown)}"))


def _name(shown: _Shown) -> str:
    return f"{shown.price.provider}/{shown.price.model}"


def _rows(shown: _Shown) -> Iterator[list[str]]:
    """A row for each service and length of the prompt."""
    from headgate.cli.prices_text import COMMON, amount

    for service, bands in shown.price.schedule.contexts():
        for above, rates in bands:
            prompt = f"above {count(above)}" if above else f"up to {count(bands[1][0])}" if len(bands) > 1 else "any"
            yield [service, prompt, *(amount(kind, getattr(rates, kind)) for kind in COMMON)]


def _note(shown: _Shown) -> str:
    """What is charged beside the common classes, and what else is known."""
    from headgate.cli.prices_text import unusual

    price = shown.price
    facts = [f"as {price.entry}"] if price.entry not in ("", price.model) else []
    facts += unusual(price.schedule.standard[0][1])
    facts += [f"context window {count(price.context_window)}"] if price.context_window else []
    facts += [f"at most {count(price.max_output_tokens)} out"] if price.max_output_tokens else []
    return ", ".join(facts) or "nothing else is charged"


def _from(shown: _Shown) -> str:
    if not shown.discount:
        return shown.line or "list"
    from headgate.policy.discounts import discount_text

    return f"list -{discount_text(shown.discount)}, {shown.line}"


def _json(search: _Search, installed: Installed, found: list[_Shown], missing: list[str]) -> dict[str, Any]:
    from headgate.cli.prices_text import KINDS, PIECES, amount

    def rates(price: ModelPrice) -> Iterator[dict[str, Any]]:
        for service, bands in price.schedule.contexts():
            for above, row in bands:
                told = {kind: amount(kind, getattr(row, kind)) for kind in KINDS}
                yield {
                    "service": service,
                    "above_prompt_tokens": above,
                    "usd_per_mtok": {kind: value for kind, value in told.items() if kind not in PIECES},
                    "usd_per_thousand": {kind: told[kind] for kind in PIECES},
                }

    return {
        "version": search.book.version,
        "file": {"version": installed.version, "sha256": installed.sha256, "origin": installed.origin},
        "at": moment(search.at),
        "models": [
            {
                "provider": shown.price.provider,
                "model": shown.price.model,
                "entry": shown.price.entry,
                "source": shown.price.source,
                "from": shown.line or None,
                "discount_basis_points": shown.discount,
                "price_version": shown.price.version,
                "context_window": shown.price.context_window,
                "max_output_tokens": shown.price.max_output_tokens,
                "rates": list(rates(shown.price)),
            }
            for shown in found
        ],
        "without_price": missing,
    }
