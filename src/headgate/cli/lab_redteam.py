"""`headgate lab redteam`: attacks of our own against a configuration, with a model that obeys the attacker."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from headgate.cli.group import config_option, json_option, need_server, settings_of
from headgate.cli.text import console, print_json

FAMILIES = (
    "direct",
    "role_play",
    "encoded",
    "indirect",
    "extraction",
    "tool_hijack",
    "exfiltration",
    "canary_leak",
    "agent_loop",
)
PROFILES = ("off", "observe", "standard", "strict")


@click.command()
@click.option("--profile", type=click.Choice(PROFILES), help="As if `guards.profile` said so, with all its modes.")
@click.option("--as", "who", metavar="KIND=NAME", help="Only these calls: everybody, task=NAME, key=NAME, ...")
@click.option("--family", "families", type=click.Choice(FAMILIES), multiple=True, help="Only this one; may come again.")
@click.option("--every", type=click.IntRange(1, 100), default=1, show_default=True, help="Only each so manieth.")
@click.option("--report", metavar="FILE", help="Write a page, too: .html or .md.")
@click.option("--no-advice", is_flag=True, help="Do not look for lines that would have stopped what got through.")
@click.option("--seed", type=int, default=7, show_default=True, help="What the model's answers are cut by.")
@json_option
@config_option
def redteam(
    profile: str | None,
    who: str | None,
    families: tuple[str, ...],
    every: int,
    report: str | None,
    no_advice: bool,
    seed: int,
    as_json: bool,
    config: str | None,
) -> int:
    """Attack your own configuration, with a model that always does what the attacker says.

    Every provider is the simulator, which obeys any instruction in any text; the engine, the guards, tasks, tools and
    keys are yours, the ledger is a temporary one, and nothing leaves this machine. Each attack is made in both
    dialects, streamed and not; what the application would have got decides. Harmless work has to go on.
    Ends with 1 where something of consequence got through, or could not be tried.

    \b
    Example:
      headgate lab redteam
      headgate lab redteam --profile strict --report redteam.html
      headgate lab redteam --as task=summarise --family tool_hijack --json
    """
    from headgate.cli.redteam.attack import Attack, Task
    from headgate.cli.redteam.pages import check_report, save_report
    from headgate.cli.redteam.reporting import as_document, print_results
    from headgate.cli.redteam.run import run
    from headgate.cli.redteam.subjects import chosen, with_profile

    settings = settings_of(config)
    if profile is not None:
        settings = with_profile(settings, profile)
    found = chosen(settings, who)
    need_server()
    to = None if report is None else check_report(Path(report))

    def wanted(each: Attack | Task) -> bool:
        return not families or isinstance(each, Task) or each.family in families

    with _progress(quiet=as_json) as progress:
        results = run(
            settings,
            found,
            env=os.environ,
            seed=seed,
            only=wanted,
            every=every,
            advising=not no_advice,
            progress=progress,
        )
    document = as_document(settings, results)
    if to is not None:
        save_report(document, to)
    if as_json:
        print_json(document)
    else:
        print_results(document)
        if to is not None:
            click.echo(f"\nThe report is in {to}")
    return 1 if document["got_through"] or document["not_tried"] else 0


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int], Callable[[], None]]]:
    """A bar on a terminal; elsewhere one line for each subject."""
    screen = console(sys.stderr)
    if quiet or not screen.is_terminal:

        def told(calls: int) -> Callable[[], None]:
            if not quiet:
                click.echo(f"{calls} attacks and tasks", err=True)
            return lambda: None

        yield told
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("red team"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True, refresh_per_second=5) as bar:
        task = bar.add_task("", total=0)
        total = 0

        def more(calls: int) -> Callable[[], None]:
            nonlocal total
            total += calls
            bar.update(task, total=total)
            return lambda: bar.advance(task)

        yield more
