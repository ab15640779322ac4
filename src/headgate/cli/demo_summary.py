"""What came of the demonstration: computed from the ledger's rows, the simulator's invoice and what the callers saw."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.text import count, dollars, milliseconds, print_table
from headgate.core.money import usd_text
from headgate.stats import percentile

if TYPE_CHECKING:
    from headgate.cli.demo_traffic import Outcomes
    from headgate.stores.reader import Reader, Record
    from headgate.testing.server import SimulatorServer

TOP_USERS = 5
_ALL = 10_000_000


@dataclass(slots=True)
class Line:
    """One way in and one model."""

    way_in: str
    model: str
    exchanges: int = 0
    attempts: int = 0
    retries: int = 0
    errors: int = 0  # as the caller saw them
    input_tokens: int = 0  # cached or not
    output_tokens: int = 0
    cost_nano: int = 0
    latencies: list[float] = field(default_factory=list)  # seconds
    ttfts: list[float] = field(default_factory=list)  # seconds, of streams

    def add(self, row: Record) -> None:
        """Count one exchange."""
        self.exchanges += 1
        self.attempts += row["attempts"]
        self.retries += max(0, row["attempts"] - 1)
        self.input_tokens += (
            row["input_tokens"] + row["cache_read_tokens"] + row["cache_write_tokens"] + row["cache_write_long_tokens"]
        )
        self.output_tokens += row["output_tokens"]
        self.cost_nano += row["cost_nano"]
        if row["latency_ms"] is not None:
            self.latencies.append(row["latency_ms"] / 1000)
        if row["stream"] and row["ttft_ms"] is not None:
            self.ttfts.append(row["ttft_ms"] / 1000)

    def as_json(self) -> dict[str, Any]:
        """Milliseconds and decimal USD."""
        latencies, ttfts = sorted(self.latencies), sorted(self.ttfts)
        return {
            "way_in": self.way_in,
            "model": self.model,
            "exchanges": self.exchanges,
            "attempts": self.attempts,
            "retries": self.retries,
            "errors": self.errors,
            "latency_p50_ms": percentile(latencies, 0.50),
            "latency_p95_ms": percentile(latencies, 0.95),
            "ttft_p50_ms": percentile(ttfts, 0.50),
            "ttft_p95_ms": percentile(ttfts, 0.95),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": usd_text(self.cost_nano),
        }


@dataclass(slots=True)
class Summary:
    """Money is nano-dollars. "Reported": what the provider told in a form that could be read."""

    seconds: float
    calls: int
    errors: int
    kinds: dict[str, int]
    upstream_requests: int
    lines: list[Line]
    users: list[tuple[str, int, int]]  # user, exchanges, cost_nano
    ledger_nano: int
    ledger_estimated_nano: int
    invoice_nano: int
    invoice_unreported_nano: int

    @property
    def reported_difference(self) -> int:
        """Ledger minus invoice where usage was reported: 0 is what we promise."""
        return (self.ledger_nano - self.ledger_estimated_nano) - (self.invoice_nano - self.invoice_unreported_nano)

    @property
    def estimated_difference(self) -> int:
        """Ledger minus invoice elsewhere: never below 0."""
        return self.ledger_estimated_nano - self.invoice_unreported_nano

    @property
    def agrees(self) -> bool:
        """The bill matches the provider's."""
        return self.reported_difference == 0 and self.estimated_difference >= 0

    def as_json(self) -> dict[str, Any]:
        """Money as decimal strings of USD."""
        return {
            "seconds": round(self.seconds, 3),
            "calls": self.calls,
            "errors": self.errors,
            "errors_by_kind": self.kinds,
            "upstream_requests": self.upstream_requests,
            "rows": [line.as_json() for line in self.lines],
            "users": [
                {"user": user, "exchanges": number, "cost_usd": usd_text(cost)} for user, number, cost in self.users
            ],
            "ledger_usd": usd_text(self.ledger_nano),
            "ledger_estimated_usd": usd_text(self.ledger_estimated_nano),
            "invoice_usd": usd_text(self.invoice_nano),
            "invoice_unreported_usd": usd_text(self.invoice_unreported_nano),
            "reported_difference_usd": usd_text(self.reported_difference),
            "estimated_difference_usd": usd_text(self.estimated_difference),
            "agrees": self.agrees,
        }


def summary(reader: Reader, server: SimulatorServer, outcomes: Outcomes, seconds: float) -> Summary:
    """Everything from its source: nothing here knows what ought to come out."""
    lines: defaultdict[tuple[str, str], Line] = defaultdict(lambda: Line("", ""))
    for row in reader.recent(limit=_ALL):
        key = (row["way_in"], row["model_asked"])
        line = lines[key]
        line.way_in, line.model = key
        line.add(row)
    for key, failed in outcomes.failed.items():
        line = lines[key]
        line.way_in, line.model = key
        line.errors = failed
    report = reader.usage(by=("user",))
    bill = server.invoice()["total"]
    return Summary(
        seconds=seconds,
        calls=outcomes.made,
        errors=outcomes.errors,
        kinds=dict(outcomes.kinds.most_common()),
        upstream_requests=bill["requests"],
        lines=[lines[key] for key in sorted(lines, reverse=True)],
        users=[(row.by["user"], row.amounts.exchanges, row.amounts.cost_nano) for row in report.rows[:TOP_USERS]],
        ledger_nano=report.total.cost_nano,
        ledger_estimated_nano=report.total.estimated_nano,
        invoice_nano=bill["cost_nano"],
        invoice_unreported_nano=bill["unreported_cost_nano"],
    )


def print_summary(found: Summary) -> None:
    """For people."""
    total = _total(found.lines)
    for title, heads, cells in (
        ("Calls (errors: as the caller saw them)", _CALLS, _calls),
        ("Speed and tokens (TTFT: of streams)", _SPEED, _speed),
    ):
        print_table(
            ("way in", "model", *heads),
            [(line.way_in, line.model, *cells(line)) for line in found.lines],
            left=2,
            title=title,
            footer=("total", "", *cells(total)),
        )
        click.echo()
    print_table(
        ("user", "exchanges", "cost"),
        [(user, count(number), dollars(cost)) for user, number, cost in found.users],
        left=1,
        title="The users who spent most",
    )
    click.echo()
    reported = found.ledger_nano - found.ledger_estimated_nano
    print_table(
        ("", "our ledger", "simulator's invoice", "difference"),
        [
            (
                "usage reported",
                dollars(reported),
                dollars(found.invoice_nano - found.invoice_unreported_nano),
                dollars(found.reported_difference),
            ),
            (
                "cut or broken (ours: estimated)",
                dollars(found.ledger_estimated_nano),
                dollars(found.invoice_unreported_nano),
                dollars(found.estimated_difference),
            ),
        ],
        left=1,
        title="The bill (the invoice is made by code that shares nothing with our pricing)",
        footer=(
            "total",
            dollars(found.ledger_nano),
            dollars(found.invoice_nano),
            dollars(found.ledger_nano - found.invoice_nano),
        ),
    )
    click.echo()
    kinds = ", ".join(f"{name} {number}" for name, number in found.kinds.items())
    click.echo(
        f"{count(found.calls)} calls in {found.seconds:.0f} s, {count(found.errors)} ended in an error"
        f"{f' ({kinds})' if kinds else ''}; {count(found.upstream_requests)} requests reached the provider."
    )
    click.echo(_verdict(found))


def _verdict(found: Summary) -> str:
    if not found.agrees:
        return "THE BILL DOES NOT MATCH."
    return "The bill matches: to the nano-dollar where usage was reported, and never below the invoice elsewhere."


_CALLS = ("exchanges", "attempts", "retries", "errors", "cost")


def _calls(line: Line) -> Sequence[str]:
    counts = (line.exchanges, line.attempts, line.retries, line.errors)
    return (*(count(number) for number in counts), dollars(line.cost_nano))


_SPEED = ("p50", "p95", "TTFT p50", "TTFT p95", "in", "out")


def _speed(line: Line) -> Sequence[str]:
    shown = line.as_json()
    times = ("latency_p50_ms", "latency_p95_ms", "ttft_p50_ms", "ttft_p95_ms")
    return (*(milliseconds(shown[name]) for name in times), count(line.input_tokens), count(line.output_tokens))


def _total(lines: Sequence[Line]) -> Line:
    total = Line("total", "")
    for line in lines:
        for name in ("exchanges", "attempts", "retries", "errors", "input_tokens", "output_tokens", "cost_nano"):
            setattr(total, name, getattr(total, name) + getattr(line, name))
        total.latencies += line.latencies
        total.ttfts += line.ttfts
    return total
