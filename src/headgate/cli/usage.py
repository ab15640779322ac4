"""`headgate usage`: what was spent, from the ledger, beside whoever writes it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, reader_of, settings_of
from headgate.cli.since import HELP, read_moment, read_zone
from headgate.cli.text import count, dollars, print_json, print_table, safe
from headgate.core.csv_lines import csv_line

if TYPE_CHECKING:
    from headgate.stores.reader import Amounts, UsageReport

# As in `stores.dimensions`, repeated so that `--help` need not import SQLAlchemy; a test compares the two.
FILTERS = ("key", "tenant", "user", "session", "task", "feature", "model", "provider", "ending", "environment")
_DIMENSIONS = (*FILTERS, "hour", "day", "week", "month")

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
    ("hits", "cache_hits", count),
)
_OFTEN_EMPTY = ("estimated_nano", "held_nano", "cache_read_tokens", "cache_write_tokens", "cache_hits")


def _with_filters(command: Any) -> Any:
    for name in reversed(FILTERS):
        command = click.option(f"--{name}", metavar="TEXT", help=f"Only this {name}.", default=None)(command)
    return command


@click.command()
@click.option("--by", metavar="NAMES", default="", help=f"Break down by any of: {', '.join(_DIMENSIONS)}, tag:<name>.")
@click.option("--since", metavar="WHEN", help=HELP)
@click.option("--until", metavar="WHEN", help="Up to, and without, this moment; as --since.")
@click.option(
    "--zone", metavar="NAME", default="UTC", help="Whose hours, days, weeks and months: Europe/Berlin, UTC, ..."
)
@_with_filters
@click.option("--tag", "tags", metavar="NAME=TEXT", multiple=True, help="Only this tag; may be given several times.")
@click.option(
    "--reprice",
    metavar="VERSION",
    help="Compute it again under another price version, `current` or a price file, and show the difference.",
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for a spreadsheet.")
@config_option
def usage(
    by: str,
    since: str | None,
    until: str | None,
    zone: str,
    tags: tuple[str, ...],
    reprice: str | None,
    as_json: bool,
    as_csv: bool,
    config: str | None,
    **filters: str | None,
) -> None:
    """What was spent.

    Reads the ledger that `storage` names, while a gateway writes it or while none runs. Hours, days, weeks (named by
    their Monday) and months are the zone's, and so is a date without an offset. "held" is the money set aside for calls
    on their way now. A filter's empty text means "not told": --user ''.

    --reprice takes the present prices and discounts of the configuration over the price file of that version. What a
    row cannot tell exactly is counted, and said.

    \b
    Example:
      headgate usage --by user,model --since 7d
      headgate usage --tenant acme --by week,tag:team --zone Europe/Berlin --json
      headgate usage --reprice current --by model
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two formats: choose one")
    names = _names(by)
    where = read_zone(zone)
    now = time.time()
    start = None if since is None else read_moment(since, now=now, option="--since", zone=where)
    end = None if until is None else read_moment(until, now=now, option="--until", zone=where)
    wanted = {name: value for name, value in filters.items() if value is not None} | _tags(tags)
    settings = settings_of(config)
    reader = reader_of(settings)
    if reprice is not None:
        from headgate.cli.usage_reprice import reprice as again
        from headgate.cli.usage_reprice import show

        report = again(
            settings,
            reprice,
            names,
            lambda take: reader.charged(by=names, since=start, until=end, zone=where, filters=wanted, take=take),
        )
        show(report, as_json=as_json, as_csv=as_csv)
        return
    found = reader.usage(by=names, since=start, until=end, zone=where, **wanted)
    if as_json:
        print_json(found.as_json())
    elif as_csv:
        sys.stdout.write(_csv(found, names))
    else:
        _print(found, names)


def _names(by: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in by.split(",") if name.strip())
    unknown = [name for name in names if name not in _DIMENSIONS and not (name.startswith("tag:") and name != "tag:")]
    if unknown or len(set(names)) != len(names):
        what = f"no such dimension: {safe(', '.join(unknown))}" if unknown else "a dimension is named twice"
        raise click.BadParameter(f"{what}; choose from {', '.join(_DIMENSIONS)}, tag:<name>", param_hint="--by")
    return names


def _tags(tags: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for tag in tags:
        name, sign, value = tag.partition("=")
        if not name or not sign:
            raise click.BadParameter("write NAME=TEXT, as in team=search", param_hint="--tag")
        found[f"tag:{name}"] = value
    return found


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
        _prompt_caching(report.total)
        return
    rows = [[*(row.by[name] or "-" for name in names), *cells(row.amounts)] for row in report.rows]
    print_table((*names, *heads), rows, left=len(names), footer=["total", *[""] * (len(names) - 1), *total])


def _prompt_caching(total: Amounts) -> None:
    read, written = total.cache_read_tokens, total.cache_write_tokens
    if read or written:
        share = read / (read + written + total.input_tokens)
        click.echo(
            f"{share:.0%} of prompt tokens came from providers' caches: `headgate cache prompts` has what it saved"
        )


def _csv(report: UsageReport, names: tuple[str, ...]) -> str:
    lines = [csv_line([*names, *report.total.as_json()])]
    for row in report.rows if names else [None]:
        amounts = report.total if row is None else row.amounts
        told = () if row is None else (row.by[name] for name in names)
        lines.append(csv_line(told, amounts.as_json().values()))
    return "".join(lines)
