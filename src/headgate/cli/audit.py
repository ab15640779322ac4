"""`headgate audit`: where the money goes, and what each change would have saved on these very calls."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.cli.group import config_option, json_option, reader_of, settings_of
from headgate.cli.since import HELP, read_moment, read_zone
from headgate.cli.text import print_json, safe

if TYPE_CHECKING:
    from headgate.policy.audit.calls import Call
    from headgate.policy.pricebook import PriceBook
    from headgate.settings.model import Settings

# As in `policy.audit.run`, repeated so that `--help` need not import the price book; a test compares the two.
KINDS = ("cache", "model", "pruning", "length", "caps", "batch", "prompt_caching")
_FILTERS = ("tenant", "task", "feature", "model", "user", "key")


@click.command()
@click.option("--since", metavar="WHEN", help=HELP)
@click.option("--until", metavar="WHEN", help="Up to, and without, this moment; as --since.")
@click.option("--csv", "log", metavar="FILE", help="Somebody's log instead of the ledger; columns go by their names.")
@click.option("--only", metavar="KINDS", default="", help=f"Advice of these kinds alone: {', '.join(KINDS)}.")
@click.option("--batch-task", "patient", metavar="TASK", multiple=True, help="Nobody waits for its answers.")
@click.option(
    "--cheap",
    metavar="PROVIDER/MODEL",
    multiple=True,
    help="Where simple tasks could go.  [default: the virtual model `fast`, else the next smaller one]",
)
@click.option("--tenant", metavar="TEXT", help="Only this tenant.")
@click.option("--task", metavar="TEXT", help="Only this task.")
@click.option("--feature", metavar="TEXT", help="Only this feature.")
@click.option("--model", metavar="TEXT", help="Only this model.")
@click.option("--user", metavar="TEXT", help="Only this user.")
@click.option("--key", metavar="TEXT", help="Only this key (of the ledger).")
@click.option("--zone", metavar="NAME", default="UTC", show_default=True, help="Whose hours of the day.")
@click.option("--html", "page", metavar="FILE", help="Write a report to read or print, with plots.")
@json_option
@config_option
def audit(
    since: str | None,
    until: str | None,
    log: str | None,
    only: str,
    patient: tuple[str, ...],
    cheap: tuple[str, ...],
    zone: str,
    page: str | None,
    as_json: bool,
    config: str | None,
    **filters: str | None,
) -> int:
    """Where the money goes, and what each change would have saved on these very calls.

    Every number is a call of the ledger (or of --csv) priced again with the price book: answers kept, a cheaper model
    for simple tasks, shorter histories and inputs, output caps, batches, prompt caching. The changes are made in this
    order, each to what the ones before have left, so that savings add up and nothing counts twice. Each is told with
    its risk and with what it assumes. Nothing is sent, and nothing is changed. Ends with 1 where lines of a CSV had to
    be left out.

    \b
    Example:
      headgate audit --since 7d
      headgate audit --since 30d --batch-task nightly --html audit.html
      headgate audit --csv export.csv --json
    """
    from headgate.cli.doctor_report import progress
    from headgate.policy.audit.run import Options
    from headgate.policy.audit.run import audit as look
    from headgate.settings.price_book import price_book

    kinds = _kinds(only)
    where = read_zone(zone)
    now = time.time()
    start = None if since is None else read_moment(since, now=now, option="--since", zone=where)
    end = None if until is None else read_moment(until, now=now, option="--until", zone=where)
    settings = settings_of(config)
    wanted = {name: value for name, value in filters.items() if value is not None}
    book = price_book(settings, os.environ)
    options = Options(kinds, _cheap(settings, cheap), frozenset(patient), where)
    with progress("auditing"):
        if log is None:
            calls, left_out = _recorded(settings, book, start, end, wanted), 0
        else:
            calls, left_out = _logged(Path(log), start, end, wanted, now)
        found = look(calls, book, options)
    if page is not None:
        from headgate.cli.audit_html import page as page_of

        _write(Path(page), page_of(found, zone))
        click.echo(f"wrote {safe(page)}", err=True)
    if as_json:
        from headgate.cli.audit_text import as_document

        print_json(as_document(found) | {"left_out": left_out})
    else:
        from headgate.cli.audit_text import print_audit

        print_audit(found, zone)
    return 1 if left_out else 0


def _recorded(
    settings: Settings, book: PriceBook, start: float | None, end: float | None, wanted: dict[str, str]
) -> list[Call]:
    from headgate.cli.usage_reprice import files_by_version
    from headgate.policy.reprice import Repricer
    from headgate.stores.audit_reader import calls_of
    from headgate.stores.price_files import PriceFiles, prices_folder

    repricer = Repricer(book, files_by_version(PriceFiles(prices_folder(os.environ))))
    return calls_of(reader_of(settings), start, end, wanted, repricer)


def _logged(
    path: Path, start: float | None, end: float | None, wanted: dict[str, str], now: float
) -> tuple[list[Call], int]:
    from headgate.cli.audit_csv import read_log

    if "key" in wanted:
        raise click.UsageError("--key is of the ledger: a CSV tells of no keys")
    log = read_log(path, now)
    for mistake in log.mistakes:
        click.echo(f"{safe(path)}: {safe(mistake)}", err=True)
    if log.left_out:
        click.echo(f"{log.left_out:,} lines were left out, {len(log.calls):,} are audited", err=True)
    calls = [
        call
        for call in log.calls
        if (start is None or call.at >= start)
        and (end is None or call.at < end)
        and all(getattr(call, name) == value for name, value in wanted.items())
    ]
    return calls, log.left_out


def _kinds(only: str) -> frozenset[str]:
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise click.BadParameter(f"{safe(', '.join(unknown))}; choose from {', '.join(KINDS)}", param_hint="--only")
    return frozenset(names or KINDS)


def _cheap(settings: Settings, told: tuple[str, ...]) -> dict[str, str]:
    """By provider: the model that was asked for, else the first of the virtual model `fast`."""
    found: dict[str, str] = {}
    for text in told:
        provider, slash, model = text.partition("/")
        if not slash or not provider or not model:
            raise click.BadParameter("write PROVIDER/MODEL, as in anthropic/claude-haiku-4-5", param_hint="--cheap")
        found[provider] = model
    for route in settings.models.get("fast", ()):
        found.setdefault(route.provider, route.model)
    return found


def _write(to: Path, text: str) -> None:
    from headgate.core.errors import ConfigError

    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--html: {to} cannot be written: {error.strerror}") from None
