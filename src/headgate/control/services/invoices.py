"""What tenants owe, a month at a time: as `headgate invoice` makes it."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING

from headgate.control.people import Principal, Right
from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.invoices.made import BadMonth, BadZone, make_invoice, month_of
from headgate.policy.invoicing import Invoice
from headgate.stores.billing_reader import BillingReader

if TYPE_CHECKING:
    from headgate.control.context import Control

BY = ("model", "user", "key", "task", "feature", "provider", "environment", "day", "week", "session")
"""What lines can be broken down by."""


class Invoices:
    """A tenant-admin sees its tenant's."""

    def __init__(self, control: Control) -> None:
        self._built = control.built
        self._now = control.now

    def tenants(self, who: Principal, month: str) -> list[str]:
        """Who has an invoice of a month, in order; "" = calls that named no tenant.

        Raises:
            BadRequest: it is no month.
        """
        who.need(Right.READ)
        own = who.tenant_scope()
        if own is not None:
            return [own]
        start, end, _ = _span(month, "UTC")
        terms = self._built.settings.invoices.tenants
        named = {name for name, each in terms.items() if each.minimum_nano}
        try:
            return sorted({*self._reader().tenants(start, end), *named})
        except ConfigError:  # nothing was ever written down
            return sorted(named)

    def make(self, who: Principal, tenant: str, month: str, *, zone: str = "UTC", by: str = "model") -> Invoice:
        """One invoice. Provisional ones say so.

        Raises:
            BadRequest: a month, a zone or a dimension that is none.
            NotServed: another tenant's.
        """
        who.need(Right.READ)
        own = who.tenant_scope()
        if own is not None and tenant != own:
            raise NotServed("There is no invoice of this tenant here.", code="no_tenant")
        if by not in BY:
            raise BadRequest(f"Lines are by one of {', '.join(BY)}.")
        span = _span(month, zone)
        try:
            return make_invoice(
                self._reader(),
                self._built.settings.invoices,
                tenant,
                (by,),
                month=month,
                zone=zone,
                span=span,
                now=self._now(),
            )
        except ConfigError as error:
            raise BadRequest("; ".join(error.mistakes)) from None

    def _reader(self) -> BillingReader:
        self._built.ledger.flush()
        return BillingReader(self._built.ledger.reader())


def _span(month: str, zone: str) -> tuple[float, float, tzinfo]:
    try:
        return month_of(month, zone)
    except (BadMonth, BadZone) as error:
        raise BadRequest(f"This cannot be used: {error}.") from None
