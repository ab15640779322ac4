"""What just happened, in numbers, for `gate.stats`."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import compress
from operator import attrgetter
from typing import Any

from headgate.core.exchange import Ending, Exchange
from headgate.core.money import usd
from headgate.core.ports import Log
from headgate.core.usage import Usage
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
_EVERY = 256
"""Exchanges after which what is noted of them is added up, all in one go: that costs a fraction of each for itself."""

_PROMPT = attrgetter("input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_long_tokens")
_OUTPUT = attrgetter("output_tokens")

_Call = tuple[float, float | None, float, float | None, Ending | None, str, str]
"""Of an exchange: when it started and ended, seconds spent elsewhere than in Headgate, when its first content came, its
ending, cache and degradation."""
_Spent = tuple[int, int, bool, Usage | None]
"""Of an attempt: its cost, what the provider's cache saved, whether the cost is an estimate, and its usage."""


class Tally:
    """Counts exchanges as they are logged. A `core.ports.Log` in front of another one."""

    def __init__(self, log: Log) -> None:
        self._log = log
        # Reentrant: the collector may settle a stream that nobody read while this thread is inside.
        self._lock = threading.RLock()
        self._noted: list[_Call] = []  # appended to without the lock, as the next
        self._spent: list[_Spent] = []
        self._recent: deque[_Call] = deque(maxlen=WINDOW)  # those that are in the sums
        self._adding = False
        self._calls = self._attempts = self._cost = self._estimated = 0
        self._input = self._output = self._failed = self._refused = self._degraded = 0
        self._hits = self._misses = 0
        self._saved = 0
        self._truncation = Truncation()

    def write(self, exchange: Exchange) -> None:
        """See `core.ports.Log`."""
        attempts, ended = exchange.attempts, exchange.ended
        first, elsewhere = None, exchange.waited
        for attempt in attempts:
            first = attempt.first_content
            elsewhere += (attempt.ended or ended or 0.0) - attempt.started + attempt.waited
            self._spent.append((attempt.cost_nano, attempt.saved_nano, attempt.estimated, attempt.usage))
        noted, ending = self._noted, exchange.ending
        noted.append((exchange.started, ended, elsewhere, first, ending, exchange.cache, exchange.degraded))
        if len(noted) >= _EVERY:
            self._add_up()
        self._log.write(exchange)
        task = exchange.request.caller.task
        if task and attempts and ending is _COMPLETE:
            with self._lock:
                too_low = self._truncation.count(task, attempts[-1].stop_reason)
            if too_low is not None:
                self._log.event("often_truncated", task=task, calls=too_low[0], truncated=too_low[1])

    def _add_up(self) -> None:
        """Bring the sums up to date. Others may note while it goes on."""
        with self._lock:
            if self._adding:  # the collector runs inside it, in the same thread
                return
            self._adding = True
            try:
                calls, spent = self._noted[:], self._spent[:]
                del self._noted[: len(calls)], self._spent[: len(spent)]
                self._recent.extend(calls)
                self._sum_calls(calls)
                self._sum_spent(spent)
            finally:
                self._adding = False

    def _sum_calls(self, calls: list[_Call]) -> None:
        if calls:
            _, _, _, _, endings, caches, degraded = zip(*calls, strict=True)
            self._calls += len(calls)
            self._failed += endings.count(Ending.FAILED) + endings.count(Ending.CUT)
            self._refused += endings.count(Ending.REFUSED)
            self._degraded += len(calls) - degraded.count("")
            self._hits += caches.count("hit")
            self._misses += caches.count("miss")

    def _sum_spent(self, spent: list[_Spent]) -> None:
        if spent:
            costs, saved, estimated, usages = zip(*spent, strict=True)
            self._attempts += len(spent)
            self._cost += sum(costs)
            self._saved += sum(saved)
            self._estimated += sum(compress(costs, estimated))
            used = [usage for usage in usages if usage is not None]
            self._input += sum(map(sum, map(_PROMPT, used)))
            self._output += sum(map(_OUTPUT, used))

    def event(self, name: str, **fields: Any) -> None:
        """See `core.ports.Log`."""
        self._log.event(name, **fields)

    def stats(self) -> GateStats:
        """A snapshot."""
        with self._lock:
            self._add_up()
            recent = self._recent.copy()
            lasted = [(ended - started, elsewhere) for started, ended, elsewhere, *_ in recent if ended is not None]
            latency = sorted([seconds for seconds, _ in lasted])
            overhead = sorted([max(0.0, seconds - elsewhere) for seconds, elsewhere in lasted])
            ttft = sorted([first - started for started, _, _, first, *_ in recent if first is not None])
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
