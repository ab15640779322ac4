"""A replay as one page: no script, nothing fetched, every text from outside escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from headgate.cli.replay_text import difference, verdict_of
from headgate.cli.text import dollars, milliseconds, safe

if TYPE_CHECKING:
    from headgate.logbook.replaying import Replayed

_STYLE = """
:root { color-scheme: light dark; --ink: #16202b; --soft: #5b6875; --line: #d9dfe5; --bad: #a3230a; --paper: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ee; --soft: #9aa7b3; --line: #33404c; --bad: #ff9d85; --paper: #10161c; } }
body { margin: 2rem auto; max-width: 76rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 14px/1.45 system-ui, sans-serif; }
h2 { font-size: 1rem; margin: 2rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .2rem 0; color: var(--soft); } .bad { color: var(--bad); font-weight: 600; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
@media (max-width: 46rem) { .pair { grid-template-columns: 1fr; } }
pre { margin: 0; padding: .6rem; border: 1px solid var(--line); border-radius: 4px; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 12px; }
"""


def page(found: Sequence[Replayed], run_id: str) -> str:
    """The whole page."""
    from headgate.logbook.replaying import then_nano, totals

    sums = totals(found)
    facts = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in sums.items() if value is not None)
    parts = [_text("p", facts)]
    for each in found:
        told = each.case.metadata
        bad = ' class="bad"' if each.error or each.regressed else ""
        parts.append(f"<h2{bad}>{_safe(each.case.id)}: {escape(verdict_of(each))}</h2>")
        parts += [f'<p class="bad">{_safe(why)}</p>' for why in each.failures or ((each.error,) if each.error else ())]
        then = told.get("latency_ms")
        took = milliseconds(then if isinstance(then, int | float) else None)
        before = f"{told.get('model') or '-'}, {dollars(then_nano(each.case))}, {took}, {told.get('verdict') or '-'}"
        now = f"{each.model}, {dollars(each.cost_nano)}, {milliseconds(each.latency_ms)}, {each.verdict or '-'}"
        left = f"<div>{_text('p', f'then: {before}')}{_text('pre', each.case.output)}</div>"
        right = f"<div>{_text('p', f'now: {now}')}{_text('pre', each.text)}</div>"
        parts.append(f'<div class="pair">{left}{right}</div>')
        if not each.same and not each.error:
            lines = "\n".join(difference(each))
            parts.append(f"<details><summary>Difference</summary>{_text('pre', lines)}</details>")
    title = escape(f"Replay {run_id}")
    width = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<head><meta charset="utf-8">{width}<title>{title}</title><style>{_STYLE}</style></head>'
    body = f"<body><h1>{title}</h1>{''.join(parts)}</body>"
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _text(tag: str, text: str) -> str:
    return f"<{tag}>{_safe(text)}</{tag}>"


def _safe(text: str) -> str:
    return "\n".join(escape(safe(line)) for line in text.split("\n"))
