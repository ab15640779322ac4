"""`headgate invoice`: what a tenant owes for a month, from the ledger, beside whoever writes it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.cli.group import config_option, json_option, reader_of, settings_of
from headgate.cli.text import safe

if TYPE_CHECKING:
    from headgate.policy.invoicing import Invoice

FORMATS = ("table", "csv", "json", "html")
ALL = "all"
# What lines can be broken down by; repeated from the store so that `--help` need not import SQLAlchemy.
DIMENSIONS = ("model", "key", "user", "session", "task", "feature", "provider", "environment", "day", "week")


@click.command()
@click.option(
    "--tenant", metavar="NAME", required=True, help=f"Whose. '{ALL}': every tenant; '': calls that named none."
)
@click.option("--month", metavar="YYYY-MM", required=True, help="Which month.")
@click.option("--zone", metavar="ZONE", default="UTC", show_default=True, help="Whose months, as in Europe/Berlin.")
@click.option("--by", metavar="NAMES", default="model", show_default=True, help=f"Lines by: {', '.join(DIMENSIONS)}.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: as --out ends, else table.")
@json_option
@click.option("--out", metavar="PATH", help=f"Write a file; with --tenant {ALL} a folder, one file for each tenant.")
@config_option
def invoice(
    tenant: str,
    month: str,
    zone: str,
    by: str,
    form: str | None,
    as_json: bool,
    out: str | None,
    config: str | None,
) -> None:
    """What a tenant owes for a month.

    Lines with tokens and cost, the markup and the minimum of `invoices` in headgate.yaml, and a total that is exactly
    the sum of the lines. Estimated cost is shown apart. An invoice of a month that is not over, or with calls still
    on their way, says that it is provisional. A file that is there is replaced.

    \b
    Example:
      headgate invoice --tenant acme --month 2026-11
      headgate invoice --tenant acme --month 2026-11 --zone Europe/Berlin --out acme.html
      headgate invoice --tenant all --month 2026-11 --format html --out invoices/
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError("--json and --format name two formats: choose one")
    form = "json" if as_json else form or _form_of(out)
    names = tuple(name.strip() for name in by.split(",") if name.strip())
    unknown = [name for name in names if name not in DIMENSIONS and not name.startswith("tag:")]
    if unknown or not names or len(set(names)) != len(names):
        what = f"no such dimension: {safe(', '.join(unknown))}" if unknown else "name each dimension once"
        raise click.BadParameter(f"{what}; choose from {', '.join(DIMENSIONS)}, tag:NAME", param_hint="--by")
    if tenant == ALL and out is None:
        raise click.UsageError(f"--tenant {ALL} writes a file for each tenant: name their folder with --out")
    settings = settings_of(config)
    start, end, place = span_of(month, zone)

    from headgate.invoices.made import make_invoice
    from headgate.stores.billing_reader import BillingReader

    reader = BillingReader(reader_of(settings))
    shown = _writer(form)

    def made(name: str) -> Invoice:
        return make_invoice(
            reader, settings.invoices, name, names, month=month, zone=zone, span=(start, end, place), now=time.time()
        )

    if tenant == ALL:
        named = {name for name, terms in settings.invoices.tenants.items() if terms.minimum_nano}
        tenants = sorted({*reader.tenants(start, end), *named})
        _write_all(Path(str(out)), [made(name) for name in tenants], shown, form)
        return
    text = shown(made(tenant))
    if out is None:
        sys.stdout.write(text)
    else:
        _write(Path(out), text)
        click.echo(f"wrote {safe(out)}", err=True)


def _form_of(out: str | None) -> str:
    ending = Path(out or "").suffix.lower().removeprefix(".")
    return {"htm": "html"}.get(ending, ending) if ending in ("csv", "json", "html", "htm") else "table"


def span_of(month: str, zone: str) -> tuple[float, float, tzinfo]:
    """The month's start and end, and its zone."""
    from headgate.invoices.made import BadMonth, BadZone, month_of

    try:
        return month_of(month, zone)
    except BadMonth as error:
        raise click.BadParameter(str(error), param_hint="--month") from None
    except BadZone as error:
        raise click.BadParameter(str(error), param_hint="--zone") from None


def _writer(form: str) -> Callable[[Invoice], str]:
    if form == "html":
        from headgate.invoices.html import page

        return page
    from headgate.cli import invoice_text
    from headgate.invoices.words import csv_text, json_text

    return {"table": invoice_text.table, "csv": csv_text, "json": json_text}[form]


def _write_all(folder: Path, invoices: Sequence[Invoice], shown: Callable[[Invoice], str], form: str) -> None:
    from headgate.invoices.made import file_name

    ending = "txt" if form == "table" else form
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{folder} cannot be made: {error.strerror}", param_hint="--out") from None
    for each in invoices:
        _write(folder / f"{file_name(each.tenant, each.month)}.{ending}", shown(each))
    click.echo(f"wrote {len(invoices)} invoice{'' if len(invoices) == 1 else 's'} to {safe(folder)}", err=True)


def _write(path: Path, text: str) -> None:
    """All of it or nothing, for the owner only: it says who pays what."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise click.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="--out") from None
