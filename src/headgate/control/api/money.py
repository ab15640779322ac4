"""Routes about keys and money: keys, budgets, limits, usage, invoices, prices."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from headgate.control.api import models as m
from headgate.control.api.base import Id, Routes, Text, Who, named_values
from headgate.control.context import Control
from headgate.control.people import Right
from headgate.invoices.words import as_json

Month = Annotated[str, Query(max_length=7, pattern=r"^\d{4}-\d{2}$", description="As in 2026-11.")]


def add(routes: Routes, control: Control) -> None:
    """Declare them."""
    keys, budgets = control.keys, control.budgets

    @routes.get("/keys", Right.READ, "keys")
    def list_keys(who: Who) -> m.Keys:
        """Virtual keys, revoked ones too."""
        return m.Keys.model_validate({"keys": keys.list(who)})

    @routes.post("/keys", Right.KEYS, "keys", status=201)
    def create_key(who: Who, body: m.NewKey) -> m.MadeKey:
        """Make a key. Its text is told this once."""
        return m.MadeKey.model_validate(
            keys.create(
                who,
                body.name,
                tenant=body.tenant,
                environment=body.environment,
                may_speak_for_tenants=body.may_speak_for_tenants,
            )
        )

    @routes.post("/keys/{key_id}/rotate", Right.KEYS, "keys")
    def rotate_key(who: Who, key_id: Id) -> m.MadeKey:
        """Give a key a new text. The old one stops working at once."""
        return m.MadeKey.model_validate(keys.rotate(who, key_id))

    @routes.delete("/keys/{key_id}", Right.KEYS, "keys")
    def revoke_key(who: Who, key_id: Id) -> m.Key:
        """End a key for good."""
        return m.Key.model_validate(keys.revoke(who, key_id))

    @routes.get("/budgets", Right.READ, "budgets")
    def list_budgets(
        who: Who,
        budget: Text = "",
        scope: Text | None = None,
        near: Annotated[int, Query(ge=0, le=1_000_000, description="Basis points of the cap that are spent.")] = 0,
        all_periods: bool = False,
    ) -> m.Accounts:
        """Accounts of budgets: what is spent, held and left, and what the period comes to."""
        return m.Accounts.model_validate(
            budgets.list(who, budget=budget, scope=scope, near=near, all_periods=all_periods)
        )

    @routes.put("/budgets/cap", Right.CAPS, "budgets")
    def set_cap(who: Who, budget: Text, body: m.NewCap, scope: Text = "") -> m.CapChange:
        """Override the cap of one account, at once and durably."""
        return m.CapChange.model_validate(budgets.set_cap(who, budget, scope, usd=body.usd, tokens=body.tokens))

    @routes.delete("/budgets/cap", Right.CAPS, "budgets")
    def restore_cap(who: Who, budget: Text, scope: Text = "") -> m.CapChange:
        """Have the configuration's cap count again."""
        return m.CapChange.model_validate(budgets.restore_cap(who, budget, scope))

    @routes.get("/limits", Right.READ, "limits")
    def list_limits(who: Who) -> m.Limits:
        """Callers' limits, as they are configured."""
        return m.Limits.model_validate({"limits": control.limits.list(who)})

    @routes.get("/usage", Right.READ, "usage")
    def usage(
        who: Who,
        by: Annotated[str, Query(max_length=400, description="Dimensions: user,model,day or tag:team.")] = "",
        since: Annotated[float | None, Query(ge=0, le=1e11)] = None,
        until: Annotated[float | None, Query(ge=0, le=1e11)] = None,
        zone: Annotated[str, Query(max_length=64)] = "",
        where: Annotated[list[str], Query(max_length=16, description="name=value, each.")] = [],  # noqa: B006
    ) -> m.Usage:
        """What was spent."""
        names = [name.strip() for name in by.split(",") if name.strip()]
        report = control.usage.report(who, by=names, since=since, until=until, zone=zone, filters=named_values(where))
        return m.Usage.model_validate(report)

    @routes.get("/invoices", Right.READ, "invoices")
    def list_invoices(who: Who, month: Month) -> m.Invoiced:
        """Who has an invoice of a month; "" stands for calls that named no tenant."""
        return m.Invoiced.model_validate({"month": month, "tenants": control.invoices.tenants(who, month)})

    @routes.get("/invoice", Right.READ, "invoices")
    def show_invoice(
        who: Who,
        month: Month,
        tenant: Text = "",
        zone: Annotated[str, Query(max_length=64)] = "UTC",
        by: Annotated[
            str, Query(max_length=40, description="What lines are broken down by: model, user, day.")
        ] = "model",
    ) -> m.Invoice:
        """What a tenant owes for a month, as `headgate invoice` makes it. tenant: "" = calls that named none."""
        return m.Invoice.model_validate(as_json(control.invoices.make(who, tenant, month, zone=zone, by=by)))

    @routes.get("/prices", Right.READ, "prices")
    def list_prices(who: Who, provider: Text = "", model: Text = "") -> m.Prices:
        """What models cost. `model` may be a pattern, like claude-*."""
        return m.Prices.model_validate(control.prices.list(who, provider=provider, model=model))
