"""Budgets: what is left, what the period comes to, and caps that change while the gateway runs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from headgate.control.people import Principal, Right
from headgate.core.actors import acting
from headgate.core.budget import Budget
from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.core.money import usd_text
from headgate.policy.budget_scopes import values_of
from headgate.policy.forecast import forecast, runs_out_at
from headgate.settings.caps import cap_amounts
from headgate.stores.account_rows import AccountRow
from headgate.stores.accounts_reader import AccountsReader, Wanted
from headgate.stores.cap_change import CapChange, change_cap, restore_cap, target, tenant_of

if TYPE_CHECKING:
    from headgate.control.context import Control

_TENANTS_OWN = "The cap of a whole tenant is not its own to change; those of its users, keys and tasks are."


class Budgets:
    """A tenant-admin sees its tenant's accounts, and changes caps of those that are a part of the tenant's."""

    def __init__(self, control: Control) -> None:
        self._ledger = control.built.ledger
        self._budgets = control.built.engine.policies.budgets.all
        self._now = control.now
        self._tell = control.built.log.event
        self._changing = threading.Lock()  # a change reads the caps in force, and writes them

    def list(
        self,
        who: Principal,
        *,
        budget: str = "",
        scope: str | None = None,
        near: int = 0,
        all_periods: bool = False,
    ) -> dict[str, Any]:
        """``{"at", "used_up", "budgets": [...]}``: every account, the fullest of each budget first.

        Args:
            budget: only of the budget with this id.
            scope: only accounts that have this among their values.
            near: only those of whose cap so many basis points are spent.
            all_periods: earlier periods, too.

        Raises:
            BadRequest: there is no such budget.
        """
        who.need(Right.READ)
        tenant, at = who.tenant_scope(), self._now()
        self._ledger.flush()
        try:
            wanted = Wanted(budget, scope, near, all_periods)
            report = AccountsReader(self._ledger.reader()).accounts(self._budgets, at, wanted)
        except ConfigError as error:
            raise BadRequest(error.message) from None
        rows = [row for row in report.rows if tenant is None or _is_of(row, tenant)]
        shown = [{**row.as_json(), **_outlook(row, at)} for row in rows]
        return {"at": at, "used_up": sum(row.used_up for row in rows), "budgets": shown}

    def set_cap(
        self, who: Principal, budget: str, scope: str, *, usd: str | int | None = None, tokens: str | int | None = None
    ) -> dict[str, Any]:
        """Override the cap of one account, at once and durably, in this period and later ones.

        Args:
            scope: in words: a value, or `tenant=acme,user=ada`.
            usd, tokens: the new caps; None = as it is now.

        Raises:
            BadRequest: an amount or a scope that is none.
            NotServed: there is no such budget, or the account is another tenant's.
            Denied: the cap is not this role's to change.
        """
        try:
            nano, count = cap_amounts(usd, tokens)
        except ConfigError as error:
            raise BadRequest("; ".join(error.mistakes)) from None
        if nano is None and count is None:
            raise BadRequest("A cap needs usd, tokens or both.")
        return self._change(who, budget, scope, (nano, count))

    def restore_cap(self, who: Principal, budget: str, scope: str) -> dict[str, Any]:
        """The configuration's cap again. Raises as `set_cap`."""
        return self._change(who, budget, scope, None)

    def _change(
        self, who: Principal, budget_id: str, scope: str, caps: tuple[int | None, int | None] | None
    ) -> dict[str, Any]:
        who.need(Right.CAPS)
        with self._changing, acting(who.actor):
            budget, named = self._target(budget_id, scope, restoring=caps is None)
            _may(who, budget, named)
            if caps is None:
                change = restore_cap(self._ledger, budget, named, self._now())
            else:
                change = change_cap(self._ledger, budget, named, self._now(), nano=caps[0], tokens=caps[1])
        return self._told(change, who)

    def _target(self, budget_id: str, scope: str, *, restoring: bool) -> tuple[Budget, str]:
        overrides = AccountsReader(self._ledger.reader()).overrides() if restoring else None
        try:
            return target(self._budgets, budget_id, scope, overrides)
        except ConfigError as error:
            if any(each.id == budget_id for each in self._budgets):
                raise BadRequest(error.message) from None
            raise NotServed(error.message, code="no_budget") from None

    def _told(self, change: CapChange, who: Principal) -> dict[str, Any]:
        if change.made:
            self._tell("budget_changed", **change.facts(who.way))
        return change.as_json()


def _is_of(row: AccountRow, tenant: str) -> bool:
    claim = row.balance.claim
    return tenant_of(claim.budget, claim.scope) == tenant and (not row.unseen or dict(claim.budget.only) != {})


def _may(who: Principal, budget: Budget, scope: str) -> None:
    tenant = who.tenant_scope()
    if tenant is None:
        return
    if tenant_of(budget, scope) != tenant:
        raise NotServed("There is no such account of your tenant.", code="no_budget")
    if not set(values_of(budget, scope)) - {"tenant"} and not set(dict(budget.only)) - {"tenant"}:
        raise BadRequest(_TENANTS_OWN, code="forbidden", status_hint=403)


def _outlook(row: AccountRow, at: float) -> dict[str, Any]:
    """What the period comes to."""
    balance, claim = row.balance, row.balance.claim
    if not row.current or row.unseen:
        return {"forecast_usd": None, "runs_out_at": None}
    expected = forecast(balance.spent_nano, claim.start, claim.end, at)
    cap = balance.cap_nano
    out = None if not cap else runs_out_at(balance.spent_nano, cap, claim.start, claim.end, at)
    return {"forecast_usd": None if expected is None else usd_text(expected), "runs_out_at": out}
