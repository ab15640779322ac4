"""`headgate providers`: how traffic stands with each provider in the running gateway; breakers lifted by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import console, print_json, safe

if TYPE_CHECKING:
    from headgate.settings.model import Settings


@click.group(invoke_without_command=True)
@json_option
@config_option
@click.pass_context
def providers(ctx: click.Context, as_json: bool, config: str | None) -> int:
    """How traffic stands with each provider, in the gateway that is running.

    Breakers that are open, and why; calls in flight, their cap, and who waits; what is left of each rate limit; errors
    of attempts beside those that callers see; what was wrong with the provider's headers. Exit code 1 where a breaker
    is open, or where retries hide that much fails.

    \b
    Example:
      headgate providers
      headgate providers lift anthropic      the account has money again
    """
    if ctx.invoked_subcommand is not None:
        return 0
    return _show(settings_of(config), as_json=as_json)


@providers.command()
@click.argument("name", metavar="PROVIDER")
@json_option
@config_option
def lift(name: str, as_json: bool, config: str | None) -> int:
    """Close every breaker of a PROVIDER now: what was wrong is mended, and the next probe would be too late.

    Breakers close by themselves when a probe is answered; one of an account without money is probed at most once an
    hour. What is still broken opens again. Exit code 1 where no gateway is running.

    \b
    Example:
      headgate providers lift anthropic
    """
    from headgate.cli.traffic_door import lift as ask
    from headgate.cli.traffic_door import running

    settings = settings_of(config)
    done = ask(settings, name)
    if done is None:
        raise click.ClickException(f"nothing was lifted: {running(settings).why}")
    if as_json:
        print_json(done)
        return 0
    number = done["lifted"]
    words = "no breaker was open" if not number else f"{number} breaker{'' if number == 1 else 's'} closed"
    click.echo(f"{safe(name)}: {words}.")
    return 0


def _show(settings: Settings, *, as_json: bool) -> int:
    from headgate.cli.traffic_door import running

    found = running(settings)
    rows = found.rows or []
    wrong = any(row.get("open") or row.get("hidden") for row in rows)
    if as_json:
        print_json({"running": found.rows is not None, "url": found.url or None, "providers": rows})
    elif found.rows is None:
        click.echo(f"Nothing to see: {safe(found.why)}.")
    else:
        _print(rows)
    return 1 if wrong else 0


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    if not screen.is_terminal:
        for row in rows:
            for name, text, _ in _lines(row):
                click.echo(f"{safe(row['provider'])}  {name:8}  {safe(text)}")
        return
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(overflow="fold", style="bold", max_width=20)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for place, row in enumerate(rows):
        if place:
            table.add_row("", "", "")
        first = safe(row["provider"])
        for name, text, style in _lines(row):
            table.add_row(first, name, Text(safe(text), style=style))
            first = ""
    screen.print(table)


def _lines(row: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(label, what, style) for one provider."""
    from headgate.cli.traffic_text import at_once_text, header_lines, open_text, pace_lines, rates_text, retries_text

    if not row["ready"]:
        yield "key", f"cannot be used: {row.get('why', 'no key')}", "yellow"
    if not row["used"]:
        if row["ready"]:
            yield "now", "nothing was sent yet", "dim"
        return
    for each in row["open"]:
        yield "open", open_text(each), "bold red"
    yield "now", at_once_text(row), ""
    yield "errors", rates_text(row), "yellow" if row["hidden"] else ""
    yield "retries", retries_text(row), ""
    for pace in row["paces"]:
        family = pace["family"] or "without a model"
        several = len({each["credential"] for each in row["paces"]}) > 1
        label = f"{family} ({pace['credential']})" if several and pace["credential"] else family
        for place, text in enumerate(pace_lines(pace)):
            yield "" if place else "pace", text if place else f"{label}: {text}", ""
    if row["more_paces"]:
        yield "", f"and {row['more_paces']:,} more models", "dim"
    for text in header_lines(row):
        yield "headers", text, "yellow"
