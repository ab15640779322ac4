"""Which shares of a cap have been reached, and which of them have not been told yet. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.budget import FULL, BudgetAlert, Claim
from headgate.policy.holding import Place, Terms


def due(terms: Terms, nano: int, tokens: int) -> list[BudgetAlert]:
    """What is to be told now that so much more has been spent on an account; the account remembers it.

    Args:
        nano, tokens: the last of what is spent, nano-dollars and tokens: before it nothing of this was due.
    """
    claim, place, account = terms.claim, terms.place, terms.account
    cap_nano, cap_tokens = place.override or (claim.budget.cap_nano, claim.budget.cap_tokens)
    found: list[BudgetAlert] = []
    spent = account.spent_nano
    if cap_nano and spent >= terms.tell_nano:
        place.alerted = _tell(found, claim, "usd", (spent - nano, spent), cap_nano, place.alerted)
    spent = account.spent_tokens
    if cap_tokens and spent >= terms.tell_tokens:
        told = place.alerted_tokens
        place.alerted_tokens = _tell(found, claim, "tokens", (spent - tokens, spent), cap_tokens, told)
    return found


def _tell(found: list[BudgetAlert], claim: Claim, unit: str, spent: tuple[int, int], cap: int, highest: int) -> int:
    """Args: `spent`: before and after; `highest`: the share that was told, perhaps under a smaller cap."""
    before, after = spent
    shares = claim.budget.alerts
    highest = min(highest, _passed(shares, before, cap))
    for share in shares:
        if share > highest and after * FULL >= cap * share:
            found.append(BudgetAlert(claim, share, unit, after, cap))
            highest = share
    return highest


def share_reached(claim: Claim, place: Place) -> int:
    """The highest alert that what is spent is past, under the cap in force; basis points of it, 0 = none."""
    budget, account = claim.budget, place.account
    cap_nano, cap_tokens = place.override or (budget.cap_nano, budget.cap_tokens)
    in_money = _passed(budget.alerts, account.spent_nano, cap_nano) if cap_nano else 0
    in_tokens = _passed(budget.alerts, account.spent_tokens, cap_tokens) if cap_tokens else 0
    return max(in_money, in_tokens)


def _passed(shares: Sequence[int], spent: int, cap: int) -> int:
    """The highest share, in basis points, that spending has reached; 0 = none."""
    return max((share for share in shares if spent * FULL >= cap * share), default=0)
