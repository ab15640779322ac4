"""What was spent, out of the ledger: to the nano-dollar, and slow over years. Sums over time are the log store's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headgate.control.people import Principal, Right
from headgate.core.errors import BadRequest, ConfigError
from headgate.settings.zones import zone as zone_of
from headgate.settings.zones import zone_name
from headgate.stores.dimensions import DIMENSIONS, FILTERS, check

if TYPE_CHECKING:
    from headgate.control.context import Control

MOST_ROWS = 10_000


class Usage:
    """A tenant-admin sees its tenant's."""

    def __init__(self, control: Control) -> None:
        self._ledger = control.built.ledger
        self._zone = control.built.settings.zone

    def report(
        self,
        who: Principal,
        *,
        by: Sequence[str] = (),
        since: float | None = None,
        until: float | None = None,
        zone: str = "",
        filters: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """``{"total": {...}, "rows": [...]}`` as `headgate usage --json` has it.

        Args:
            by: of `stores.dimensions.DIMENSIONS`, or ``tag:<name>``; at most four.
            since, until: seconds since the epoch.
            zone: whose hours, days, weeks and months; "" = the configuration's.
            filters: of `stores.dimensions.FILTERS`, or ``tag:<name>``.

        Raises:
            BadRequest: a dimension, filter or zone that is none; more than 10,000 rows.
        """
        who.need(Right.READ)
        wanted, tenant = dict(filters or {}), who.tenant_scope()
        if tenant is not None:
            if wanted.get("tenant", tenant) != tenant:
                raise BadRequest(f"You see the tenant {tenant} only.", code="forbidden", status_hint=403)
            wanted["tenant"] = tenant
        try:
            check("by", by, DIMENSIONS)
            check("filter", wanted, FILTERS)
            where = zone_of(zone_name(zone or self._zone))
        except (ConfigError, ValueError) as error:
            raise BadRequest(str(error)) from None
        if len(set(by)) != len(by) or len(by) > 4:
            raise BadRequest("by takes up to four dimensions, each once.")
        self._ledger.flush()
        report = self._ledger.reader().usage(by=tuple(by), since=since, until=until, zone=where, **wanted)
        if len(report.rows) > MOST_ROWS:
            raise BadRequest(f"That makes {len(report.rows):,} rows: ask for fewer dimensions, or a shorter time.")
        return report.as_json()
