"""An invoice as CSV and JSON; and what all of its forms say in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from headgate.core.csv_lines import csv_line
from headgate.core.money import usd_text

if TYPE_CHECKING:
    from headgate.policy.invoicing import Invoice, Work

TOKENS: tuple[tuple[str, str], ...] = (
    ("input", "input_tokens"),
    ("cache read", "cache_read_tokens"),
    ("cache write", "cache_write_tokens"),
    ("long cache write", "cache_write_long_tokens"),
    ("output", "output_tokens"),
    ("searches", "web_searches"),
)
"""How a count is headed, and its name."""
_ALWAYS = ("input_tokens", "output_tokens")
_FEWEST, _MOST = 2, 9  # decimals of a dollar


def token_columns(sums: Work) -> list[tuple[str, str]]:
    """The counts worth a column: input, output, and what there is any of."""
    return [each for each in TOKENS if each[1] in _ALWAYS or getattr(sums, each[1])]


def money(invoice: Invoice) -> Callable[[int], str]:
    """Writes amounts of this invoice with the same number of decimals: as many as the finest needs, at least two.

    What is shown can so be added up by hand, and is the total.
    """
    sums = invoice.sum
    amounts = [invoice.total_nano, invoice.top_up_nano, invoice.markup_nano, invoice.minimum_nano, sums.cost_nano]
    amounts += [sums.estimated_nano, sums.simulated_nano, invoice.pending.bound_nano]
    for line in invoice.lines:
        amounts += [line.work.cost_nano, line.work.estimated_nano, line.markup_nano, line.amount_nano]
    places = max([_FEWEST, *(_decimals(each) for each in amounts)])

    def shown(nano: int) -> str:
        whole, fraction = divmod(abs(nano), 10**_MOST)
        digits = f"{fraction:09d}"[:places]
        return f"{'-' if nano < 0 else ''}${whole:,}.{digits}"

    return shown


def _decimals(nano: int) -> int:
    return len(usd_text(abs(nano)).partition(".")[2])


def percent(basis_points: int) -> str:
    """12.5% of 1,250 basis points."""
    return f"{Decimal(basis_points) / 100:f}%"


def moment(seconds: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def notes(invoice: Invoice) -> list[str]:
    """What the reader has to know of the numbers, a sentence each."""
    shown, sums, found = money(invoice), invoice.sum, []
    if not invoice.over:
        found.append(f"Provisional: the month was not over when this was made ({moment(invoice.issued)}).")
    if invoice.pending.attempts:
        many = f"{invoice.pending.attempts:,} call{'' if invoice.pending.attempts == 1 else 's'}"
        bound = shown(invoice.pending.bound_nano)
        found.append(f"Provisional: {many} of the month still on the way, up to {bound}, in no line yet.")
    if sums.estimated_nano:
        many = f"{sums.estimated_exchanges:,} exchange{'' if sums.estimated_exchanges == 1 else 's'}"
        found.append(
            f"Of the cost, {shown(sums.estimated_nano)} is estimated: of {many} the provider reported no final usage."
        )
    if sums.simulated_nano or sums.simulated_exchanges:
        many = f"{sums.simulated_exchanges:,} of {sums.exchanges:,} exchanges ({shown(sums.simulated_nano)})"
        found.append(f"Simulated: the simulator answered {many}. Nobody bills those: this is no invoice to send.")
    return found


_COUNTS = ("exchanges", *(name for _, name in TOKENS))
_AMOUNTS = ("reported_usd", "estimated_usd", "cost_usd", "markup_usd", "amount_usd")


def _numbers(work: Work, markup: int, amount: int) -> dict[str, Any]:
    money_of = (work.reported_nano, work.estimated_nano, work.cost_nano, markup, amount)
    return {
        **{name: getattr(work, name) for name in _COUNTS},
        **dict(zip(_AMOUNTS, map(usd_text, money_of), strict=True)),
    }


def as_json(invoice: Invoice) -> dict[str, Any]:
    """For programs: money as decimal strings of USD."""
    lines = [
        {**dict(zip(invoice.by, line.work.by, strict=True)), **_numbers(line.work, line.markup_nano, line.amount_nano)}
        for line in invoice.lines
    ]
    return {
        "tenant": invoice.tenant,
        "month": invoice.month,
        "zone": invoice.zone,
        "from": moment(invoice.start),
        "to": moment(invoice.end),
        "issued": moment(invoice.issued),
        "seller": invoice.seller,
        "currency": "USD",
        "provisional": invoice.provisional,
        "on_the_way": {"attempts": invoice.pending.attempts, "bound_usd": usd_text(invoice.pending.bound_nano)},
        "by": list(invoice.by),
        "lines": lines,
        "markup_percent": format(Decimal(invoice.markup_basis_points) / 100, "f"),
        "minimum_usd": usd_text(invoice.minimum_nano),
        "top_up_usd": usd_text(invoice.top_up_nano),
        "simulated_usd": usd_text(invoice.sum.simulated_nano),
        "total": _numbers(invoice.sum, invoice.markup_nano, invoice.total_nano),
        "total_usd": usd_text(invoice.total_nano),
        "notes": notes(invoice),
    }


def json_text(invoice: Invoice) -> str:
    """One JSON document of it. ASCII only, so that no text in it reaches a terminal raw."""
    return json.dumps(as_json(invoice), indent=2) + "\n"


def csv_text(invoice: Invoice) -> str:
    """For a spreadsheet: a line per row, then the minimum where it adds something, then the total.

    `amount_usd` of all rows but the total adds up to the total's.
    """
    lines = [csv_line(["line", "tenant", "month", "zone", "provisional", *invoice.by, *_COUNTS, *_AMOUNTS])]
    common = [invoice.tenant, invoice.month, invoice.zone, "yes" if invoice.provisional else "no"]
    for line in invoice.lines:
        numbers = _numbers(line.work, line.markup_nano, line.amount_nano)
        lines.append(csv_line(["usage", *common, *line.work.by], numbers.values()))
    blank = [""] * len(invoice.by)
    if invoice.top_up_nano:
        rest = [""] * (len(_COUNTS) + len(_AMOUNTS) - 1)
        lines.append(csv_line(["minimum", *common, *blank], [*rest, usd_text(invoice.top_up_nano)]))
    total = _numbers(invoice.sum, invoice.markup_nano, invoice.total_nano)
    lines.append(csv_line(["total", *common, *blank], total.values()))
    return "".join(lines)
