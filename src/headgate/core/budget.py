"""The words of budgets: a cap, an account of it, a claim of one call on it, and what the store answers.

A budget is a cap per scope and period; an account is one budget for one scope value in one period. The decisions are
in `policy.budgets`, the money is in `stores`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo

AccountKey = tuple[str, str, float]
"""(budget id, scope value, start of the period)."""

WARN_AT = 8_000
FULL = 10_000
"""Shares of a cap are basis points: hundredths of a percent."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A cap per scope and period.

    Attributes:
        id: stable while the scope, the filter and the period stay; a change of the cap keeps it.
        per: the dimensions whose values have an account each: tenant, key, user, session, task, feature, model,
            provider, environment, tag:<name>. () = everything together.
        only: (dimension, value) that a call has to have for the budget to apply to it.
        cap_nano, cap_tokens: at least one is set; None = no cap of that kind. 0 lets nothing through.
        every: see `policy.periods.PERIODS`; "" = for good.
        zone: whose midnight it is.
        alerts: basis points of the cap, ascending, at each of which there is one alert per period.
        degrade_to: the model to go to when the hold no longer fits; "" = refuse.
        queues: a call that does not fit and may be deferred goes on the queue of jobs (`then: queue`).
        soft: it alerts and warns, and refuses nothing.
        source: where it is written, "headgate.yaml:12:5"; "" = not known.
    """

    id: str
    per: tuple[str, ...] = ()
    only: tuple[tuple[str, str], ...] = ()
    cap_nano: int | None = None
    cap_tokens: int | None = None
    every: str = ""
    zone: tzinfo = UTC
    alerts: tuple[int, ...] = (WARN_AT, FULL)
    degrade_to: str = ""
    soft: bool = False
    source: str = ""
    queues: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """What one call asks of one budget: an account to fit.

    Attributes:
        budget: of the account.
        scope: the account's value of `budget.per`, as `policy.budgets.scope_of` writes it.
        start, end: of the period, seconds since the epoch. The charge belongs to it, whenever the call ends.
        key: the account's.
    """

    budget: Budget
    scope: str
    start: float
    end: float
    key: AccountKey


@dataclass(frozen=True, slots=True)
class Balance:
    """What a store knows of one account. Money is nano-dollars; every count is >= 0.

    Attributes:
        cap_nano, cap_tokens: what is in force: an override, or else the budget's own.
        overridden: the cap is an override's.
    """

    claim: Claim
    cap_nano: int | None
    cap_tokens: int | None
    spent_nano: int = 0
    held_nano: int = 0
    spent_tokens: int = 0
    held_tokens: int = 0
    overridden: bool = False

    @property
    def left_nano(self) -> int | None:
        """What is neither spent nor held, never below 0; None without a cap in dollars."""
        return None if self.cap_nano is None else max(0, self.cap_nano - self.spent_nano - self.held_nano)

    @property
    def left_tokens(self) -> int | None:
        """Likewise in tokens; None without a cap in tokens."""
        return None if self.cap_tokens is None else max(0, self.cap_tokens - self.spent_tokens - self.held_tokens)


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """Spending went over a share of a cap, for the first time in the account's period.

    Attributes:
        share: basis points of the cap, as in `Budget.alerts`.
        unit: "usd" or "tokens".
        spent, cap: nano-dollars, or tokens.
    """

    claim: Claim
    share: int
    unit: str
    spent: int
    cap: int
