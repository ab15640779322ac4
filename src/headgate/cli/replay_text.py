"""A replay for people: a table, the answers that differ, totals."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from headgate.cli.text import count, dollars, milliseconds, print_table, safe
from headgate.core.money import usd_text

if TYPE_CHECKING:
    from headgate.logbook.replaying import Forecast, Replayed

MOST_LINES = 30
"""Of one answer's difference."""
_HEADS = ("case", "model", "answer", "verdict", "cost then", "now", "took then", "now")


def forecast_lines(forecast: Forecast, cases: int, most_nano: int) -> Iterator[str]:
    """What it will cost."""
    likely = f"{count(cases)} calls: about {dollars(forecast.expected_nano)}, at most {dollars(forecast.most_nano)}"
    unknown = f", and {forecast.unknown} without a bound" if forecast.unknown else ""
    yield f"{likely}{unknown}; --max-usd {usd_text(most_nano)}"


def verdict_of(each: Replayed) -> str:
    """In a word."""
    if each.error:
        return "no answer"
    if each.failures is not None:
        return "FAILED" if each.failures else "as expected"
    return "same" if each.same else "differs"


def difference(each: Replayed) -> list[str]:
    """The lines that differ."""
    before, after = each.case.output.splitlines(), each.text.splitlines()
    lines = list(difflib.unified_diff(before, after, "then", "now", lineterm="", n=1))[2:]
    calls = [f"+calls {name} with {arguments[:200]}" for name, arguments in each.calls]
    more = [f" … {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else []
    return [*lines[:MOST_LINES], *more, *calls]


def show(found: Sequence[Replayed]) -> None:
    """All of it on standard output."""
    from headgate.logbook.replaying import then_nano, totals

    rows = []
    for each in found:
        told = each.case.metadata
        then = told.get("latency_ms")
        verdicts = f"{told.get('verdict') or '-'} → {each.verdict or '-'}"
        rows.append(
            (
                each.case.id,
                f"{told.get('model') or '-'} → {each.model}",
                verdict_of(each),
                verdicts,
                dollars(then_nano(each.case)),
                dollars(each.cost_nano),
                milliseconds(then if isinstance(then, int | float) else None),
                milliseconds(each.latency_ms),
            )
        )
    print_table(_HEADS, rows, left=4)
    for each in found:
        if not each.same or each.regressed:
            _one(each)
    sums = totals(found)
    click.echo("")
    said = f"{sums['cases']} cases, {sums['same']} the same, {sums['errors']} without an answer"
    if sums["expected"]:
        said += f"; {sums['expected'] - sums['regressions']} of {sums['expected']} as expected"
    took = f"{milliseconds(sums['latency_ms_before'])} → {milliseconds(sums['latency_ms_after'])}"
    cost = f"${sums['cost_usd_before']} → ${sums['cost_usd_after']}"
    click.echo(f"{said}; cost {cost}; median time {took}; verdicts changed: {sums['verdicts_changed']}")


def _one(each: Replayed) -> None:
    click.echo(f"\n{safe(each.case.id)}  {verdict_of(each)}")
    for why in each.failures or ((each.error,) if each.error else ()):
        click.echo(f"  {safe(why)}")
    if not each.error:
        for line in difference(each):
            click.echo(f"  {safe(line)}")
