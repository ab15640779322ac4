"""What just happened, in numbers, for `gate.stats`."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from headgate.core.exchange import Ending, Exchange
from headgate.core.money import usd
from headgate.core.ports import Log
from headgate.policy.caps import Truncation

WINDOW = 2048
"""Exchanges that the percentiles look back on."""


@dataclass(frozen=True, slots=True)
class GateStats:
    """Since the gate was made. Latencies are milliseconds over the last `WINDOW` exchanges, None before the first.

    `attempt_error_rate` is how often providers fail, `exchange_error_rate` how often callers see it, over the last five
    minutes; retries hide the difference. `waiting` is for turns, now. `cache_hit_rate` is a share of
    the calls that a kept answer could have answered, `cache_size` how many answers this process keeps in memory;
    `budget_remaining_usd` is None without a budget over everything.
    """

    total_calls: int = 0
    total_attempts: int = 0
    total_cost_usd: Decimal = Decimal(0)
    estimated_cost_usd: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0
    failed_calls: int = 0
    refused_calls: int = 0
    truncation_rates: Mapping[str, float] = field(default_factory=dict)  # by task: share of answers that met their cap
    prompt_cache_saved_usd: Decimal = Decimal(0)  # by providers' prompt caches; negative = their writes cost more
    degraded_calls: int = 0  # answered by another model, by a sentence of ours or by a substitute
    attempt_error_rate: float = 0.0
    exchange_error_rate: float = 0.0
    waiting: int = 0
    cache_hit_rate: float = 0.0
    cache_size: int = 0
    budget_remaining_usd: Decimal | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p95_ms: float | None = None
    ttft_p99_ms: float | None = None
    overhead_p50_ms: float | None = None  # Headgate's own time in an exchange
    overhead_p95_ms: float | None = None
    overhead_p99_ms: float | None = None


_COMPLETE = Ending.COMPLETE  # asking the enumeration takes longer than comparing


class Tally:
    """Counts exchanges as they are logged. A `core.ports.Log` in front of another one."""

    def __init__(self, log: Log) -> None:
        self._log = log
        # Reentrant: the collector may settle a stream that nobody read while this thread is inside.
        self._lock = threading.RLock()
        self._calls = self._attempts = self._cost = self._estimated = 0
        self._input = self._output = self._failed = self._refused = self._degraded = 0
        self._hits = self._misses = 0
        self._saved = 0
        self._truncation = Truncation()
        self._latency: deque[float] = deque(maxlen=WINDOW)
        self._ttft: deque[float] = deque(maxlen=WINDOW)
        self._overhead: deque[float] = deque(maxlen=WINDOW)

    def write(self, exchange: Exchange) -> None:
        """See `core.ports.Log`."""
        attempts, ending, ended = exchange.attempts, exchange.ending, exchange.ended
        if not attempts and ended is not None and ending is _COMPLETE and exchange.cache == "hit":
            self._hit(ended - exchange.started, exchange.waited, exchange.degraded)
            self._log.write(exchange)
            return
        first = attempts[-1].first_content if attempts else None
        task, too_low = exchange.request.caller.task, None
        with self._lock:
            self._calls += 1
            elsewhere = exchange.waited
            for attempt in attempts:
                cost, usage = attempt.cost_nano, attempt.usage
                self._attempts += 1
                self._cost += cost
                elsewhere += attempt.waited + ((attempt.ended or ended or 0.0) - attempt.started)
                if attempt.saved_nano:
                    self._saved += attempt.saved_nano
                if attempt.estimated:
                    self._estimated += cost
                if usage is not None:
                    self._input += usage.prompt_tokens
                    self._output += usage.output_tokens
            if ending is not _COMPLETE:
                self._failed += ending in (Ending.FAILED, Ending.CUT)
                self._refused += ending is Ending.REFUSED
            if task and attempts and ending is _COMPLETE:
                too_low = self._truncation.count(task, attempts[-1].stop_reason)
            if exchange.degraded:
                self._degraded += 1
            if exchange.cache:
                self._hits += exchange.cache == "hit"
                self._misses += exchange.cache == "miss"
            if ended is not None:
                latency = ended - exchange.started
                self._latency.append(latency)
                self._overhead.append(latency - elsewhere if latency > elsewhere else 0.0)
            if first is not None:
                self._ttft.append(first - exchange.started)
        self._log.write(exchange)
        if too_low is not None:
            self._log.event("often_truncated", task=task, calls=too_low[0], truncated=too_low[1])

    def _hit(self, latency: float, waited: float, degraded: str) -> None:
        """What `write` counts of a kept answer that has cost nothing."""
        with self._lock:
            self._calls += 1
            self._hits += 1
            self._degraded += bool(degraded)
            self._latency.append(latency)
            self._overhead.append(latency - waited if latency > waited else 0.0)

    def event(self, name: str, **fields: Any) -> None:
        """See `core.ports.Log`."""
        self._log.event(name, **fields)

    def stats(self) -> GateStats:
        """A snapshot."""
        with self._lock:
            latency, ttft, overhead = sorted(self._latency), sorted(self._ttft), sorted(self._overhead)
            return GateStats(
                total_calls=self._calls,
                total_attempts=self._attempts,
                total_cost_usd=usd(self._cost),
                estimated_cost_usd=usd(self._estimated),
                input_tokens=self._input,
                output_tokens=self._output,
                failed_calls=self._failed,
                refused_calls=self._refused,
                degraded_calls=self._degraded,
                cache_hit_rate=self._hits / (self._hits + self._misses) if self._hits else 0.0,
                truncation_rates=self._truncation.rates(),
                prompt_cache_saved_usd=usd(self._saved),
                latency_p50_ms=percentile(latency, 0.50),
                latency_p95_ms=percentile(latency, 0.95),
                latency_p99_ms=percentile(latency, 0.99),
                ttft_p50_ms=percentile(ttft, 0.50),
                ttft_p95_ms=percentile(ttft, 0.95),
                ttft_p99_ms=percentile(ttft, 0.99),
                overhead_p50_ms=percentile(overhead, 0.50),
                overhead_p95_ms=percentile(overhead, 0.95),
                overhead_p99_ms=percentile(overhead, 0.99),
            )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of sorted seconds, in milliseconds; None of nothing."""
    if not ordered:
        return None
    rank = min(len(ordered) - 1, max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1))
    return round(ordered[rank] * 1000, 3)
