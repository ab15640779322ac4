"""Tool calls that wait, for programs: as the control API and the command line show them."""

from __future__ import annotations

import json
from typing import Any

from headgate.core.approvals import Parked
from headgate.core.text import sendable, sendable_json
from headgate.policy.guards.tools import read_arguments

_CALLER = ("key", "tenant", "user", "session", "task", "feature", "environment")


def approval_json(parked: Parked, now: float) -> dict[str, Any]:
    """One of them. Times are seconds since the epoch; arguments are a JSON object, or a text where they are none that
    every program reads alike (`read_arguments`).

    Args:
        now: by which its state is told.
    """
    return {
        "id": parked.id,
        "state": str(parked.state_at(now)),
        "tool": parked.call.name,
        "arguments": _value(parked.call.arguments),
        "edited": None if parked.edited is None else sendable_json(json.loads(parked.edited)),
        "caller": {name: getattr(parked.caller, name) for name in _CALLER},
        "exchange": parked.exchange_id,
        "created": parked.created,
        "expires": parked.expires,
        "decided_by": parked.decided_by,
        "decided_at": parked.decided_at,
        "note": parked.note,
    }


def _value(text: str) -> Any:
    found = read_arguments(text)
    return sendable(text) if found is None else found
