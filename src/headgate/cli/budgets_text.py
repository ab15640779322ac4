"""Budgets as tables: one for each budget, so that eighty columns are enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.text import count, dollars, moment, print_table, safe
from headgate.core.money import nano

if TYPE_CHECKING:
    from headgate.core.budget import Balance, Budget
    from headgate.stores.account_rows import AccountReport, AccountRow
    from headgate.stores.accounts_reader import Wanted

_FOR_GOOD = float("inf")
_SET = "*"


def print_report(report: AccountReport, wanted: Wanted, *, limit: int = 0) -> None:
    """A table for each budget, and what is used up.

    Args:
        wanted: what was asked for.
        limit: of each budget so many accounts; 0 = all.
    """
    if not report.rows:
        filtered = bool(wanted.budget or wanted.near) or wanted.scope is not None
        click.echo("There are no such accounts." if filtered else "The configuration has no budgets.")
        return
    for place, (_, found) in enumerate(groupby(report.rows, key=lambda row: row.balance.claim.budget.id)):
        if place:
            click.echo()
        rows = list(found)
        more = max(0, len(rows) - limit) if limit else 0
        _print_budget(rows[:limit] if limit else rows, all_periods=wanted.all_periods)
        if more:
            click.echo(f"and {count(more)} more: --limit 0 shows them, --near and --scope narrow them down")
    if report.used_up:
        one = report.used_up == 1
        click.echo(f"\n{count(report.used_up)} of these accounts {'is' if one else 'are'} used up.")


def _print_budget(rows: Sequence[AccountRow], *, all_periods: bool) -> None:
    budget = rows[0].balance.claim.budget
    bounded = rows[0].balance.claim.end != _FOR_GOOD
    with_start, with_held = all_periods and bounded, any(_holds(row.balance) for row in rows)
    heads = ["from"] if with_start else []
    heads += ["scope", "cap", "spent", *(["held"] if with_held else []), "left", "share"]
    lines = []
    for row in rows:
        names = [minute(row.balance.claim.start)] if with_start else []
        names.append(_scope(row))
        for cap, spent, held, left, share in _units(row):
            lines.append([*names, cap, spent, *([held] if with_held else []), left, share])
            names = [""] * len(names)  # the same account, in tokens
    print_table(heads, lines, left=2 if with_start else 1, title=safe(_title(rows, bounded=bounded)))
    if any(row.balance.overridden for row in rows):
        rest = f"; for others it is {_caps(budget)}" if rows[0].configured and budget.per else ""
        click.echo(f"{_SET} set with `headgate budgets set`{rest}")


def _title(rows: Sequence[AccountRow], *, bounded: bool) -> str:
    """`user/day: $10, headgate.yaml:2:5; begins again 2026-11-22 00:00Z`."""
    budget = rows[0].balance.claim.budget
    if not rows[0].configured:
        return f"{budget.id}: not in the configuration, so it counts for nothing"
    what = ("warns at " if budget.soft else "") + _caps(budget)
    what += f", then {budget.degrade_to}" if budget.degrade_to else ", then queue" if budget.queues else ""
    ends = next((row.balance.claim.end for row in rows if row.current), None)
    again = f"; begins again {minute(ends)}" if bounded and ends is not None else ""
    return f"{budget.id}: {what}{f', {budget.source}' if budget.source else ''}{again}"


def _caps(budget: Budget) -> str:
    return _both(budget.cap_nano, budget.cap_tokens)


def _both(cap_nano: int | None, cap_tokens: int | None) -> str:
    told = [] if cap_nano is None else [dollars(cap_nano)]
    told += [] if cap_tokens is None else [_tokens(cap_tokens)]
    return " and ".join(told) or "no cap"


def _tokens(number: int) -> str:
    return f"{count(number)} tokens"


def minute(seconds: float) -> str:
    """A moment to the minute, in UTC."""
    return f"{moment(seconds)[:16]}Z"


def _holds(balance: Balance) -> bool:
    return bool(balance.held_nano if balance.cap_nano is not None else balance.held_tokens)


def _scope(row: AccountRow) -> str:
    from headgate.policy.budget_scopes import scope_words

    claim = row.balance.claim
    if row.unseen:
        return f"(each {' and '.join(claim.budget.per)})"
    return scope_words(claim.budget, claim.scope) or "(all)"


def _units(row: AccountRow) -> list[tuple[str, str, str, str, str]]:
    """(cap, spent, held, left, share) in dollars, in tokens, or both; in dollars where there is no cap."""
    from headgate.core.budget import FULL

    b, mark = row.balance, _SET if row.balance.overridden else ""

    def line(cap: int | None, spent: int, held: int, left: int | None, words: Any) -> tuple[str, str, str, str, str]:
        if cap is None or left is None:
            return "-", words(spent), words(held), "-", ""
        share = spent * FULL // cap if cap else FULL
        named = _tokens(cap) if words is count else words(cap)
        return f"{named}{mark}", words(spent), words(held), words(left), f"{share // 100}%"

    found = []
    if b.cap_nano is not None or b.cap_tokens is None:
        found.append(line(b.cap_nano, b.spent_nano, b.held_nano, b.left_nano, dollars))
    if b.cap_tokens is not None:
        found.append(line(b.cap_tokens, b.spent_tokens, b.held_tokens, b.left_tokens, count))
    return found


def print_change(change: Mapping[str, Any]) -> None:
    """What `set` or `unset` did, from the control API's answer."""
    before, after = change["before"], change["after"]
    values = change["dimensions"]
    whose = ", ".join(f"{name} {value}" for name, value in values.items()) or change["scope"]
    name = safe(f"{change['budget']} ({whose})" if whose else change["budget"])
    was, now = _told(before), _told(after)
    if not (before["overridden"] or after["overridden"]):
        click.echo(f"{name}: its cap was not set here; it is {now}{_source(change)}")
        return
    source = "" if after["overridden"] else _source(change)
    click.echo(f"{name}: {was} -> {now}{source}, from now on")
    if state := _state(after):
        click.echo(state)
    if after["cap_usd"] == "0" or after["cap_tokens"] == 0:
        click.echo("A cap of 0 lets nothing through that costs anything.")
    elif _is_below(after):
        effect = "callers are warned" if change["soft"] else "calls are refused"
        until = f"until {minute(after['period_end'])}" if after["period_end"] is not None else "until the cap is raised"
        click.echo(f"The cap is spent already: {effect} {until}.")


def _source(change: Mapping[str, Any]) -> str:
    return f" ({safe(change['source'])})" if change["source"] else ""


def _told(side: Mapping[str, Any]) -> str:
    usd = side["cap_usd"]
    return _both(None if usd is None else nano(usd), side["cap_tokens"])


def _state(side: Mapping[str, Any]) -> str:
    parts = []
    if side["cap_usd"] is not None:
        money = {name: dollars(nano(side[f"{name}_usd"])) for name in ("spent", "held", "left")}
        parts.append("{spent} spent, {held} held, {left} left".format(**money))
    if side["cap_tokens"] is not None:
        tokens = {name: count(side[f"{name}_tokens"]) for name in ("spent", "held", "left")}
        parts.append("{spent} tokens used, {held} held, {left} left".format(**tokens))
    again = side["period_end"]
    return "; ".join(parts) + (f"; begins again {minute(again)}" if again is not None else "")


def _is_below(side: Mapping[str, Any]) -> bool:
    usd = side["cap_usd"]
    if usd is not None and nano(side["spent_usd"]) >= nano(usd) > 0:
        return True
    tokens = side["cap_tokens"]
    return tokens is not None and side["spent_tokens"] >= tokens > 0
