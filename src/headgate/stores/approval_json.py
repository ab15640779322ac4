"""Tool calls that wait, for programs: as the control API and the command line show them."""

from __future__ import annotations

import json
from typing import Any

from headgate.core.approvals import Parked

_CALLER = ("key", "tenant", "user", "session", "task", "feature", "environment")


def approval_json(parked: Parked, now: float) -> dict[str, Any]:
    """One of them. Times are seconds since the epoch; arguments are JSON, or a text where they are none.

    Args:
        now: by which its state is told.
    """
    return {
        "id": parked.id,
        "state": str(parked.state_at(now)),
        "tool": parked.call.name,
        "arguments": _value(parked.call.arguments),
        "edited": None if parked.edited is None else _value(parked.edited),
        "caller": {name: getattr(parked.caller, name) for name in _CALLER},
        "exchange": parked.exchange_id,
        "created": parked.created,
        "expires": parked.expires,
        "decided_by": parked.decided_by,
        "decided_at": parked.decided_at,
        "note": parked.note,
    }


def _value(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
