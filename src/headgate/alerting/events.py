"""What has happened, as the rules look at it: each counts for a while, and however often it happens it is one alert."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from headgate.core.text import printable
from headgate.policy.alert_readings import evidence, searched
from headgate.policy.alert_rules import AlertRule
from headgate.policy.alert_states import Reading

MOST = 500
"""Kept at once; beyond that the oldest go."""


_DOUBTFUL = {
    "bound_broken": "attempts cost more than was set aside for them",
    "bad_usage": "usage was told that cannot be, and is charged by estimate",
    "charge_failed": "a cost could not be worked out, and the most possible is charged",
    "price_doubt": "a price had to be guessed",
}
"""Events about what an attempt was charged, in words."""


class Happened:
    """Takes what happens from other threads. Its methods never wait and never raise."""

    def __init__(self, rules: Mapping[str, AlertRule], now: Callable[[], float]) -> None:
        self._rules = rules
        self._now = now
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], Reading] = {}

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

        elif name in _DOUBTFUL:
            rule, provider = self._rules["charge_doubtful"], str(fields.get("provider", ""))
            model = printable(str(fields.get("model", ""))[:100])
            said = f"{name}: {_DOUBTFUL[name]}; last of {provider}/{model}"
            where = evidence("/ui/exchanges", q=searched(provider=provider))
            # By provider: names of models come from callers and providers, and could fill the memory.
            self._put(rule, f"{provider} {name}", said, where, self._now() + rule.window)

    def readings(self, now: float) -> list[Reading]:
        """What counts now."""
        with self._lock:
            self._found = {key: each for key, each in self._found.items() if each.until > now}
            return list(self._found.values())

    def _put(self, rule: AlertRule, scope: str, said: str, where: str, until: float) -> None:
        key = rule.name, scope
        with self._lock:
            before = self._found.pop(key, None)
            times = 1 if before is None else before.calls + 1
            if times > 1:
                said = f"{said}; {times} times since this began"
            latest = until if before is None else max(until, before.until)
            self._found[key] = Reading(rule.name, scope, 1.0, times, said, where, threshold=1.0, until=latest)
            while len(self._found) > MOST:
                del self._found[next(iter(self._found))]
