"""*Billing*: what a tenant owes for a month, as `headgate invoice` makes it: looked at, printed, exported."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

from starlette.responses import Response

from headgate.control.services.invoices import BY
from headgate.core.errors import NotServed
from headgate.invoices.html import STYLE, page
from headgate.invoices.made import file_name
from headgate.invoices.words import csv_text, json_text, money, notes, percent, token_columns
from headgate.pages.asked import Asked, link
from headgate.pages.site import Page, Site
from headgate.policy.invoicing import Invoice

PATH = "/ui/billing"

_FORMS = ("view", "html", "csv", "json")
_MONTHS = 13
_LINES = 500
# The document brings its style along, and may use that and nothing else.
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; sandbox allow-modals; frame-ancestors 'none'"


def show(site: Site, asked: Asked) -> Response:
    """The page."""
    months = _months(asked.now)
    month = asked.get("month") or months[0]
    invoices = site.control.invoices
    tenants = invoices.tenants(asked.who, month)
    chosen = asked.query.get("tenant", tenants[0] if tenants else "")
    by = asked.get("by") if asked.get("by") in BY else BY[0]
    invoice = invoices.make(asked.who, chosen, month, by=by)
    return site.render(
        asked,
        "billing.html",
        here="billing",
        title="Billing",
        months=months if month in months else [month, *months],
        month=month,
        tenants=tenants if chosen in tenants else [*tenants, chosen],
        tenant=chosen,
        dimensions=BY,
        by=by,
        invoice=invoice,
        lines=invoice.lines[:_LINES],
        more=max(0, len(invoice.lines) - _LINES),
        shown=money(invoice),
        columns=token_columns(invoice.sum),
        notes=notes(invoice),
        percent=percent(invoice.markup_basis_points),
        # Without a tenant it is that of calls that named none.
        addresses={each: link(f"{PATH}/invoice", tenant=chosen, month=month, by=by, form=each) for each in _FORMS},
    )


def export(site: Site, asked: Asked) -> Response:
    """The invoice as a file: `form=csv`, `json` or `html`; `form=view` is the HTML to look at and to print."""
    form = asked.get("form", "view")
    by = asked.get("by") if asked.get("by") in BY else BY[0]
    invoice = site.control.invoices.make(asked.who, asked.query.get("tenant", ""), asked.get("month"), by=by)
    made = {"csv": csv_text, "json": json_text, "html": page, "view": page}.get(form)
    if made is None:
        raise NotServed("An invoice is had as csv, json or html.")
    kind = {"csv": "text/csv", "json": "application/json"}.get(form, "text/html")
    headers = {"content-security-policy": _POLICY}
    if form != "view":
        headers["content-disposition"] = f'attachment; filename="{_name(invoice)}.{form}"'
    content = made(invoice).encode("utf-8", "replace")
    return Response(content, media_type=f"{kind}; charset=utf-8", headers=headers)


def _name(invoice: Invoice) -> str:
    return f"invoice-{file_name(invoice.tenant, invoice.month)}"


def _months(now: float) -> list[str]:
    """This month and those before it, the newest first."""
    today = datetime.fromtimestamp(now, UTC)
    last = today.year * 12 + today.month - 1
    return [f"{each // 12}-{each % 12 + 1:02d}" for each in range(last, last - _MONTHS, -1)]


PAGE = Page("billing", "Billing", PATH, "Money", "b", [(PATH, show, ("GET",)), (f"{PATH}/invoice", export, ("GET",))])
