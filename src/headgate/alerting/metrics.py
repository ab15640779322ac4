"""Alerts and their telling as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from headgate.core.alerts import Alert
from headgate.policy.alert_rules import AlertRule
from headgate.telemetry.families import Family

RESULTS = ("told", "failed", "given_up")
"""What becomes of a try; a notice that is given up has failed many times before."""


def count(alerts: Iterable[Alert]) -> Counter[tuple[str, ...]]:
    """Alerts that are on, by (rule, state)."""
    return Counter((alert.rule, alert.state) for alert in alerts)


def families(
    rules: Mapping[str, AlertRule], on: Mapping[tuple[str, ...], int], tries: Mapping[tuple[str, str], int]
) -> tuple[Family, Family]:
    """
    Args:
        rules: those that are off have no series.
        on: see `count`.
        tries: by (kind of place, one of `RESULTS`).
    """
    alerts = Family("headgate_alerts", "gauge", "Alerts that are on.", labels=("rule", "state"))
    watched = [name for name, rule in rules.items() if rule.on]
    alerts.values = {(name, state): 0.0 for name in watched for state in ("firing", "acknowledged")}
    alerts.values.update({key: float(value) for key, value in on.items()})
    told = Family("headgate_alert_deliveries", "counter", "Tries to tell a place.", labels=("place", "result"))
    told.values = {key: float(value) for key, value in tuple(tries.items())}
    return alerts, told
