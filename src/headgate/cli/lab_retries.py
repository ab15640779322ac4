"""`headgate lab retries`: what each way to deal with a rate limit costs, and when the work is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, need_server, settings_of
from headgate.cli.text import console, print_json

if TYPE_CHECKING:
    from headgate.cli.lab_run import Outcome, Work

NAMES = ("none", "fixed", "exponential", "jitter", "retry-after", "paced")
OVERLOAD = 3.0
MOST_CALLS = 20_000
MOST_CLIENTS = 400
"""Each has a connection, and both of its ends are open files of this process."""


class _Amount(click.FloatRange):
    """A number in a range; `nan` is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(super().convert(value, param, ctx))
        if isnan(found):
            self.fail(f"{value!r} is not a number", param, ctx)
        return found


@click.command()
@click.option(
    "--clients", type=click.IntRange(1, MOST_CLIENTS), default=40, show_default=True, help="A call at a time each."
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(1, 100_000),
    default=120,
    show_default=True,
    help="The account's limit.",
)
@click.option(
    "--overload",
    type=_Amount(0.01, 100),
    metavar="TIMES",
    help=f"What is asked, as a multiple of what the limit lets through.  [default: {OVERLOAD:g}]",
)
@click.option("--calls", type=click.IntRange(1, MOST_CALLS), help="Of all clients together, in place of --overload.")
@click.option("--seconds", type=_Amount(1, 3600), default=60.0, show_default=True, help="In which calls come.")
@click.option("--attempts", type=click.IntRange(1, 20), default=6, show_default=True, help="Then a client gives up.")
@click.option("--latency", type=_Amount(0, 60), default=1.0, show_default=True, help="Seconds that an answer takes.")
@click.option("--network", type=_Amount(0, 5), default=0.05, show_default=True, help="Seconds there, and back again.")
@click.option("--dialect", type=click.Choice(["anthropic", "openai"]), default="anthropic", show_default=True)
@click.option("--strategy", "names", type=click.Choice(NAMES), multiple=True, help="Only this one; may come again.")
@click.option("--seed", type=int, default=7, show_default=True, help="What arrivals and jitter are drawn from.")
@click.option("--chart", metavar="FILE", help="Save a chart: .svg or .png (needs headgate[lab]).")
@json_option
@config_option
def retries(
    clients: int,
    requests_per_minute: int,
    overload: float | None,
    calls: int | None,
    seconds: float,
    attempts: int,
    latency: float,
    network: float,
    dialect: str,
    names: tuple[str, ...],
    seed: int,
    chart: str | None,
    as_json: bool,
    config: str | None,
) -> int:
    """The same calls against the same limited provider, with each strategy on an account of its own.

    Real HTTP over loopback, the simulator's own limiter and headers, tenacity's wait strategies, Headgate's engine.
    Simulated are the provider and the time: waits are jumped over, not waited for, so minutes take seconds and a seed
    always gives the same numbers. Ends with 1 where Headgate misses its promise: every call answered, at most 1 % of
    requests refused, done within 10 % of the ideal time.

    \b
    Example:
      headgate lab retries
      headgate lab retries --requests-per-minute 50 --overload 5 --chart retries.svg
      headgate lab retries --strategy jitter --strategy paced --dialect openai --json
    """
    from headgate.cli.lab_chart import check_chart, save_chart
    from headgate.cli.lab_provider import Account
    from headgate.cli.lab_run import Work
    from headgate.cli.lab_text import as_document, print_outcomes

    asked = _calls(calls, overload, requests_per_minute, seconds)
    settings_of(config)  # nothing of it is used yet; a mistake in it is still a mistake
    need_server()
    to = None if chart is None else check_chart(Path(chart))
    account = Account(dialect, requests_per_minute, latency, network, seed)
    work = Work(account, clients, asked, seconds, attempts)
    outcomes = _all(work, [name for name in NAMES if not names or name in names], quiet=as_json)
    if to is not None:
        save_chart(outcomes, to)
    if as_json:
        print_json(as_document(outcomes))
    else:
        print_outcomes(outcomes)
        if to is not None:
            click.echo(f"\nThe chart is in {to}")
    return 1 if any(outcome.broken for outcome in outcomes) else 0


def _calls(calls: int | None, overload: float | None, requests_per_minute: int, seconds: float) -> int:
    if calls is not None:
        if overload is not None:
            raise click.UsageError("--calls and --overload say the same thing: give one of them")
        return calls
    found = max(1, round(requests_per_minute / 60 * seconds * (OVERLOAD if overload is None else overload)))
    if found > MOST_CALLS:
        raise click.UsageError(
            f"that makes {found:,} calls, and {MOST_CALLS:,} is the most: lower --requests-per-minute, --overload or "
            "--seconds"
        )
    return found


def _all(work: Work, names: list[str], *, quiet: bool) -> list[Outcome]:
    from headgate.cli.lab_run import run
    from headgate.cli.lab_strategies import STRATEGIES

    chosen = [strategy for strategy in STRATEGIES if strategy.name in names]
    with _progress(work, len(chosen), quiet=quiet) as tell:
        return [run(strategy, work, partial(tell, strategy.name)) for strategy in chosen]


@contextmanager
def _progress(work: Work, strategies: int, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal; elsewhere one line at the start."""
    screen = console(sys.stderr)
    if quiet or not screen.is_terminal:
        if not quiet:
            click.echo(f"{work.calls} calls with each of {strategies} strategies", err=True)
        yield lambda _name: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeRemainingColumn(), console=screen, transient=True, refresh_per_second=5) as bar:
        task = bar.add_task("", total=work.calls * strategies)
        yield lambda name: bar.update(task, description=name, advance=1)
