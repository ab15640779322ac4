"""How each budget's accounts stand, all of them together: for metrics, which must not name whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headgate.policy.budgets import Account
from headgate.policy.holding import Ask, Place


@dataclass(slots=True)
class BudgetLine:
    """One budget. Shares are of the cap in force, 1.0 = all of it, what is held included.

    Attributes:
        id: see `core.budget.Budget.id`.
        accounts: in this process's memory, and whose period is not over: see `Accounts.rest`.
        spent_nano, held_nano: of all of them, nano-dollars.
        fullest: the largest share of an account.
        over_80, full: accounts above 80% of their cap, and at it.
    """

    id: str
    accounts: int = 0
    spent_nano: int = 0
    held_nano: int = 0
    fullest: float = 0.0
    over_80: int = 0
    full: int = 0


class Standing(NamedTuple):
    """All money that a process looks after.

    Attributes:
        holds: attempts with money set aside.
        held_nano: the most that they can cost, nano-dollars.
        lines: by budget id.
    """

    holds: int
    held_nano: int
    lines: dict[str, BudgetLine]


def standing(places: Sequence[Place], holds: Sequence[Ask], now: float) -> Standing:
    """Sums over the accounts in memory whose periods are not over.

    Args:
        now: seconds since the epoch.
    """
    lines: dict[str, BudgetLine] = {}
    for place in places:
        share = fullness(place, now)
        if share is not None:
            budget = place.key[0]
            _count(lines.setdefault(budget, BudgetLine(budget)), place.account, share)
    return Standing(len(holds), sum(ask.nano for ask in holds), lines)


def fullness(place: Place, now: float) -> float | None:
    """An account's share of its cap. None: its period is over, or nobody has asked for it since it was loaded."""
    terms = place.terms  # once: the writer may let the account go meanwhile
    if not terms or terms[0].claim.end <= now:
        return None
    account, budget = place.account, terms[0].claim.budget
    cap_nano, cap_tokens = place.override or (budget.cap_nano, budget.cap_tokens)
    return max(
        _share(account.spent_nano + account.held_nano, cap_nano),
        _share(account.spent_tokens + account.held_tokens, cap_tokens),
    )


def _count(line: BudgetLine, account: Account, share: float) -> None:
    line.accounts += 1
    line.spent_nano += account.spent_nano
    line.held_nano += account.held_nano
    line.fullest = max(line.fullest, share)
    line.over_80 += share >= 0.8
    line.full += share >= 1.0


def _share(used: int, cap: int | None) -> float:
    if cap is None:
        return 0.0
    return used / cap if cap else 1.0
