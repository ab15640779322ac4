"""What has happened, as the rules look at it: each counts for a while, and however often it happens it is one alert."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headgate.core.budget import FULL, Budget, BudgetAlert, Claim
from headgate.core.errors import BudgetExceeded
from headgate.core.exchange import Exchange
from headgate.policy.alert_readings import evidence, searched
from headgate.policy.alert_rules import AlertRule
from headgate.policy.alert_states import Reading

MOST = 500
"""Kept at once; beyond that the oldest go."""
_NAMED = frozenset({"key", "tenant", "task", "feature", "environment", "model", "provider"})
"""Dimensions whose values are told. Users, sessions and tags are people's, and their values are not."""
_FAR = 1e11


class Happened:
    """Takes what happens from other threads. Its methods never wait and never raise."""

    def __init__(self, rules: Mapping[str, AlertRule], now: Callable[[], float]) -> None:
        self._rules = rules
        self._now = now
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], Reading] = {}

    def budget(self, alert: BudgetAlert) -> None:
        """Spending has passed a share of a budget: see `stores.ledger.WrittenLedger.on_alert`."""
        near = alert.share < FULL
        # Each share is news: who was told of 80% has not been told of 95%.
        which = f"{alert.share / 100:g}%" if near and alert.share != alert.claim.budget.alerts[0] else ""
        said = f"has passed {alert.share / 100:g}% of its cap"
        self._budget("budget_near" if near else "budget_spent", alert.claim, said, alert.share / FULL, which)

    def settled(self, exchanges: Sequence[Exchange]) -> tuple[()]:
        """A `stores.log.Watcher`: a budget is spent for people once it refuses, though some cents may be left in it."""
        for exchange in exchanges:
            error = exchange.error
            if isinstance(error, BudgetExceeded) and error.claim is not None and error.why == "spent":
                if _nearly_spent(error.claim.budget, error.room_nano):
                    self._budget("budget_spent", error.claim, "refuses calls: what is left has no room for them", 1.0)
                else:  # one large call is no reason to wake anybody
                    said = "refuses calls that can cost more than is left of it"
                    self._budget("budget_near", error.claim, said, 1.0, "refusals")
        return ()

    def _budget(self, name: str, claim: Claim, said: str, value: float, which: str = "") -> None:
        rule, budget = self._rules[name], claim.budget
        until = claim.end if claim.end < _FAR else self._now() + rule.window
        whose = claim.scope if claim.scope and _NAMED.issuperset(budget.per) else ""
        scope = " ".join(part for part in (budget.id, whose, which) if part)
        told = f"the budget {budget.id}{f' ({whose})' if whose else ''} {said}"
        self._put(rule, scope, told, evidence("/ui/keys", budget=budget.id), until, value)

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """A line of the log that is not about an exchange."""
        if name == "anomaly" and fields.get("kind") == "daily_spend":
            rule = self._rules["cost_trend"]
            tenant = str(fields.get("tenant", ""))
            said = str(fields.get("message", ""))
            where = evidence("/ui/spend", tenant=tenant, by="model")
            self._put(rule, tenant, said, where, self._now() + rule.window)
        elif name == "often_truncated":
            rule, task = self._rules["truncated"], str(fields.get("task", ""))
            said = f"{fields.get('truncated')} of {fields.get('calls')} answers of task {task} ran into their cap"
            self._put(rule, task, said, evidence("/ui/exchanges", q=searched(task=task)), self._now() + rule.window)

    def readings(self, now: float) -> list[Reading]:
        """What counts now."""
        with self._lock:
            self._found = {key: each for key, each in self._found.items() if each.until > now}
            return list(self._found.values())

    def _put(self, rule: AlertRule, scope: str, said: str, where: str, until: float, value: float = 1.0) -> None:
        key = rule.name, scope
        with self._lock:
            before = self._found.pop(key, None)
            times = 1 if before is None else before.calls + 1
            if times > 1:
                said = f"{said}; {times} times since this began"
            latest = until if before is None else max(until, before.until)
            self._found[key] = Reading(rule.name, scope, value, times, said, where, threshold=value, until=latest)
            while len(self._found) > MOST:
                del self._found[next(iter(self._found))]


def _nearly_spent(budget: Budget, room_nano: int | None) -> bool:
    """Whether what is left is less than the first share that is told leaves; where it is not known, too."""
    cap, shares = budget.cap_nano, budget.alerts
    if room_nano is None or not cap or not shares:
        return True
    return room_nano * FULL <= cap * (FULL - shares[0])
