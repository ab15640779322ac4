"""How much of an output cap a model may think away before it says anything: caps for visible text get that on top."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headgate.wire.lenient import table

ROOM = {"none": 0, "minimal": 1_024, "low": 4_096, "medium": 16_384, "high": 32_768, "xhigh": 65_536, "max": 65_536}
"""Tokens by effort, where no budget is told. Rough on purpose: a cap is there for runaways, and what is thought is
counted by the budget of the call."""

_THINKS = re.compile(r"(?:^|/)(?:o[1-9]|gpt-[5-9]|claude-[a-z]+-[5-9])")
"""Models that think without being asked to."""


def thinking_budget(body: bytes) -> int:
    """Tokens that an Anthropic Messages body sets aside for thinking, by their number; 0 = none. Never raises."""
    if b'"budget_tokens"' not in body:
        return 0
    try:
        told = table(table(msgspec.json.decode(body)).get("thinking"))
    except (msgspec.DecodeError, RecursionError):
        return 0
    budget = told.get("budget_tokens")
    return budget if isinstance(budget, int) and budget > 0 and told.get("type") == "enabled" else 0


def thinking_room(dialect: str, endpoint: str, body: bytes, model: str) -> int:
    """Tokens, >= 0. Never raises.

    Args:
        dialect, endpoint: as in `core.exchange.Request`.
        model: that is asked for.
    """
    try:
        told: dict[str, Any] = table(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return 0
    if dialect == "anthropic":
        thinking = table(told.get("thinking"))
        if thinking.get("type") == "disabled":
            return 0
        budget = thinking.get("budget_tokens")
        if isinstance(budget, int) and budget > 0:
            return budget
        effort = table(told.get("output_config")).get("effort")
        asked = bool(thinking)
    else:
        reasoning = told.get("reasoning_effort") if endpoint == "chat" else table(told.get("reasoning")).get("effort")
        effort, asked = reasoning, reasoning is not None
    if not asked and not _THINKS.search(model):
        return 0
    return ROOM.get(effort, ROOM["medium"]) if isinstance(effort, str) else ROOM["medium"]
