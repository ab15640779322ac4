"""`headgate reconcile`: the ledger against the provider's own report, per day, model and key."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from headgate.cli.group import config_option, json_option, reader_of, settings_of
from headgate.cli.since import HELP, read_moment
from headgate.cli.text import safe

if TYPE_CHECKING:
    from headgate.cli.reconcile_sources import Source
    from headgate.policy.pricebook import PriceBook
    from headgate.policy.reconciling import Ours, Reconciliation
    from headgate.settings.model import Settings
    from headgate.stores.billing_reader import BillingReader

FAILED = 2
_DAY = 86_400
_LONGEST = 366
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%")
_HOSTS = {"anthropic": "api.anthropic.com", "openai": "api.openai.com"}


class Unavailable(click.ClickException):
    """The provider's side could not be had: that is neither a match nor a difference."""

    exit_code = FAILED


@click.command()
@click.option("--month", metavar="YYYY-MM", help="Which month, in UTC: the providers count in UTC days.")
@click.option("--since", metavar="WHEN", help=f"Instead of --month, whole UTC days from here on. {HELP}")
@click.option("--until", metavar="WHEN", help="Up to, and without, the day of this moment; now unless told.")
@click.option("--provider", type=click.Choice(("anthropic", "openai", "all")), default="all", show_default=True)
@click.option(
    "--against",
    metavar="WHAT",
    default="api",
    show_default=True,
    help="'api' (admin keys from ANTHROPIC_ADMIN_KEY, OPENAI_ADMIN_KEY), FILE.csv, FILE.json, or a simulator's URL.",
)
@click.option(
    "--tolerance", metavar="SHARE", default="0.1%", show_default=True, help="What is no difference, in percent."
)
@click.option(
    "--key",
    "keys",
    metavar="ID[=NAME]",
    multiple=True,
    help="A key of the provider's that Headgate uses, and under which of our providers' names. Others are set apart.",
)
@click.option("--all", "every", is_flag=True, help="Show the days that agree, too.")
@json_option
@config_option
def reconcile(
    month: str | None,
    since: str | None,
    until: str | None,
    provider: str,
    against: str,
    tolerance: str,
    keys: tuple[str, ...],
    every: bool,
    as_json: bool,
    config: str | None,
) -> int:
    """The ledger against the provider's own report.

    Compares tokens of each class and cost, per UTC day, model and key, and names the likely cause of what differs.
    Nothing is changed. Exit codes: 0 all within the tolerance, 1 differences, 2 misuse or no report to be had.

    \b
    Example:
      headgate reconcile --month 2026-11
      headgate reconcile --since 7d --provider anthropic --key apikey_01Rj=anthropic
      headgate reconcile --month 2026-10 --provider openai --against october.csv --tolerance 0.5%
    """
    share = _share(tolerance)
    start, end = _span(month, since, until)
    settings = settings_of(config)
    ledger = reader_of(settings)

    from headgate.cli.reconcile_sources import VENDORS, fetch
    from headgate.cli.reconcile_text import as_document, show
    from headgate.cli.text import print_json
    from headgate.policy.reconciling_causes import explain
    from headgate.settings.secrets import scrub
    from headgate.stores.billing_reader import BillingReader
    from headgate.upstream.usage_reports import ReportError

    vendors = VENDORS if provider == "all" else (provider,)
    reader = BillingReader(ledger)
    reader.tenants(start, end)  # is there a ledger? Better known before a provider is asked
    try:
        sources = fetch(vendors, against, start, end)
    except ReportError as error:
        raise Unavailable(safe(scrub(error.message))) from None
    found: dict[str, Reconciliation] = {}
    for source in sources:
        found[source.vendor] = _compared(source, reader, settings, keys, start, end, share)
        explain(found[source.vendor])
    left_out = [vendor for vendor in vendors if vendor not in found]
    if as_json:
        print_json(as_document(found, start, end, left_out))
    else:
        show(found, start, end, left_out, every=every)
    return 1 if any(each.differing for each in found.values()) else 0


def _share(text: str) -> Fraction:
    """A percentage as a share."""
    told = _PERCENT.fullmatch(text.strip())
    if told is None or Fraction(told.group(1)) > 100:
        raise click.BadParameter("expected a percentage from 0% to 100%, like 0.1%", param_hint="--tolerance")
    return Fraction(told.group(1)) / 100


def _span(month: str | None, since: str | None, until: str | None) -> tuple[float, float]:
    """Whole UTC days, not beyond today's."""
    if (month is None) == (since is None) or (month is not None and until is not None):
        raise click.UsageError("say which time: --month 2026-11, or --since and perhaps --until")
    now = time.time()
    if month is not None:
        from headgate.cli.invoice import span_of

        start, end, _ = span_of(month, "UTC")
    else:
        start = read_moment(str(since), now=now, option="--since")
        end = now if until is None else read_moment(until, now=now, option="--until")
    first, last = start // _DAY * _DAY, -(-min(end, now) // _DAY) * _DAY
    if last <= first:
        raise click.UsageError("this time is empty, or has not come yet")
    if last - first > _LONGEST * _DAY:
        raise click.UsageError(f"at most {_LONGEST} days at once")
    return first, last


def _compared(
    source: Source,
    reader: BillingReader,
    settings: Settings,
    told_keys: tuple[str, ...],
    start: float,
    end: float,
    tolerance: Fraction,
) -> Reconciliation:
    from headgate.policy.reconciling import compare
    from headgate.settings.price_book import price_book

    providers = _providers(settings, source.vendor)
    ours = reader.provider_days(providers, start, end, simulated=source.simulated)
    book = price_book(settings, os.environ)
    for row in ours:
        row.rates = _rates(book, row)
    first, last = (datetime.fromtimestamp(at, UTC).date().isoformat() for at in (start, end))
    usage = [each for each in source.report.usage if first <= each.day < last]
    costs = source.report.costs
    if costs is not None:
        costs = [each for each in costs if first <= each.day < last]
    keys = _keys(told_keys, source.vendor, providers)
    return compare(ours, usage, costs, tolerance=tolerance, keys=keys or None)


def _providers(settings: Settings, vendor: str) -> list[str]:
    """Our names for a vendor: its own, and every provider of its dialect with the same address or the vendor's host."""
    own = settings.providers.get(vendor)
    addresses = {own.base_url} if own is not None else set()
    found = {vendor}
    for name, each in settings.providers.items():
        host = urlsplit(each.base_url).hostname
        if each.dialect == vendor and (each.base_url in addresses or host == _HOSTS[vendor]):
            found.add(name)
    return sorted(found)


def _keys(told: tuple[str, ...], vendor: str, providers: list[str]) -> dict[str, str]:
    """The keys that belong to this vendor: by the name behind the "=", the vendor's own unless told."""
    found = {}
    for each in told:
        key, _, name = each.partition("=")
        if not key.strip():
            raise click.BadParameter("expected a key's id, like apikey_01Rj2N8S", param_hint="--key")
        ours = key.startswith("apikey_") if vendor == "anthropic" else not key.startswith("apikey_")
        if name in providers or (not name and ours):
            found[key.strip()] = name or vendor
    return found


def _rates(book: PriceBook, row: Ours) -> Mapping[str, int]:
    """Our standard rates for a row's model on its day, of the shortest prompts."""
    at = datetime.fromisoformat(row.day).replace(tzinfo=UTC).timestamp()
    price = book.find(row.key, row.model, at)
    if price is None:
        return {}
    rates = price.schedule.standard[0][1]
    named: dict[str, Any] = {
        "input_tokens": rates.input,
        "cache_read_tokens": rates.cache_read,
        "cache_write_tokens": rates.cache_write,
        "cache_write_long_tokens": rates.cache_write_long,
        "output_tokens": rates.output,
        "web_searches": rates.web_search,
    }
    return named
