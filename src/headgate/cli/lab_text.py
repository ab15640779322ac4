"""The outcomes of `headgate lab retries` as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.text import count, print_table

if TYPE_CHECKING:
    from headgate.cli.lab_run import Outcome, Work

HEADS = ("strategy", "", "answered", "upstream", "per call", "429s", "wasted", "p95", "finished", "x ideal")


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """What was asked, the table, and what its columns mean."""
    work = outcomes[0].work
    click.echo(_asked(work) + "\n")
    print_table(HEADS, [_row(outcome) for outcome in outcomes], left=2)
    click.echo(f"\n{_MEANING}")
    for outcome in outcomes:
        if outcome.broken:
            click.echo("\nHeadgate misses its promise here: see docs/lab.md for what it depends on.")


_MEANING = """\
upstream: requests that reached the provider. wasted: seconds of all calls spent on refused attempts and on the waits
behind them. p95: seconds from when a call came to its answer, of those that were answered. finished: when the last call
had ended, answered or given up; x ideal only where all were answered.
Simulated: the provider, and the time, which is jumped over instead of waited for. Real: HTTP over loopback, the limiter
and its headers, tenacity's wait strategies, Headgate's engine with its ledger and log."""


def _asked(work: Work) -> str:
    account = work.account
    return (
        f"{count(work.calls)} calls from {work.clients} clients in {work.seconds:g} s, at a limit of "
        f"{count(account.requests_per_minute)} requests per minute ({account.dialect}): {work.overload:.3g} times what "
        f"it lets through.\nA client gives up after {work.attempts} attempts. Ideal: done after {work.ideal:.1f} s."
    )


def _row(outcome: Outcome) -> tuple[str, ...]:
    late, p95 = outcome.times_ideal, outcome.answered_after(0.95)
    return (
        outcome.strategy.name,
        outcome.strategy.what,
        f"{count(outcome.completed)} of {count(len(outcome.calls))}",
        count(outcome.upstream),
        f"{outcome.per_call:.2f}",
        count(outcome.refused),
        f"{outcome.wasted:,.0f} s",
        "-" if p95 is None else f"{p95:.1f} s",
        f"{outcome.finished:.1f} s",
        "-" if late is None else f"{late:.2f}",
    )


def as_document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """As JSON; docs/lab.md has the fields."""
    work = outcomes[0].work
    account = work.account
    return {
        "simulated": True,
        "dialect": account.dialect,
        "requests_per_minute": account.requests_per_minute,
        "latency_seconds": account.latency,
        "network_seconds": account.network,
        "seed": account.seed,
        "clients": work.clients,
        "calls": work.calls,
        "seconds": work.seconds,
        "overload": round(work.overload, 6),
        "attempts": work.attempts,
        "ideal_seconds": round(work.ideal, 3),
        "promise_kept": not any(outcome.broken for outcome in outcomes),
        "strategies": [_entry(outcome) for outcome in outcomes],
    }


def _entry(outcome: Outcome) -> dict[str, Any]:
    def seconds(value: float | None) -> float | None:
        return None if value is None else round(value, 3)

    return {
        "strategy": outcome.strategy.name,
        "what": outcome.strategy.what,
        "calls": len(outcome.calls),
        "completed": outcome.completed,
        "given_up": len(outcome.calls) - outcome.completed,
        "upstream_calls": outcome.upstream,
        "upstream_per_call": round(outcome.per_call, 4),
        "refused": outcome.refused,
        "refused_share": round(outcome.refused_share, 6),
        "wasted_seconds": seconds(outcome.wasted),
        "answered_after_p50_seconds": seconds(outcome.answered_after(0.5)),
        "answered_after_p95_seconds": seconds(outcome.answered_after(0.95)),
        "finished_seconds": seconds(outcome.finished),
        "times_ideal": seconds(outcome.times_ideal),
    }
