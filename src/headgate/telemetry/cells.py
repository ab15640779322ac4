"""Where settled exchanges are counted, before anybody renders it."""

from __future__ import annotations

from typing import NamedTuple

from headgate.telemetry.families import Distribution

LATENCY = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
TTFT = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
OVERHEAD = (0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
WAIT = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Bounds of buckets, in seconds."""


class Where(NamedTuple):
    """What money and tokens are told by; `tenant` is "" where tenants are not told apart."""

    provider: str
    model: str
    task: str
    tenant: str


class AttemptCell:
    """Attempts of one place with one outcome. Money is nano-dollars."""

    __slots__ = ("cost", "count", "estimated", "input", "long", "output", "read", "reasoning", "saved", "written")

    def __init__(self) -> None:
        self.count = self.cost = self.estimated = self.saved = 0
        self.input = self.read = self.written = self.long = self.output = self.reasoning = 0

    def tokens(self) -> tuple[int, int, int, int, int]:
        """By class: input, cache_read, cache_write, cache_write_1h, output."""
        return self.input, self.read, self.written, self.long, self.output


class Cell:
    """Exchanges that have everything in common that is told of them.

    Attributes:
        attempt: where their last attempts are counted; None: they have none, or it has failed.
        latency, ttft, overhead: shared with other cells.
    """

    __slots__ = ("attempt", "count", "latency", "overhead", "ttft")

    def __init__(
        self, attempt: AttemptCell | None, latency: Distribution, ttft: Distribution, overhead: Distribution
    ) -> None:
        self.count = 0
        self.attempt = attempt
        self.latency = latency
        self.ttft = ttft
        self.overhead = overhead


class Cells:
    """All of them. Not thread-safe."""

    def __init__(self) -> None:
        self.exchanges: dict[tuple[Where, str, str, str, bool], Cell] = {}  # by outcome, way in, cache, without error
        self.attempts: dict[tuple[Where, str], AttemptCell] = {}  # by outcome
        self.latency: dict[tuple[str, ...], Distribution] = {}  # by provider and model
        self.ttft: dict[tuple[str, ...], Distribution] = {}  # likewise
        self.overhead: dict[tuple[str, ...], Distribution] = {}  # by way in
        self.waits: dict[tuple[str, ...], Distribution] = {}  # by what for
        self.failures: dict[tuple[str, ...], int] = {}  # exchanges, by provider and kind
        self.refusals: dict[tuple[str, ...], int] = {}  # by code
        self.verdicts: dict[tuple[str, ...], int] = {}  # by guard and verdict
        self.degraded = 0
        self.cache_saved = 0  # nano-dollars
        self.wrong = 0

    def attempt(self, where: Where, outcome: str) -> AttemptCell:
        """The cell, made where there is none."""
        found = self.attempts.get((where, outcome))
        if found is None:
            found = self.attempts[where, outcome] = AttemptCell()
        return found
