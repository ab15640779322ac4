"""`headgate check`: the pre-launch checklist, executed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from headgate.cli.group import config_option, json_option, settings_of
from headgate.cli.text import console, print_json, safe

if TYPE_CHECKING:
    from headgate.checklist import Item

_MARKS = {"pass": ("ok", "green"), "warn": ("WARN", "yellow"), "fail": ("FAIL", "bold red")}
_MARKS["not applicable"] = ("n/a", "dim")


@click.command()
@click.option("--strict", is_flag=True, help="Exit code 1 for a warning, too.")
@json_option
@config_option
def check(strict: bool, as_json: bool, config: str | None) -> int:
    """The pre-launch checklist, executed: each item with its state and the evidence for it.

    Retries, timeouts, fallbacks and budgets are drilled with invented providers in memory, guards and the log's
    cleaning with planted texts; the ledger and the log say what happened in the last 7 days. Nothing is sent anywhere.
    Each item that is not fine says what to write where.

    Exit code 1 where an item fails; with --strict where one warns, too.

    \b
    Example:
      headgate check
      headgate check --strict --json
    """
    from headgate import checklist

    settings = settings_of(config)
    reader, logs = checklist.sources_of(settings)
    try:
        items = checklist.run(settings, None, reader, logs)
    finally:
        if logs is not None:
            logs.close()
    bad = {"fail", "warn"} if strict else {"fail"}
    found = any(item.state in bad for item in items)
    if as_json:
        print_json({"ok": not found, "counts": _counts(items), "items": [item.as_json() for item in items]})
    else:
        _show(items)
    return 1 if found else 0


def _counts(items: Sequence[Item]) -> dict[str, int]:
    from headgate.checklist import STATES

    return {str(state): sum(item.state == state for item in items) for state in STATES}


def _show(items: Sequence[Item]) -> None:
    screen = console()
    if screen.is_terminal:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2), pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        group = ""
        for item in items:
            if item.group != group:
                table.add_row("", "")
                table.add_row("", Text(item.group, style="bold"))
                group = item.group
            word, style = _MARKS[item.state]
            text = Text(item.title, style="dim" if item.state == "not applicable" else "bold")
            text.append(f"\n{safe(item.evidence)}", style="dim" if item.state == "pass" else "not bold")
            if item.remedy:
                text.append("\n" + "\n".join(f"  {safe(line)}" for line in item.remedy.splitlines()), style="cyan")
            table.add_row(Text(word, style=style), text)
        screen.print(table)
        screen.print("")
        screen.print(Text(_summary(items), style="bold"))
        return
    for item in items:
        sys.stdout.write(f"{_MARKS[item.state][0]:4}  {item.id:15}  {safe(item.evidence)}\n")
        sys.stdout.writelines(f"{'':4}  {'':15}  -> {safe(line)}\n" for line in item.remedy.splitlines())
    sys.stdout.write(f"{_summary(items)}\n")


def _summary(items: Sequence[Item]) -> str:
    counts = _counts(items)
    told = [f"{counts[state]} {word}" for state, word in (("fail", "failed"), ("warn", "to look at")) if counts[state]]
    rest = f"{counts['pass']} of {len(items)} items are as they should be"
    return f"{rest}; {', '.join(told)}." if told else f"{rest}."
