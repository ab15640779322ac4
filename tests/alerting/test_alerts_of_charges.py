"""Alerts about what attempts were charged, from the log's events."""

from __future__ import annotations

from headgate.alerting.events import Happened
from headgate.policy.alert_rules import RULES


def test_each_event_about_a_doubtful_charge_is_one_alert_per_provider_however_often_and_of_whatever_models() -> None:
    happened = Happened(RULES, lambda: 1_000.0)
    for name in ("bound_broken", "bad_usage", "charge_failed", "price_doubt"):
        for number in range(30):
            happened.event(name, {"provider": "anthropic", "model": f"m-{number}\x1b" + "x" * 1_000})
    found = happened.readings(1_000.0)
    assert [(each.rule, each.scope, each.calls) for each in found] == [
        ("charge_doubtful", f"anthropic {name}", 30)
        for name in ("bound_broken", "bad_usage", "charge_failed", "price_doubt")
    ]
    assert all("anthropic/m-29?" in each.summary and len(each.summary) < 300 for each in found)
    assert happened.readings(1_000.0 + 86_401) == []
