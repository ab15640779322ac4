"""Accounts of budgets as `headgate budgets` and the control API show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.core.budget import FULL, Balance
from headgate.core.money import usd_text
from headgate.policy.budget_scopes import values_of

_FOR_GOOD = float("inf")


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One account.

    Attributes:
        changed: when its cap was overridden, seconds since the epoch; None = the configuration's counts.
        configured: False: no budget of the configuration has this id any more.
        unseen: it stands for every value of the budget's dimensions that has no account yet; its scope is "".
        current: the period is that of the moment asked for.
    """

    balance: Balance
    changed: float | None = None
    configured: bool = True
    unseen: bool = False
    current: bool = True

    @property
    def share(self) -> int | None:
        """What is spent, in basis points of the cap; of dollars or tokens, whichever is more. None: there is no cap.

        Nothing fits a cap of 0, so all of it is spent.
        """
        return max((spent * FULL // cap if cap else FULL for spent, cap in self._units()), default=None)

    @property
    def used_up(self) -> bool:
        """A hard cap is spent, now. One of 0 is not: it is closed on purpose."""
        hard = self.current and self.configured and not self.balance.claim.budget.soft
        return hard and any(spent >= cap > 0 for spent, cap in self._units())

    def _units(self) -> list[tuple[int, int]]:
        """(spent, cap) in nano-dollars and in tokens, where there is a cap."""
        b = self.balance
        units = ((b.spent_nano, b.cap_nano), (b.spent_tokens, b.cap_tokens))
        return [(spent, cap) for spent, cap in units if cap is not None]

    def as_json(self) -> dict[str, Any]:
        """For programs: money as decimal strings of USD, times in seconds since the epoch, null for what is not."""
        budget, scope = self.balance.claim.budget, self.balance.claim.scope
        share = self.share
        return {
            "budget": budget.id,
            "scope": None if self.unseen else scope,
            "dimensions": {} if self.unseen else values_of(budget, scope),
            **balance_json(self.balance),
            "share": None if share is None else share / FULL,
            "used_up": self.used_up,
            "soft": budget.soft,
            "configured": self.configured,
            "configured_cap_usd": _usd(budget.cap_nano),
            "configured_cap_tokens": budget.cap_tokens,
            "source": budget.source,
            "changed": self.changed,
        }


def balance_json(balance: Balance) -> dict[str, Any]:
    """The figures of one account, for programs."""
    claim, cap, tokens = balance.claim, balance.cap_nano, balance.cap_tokens
    bounded = claim.end != _FOR_GOOD
    return {
        "cap_usd": _usd(cap),
        "spent_usd": usd_text(balance.spent_nano),
        "held_usd": usd_text(balance.held_nano),
        "left_usd": _usd(balance.left_nano),
        "cap_tokens": tokens,
        "spent_tokens": balance.spent_tokens,
        "held_tokens": balance.held_tokens,
        "left_tokens": balance.left_tokens,
        "overridden": balance.overridden,
        "period_start": claim.start if bounded else None,
        "period_end": claim.end if bounded else None,
    }


def _usd(nano: int | None) -> str | None:
    return None if nano is None else usd_text(nano)


@dataclass(frozen=True, slots=True)
class AccountReport:
    """Accounts by budget, newest period first, then the fullest.

    Attributes:
        at: the moment asked for, seconds since the epoch.
    """

    at: float
    rows: Sequence[AccountRow] = field(default=())

    @property
    def used_up(self) -> int:
        """How many of them are used up."""
        return sum(row.used_up for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """``{"at", "used_up", "budgets": [...]}``."""
        return {"at": self.at, "used_up": self.used_up, "budgets": [row.as_json() for row in self.rows]}
