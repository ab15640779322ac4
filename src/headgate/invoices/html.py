"""An invoice as one page to print: no script, nothing fetched, every text from outside escaped."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from html import escape
from typing import TYPE_CHECKING

from headgate.core.text import safe
from headgate.invoices.words import moment, money, notes, percent, token_columns

if TYPE_CHECKING:
    from headgate.policy.invoicing import Invoice, Line

STYLE = """
:root { color-scheme: light; --ink: #16202b; --soft: #5b6875; --line: #d9dfe5; --tint: #f4f6f8; --mark: #0b6e75; }
* { box-sizing: border-box; }
body { margin: 0; background: #e9edf0; color: var(--ink); font: 14px/1.45 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 66rem; margin: 2rem auto; padding: 3rem; background: #fff; border-top: 6px solid var(--mark);
  box-shadow: 0 1px 6px rgb(0 0 0 / .12); }
header { display: flex; justify-content: space-between; gap: 2rem; align-items: flex-start; margin-bottom: 2.2rem; }
h1 { margin: 0; font-size: 2rem; line-height: 1.15; letter-spacing: -.01em; }
.month { margin: .3rem 0 0; color: var(--soft); font-size: 1.05rem; }
.seller { text-align: right; white-space: pre-line; overflow-wrap: anywhere; max-width: 22rem; }
.parties { display: flex; flex-wrap: wrap; gap: 1rem 3.5rem; margin: 0 0 2rem; }
.parties dt { color: var(--soft); font-size: .8rem; }
.parties dd { margin: .1rem 0 0; font-weight: 600; overflow-wrap: anywhere; max-width: 26rem; }
.badge { display: inline-block; margin-top: .6rem; padding: .15rem .6rem; border: 1.5px solid #a3530a; color: #8a4607;
  border-radius: 3px; font-size: .85rem; font-weight: 600; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { padding: .45rem; border-bottom: 2px solid var(--ink); color: var(--soft); font-size: .8rem; font-weight: 600;
  text-align: right; vertical-align: bottom; }
td { padding: .5rem .45rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
  vertical-align: top; }
th.name, td.name { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 6rem; }
td:first-child, th:first-child { padding-left: 0; }
td:last-child, th:last-child { padding-right: 0; }
tfoot td { border-bottom: 0; border-top: 2px solid var(--ink); font-weight: 600; }
.estimated { color: var(--soft); font-size: .8rem; font-weight: 400; white-space: normal; width: 0; min-width: 100%; }
.owed { margin: 1.6rem 0 0 auto; width: fit-content; min-width: 21rem; border-spacing: 0; }
.owed div { display: flex; justify-content: space-between; gap: 3rem; padding: .35rem .9rem; }
.owed dt, .owed dd { margin: 0; }
.owed dd { font-variant-numeric: tabular-nums; white-space: nowrap; }
.owed .due { margin-top: .4rem; padding: .8rem .9rem; background: var(--tint); border-left: 4px solid var(--mark);
  font-size: 1.25rem; font-weight: 700; }
.notes { margin: 2.2rem 0 0; padding: 0; list-style: none; color: var(--soft); font-size: .9rem; }
.notes li { margin: .3rem 0; }
.empty { padding: 1.2rem 0; color: var(--soft); }
footer { margin-top: 2.6rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .8rem; }
@media (max-width: 46rem) { main { margin: 0; padding: 1.4rem; } header { flex-direction: column; gap: 1rem; }
  .seller { text-align: left; } .owed { min-width: 0; width: auto; } }
@page { margin: 16mm 14mm; }
@media print { body { background: #fff; font-size: 9.5pt; } main { max-width: none; margin: 0; padding: 0; border: 0;
  box-shadow: none; } .wide { overflow: visible; } table { font-size: 8.5pt; } td, th { padding: .3rem .35rem; }
  thead { display: table-header-group; }
  tr, .owed, .notes li { break-inside: avoid; } .owed .due { print-color-adjust: exact; } }
"""


def page(invoice: Invoice) -> str:
    """A whole HTML document. It prints on A4 and on Letter."""
    name = _text(invoice.tenant) or "(no tenant named)"
    told = "".join(f"<li>{_text(each)}</li>" for each in notes(invoice))
    body = (
        f"<header><div><h1>Invoice</h1>"
        f'<p class="month">{_text(_month(invoice.month))}</p>{_badge(invoice)}</div>'
        f'<div class="seller">{_lines(invoice.seller)}</div></header>\n'
        f'<dl class="parties"><div><dt>For</dt><dd>{name}</dd></div>'
        f"<div><dt>Time</dt><dd>{_text(_span(invoice))}</dd></div>"
        f"<div><dt>Made</dt><dd>{_text(moment(invoice.issued))}</dd></div></dl>\n"
        f"{_table(invoice)}\n{_owed(invoice)}\n"
        + (f'<ul class="notes">{told}</ul>\n' if told else "")
        + "<footer>Every amount is exact to the nano-dollar: the lines add up to the total.</footer>"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Invoice {_text(invoice.month)}, {name}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _count(number: int) -> str:
    return f"{number:,}"


def _text(text: str) -> str:
    """Text from outside: control and direction marks written out, markup escaped."""
    return escape(safe(text), quote=True)


def _lines(text: str) -> str:
    """Text of several lines, each escaped."""
    return "\n".join(_text(line) for line in text.splitlines())


def _month(month: str) -> str:
    return datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC).strftime("%B %Y")


def _span(invoice: Invoice) -> str:
    place: tzinfo = UTC
    if invoice.zone != "UTC":
        from zoneinfo import ZoneInfo

        place = ZoneInfo(invoice.zone)
    first, last = (datetime.fromtimestamp(at, place).date() for at in (invoice.start, invoice.end - 1))
    return f"{first.isoformat()} to {last.isoformat()} ({invoice.zone})"


def _badge(invoice: Invoice) -> str:
    words = ["Simulated"] if invoice.sum.simulated_exchanges else []
    words += ["Provisional"] if invoice.provisional else []
    return f'<div class="badge">{" · ".join(words)}</div>' if words else ""


def _table(invoice: Invoice) -> str:
    if not invoice.lines:
        return '<p class="empty">Nothing was used in this month.</p>'
    dollars, sums = money(invoice), invoice.sum
    counted = token_columns(sums)
    marked = bool(invoice.markup_nano)
    heads = [f'<th class="name" scope="col">{_text(name)}</th>' for name in invoice.by]
    numbers = ["exchanges", *(head for head, _ in counted), *(["cost, USD", "markup, USD"] if marked else [])]
    heads += [f'<th scope="col">{name}</th>' for name in [*numbers, "amount, USD"]]

    def shown(nano: int) -> str:
        return dollars(nano).replace("$", "")

    def cells(line: Line) -> str:
        work = line.work
        guessed = f'<div class="estimated">of it estimated {shown(work.estimated_nano)}</div>'
        told = guessed if work.estimated_nano else ""
        found = [f"<td>{_count(work.exchanges)}</td>"]
        found += [f"<td>{_count(getattr(work, name))}</td>" for _, name in counted]
        if marked:
            found += [f"<td>{shown(work.cost_nano)}{told}</td>", f"<td>{shown(line.markup_nano)}</td>"]
            told = ""
        return "".join([*found, f"<td>{shown(line.amount_nano)}{told}</td>"])

    rows = []
    for line in invoice.lines:
        names = "".join(f'<td class="name">{_text(each) or "–"}</td>' for each in line.work.by)
        rows.append(f"<tr>{names}{cells(line)}</tr>")
    from headgate.policy.invoicing import Line as SumLine

    whole = f'<td class="name" colspan="{len(invoice.by)}">Sum</td>{cells(SumLine(sums, invoice.markup_nano))}'
    return (
        f'<div class="wide"><table><thead><tr>{"".join(heads)}</tr></thead>\n<tbody>\n'
        + "\n".join(rows)
        + f"\n</tbody><tfoot><tr>{whole}</tr></tfoot></table></div>"
    )


def _owed(invoice: Invoice) -> str:
    """How the total comes about."""
    shown, sums = money(invoice), invoice.sum
    steps = [("Cost", sums.cost_nano)]
    if invoice.markup_nano or invoice.markup_basis_points:
        steps.append((f"Markup, {percent(invoice.markup_basis_points)}", invoice.markup_nano))
    if invoice.top_up_nano:
        steps.append((f"Up to the minimum of {shown(invoice.minimum_nano)}", invoice.top_up_nano))
    rows = "".join(f"<div><dt>{_text(name)}</dt><dd>{shown(nano)}</dd></div>" for name, nano in steps)
    due = f'<div class="due"><dt>Total, USD</dt><dd>{shown(invoice.total_nano)}</dd></div>'
    return f'<dl class="owed">{rows if len(steps) > 1 else ""}{due}</dl>'
