"""What somebody has switched off, slowed down or made cheaper for a while (docs/incidents.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stop", "slow", "degrade"]
Scope = Literal["provider", "model", "task", "tenant"]

KINDS: tuple[Kind, ...] = ("stop", "slow", "degrade")
SCOPES: tuple[Scope, ...] = ("provider", "model", "task", "tenant")
PREFIX = "inc_"
"""How ids begin."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One switch. There is at most one for a scope's value. Times are seconds since the epoch.

    Attributes:
        scope, value: what it is about. A model is a virtual model, a provider's model, or provider/model.
        to: with "degrade": the model that serves, virtual or provider/model; "" else.
        rate: with "slow": requests per minute of everybody in the scope together, >= 1; 0 else.
        by: who set it; "" = not told.
        why: for colleagues; callers are not told.
        expires: it ends then by itself.
        lifted: when somebody has ended it, or set another in its place; None = nobody has.
        lifted_by: who that was.
    """

    id: str
    kind: Kind
    scope: Scope
    value: str
    to: str
    rate: int
    by: str
    why: str
    since: float
    expires: float
    lifted: float | None = None
    lifted_by: str = ""

    def holds(self, now: float) -> bool:
        """Whether it counts at `now`."""
        return self.lifted is None and now < self.expires
