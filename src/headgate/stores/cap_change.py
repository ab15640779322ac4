"""Changing the cap of one account while calls go on: for Python, the control API and the command line alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from headgate.core.budget import Balance, Budget, Claim
from headgate.core.money import usd_text
from headgate.policy.budget_scopes import budget_named, claim_on, scope_named, values_of
from headgate.policy.holding import Cap
from headgate.stores.account_rows import balance_json
from headgate.stores.accounts_reader import Overrides
from headgate.stores.audit_log import AuditLog

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Capped(Protocol):
    """What a ledger offers: see `stores.ledger.WrittenLedger`. Both block, and raise `Unavailable`."""

    def balances(self, claims: Sequence[Claim]) -> list[Balance]: ...

    def set_cap(
        self, budget: str, scope: str, cap: Cap | None, also: Callable[[Connection], object] | None = None, /
    ) -> None: ...

    @property
    def audit(self) -> AuditLog: ...


@dataclass(frozen=True, slots=True)
class CapChange:
    """One account, before and after."""

    before: Balance
    after: Balance

    @property
    def made(self) -> bool:
        """Something is another than before."""
        return any(
            getattr(self.before, name) != getattr(self.after, name) for name in ("cap_nano", "cap_tokens", "overridden")
        )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        claim = self.after.claim
        return {
            "budget": claim.budget.id,
            "scope": claim.scope,
            "dimensions": values_of(claim.budget, claim.scope),
            "soft": claim.budget.soft,
            "source": claim.budget.source,
            "before": balance_json(self.before),
            "after": balance_json(self.after),
        }

    def facts(self, by: str) -> dict[str, Any]:
        """As fields of the log line `budget_changed`. `by`: the way in."""
        claim = self.after.claim
        return {
            "budget": claim.budget.id,
            "scope": claim.scope,
            **_caps("before", self.before),
            **_caps("after", self.after),
            "overridden": self.after.overridden,
            "by": by,
        }


def _caps(when: str, balance: Balance) -> dict[str, Any]:
    nano = balance.cap_nano
    return {f"{when}_usd": None if nano is None else usd_text(nano), f"{when}_tokens": balance.cap_tokens}


def target(
    budgets: Iterable[Budget], budget_id: str, scope: str, overrides: Overrides | None = None
) -> tuple[Budget, str]:
    """The budget and the account's scope that somebody means.

    Args:
        budgets: the configuration's.
        scope: in words: see `policy.budget_scopes.scope_named`.
        overrides: those that there are, where one of a budget that is no longer configured will do, too.

    Raises:
        ConfigError: there is no such budget, or `scope` names no account of it.
    """
    known = tuple(budgets)
    if overrides and (budget_id, scope) in overrides and all(budget.id != budget_id for budget in known):
        return Budget(budget_id), scope
    budget = budget_named(known, budget_id)
    return budget, scope_named(budget, scope)


def change_cap(
    ledger: Capped, budget: Budget, scope: str, at: float, *, nano: int | None, tokens: int | None
) -> CapChange:
    """Override the cap of one account, in the period of `at` and later ones. It counts at once, for waiters too.

    Args:
        scope: as `policy.budgets.scope_of` writes it.
        at: seconds since the epoch.
        nano, tokens: the new caps, >= 0; None = as it is now. One of them is told.

    Raises:
        Unavailable: it could not be written.
    """
    claim = claim_on(budget, scope, at)
    (before,) = ledger.balances([claim])
    cap = before.cap_nano if nano is None else nano, before.cap_tokens if tokens is None else tokens
    return _made(ledger, CapChange(before, replace(before, cap_nano=cap[0], cap_tokens=cap[1], overridden=True)), cap)


def restore_cap(ledger: Capped, budget: Budget, scope: str, at: float) -> CapChange:
    """Take an override back: the budget's own cap counts again. Arguments and errors as `change_cap`."""
    claim = claim_on(budget, scope, at)
    (before,) = ledger.balances([claim])
    own = replace(before, cap_nano=budget.cap_nano, cap_tokens=budget.cap_tokens, overridden=False)
    return _made(ledger, CapChange(before, own), None) if before.overridden else CapChange(before, before)


def _made(ledger: Capped, change: CapChange, cap: Cap | None) -> CapChange:
    """With a row in the audit log in the same transaction, where something is another than before."""
    claim = change.after.claim
    record = None
    if change.made:
        told = {"before": _audited(change.before), "after": _audited(change.after)}
        subject = f"{claim.budget.id} {claim.scope}".rstrip()
        record = ledger.audit.recording("budget.cap", subject, tenant=tenant_of(claim.budget, claim.scope), **told)
    ledger.set_cap(claim.budget.id, claim.scope, cap, record)
    return change


def tenant_of(budget: Budget, scope: str) -> str:
    """The tenant whose calls an account is for; "" = not one tenant's alone."""
    return {**values_of(budget, scope), **dict(budget.only)}.get("tenant", "")


def _audited(balance: Balance) -> dict[str, Any]:
    nano = balance.cap_nano
    told = {"usd": None if nano is None else usd_text(nano), "tokens": balance.cap_tokens}
    return {**told, "overridden": balance.overridden}
