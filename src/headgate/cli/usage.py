"""`headgate usage`: what was spent, from the ledger, beside whoever writes it."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, ledger_file, settings_of
from headgate.cli.since import HELP, read_moment
from headgate.cli.text import count, dollars, print_json, print_table, safe

if TYPE_CHECKING:
    from headgate.stores.reader import Amounts, UsageReport

# As in `stores.reader.FILTERS`, repeated so that `--help` need not import SQLAlchemy; a test compares the two.
FILTERS = ("key", "tenant", "user", "session", "task", "feature", "model", "provider", "ending", "environment")
_DIMENSIONS = (*FILTERS, "day", "hour")

_COLUMNS: tuple[tuple[str, str, Callable[[int], str]], ...] = (
    ("exchanges", "exchanges", count),
    ("attempts", "attempts", count),
    ("cost", "cost_nano", dollars),
    ("of it estimated", "estimated_nano", dollars),
    ("held", "held_nano", dollars),
    ("input", "input_tokens", count),
    ("cache read", "cache_read_tokens", count),
    ("cache write", "cache_write_tokens", count),
    ("output", "output_tokens", count),
)
_OFTEN_EMPTY = ("estimated_nano", "held_nano", "cache_read_tokens", "cache_write_tokens")


def _with_filters(command: Any) -> Any:
    for name in reversed(FILTERS):
        command = click.option(f"--{name}", metavar="TEXT", help=f"Only this {name}.", default=None)(command)
    return command


@click.command()
@click.option("--by", metavar="NAMES", default="", help=f"Break down by any of: {', '.join(_DIMENSIONS)}.")
@click.option("--since", metavar="WHEN", help=HELP)
@click.option("--until", metavar="WHEN", help="Up to, and without, this moment; as --since.")
@_with_filters
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for a spreadsheet.")
@config_option
def usage(
    by: str,
    since: str | None,
    until: str | None,
    as_json: bool,
    as_csv: bool,
    config: str | None,
    **filters: str | None,
) -> None:
    """What was spent.

    Reads the ledger that `storage` names, while a gateway writes it or while none runs. Days and hours are UTC's.
    "held" is the money set aside for calls on their way now. A filter's empty text means "not told": --user ''.

    \b
    Example:
      headgate usage --by user,model --since 7d
      headgate usage --tenant acme --by day --json
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two formats: choose one")
    names = tuple(name.strip() for name in by.split(",") if name.strip())
    unknown = [name for name in names if name not in _DIMENSIONS]
    if unknown or len(set(names)) != len(names):
        what = f"no such dimension: {safe(', '.join(unknown))}" if unknown else "a dimension is named twice"
        raise click.BadParameter(f"{what}; choose from {', '.join(_DIMENSIONS)}", param_hint="--by")
    now = time.time()
    start = None if since is None else read_moment(since, now=now, option="--since")
    end = None if until is None else read_moment(until, now=now, option="--until")
    path = ledger_file(settings_of(config))

    from headgate.stores.reader import Reader

    wanted = {name: value for name, value in filters.items() if value is not None}
    report = Reader(path).usage(by=names, since=start, until=end, **wanted)
    if as_json:
        print_json(report.as_json())
    elif as_csv:
        sys.stdout.write(_csv(report, names))
    else:
        _print(report, names)


def _print(report: UsageReport, names: tuple[str, ...]) -> None:
    if not report.total.exchanges and not report.rows:
        click.echo("Nothing was recorded in this time.")
        return
    columns = [each for each in _COLUMNS if each[1] not in _OFTEN_EMPTY or getattr(report.total, each[1])]

    def cells(amounts: Amounts) -> list[str]:
        return [shown(getattr(amounts, name)) for _, name, shown in columns]

    heads = [head for head, _, _ in columns]
    total = cells(report.total)
    if not names:
        print_table(heads, [total], left=0)
        return
    rows = [[*(row.by[name] or "-" for name in names), *cells(row.amounts)] for row in report.rows]
    print_table((*names, *heads), rows, left=len(names), footer=["total", *[""] * (len(names) - 1), *total])


def _csv(report: UsageReport, names: tuple[str, ...]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, *report.total.as_json()])
    for row in report.rows if names else [None]:
        amounts = report.total if row is None else row.amounts
        told = () if row is None else (_cell(row.by[name]) for name in names)
        writer.writerow([*told, *amounts.as_json().values()])
    return out.getvalue()


def _cell(text: str) -> str:
    """Text that neither a terminal nor a spreadsheet acts on (OWASP, "CSV injection")."""
    shown = safe(text)
    return f"'{shown}" if shown[:1] in ("=", "+", "-", "@") else shown
