"""A tenant's invoice for a month, made from the ledger."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from headgate.core.text import safe
from headgate.policy.invoicing import Invoice, make
from headgate.policy.periods import period

if TYPE_CHECKING:
    from headgate.settings.model import InvoiceSettings
    from headgate.stores.billing_reader import BillingReader

_MONTH = re.compile(r"(2\d{3}|19[7-9]\d)-(0[1-9]|1[0-2])")
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class BadMonth(ValueError):
    """It is no month."""


class BadZone(ValueError):
    """There is no such zone."""


def month_of(month: str, zone: str) -> tuple[float, float, tzinfo]:
    """A month's start and end in seconds since the epoch, and its zone.

    Args:
        month: like 2026-11.
        zone: whose months, like Europe/Berlin.

    Raises:
        BadMonth: it is no month.
        BadZone: there is no such zone.
    """
    if not _MONTH.fullmatch(month):
        raise BadMonth("expected a month like 2026-11")
    place: tzinfo = UTC
    if zone != "UTC":
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            place = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BadZone(f"no such zone: {safe(zone)}; try Europe/Berlin") from None
    inside = datetime(int(month[:4]), int(month[5:]), 15, tzinfo=place).timestamp()
    return (*period("month", inside, place), place)


def make_invoice(
    reader: BillingReader,
    invoices: InvoiceSettings,
    tenant: str,
    by: Sequence[str],
    *,
    month: str,
    zone: str,
    span: tuple[float, float, tzinfo],
    now: float,
) -> Invoice:
    """One invoice.

    Args:
        invoices: the configuration's terms.
        tenant: whose; "" = of calls that named none.
        by: the dimensions of its lines.
        span: as `month_of` gives it.
        now: seconds since the epoch.

    Raises:
        ConfigError: an unknown dimension, or there is no ledger.
    """
    start, end, place = span
    terms = invoices.for_tenant(tenant)
    works, pending = reader.work(tenant, by, start, end, place)
    return make(
        works,
        tenant=tenant,
        month=month,
        zone=zone,
        start=start,
        end=end,
        issued=now,
        by=by,
        markup_basis_points=terms.markup_basis_points,
        minimum_nano=terms.minimum_nano,
        pending=pending,
        seller=invoices.seller,
    )


def file_name(tenant: str, month: str) -> str:
    """A file's name for a tenant's invoice: no two tenants share one on any file system, and none leads elsewhere."""
    if _PLAIN.fullmatch(tenant) and ".." not in tenant:
        return f"{month}-{tenant}"
    readable = re.sub(r"[^a-z0-9]+", "-", tenant.lower())[:40].strip("-") or "unnamed"
    mark = hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{month}-{readable}.{mark}"
