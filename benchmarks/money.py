"""Promises 1 and 2 under load, under `kill -9`, and what they cost.

    python -m benchmarks.money [bursts kills cost] [--callers 1000] [--runs 200] [--seed 7] [--json FILE] [--check]

bursts: many callers at once on a small budget, through the real gateway. kills: gateways killed at random moments, and
their ledgers compared with the provider's invoice. cost: CPU and waiting that budgets add to an exchange, in process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import money_books, money_cost, money_kills, paid_provider
from benchmarks.burst import CALLS, Call, burst
from benchmarks.parts import add_outputs, part_of, run
from benchmarks.report import Number, percentile

PARTS = ("bursts", "kills", "cost")
CAPS = (10_000_000, 1_000_000_000)
"""$0.01 and $1, in nano-dollars."""


def bursts(callers: int) -> Iterator[Number]:
    """Each budget and each API, with a gateway and a ledger of its own."""
    for call in CALLS.values():
        for cap in CAPS:
            with tempfile.TemporaryDirectory(prefix="headgate-money-") as directory:
                yield from burst_on(Path(directory), call, cap, callers)


def burst_on(root: Path, call: Call, cap: int, callers: int) -> Iterator[Number]:
    """One burst on one budget.

    Args:
        cap: nano-dollars.

    Raises:
        CannotRun: the gateway or the simulator cannot run here.
    """
    home = root / "gateway"
    with paid_provider.provider(root) as provider:
        with paid_provider.gateway(home, provider.url, [{"usd": paid_provider.usd(cap)}]) as (port, _):
            outcome = burst(port, call, callers)
        invoice = provider.invoice()
    books = money_books.read(home / "bench.db")  # after an orderly stop: everything is written
    name = f"{callers} x {call.name} on ${paid_provider.usd(cap)}"
    spent = invoice["cost_nano"]
    told = f"{outcome.through} answered, {outcome.refused} refused, ${spent / 1e9:.6f} spent in {outcome.seconds:.1f} s"
    yield Number("bursts", f"{name}: overspent", max(0, spent - cap), "nano-USD", 0, note=told)
    hold = books.dearest_hold
    left = max(0, cap - spent)
    yield Number(
        "bursts",
        f"{name}: left unused, of one call's hold",
        left / hold if hold else 0.0,
        "x",
        1 if hold and spent + callers * call.cost_nano > cap else None,  # enough callers to use it up
        note=f"${left / 1e9:.6f} of ${hold / 1e9:.6f}",
    )
    yield Number("bursts", f"{name}: ledger less invoice", abs(books.cost - spent), "nano-USD", 0)
    yield Number("bursts", f"{name}: held at the end", books.held, "nano-USD", 0)
    failure = f"the first: {outcome.failure}" if outcome.failed else ""
    yield Number("bursts", f"{name}: callers with neither an answer nor a refusal", outcome.failed, "", 0, note=failure)
    if outcome.latencies:
        slowest = percentile(outcome.latencies, 99)
        yield Number("bursts", f"{name}: p99 until answered", slowest, "s", note="waiting for money included")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.money", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("part", nargs="*", type=part_of(PARTS), metavar="|".join(PARTS), help="default: all")
    made.add_argument("--callers", type=int, default=1000, help="of a burst, at once (default 1000)")
    made.add_argument("--runs", type=int, default=200, help="gateways to kill (default 200)")
    made.add_argument("--seed", type=int, default=7, help="of the moments they are killed at (default 7)")
    made.add_argument("--rounds", type=int, default=15, help="of the cost, with and without budgets (default 15)")
    add_outputs(made)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every part asked for ran; 1 if one could not, or with --check a target is missed."""
    told = parser().parse_args(arguments)
    parts: dict[str, Callable[[], Iterator[Number]]] = {
        "bursts": lambda: bursts(told.callers),
        "kills": lambda: money_kills.measure(told.runs, told.seed),
        "cost": lambda: money_cost.measure(told.rounds),
    }
    return run(told, parts)


if __name__ == "__main__":
    sys.exit(main())
