"""An invoice as a table for a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from headgate.cli.text import WIDE, count, print_table, safe
from headgate.invoices.words import money, notes, percent, token_columns

if TYPE_CHECKING:
    from headgate.policy.invoicing import Invoice, Line, Work


def title(invoice: Invoice) -> str:
    """Whose invoice it is, fit for a terminal."""
    return f"Invoice for {safe(invoice.tenant) or '(no tenant named)'}, {invoice.month} ({safe(invoice.zone)})"


def table(invoice: Invoice) -> str:
    """For a terminal."""
    from rich.console import Console

    out = io.StringIO()
    to = Console(file=out, highlight=False, emoji=False, markup=False, no_color=True, width=WIDE)
    shown, sums = money(invoice), invoice.sum
    counted = token_columns(sums)
    marked, guessed = bool(invoice.markup_nano), bool(sums.estimated_nano)

    def cells(work: Work, markup: int, amount: int) -> list[str]:
        return [
            count(work.exchanges),
            *(count(getattr(work, name)) for _, name in counted),
            *([shown(work.reported_nano), shown(work.estimated_nano)] if guessed else []),
            *([shown(work.cost_nano), shown(markup)] if marked else []),
            shown(amount),
        ]

    heads = [*invoice.by, "exchanges", *(head for head, _ in counted)]
    heads += [*(["reported", "estimated"] if guessed else []), *(["cost", "markup"] if marked else []), "amount"]
    left = len(invoice.by)
    rows = [[*(each or "-" for each in line.work.by), *_line_cells(line, cells)] for line in invoice.lines]
    empty = [""] * (len(heads) - left - 1)
    if invoice.top_up_nano:
        words = f"up to the minimum of {shown(invoice.minimum_nano)}"
        rows.append([words, *[""] * (left - 1), *empty, shown(invoice.top_up_nano)])
    footer = ["total", *[""] * (left - 1), *cells(sums, invoice.markup_nano, invoice.total_nano)]
    print_table(heads, rows, left=left, footer=footer, to=to)
    lines = [title(invoice), *([f"From: {safe(invoice.seller)}"] if invoice.seller else []), ""]
    lines += [row.rstrip() for row in out.getvalue().splitlines()]
    if marked:
        lines += ["", f"Markup: {percent(invoice.markup_basis_points)} of the cost."]
    told = notes(invoice)
    return "\n".join([*lines, *(["", *told] if told else [])]) + "\n"


def _line_cells(line: Line, cells: Callable[[Work, int, int], list[str]]) -> list[str]:
    return cells(line.work, line.markup_nano, line.amount_nano)
