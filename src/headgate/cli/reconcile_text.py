"""A reconciliation for people, and as a JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.text import count, dollars, print_table, safe
from headgate.core.money import usd_text
from headgate.policy.reconciling import CLASSES

if TYPE_CHECKING:
    from headgate.policy.reconciling import Reconciliation, Row, Told

_HEADS = ("day", "model", "key", "what", "ledger", "provider", "difference")


def show(
    found: Mapping[str, Reconciliation], start: float, end: float, left_out: Sequence[str], *, every: bool
) -> None:
    """On standard output, one provider after the other."""
    for vendor, reconciliation in found.items():
        _show(vendor, reconciliation, start, end, every=every)
    for vendor in left_out:
        click.echo(f"\n{vendor}: not compared, no admin key ({vendor.upper()}_ADMIN_KEY).")


def _show(vendor: str, found: Reconciliation, start: float, end: float, *, every: bool) -> None:
    click.echo(f"\n{vendor}, {_day(start)} to {_day(end - 1)} (UTC)")
    rows = found.rows if every else found.differing
    cells = [line for row in rows for line in _lines(row, every=every)]
    if cells:
        keyed = any(row.key for row in rows)
        kept = [place for place, head in enumerate(_HEADS) if keyed or head != "key"]
        print_table(
            [_HEADS[place] for place in kept],
            [[line[place] for place in kept] for line in cells],
            left=len(kept) - 3,
        )
    for row in found.differing:
        for cause in row.causes:
            click.echo(f"  {row.day} {safe(row.model)}{f' {safe(row.key)}' if row.key else ''}: {safe(cause.text)}.")
    ours, theirs, priced = _sums(found)
    if found.foreign:
        click.echo(f"  Set apart: {_foreign(found.foreign)}")
    percent = f"{float(found.tolerance) * 100:g}%"
    differing = len(found.differing)
    rows_in_all = f"{len(found.rows):,} row{'' if len(found.rows) == 1 else 's'} (day and model)"
    if not found.rows:
        verdict = "Nothing on either side."
    elif differing:
        verdict = f"{differing:,} of {rows_in_all} out of the tolerance of {percent}."
    else:
        verdict = f"{rows_in_all}, and all agree within {percent}."
    money = (
        f" Ledger {dollars(ours)}, provider {dollars(theirs)}, difference {dollars(theirs - ours)}." if priced else ""
    )
    click.echo(verdict + money)


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


def _lines(row: Row, *, every: bool) -> list[list[str]]:
    """The differing numbers of a row, or all that are not 0."""
    names = [n for n in CLASSES if n in row.off or (every and (row.ours.counts.get(n) or row.theirs.counts.get(n)))]
    lines = [
        [name, count(row.ours.counts.get(name, 0)), count(row.theirs.counts.get(name, 0)), _signed(row.differs(name))]
        for name in names
    ]
    cost = row.cost_differs
    if cost is not None and ("cost" in row.off or every):
        told = row.theirs.cost_nano or 0
        lines.append(["cost", dollars(row.ours.cost_nano), dollars(told), ("+" if cost > 0 else "") + dollars(cost)])
    return [[row.day, row.model, row.key, *line] for line in lines]


def _signed(number: int) -> str:
    return f"{number:+,}"


def _sums(found: Reconciliation) -> tuple[int, int, bool]:
    """(Ours, theirs) in nano-dollars over the rows whose cost the provider tells; whether there are any."""
    priced = [row for row in found.rows if row.theirs.cost_nano is not None]
    return (
        sum(row.ours.cost_nano for row in priced),
        sum(row.theirs.cost_nano or 0 for row in priced),
        bool(priced),
    )


def _foreign(several: Sequence[Told]) -> str:
    tokens: dict[str, int] = {}
    for each in several:
        told = sum(count for name, count in each.counts.items() if name != "web_searches")
        tokens[each.key] = tokens.get(each.key, 0) + told
    listed = ", ".join(f"{safe(key) or '(none told)'} {number:,}" for key, number in sorted(tokens.items()))
    return f"tokens of keys that were not named with --key: {listed}."


def as_document(
    found: Mapping[str, Reconciliation], start: float, end: float, left_out: Sequence[str]
) -> dict[str, Any]:
    """For `--json`: money as decimal strings of USD, differences as provider minus ledger."""
    return {
        "since": _day(start),
        "until": _day(end),
        "agrees": not any(each.differing for each in found.values()),
        "not_compared": list(left_out),
        "providers": {vendor: _provider(each) for vendor, each in found.items()},
    }


def _provider(found: Reconciliation) -> dict[str, Any]:
    ours, theirs, priced = _sums(found)
    return {
        "tolerance_percent": format(float(found.tolerance) * 100, "g"),
        "compared": len(found.rows),
        "differing": len(found.differing),
        "ledger_cost_usd": usd_text(ours) if priced else None,
        "provider_cost_usd": usd_text(theirs) if priced else None,
        "difference_usd": usd_text(theirs - ours) if priced else None,
        "rows": [_row(row) for row in found.rows],
        "set_apart": [
            {
                "day": each.day,
                "model": each.model,
                "key": each.key,
                "tokens": {name: each.counts.get(name, 0) for name in CLASSES},
            }
            for each in found.foreign
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    cost = row.cost_differs
    return {
        "day": row.day,
        "model": row.model,
        "key": row.key,
        "names": list(row.names),
        "differs": list(row.off),
        "ledger": {
            **{name: row.ours.counts.get(name, 0) for name in CLASSES},
            "requests": row.ours.requests,
            "cost_usd": usd_text(row.ours.cost_nano),
            "estimated_usd": usd_text(row.ours.estimated_nano),
        },
        "provider": {
            **{name: row.theirs.counts.get(name, 0) for name in CLASSES},
            "requests": row.theirs.requests,
            "cost_usd": None if row.theirs.cost_nano is None else usd_text(row.theirs.cost_nano),
            "tokens_by_key": dict(row.theirs.keys),
        },
        "difference": {
            **{name: row.differs(name) for name in CLASSES},
            "cost_usd": None if cost is None else usd_text(cost),
        },
        "causes": [{"code": cause.code, "text": cause.text} for cause in row.causes],
    }
