"""`headgate prices check`: has everything that the configuration can route to a price that can be relied on?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import print_json

if TYPE_CHECKING:
    from headgate.cli.doctor_models import Use
    from headgate.cli.doctor_report import Finding
    from headgate.policy.pricebook import PriceBook
    from headgate.settings.model import Settings
    from headgate.stores.price_files import Installed, PriceFiles

MAX_AGE_DAYS = 90
_SOON_SECONDS = 30 * 86_400.0
_DAY = 86_400.0
_UPDATE = "headgate prices update FILE_OR_URL, or a newer Headgate"


@click.command()
@click.option(
    "--max-age",
    type=click.IntRange(1, 3650),
    default=MAX_AGE_DAYS,
    show_default=True,
    metavar="DAYS",
    help="Prices older than this are found.",
)
@json_option
@config_option
def check(max_age: int, as_json: bool, config: str | None) -> None:
    """Whether prices can be relied on.

    Looks at the price files (each against the hash it was pinned with), at the price of everything that the
    configuration can route to (virtual models, tasks, what budgets degrade to), and at the configuration's own prices
    beside the list's. Exit code 1 where something is found.

    \b
    Example:
      headgate prices check
      headgate prices check --max-age 30 --json
    """
    settings = settings_of(config)
    from headgate.cli.doctor_report import FOUND, show
    from headgate.cli.doctor_report import as_json as report
    from headgate.stores.price_files import PriceFiles, prices_folder

    findings = list(_findings(settings, PriceFiles(prices_folder(os.environ)), time.time(), max_age))
    if as_json:
        print_json(report(findings))
    else:
        show(findings)
    if any(finding.level in FOUND for finding in findings):
        raise click.exceptions.Exit(1)


def _findings(settings: Settings, files: PriceFiles, now: float, max_age: int) -> Iterator[Finding]:
    from headgate.cli.doctor_report import PROBLEM, Finding
    from headgate.cli.prices_check_own import check_own
    from headgate.core.errors import ConfigError
    from headgate.settings.price_book import book_of

    try:
        installed = files.in_use()
        yield from _files(files, installed, now, max_age)
        book = book_of(settings, files, installed)
    except ConfigError as error:
        yield from (Finding("files", PROBLEM, mistake) for mistake in error.mistakes)
        return
    yield from _models(settings, book, now)
    yield from check_own(settings, book, now)


def _files(files: PriceFiles, in_use: Installed, now: float, max_age: int) -> Iterator[Finding]:
    from headgate.cli.doctor_report import OK, PROBLEM, WARNING, Finding
    from headgate.cli.prices_text import origin_text
    from headgate.core.errors import ConfigError

    for each in files.all():
        try:
            files.read(each)
        except ConfigError as error:
            # The one in use is told by its being loaded.
            if each != in_use:
                yield Finding("files", PROBLEM, f"{each.version}: {error.mistakes[0]}")
            continue
        used = "in use" if each == in_use else "kept for `headgate usage --reprice`"
        said = f"{each.version} {origin_text(each)}: {used}, SHA-256 verified ({each.sha256[:8]}...)"
        yield Finding("files", OK, said)
    old = (datetime.fromtimestamp(now, UTC).date() - date.fromisoformat(in_use.date)).days
    if old > max_age:
        yield Finding("age", WARNING, f"the prices are of {in_use.date}: {old} days old, more than {max_age}", _UPDATE)
    else:
        yield Finding("age", OK, f"the prices are of {in_use.date}, not older than {max_age} days")


def _models(settings: Settings, book: PriceBook, now: float) -> Iterator[Finding]:
    from headgate.cli.doctor_report import NOTE, OK, Finding

    uses = _routable(settings)
    seen: dict[tuple[str, str], list[Use]] = {}
    for use in uses:
        seen.setdefault((use.provider, use.model), []).append(use)
    for (provider, model), named in seen.items():
        yield from _model(settings, book, provider, model, named[0], now)
    if not seen:
        yield Finding("models", OK, "the configuration names no model: each is priced as it is asked for")
    for name in settings.providers:
        if book.listed(name) is None and not any(owner == name for owner, _ in book.overrides):
            said = f"{name} ({_line(settings, f'providers.{name}')}) is not in the price file and has no price here"
            what = (
                "its models are refused" if book.unknown.ceiling_pico is None else "its models are charged the ceiling"
            )
            yield Finding("models", NOTE, f"{said}: {what}", _own_price(f"{name}/<model>"))


def _routable(settings: Settings) -> list[Use]:
    """Everything that the configuration can route to, budgets of keys included."""
    from headgate.cli.doctor_models import used

    found = used(replace(settings, prices={}))
    for place, key in enumerate(settings.keys):
        alone = replace(settings, prices={}, tasks={}, budgets=key.budgets)
        for use in used(alone):
            if use.path.startswith("budgets["):
                path = f"keys[{place}].{use.path}"
                found.append(replace(use, path=path, origin=_line(settings, path)))
    return found


def _model(settings: Settings, book: PriceBook, provider: str, model: str, use: Use, now: float) -> Iterator[Finding]:
    from headgate.cli.doctor_report import NOTE, OK, PROBLEM, WARNING, Finding
    from headgate.cli.prices_text import discount_line, override_line
    from headgate.policy.discounts import discount_text

    name = f"{provider}/{model} in {use.path} ({use.origin})"
    price = book.find(provider, model, now)
    if price is None:
        remedy = _own_price(f"{provider}/{model}")
        if book.unknown.ceiling_pico is None:
            yield Finding("models", PROBLEM, f"{name} has no price: calls to it are refused", remedy)
        else:
            yield Finding("models", WARNING, f"{name} has no price: calls to it are charged the ceiling", remedy)
        return
    if price.source == "override":
        said = f"own price, {override_line(settings, book, provider, model)}"
    else:
        said = f"list price of {price.entry}, {book.snapshot}"
        if points := book.discounts.get(provider):
            said += f" less {discount_text(points)} ({discount_line(settings, provider)})"
    yield Finding("models", OK, f"{name}: {said}")
    # A price of some hours of the day ends at another time than midnight, and comes back.
    if now < price.until < now + _SOON_SECONDS and price.until % _DAY == 0:
        day = datetime.fromtimestamp(price.until, UTC).date()
        yield Finding("models", NOTE, f"{provider}/{model} changes its price on {day}: headgate prices show --at {day}")


def _own_price(name: str) -> str:
    return f'put its price into headgate.yaml: prices: {{"{name}": {{input: 3, output: 15}}}}, or {_UPDATE}'


def _line(settings: Settings, path: str) -> str:
    from headgate.settings.fields import DEFAULT

    return settings.origins.get(path, DEFAULT)
