"""The rules of alerts, and their defaults. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from headgate.core.alerts import Severity

Unit = Literal["share", "seconds", "ratio", "count", "days", ""]
"""Of a rule's threshold; "" = it has none: it is told of, or it is not."""

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
CLEAR_AT = 0.9
"""An alert ends below this part of its threshold: at the threshold itself it would come and go."""
CLEAR_SECONDS = 120.0
"""It has to stay below for so long."""
MOST_SCOPES = 20
"""Alerts of one rule at once. Where more places break it, one more alert counts them."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One rule.

    Attributes:
        said: what it is about, for people.
        unit: of `over`.
        over: it is broken above this.
        window: seconds that are looked back on, or for which an event counts.
        minimum: calls within the window below which nothing is said: 1 of 2 is not 50%.
        lasts: seconds that it has to be broken for.
        most: of `over`, where what is counted tells no larger values apart; 0 = as its unit allows.
    """

    name: str
    said: str
    severity: Severity
    unit: Unit = ""
    over: float = 0.0
    window: float = 5 * MINUTE
    minimum: int = 0
    lasts: float = 0.0
    on: bool = True
    most: float = 0.0


_LATENCY, _TTFT = 600.0, 60.0
"""The last bounds of the metrics' histograms, in seconds: times above one are all alike."""

_ALL = (
    AlertRule("budget_near", "spending has passed a share of a budget", "warning", window=DAY),
    AlertRule("budget_spent", "a budget is spent", "critical", window=DAY),
    AlertRule("exchange_errors", "calls fail", "critical", "share", 0.01, minimum=50, lasts=MINUTE),
    AlertRule("attempt_errors", "retries hide a provider's failures", "warning", "share", 0.05, minimum=50, lasts=60),
    AlertRule(
        "provider_errors", "a provider answers 5xx, or not at all", "critical", "share", 0.2, minimum=20, lasts=90
    ),
    AlertRule("latency_p95", "answers are slow", "warning", "seconds", 30.0, 15 * MINUTE, 50, 120, most=_LATENCY),
    AlertRule(
        "latency_p99",
        "the slowest answers are very slow",
        "warning",
        "seconds",
        60.0,
        15 * MINUTE,
        200,
        120,
        most=_LATENCY,
    ),
    AlertRule("ttft_p95", "streams begin late", "warning", "seconds", 5.0, 15 * MINUTE, 50, 120, most=_TTFT),
    AlertRule(
        "ttft_p99", "some streams begin very late", "warning", "seconds", 15.0, 15 * MINUTE, 200, 120, most=_TTFT
    ),
    AlertRule("tokens_per_call", "calls take more tokens than usual", "warning", "ratio", 2.0, 15 * MINUTE, 50, 120),
    AlertRule("cost_trend", "spending is off its trend", "warning", window=DAY),
    AlertRule("charge_doubtful", "what calls were charged is doubtful", "warning", window=DAY),
    AlertRule("truncated", "answers of a task are cut off by its output cap", "warning", window=DAY),
    AlertRule("breaker_open", "a breaker is open", "critical", "count", 0.0, lasts=30),
    AlertRule("store_down", "a store cannot be reached or written", "critical", "count", 0.0, lasts=10),
    AlertRule("queue_growing", "a queue is long, and grows", "warning", "count", 100.0, lasts=120),
    AlertRule("model_retires", "a model stops answering soon, or has stopped", "warning", "days", 30.0),
    AlertRule("disk_full", "a disk is nearly full", "critical", "share", 0.9, lasts=MINUTE),
    AlertRule("log_dropped", "lines of the log were lost", "warning", "count", 0.0),
)

RULES: Mapping[str, AlertRule] = MappingProxyType({rule.name: rule for rule in _ALL})


def value_text(unit: Unit, value: float) -> str:
    """A value of a rule, for people: "5.2%", "31 s", "2.4x", "12", "9 days"; "" where the rule has none."""
    if unit == "share":
        return f"{value:.1%}".replace(".0%", "%")
    if unit == "seconds":
        return f"{value:.3g} s"
    if unit == "ratio":
        return f"{value:.2g}x"
    return f"{value:.0f} days" if unit == "days" else f"{value:,.0f}" if unit else ""
