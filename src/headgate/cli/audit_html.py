"""An audit as one page to read or print: no script, nothing fetched, every text from outside escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from headgate.cli.audit_svg import bars, hours, steps
from headgate.cli.audit_text import money, remarks, share, shown_parts, span, written, yaml_lines
from headgate.cli.text import count, safe

if TYPE_CHECKING:
    from headgate.policy.audit.run import Audit, Part

_ROWS = 12
_STYLE = """
:root { color-scheme: light; --ink: #16202b; --soft: #5b6875; --line: #d9dfe5; --tint: #f4f6f8; --mark: #0b6e75; }
* { box-sizing: border-box; }
body { margin: 0; background: #e9edf0; color: var(--ink); font: 14px/1.45 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 70rem; margin: 2rem auto; padding: 3rem; background: #fff; border-top: 6px solid var(--mark);
  box-shadow: 0 1px 6px rgb(0 0 0 / .12); }
h1 { margin: 0; font-size: 2rem; line-height: 1.15; letter-spacing: -.01em; }
h2 { margin: 2.4rem 0 .6rem; font-size: 1.2rem; }
h3 { margin: 1.4rem 0 .4rem; font-size: 1rem; color: var(--soft); }
.span { margin: .3rem 0 1.6rem; color: var(--soft); }
.sums { display: flex; flex-wrap: wrap; gap: 1rem; margin: 0; }
.sums div { flex: 1 1 12rem; padding: .9rem 1.1rem; background: var(--tint); border-left: 4px solid var(--mark); }
.sums dt { color: var(--soft); font-size: .85rem; }
.sums dd { margin: .2rem 0 0; font-size: 1.4rem; font-weight: 700; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { padding: .45rem; border-bottom: 2px solid var(--ink); color: var(--soft); font-size: .8rem; text-align: right; }
td { padding: .5rem .45rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
  vertical-align: top; }
th.name, td.name { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 6rem; }
tfoot td { border-bottom: 0; border-top: 2px solid var(--ink); font-weight: 600; }
.risk { color: var(--soft); font-size: .85rem; }
pre { padding: 1rem; background: var(--tint); overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.notes { color: var(--soft); padding-left: 1.1rem; }
footer { margin-top: 2.6rem; padding-top: .8rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .8rem; }
@media (max-width: 46rem) { main { margin: 0; padding: 1.4rem; } }
@page { margin: 16mm 14mm; }
@media print { body { background: #fff; font-size: 9.5pt; } main { max-width: none; margin: 0; padding: 0; border: 0;
  box-shadow: none; } .wide { overflow: visible; } tr, svg, pre { break-inside: avoid; }
  rect, .sums div { print-color-adjust: exact; } }
"""


def page(found: Audit, zone: str) -> str:
    """A whole HTML document."""
    if found.calls:
        body = "\n".join((_head(found, zone), _advice(found), _where(found), _notes(found)))
    else:
        body = "<h1>Audit</h1><p>Nothing was recorded in this time.</p>"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Audit of {count(found.calls)} calls</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n"
        f"<footer>Every amount is a call priced again with the prices of {_text(found.version)}.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """Text from outside: control and direction marks written out, markup escaped."""
    return escape(safe(text), quote=True)


def _head(found: Audit, zone: str) -> str:
    from headgate.policy.audit.run import KINDS

    sums = (
        ("Cost", money(found.before_nano)),
        ("With all advice", money(found.after_nano)),
        ("Saved", f"{money(found.saved_nano)} ({share(found.saved_nano, found.before_nano)})"),
    )
    told = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in sums)
    saved = [(name, found.saved_by(kind)) for kind, name in KINDS.items() if found.saved_by(kind)]
    plot = steps(found.before_nano, saved, found.after_nano, "What each kind of change saves") if saved else ""
    return (
        f'<h1>Where the money goes</h1><p class="span">{count(found.calls)} calls, {_text(span(found, zone))}</p>'
        f'<dl class="sums">{told}</dl>{plot}'
    )


def _advice(found: Audit) -> str:
    from headgate.policy.audit.run import KINDS

    if not found.advice:
        return "<h2>What to change</h2><p>Nothing was found that would have cost less.</p>"
    rows = []
    for each in found.advice:
        assumed = f" Assumed: {_text('; '.join(each.assumes))}." if each.assumes else ""
        rows.append(
            f'<tr><td class="name"><b>{KINDS[each.kind]}</b><br>{_text(each.about)}</td>'
            f'<td class="name">{_text(each.what)}<div class="risk">{_text(each.risk)}{assumed}</div></td>'
            f"<td>{count(each.calls)}</td><td>{money(each.saved_nano)}</td>"
            f"<td>{share(each.saved_nano, found.before_nano)}</td></tr>"
        )
    lines = yaml_lines(written(found))
    told = f"<h3>In headgate.yaml</h3><pre>{_text_lines(lines)}</pre>" if lines else ""
    return (
        "<h2>What to change</h2><p>In this order, each on what the ones before it have left: the savings add up, and "
        'nothing counts twice.</p><div class="wide"><table><thead><tr><th class="name">change</th>'
        '<th class="name">what, and its risk</th><th>calls</th><th>saves</th><th>share</th></tr></thead><tbody>'
        + "\n".join(rows)
        + f'</tbody><tfoot><tr><td class="name" colspan="3">All together</td><td>{money(found.saved_nano)}</td>'
        f"<td>{share(found.saved_nano, found.before_nano)}</td></tr></tfoot></table></div>{told}"
    )


def _text_lines(lines: list[str]) -> str:
    return "\n".join(_text(line) for line in lines)


def _where(found: Audit) -> str:
    told = ["<h2>Where it goes</h2>"]
    for name, parts in shown_parts(found).items():
        title = f"Cost by {name}" if name != "hour" else "Cost by hour of the day"
        rows = [(part.name, part.cost_nano) for part in parts]
        told.append(f"<h3>{title}</h3>")
        told.append(hours(rows, title) if name == "hour" else bars(rows[:_ROWS], title))
        if name != "hour":
            told.append(_table(name, parts[:_ROWS], found.before_nano))
        if name != "hour" and len(parts) > _ROWS:
            told.append(f'<p class="risk">and {count(len(parts) - _ROWS)} more</p>')
    return "\n".join(told)


def _table(name: str, parts: list[Part], whole: int) -> str:
    heads = "".join(f"<th>{head}</th>" for head in ("calls", "cost", "share", "input", "output"))
    rows = "".join(
        f'<tr><td class="name">{_text(part.name) or "–"}</td><td>{count(part.calls)}</td>'
        f"<td>{money(part.cost_nano)}</td><td>{share(part.cost_nano, whole)}</td>"
        f"<td>{count(part.input_tokens)}</td><td>{count(part.output_tokens)}</td></tr>"
        for part in parts
    )
    return (
        f'<div class="wide"><table><thead><tr><th class="name">{name}</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _notes(found: Audit) -> str:
    told = remarks(found)
    return f'<ul class="notes">{"".join(f"<li>{_text(each)}</li>" for each in told)}</ul>' if told else ""
