"""What is said about budgets: to the caller, in a header, in a log line."""

from __future__ import annotations

from datetime import UTC, datetime

from headgate.core.budget import Balance, BudgetAlert, Claim
from headgate.core.errors import BudgetExceeded
from headgate.core.money import usd_text
from headgate.policy.holding import Denial

_FOR_GOOD = float("inf")
_OWN = frozenset({"key", "tenant", "user", "session"})
"""Dimensions that say who calls: an account by one of them is the caller's. Those of a model, a provider, a task, a
feature, an environment or a tag are everybody's who uses it, other tenants included."""


def name_of(claim: Claim) -> str:
    """A budget's name with whose account it is: "user/day (ada)"."""
    return f"{claim.budget.id} ({claim.scope})" if claim.scope else claim.budget.id


def refusal(denial: Denial, nano: int, tokens: int) -> BudgetExceeded:
    """The refusal of an ask for `nano` nano-dollars and `tokens` tokens.

    A caller is told the figures of accounts that are its own, and not those of a budget that it shares with others.
    """
    claim, balance = denial.claim, denial.balance
    said = _REASONS[denial.why]
    parts = [f"the budget {name_of(claim)} {said}"]
    if not _OWN.isdisjoint(claim.budget.per):
        parts.append(f"{_figures(balance)}; this call can take {_amount(balance, nano, tokens)}")
    if claim.end != _FOR_GOOD and denial.why in ("spent", "waited", "held"):
        parts.append(f"it begins again at {datetime.fromtimestamp(claim.end, UTC).isoformat().replace('+00:00', 'Z')}")
    return BudgetExceeded(
        "; ".join(parts),
        claim=claim,
        why=denial.why,
        room_nano=balance.left_nano,
        room_tokens=balance.left_tokens,
        not_before=denial.not_before,
    )


_REASONS = {
    "spent": "has no room for this call",
    "too_large": "is smaller than what this call alone can cost",
    "held": "is set aside for other calls that are on their way",
    "waited": "was set aside for other calls, and none of them left room in time",
    "period": "was set aside for other calls until its period was over",
}


def _figures(balance: Balance) -> str:
    told = []
    if balance.cap_nano is not None:
        told.append(f"${usd_text(balance.spent_nano)} of ${usd_text(balance.cap_nano)} spent")
        if balance.held_nano:
            told.append(f"${usd_text(balance.held_nano)} held")
    if balance.cap_tokens is not None:
        told.append(f"{balance.spent_tokens} of {balance.cap_tokens} tokens used")
        if balance.held_tokens:
            told.append(f"{balance.held_tokens} held")
    return ", ".join(told)


def _amount(balance: Balance, nano: int, tokens: int) -> str:
    told = []
    if balance.cap_nano is not None:
        told.append(f"${usd_text(nano)}")
    if balance.cap_tokens is not None:
        told.append(f"{tokens} tokens")
    return " and ".join(told)


def warning(claim: Claim, share: int) -> str:
    """The header's text: the budget, and the share of it that spending has passed."""
    return f"{claim.budget.id} past {share / 100:g}%"


def alert_facts(alert: BudgetAlert) -> dict[str, object]:
    """An alert as fields of a log line."""
    claim = alert.claim
    usd = alert.unit == "usd"
    return {
        "budget": claim.budget.id,
        "scope": claim.scope,
        "share": f"{alert.share / 100:g}%",
        "unit": alert.unit,
        "spent": usd_text(alert.spent) if usd else alert.spent,
        "cap": usd_text(alert.cap) if usd else alert.cap,
        "soft": claim.budget.soft,
        "period_start": claim.start,
        "period_end": None if claim.end == _FOR_GOOD else claim.end,
        "source": claim.budget.source,
    }
