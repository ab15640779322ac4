"""The cap of one account of a budget: how it stands, and another cap in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from headgate.control.people import Right
from headgate.core.budget import Budget
from headgate.core.money import usd_text
from headgate.pages.acting import Notice, acted
from headgate.pages.asked import Asked
from headgate.pages.site import Site

PATH = "/ui/keys/cap"
EVERY = {"": "for good", "hour": "each hour", "day": "each day", "week": "each week", "month": "each month"}


def budgets_of(site: Site, asked: Asked) -> list[Budget]:
    """The budgets that the asker may know of: a tenant-admin those with accounts of its tenant."""
    found: Sequence[Budget] = site.control.built.engine.policies.budgets.all
    if asked.tenant is None:
        return list(found)
    return [each for each in found if "tenant" in each.per or dict(each.only).get("tenant") == asked.tenant]


def show(site: Site, asked: Asked, notices: Sequence[Notice] = (), status: int = 200) -> Response:
    """The page, of the account that the address names.

    Raises:
        Denied: caps are not the asker's to change.
    """
    asked.who.need(Right.CAPS)
    budget, scope = asked.get("budget"), asked.get("scope")
    configured = budgets_of(site, asked)
    return site.render(
        asked,
        "cap.html",
        here="keys",
        title="Change a cap",
        status=status,
        notices=notices,
        budget=budget,
        scope=scope,
        configured=configured,
        chosen=next((each for each in configured if each.id == budget), None),
        account=_account(site, asked, budget, scope),
        every=EVERY,
        usd_text=usd_text,
        typed=asked.form.get("usd", ""),
    )


def _account(site: Site, asked: Asked, budget: str, scope: str) -> dict[str, Any] | None:
    """As the service tells it; None: nobody has spent anything on it yet."""
    if not any(each.id == budget for each in budgets_of(site, asked)):
        return None
    rows: list[dict[str, Any]] = site.control.budgets.list(asked.who, budget=budget)["budgets"]
    for row in rows:
        words = ",".join(f"{name}={value}" for name, value in row["dimensions"].items())
        if row["scope"] is not None and scope in (row["scope"], words):
            return row
    return None


def change(site: Site, asked: Asked) -> Response:
    """Set it, or take it back."""
    budget, scope = asked.form.get("budget", ""), asked.form.get("scope", "").strip()

    def work() -> Response:
        if asked.form.get("do") == "restore":
            site.control.budgets.restore_cap(asked.who, budget, scope)
            return site.go("/ui/keys", done="restored")
        usd, tokens = (asked.form.get(name, "").strip().removeprefix("$") or None for name in ("usd", "tokens"))
        site.control.budgets.set_cap(asked.who, budget, scope, usd=usd, tokens=tokens)
        return site.go("/ui/keys", done="capped")

    asked.who.need(Right.CAPS)
    return acted(site, asked, PATH, work, show)
