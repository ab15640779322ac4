"""Incidents: what is stopped, slowed or degraded for a while (docs/incidents.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headgate.control.people import Principal, Right
from headgate.control.services import Rows
from headgate.core.actors import acting
from headgate.core.errors import BadRequest, ConfigError, NotServed
from headgate.policy.incidents import DEFAULT_SECONDS
from headgate.stores.incident_json import incident_json

if TYPE_CHECKING:
    from headgate.control.context import Control


class IncidentsService:
    """Of all tenants, so not for a tenant-admin."""

    def __init__(self, control: Control) -> None:
        self._store = control.built.incidents
        self._now = control.now

    def list(self, who: Principal, *, ended: bool = False) -> Rows:
        """Those that are on, the newest first. `ended`: those that have ended, too."""
        who.need(Right.READ_ALL)
        return [incident_json(each, self._now()) for each in self._store.all(ended=ended)]

    def set(
        self,
        who: Principal,
        kind: str,
        scope: str,
        value: str,
        *,
        to: str = "",
        rate: int = 0,
        why: str = "",
        seconds: float = DEFAULT_SECONDS,
    ) -> dict[str, Any]:
        """Stop, slow or degrade, at once and durably; in place of what is on for the same scope's value.

        Arguments as `stores.incidents.IncidentStore.set`.

        Raises:
            BadRequest: it cannot be, and why.
        """
        who.need(Right.INCIDENTS)
        with acting(who.actor):
            try:
                made = self._store.set(kind, scope, value, to=to, rate=rate, why=why, by=who.name, seconds=seconds)
            except ConfigError as error:
                raise BadRequest("; ".join(error.mistakes)) from None
        return incident_json(made, self._now())

    def lift(self, who: Principal, incident_id: str) -> dict[str, Any]:
        """End one now. Raises NotServed where none with that id is on."""
        who.need(Right.INCIDENTS)
        with acting(who.actor):
            try:
                lifted = self._store.lift(incident_id, by=who.name)
            except ConfigError as error:
                raise NotServed(error.message, code="no_incident") from None
        return incident_json(lifted, self._now())
