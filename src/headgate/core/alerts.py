"""What people are told before users complain (docs/alerts.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("warning", "critical")
State = Literal["firing", "acknowledged", "resolved"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule that is broken somewhere. Times are seconds since the epoch.

    Attributes:
        rule: one of `policy.alert_rules.RULES`.
        scope: where: a provider, provider/model, a budget's id, a task, a store; "" = everywhere.
        since, last: when it began, and when it was last seen broken.
        value, threshold: in the rule's unit: a share (0.05 = 5%), seconds, a ratio, a number.
        summary: one sentence, without any text of a prompt or an answer, a credential, or the name of a user.
        evidence: where the dashboard shows it: a path with a query.
        count: how often it was seen since it began.
        resolved, acknowledged: None = it is not.
    """

    id: str
    rule: str
    scope: str
    severity: Severity
    since: float
    last: float
    value: float
    threshold: float
    summary: str
    evidence: str
    count: int = 1
    resolved: float | None = None
    acknowledged: float | None = None
    acknowledged_by: str = ""

    @property
    def state(self) -> State:
        """How it stands."""
        if self.resolved is not None:
            return "resolved"
        return "firing" if self.acknowledged is None else "acknowledged"

    @property
    def runbook(self) -> str:
        """What to check and to do, in this repository."""
        return f"docs/runbooks/{self.rule}.md"
