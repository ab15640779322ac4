"""Cutting lists into pages as OpenAI does."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.testing.simulator.asked import Json


def page(items: Sequence[Json], query: dict[str, str], *, limit: int, most: int) -> Json:
    """One page of a list as OpenAI cuts it, with `after` and `limit`."""
    ids = [item.get("id") for item in items]
    after = query.get("after")
    start = ids.index(after) + 1 if after in ids else 0
    told = query.get("limit", "")
    size = min(most, max(1, int(told))) if told.isdecimal() else limit
    shown = items[start : start + size]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0].get("id") if shown else None,
        "last_id": shown[-1].get("id") if shown else None,
        "has_more": len(items) > start + size,
    }
