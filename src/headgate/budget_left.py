"""What is left in a budget, for Python programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from headgate.core.budget import Balance
from headgate.core.money import usd

_FOR_GOOD = float("inf")


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """One account of one budget. Money is exact USD; None = no cap of that kind.

    Attributes:
        budget: its id, as `user/day`.
        scope: whose account it is; "" for a budget over everything.
        cap_usd, cap_tokens: what is in force.
        spent_usd, held_usd: what is gone, and what is set aside for calls on their way.
        left_usd, left_tokens: what is neither; >= 0.
        soft: it warns only, and refuses nothing.
        overridden: the cap was changed for this scope (`headgate budgets set`).
        begins, ends: of the period, UTC; None = for good.
    """

    budget: str
    scope: str
    cap_usd: Decimal | None
    spent_usd: Decimal
    held_usd: Decimal
    left_usd: Decimal | None
    cap_tokens: int | None
    spent_tokens: int
    held_tokens: int
    left_tokens: int | None
    soft: bool
    overridden: bool
    begins: datetime | None
    ends: datetime | None


_FREE = Decimal("Infinity")


def left_of(balance: Balance) -> BudgetLeft:
    """A balance as people read it."""
    claim, left, cap = balance.claim, balance.left_nano, balance.cap_nano
    bounded = claim.end != _FOR_GOOD
    return BudgetLeft(
        budget=claim.budget.id,
        scope=claim.scope,
        cap_usd=None if cap is None else usd(cap),
        spent_usd=usd(balance.spent_nano),
        held_usd=usd(balance.held_nano),
        left_usd=None if left is None else usd(left),
        cap_tokens=balance.cap_tokens,
        spent_tokens=balance.spent_tokens,
        held_tokens=balance.held_tokens,
        left_tokens=balance.left_tokens,
        soft=claim.budget.soft,
        overridden=balance.overridden,
        begins=datetime.fromtimestamp(claim.start, UTC) if bounded else None,
        ends=datetime.fromtimestamp(claim.end, UTC) if bounded else None,
    )


def tightness(left: BudgetLeft) -> tuple[bool, Decimal, Decimal, str]:
    """For sorting: what leaves least room first, and before all others what leaves none, of dollars or of tokens."""
    dollars = _FREE if left.left_usd is None or left.soft else left.left_usd
    tokens = _FREE if left.left_tokens is None or left.soft else Decimal(left.left_tokens)
    return (dollars > 0 and tokens > 0, dollars, tokens, left.budget)
