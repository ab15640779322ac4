"""Holds that last, of batches: whoever would have to wait until one of them settles is refused (decisions 4)."""

from __future__ import annotations

from collections.abc import Iterable

from headgate.core.budget import Claim
from headgate.policy.budgets import NEVER, Account, verdict
from headgate.policy.holding import Ask, Place


def without_end(lasting: Iterable[Ask], ask: Ask, claim: Claim, place: Place) -> bool:
    """What would have to settle before `ask` has room at `place` is held for long."""
    cap_nano, cap_tokens = place.caps(claim)
    nano = tokens = 0
    for each in lasting:
        if each.held is not None and place in each.held.places:
            nano, tokens = nano + each.nano, tokens + each.tokens
    account = place.account
    until_then = Account(spent_nano=account.spent_nano + nano, spent_tokens=account.spent_tokens + tokens)
    return verdict(until_then, cap_nano, cap_tokens, ask.nano, ask.tokens) == NEVER


def why_not(ask: Ask, claim: Claim, place: Place) -> str:
    """Why it is refused for good, in `Denial.why`'s words."""
    cap_nano, cap_tokens = place.caps(claim)
    if verdict(Account(), cap_nano, cap_tokens, ask.nano, ask.tokens) == NEVER:
        return "too_large"
    spent = Account(spent_nano=place.account.spent_nano, spent_tokens=place.account.spent_tokens)
    return "spent" if verdict(spent, cap_nano, cap_tokens, ask.nano, ask.tokens) == NEVER else "held"
