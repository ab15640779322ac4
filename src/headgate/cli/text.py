"""What people see: text made safe for a terminal, tables, money, times."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from headgate.core.money import usd_text
from headgate.core.text import safe as safe

if TYPE_CHECKING:
    from rich.console import Console

WIDE = 10_000
"""Columns where nobody looks at a terminal: a program that reads the output wants no line broken."""


def dollars(nano: int) -> str:
    """Nano-dollars for people: exact, with a dollar sign."""
    return f"-${usd_text(-nano)}" if nano < 0 else f"${usd_text(nano)}"


def count(number: int) -> str:
    """A number of things, in groups of three digits."""
    return f"{number:,}"


def moment(seconds: float | None) -> str:
    """Seconds since the epoch as ISO 8601 in UTC; "-" for never."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def milliseconds(value: float | None) -> str:
    """A duration in milliseconds for people."""
    if value is None:
        return "-"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def print_json(value: Any) -> None:
    """One JSON document. ASCII only, so that no text in it reaches the terminal raw."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def console(stream: TextIO | None = None) -> Console:
    """A rich console: colours and the window's width on a terminal, plain and unbroken lines elsewhere."""
    from rich.console import Console

    stream = sys.stdout if stream is None else stream
    found = Console(file=stream, highlight=False, emoji=False, markup=False)
    if found.is_terminal:
        return found
    return Console(file=stream, highlight=False, emoji=False, markup=False, no_color=True, width=WIDE)


_NAME = 12
"""Columns of a terminal that a name keeps however narrow the window is."""


def print_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    left: int,
    title: str = "",
    footer: Sequence[object] | None = None,
    to: Console | None = None,
) -> None:
    """A table.

    Args:
        left: how many columns are names (aligned left); the rest are numbers.
        footer: a last row, set apart.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    to = to or console()
    if to.is_terminal:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    else:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, head in enumerate(heads):
        cells = [head, *(safe(row[place]) for row in rows), *([safe(footer[place])] if footer is not None else [])]
        longest = max(1, *map(cell_len, cells))
        if place < left:
            table.add_column(head, overflow="fold", min_width=min(_NAME, longest))
        else:
            table.add_column(head, justify="right", no_wrap=True, min_width=longest)
    for row in rows:
        table.add_row(*(Text(safe(cell)) for cell in row))
    if footer is not None:
        if rows and to.is_terminal:
            table.add_section()
        table.add_row(*(Text(safe(cell), style="bold") for cell in footer))
    if title:
        to.print(Text(title, style="bold"))
    # Names fold where the window is narrow. A number that is cut short would be a wrong number: rather let the
    # terminal break the lines.
    width = to.width
    for column in table.columns[:left]:
        column.max_width = _NAME  # a name folds anywhere, also a long one without a space
    least = to.measure(table, options=to.options.update_width(WIDE)).minimum
    for column in table.columns[:left]:
        column.max_width = None
    to.width = max(width, least)
    to.print(table)
    to.width = width
