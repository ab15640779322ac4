"""Alerts: what is on, what was, and who looks after it (docs/alerts.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.control.people import Principal, Right
from headgate.control.services import Row, Rows
from headgate.core.actors import acting
from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.stores.alerts import alert_json

if TYPE_CHECKING:
    from headgate.control.context import Control

MOST = 1_000


class Alerts:
    """Of all tenants, so not for a tenant-admin."""

    def __init__(self, control: Control) -> None:
        self._board = control.built.alerting.board

    def list(self, who: Principal, *, ended: bool = False, limit: int = 100) -> Rows:
        """Those that are on, acknowledged ones too, the newest first. `ended`: those that have ended, too.

        Raises:
            BadRequest: the limit is out of range.
        """
        who.need(Right.READ_ALL)
        if not 1 <= limit <= MOST:
            raise BadRequest(f"limit is from 1 to {MOST}.")
        found = self._board.history(limit) if ended else self._board.active()
        return [alert_json(each) for each in found[:limit]]

    def acknowledge(self, who: Principal, alert_id: str) -> Row:
        """Somebody looks after it: it is not told again until it ends. Raises NotServed where it is not on."""
        who.need(Right.ALERTS)
        with acting(who.actor):
            try:
                return alert_json(self._board.acknowledge(alert_id, who.name))
            except ConfigError as error:
                raise NotServed(error.message, code="no_alert") from None
