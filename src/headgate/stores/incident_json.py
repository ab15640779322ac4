"""An incident as the control API and the command line show it."""

from __future__ import annotations

from typing import Any

from headgate.core.incidents import Incident


def incident_json(incident: Incident, now: float) -> dict[str, Any]:
    """Times are seconds since the epoch; `on` is as of `now`."""
    return {
        "id": incident.id,
        "on": incident.holds(now),
        "kind": incident.kind,
        "scope": incident.scope,
        "value": incident.value,
        "to": incident.to or None,
        "rate": incident.rate or None,
        "by": incident.by,
        "why": incident.why,
        "since": incident.since,
        "expires": incident.expires,
        "lifted": incident.lifted,
        "lifted_by": incident.lifted_by or None,
    }
