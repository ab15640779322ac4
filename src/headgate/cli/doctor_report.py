"""What the doctor found, and how it is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from headgate.cli.text import console, safe

OK, NOTE, SKIPPED, WARNING, PROBLEM = "ok", "note", "skipped", "warning", "problem"
LEVELS = (OK, NOTE, SKIPPED, WARNING, PROBLEM)
FOUND = (WARNING, PROBLEM)
"""What makes the exit code 1."""

_MARKS = {OK: ("ok", "green"), NOTE: ("note", "cyan"), SKIPPED: ("skip", "dim"), WARNING: ("WARN", "yellow")}
_MARKS[PROBLEM] = ("FAIL", "bold red")

Advance = Callable[[int, int], None]
"""Progress: (done, in all); all 0 = not known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check. Never holds a secret.

    Attributes:
        check: "config", "secrets", "history", "providers", "models", "ledger", "shared", "traffic",
            "cache", "jobs", "machine".
        level: one of `LEVELS`.
        what: a sentence: what is so, and where.
        remedy: what to do, "" if nothing.
    """

    check: str
    level: str
    what: str
    remedy: str = ""


def as_json(findings: Sequence[Finding]) -> dict[str, object]:
    """For programs."""
    counts = {level: sum(f.level == level for f in findings) for level in LEVELS}
    rows = [{"check": f.check, "level": f.level, "what": f.what, "remedy": f.remedy or None} for f in findings]
    return {"ok": not any(f.level in FOUND for f in findings), "counts": counts, "findings": rows}


def show(findings: Sequence[Finding]) -> None:
    """For people: a block for each check, what is fine in short lines, what is not with its remedy."""
    from rich.table import Table
    from rich.text import Text

    screen = console()
    if not screen.is_terminal:
        _show_plainly(findings)
        return
    table = Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for finding in findings:
        if before and finding.check != before:
            table.add_row("", "", "")
        word, style = _MARKS[finding.level]
        text = Text(safe(finding.what), style="dim" if finding.level == SKIPPED else "")
        if finding.remedy:
            text.append(f"\n→ {safe(finding.remedy)}", style="dim" if finding.level in (NOTE, SKIPPED) else "bold")
        table.add_row("" if finding.check == before else finding.check, Text(word, style=style), text)
        before = finding.check
    screen.print(table)
    gravest = max((f.level for f in findings), key=LEVELS.index, default=OK)
    style = {PROBLEM: "bold red", WARNING: "bold yellow"}.get(gravest, "bold green")
    screen.print("")
    screen.print(Text(_summary(findings), style=style))


def _show_plainly(findings: Sequence[Finding]) -> None:
    """For files and programs: a line each, and one for the remedy."""
    for finding in findings:
        sys.stdout.write(f"{finding.check:9}  {_MARKS[finding.level][0]:4}  {safe(finding.what)}\n")
        if finding.remedy:
            sys.stdout.write(f"{'':9}  {'':4}  -> {safe(finding.remedy)}\n")
    sys.stdout.write(f"{_summary(findings)}\n")


def _summary(findings: Sequence[Finding]) -> str:
    words = [_counted(sum(f.level == level for f in findings), level) for level in (PROBLEM, WARNING)]
    return f"Found {' and '.join(filter(None, words))}." if any(words) else "Nothing is wrong."


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}" if number else ""


@contextmanager
def progress(label: str) -> Iterator[Advance]:
    """A bar on standard error while something long runs; nothing where that is no terminal."""
    screen = console(sys.stderr)
    if not screen.is_terminal:
        yield lambda _done, _all: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(label), BarColumn(), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
