"""`headgate lab costs`: the same pipeline with one model, with two, and in batches; and what each one's bill is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, need_server, settings_of
from headgate.cli.text import console, count, dollars, print_json, print_table

if TYPE_CHECKING:
    from headgate.cli.lab_pipeline import Bill, Work

STRONG, CHEAP = "claude-sonnet-5-5", "claude-haiku-5-5"
MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-haiku-4-5")


@click.command()
@click.option("--documents", type=click.IntRange(1, 500), default=20, show_default=True, help="That go through it.")
@click.option("--strong", type=click.Choice(MODELS), default=STRONG, show_default=True, help="For what is not simple.")
@click.option("--cheap", type=click.Choice(MODELS), default=CHEAP, show_default=True, help="For what is.")
@click.option("--chart", metavar="FILE", help="Save a chart: .svg or .png (needs headgate[lab]).")
@json_option
@config_option
def costs(documents: int, strong: str, cheap: str, chart: str | None, as_json: bool, config: str | None) -> int:
    """A pipeline of three steps (extract, summarise, answer) with one model, with two, and in batches.

    The same documents each time, through Headgate (in process) to the simulator, and the bill of each way by step.
    Ends with 1 where Headgate's ledger and the simulator's own invoice do not agree to the nano-dollar.

    \b
    Example:
      headgate lab costs
      headgate lab costs --documents 100 --strong claude-opus-5-5 --chart costs.svg
    """
    from headgate.cli.lab_chart import check_chart
    from headgate.cli.lab_pipeline import Work

    settings_of(config)  # nothing of it is used; a mistake in it is still a mistake
    need_server()
    to = None if chart is None else check_chart(Path(chart))
    work = Work(documents, strong, cheap)
    bills = _all(work, quiet=as_json)
    if to is not None:
        from headgate.cli.lab_costs_chart import save

        save(bills, to)
    if as_json:
        print_json(as_document(work, bills))
    else:
        _print(work, bills)
        if to is not None:
            click.echo(f"\nThe chart is in {to}")
    return 0 if all(bill.agrees for bill in bills) else 1


def _all(work: Work, *, quiet: bool) -> list[Bill]:
    from headgate.cli.lab_pipeline import STEPS, WAYS, run

    with _progress(len(WAYS) * len(STEPS) * work.documents, quiet=quiet) as tell:
        return [run(work, way, tell) for way in WAYS]


@contextmanager
def _progress(calls: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """A bar on a terminal."""
    screen = console(sys.stderr)
    if quiet or not screen.is_terminal:
        yield lambda: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("calls"), BarColumn(), TextColumn("{task.completed:,}"), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("", total=calls)
        yield lambda: bar.advance(task)


def _print(work: Work, bills: list[Bill]) -> None:
    from headgate.cli.lab_pipeline import STEPS

    first = bills[0].total
    click.echo(f"{work.documents} documents, three steps each: {count(bills[0].calls)} calls.\n")
    names = [step.name for step in STEPS]
    rows = [
        [
            bill.way.name,
            bill.way.what,
            *(dollars(bill.ours[name]) for name in names),
            dollars(bill.total),
            f"{bill.total / first:.0%}",
            "yes" if bill.agrees else f"no: {dollars(bill.invoiced)}",
        ]
        for bill in bills
    ]
    print_table(("way", "", *names, "bill", "of the first", "= invoice"), rows, left=2)
    click.echo("")
    tokens = [[name, *map(count, bills[0].tokens[name]), *(bill.models[name] for bill in bills[:2])] for name in names]
    print_table(("step", "input", "output", "one model", "hybrid"), tokens, left=1)


def as_document(work: Work, bills: list[Bill]) -> dict[str, Any]:
    """For `--json`: money as decimal strings of USD."""
    from headgate.core.money import usd_text

    return {
        "simulated": True,
        "documents": work.documents,
        "ways": [
            {
                "way": bill.way.name,
                "calls": bill.calls,
                "cost_usd": usd_text(bill.total),
                "invoice_usd": usd_text(bill.invoiced),
                "agrees": bill.agrees,
                "share": bill.total / bills[0].total,
                "steps": [
                    {
                        "step": name,
                        "model": bill.models[name],
                        "cost_usd": usd_text(nano),
                        "input_tokens": bill.tokens[name][0],
                        "output_tokens": bill.tokens[name][1],
                    }
                    for name, nano in bill.ours.items()
                ],
            }
            for bill in bills
        ],
    }
