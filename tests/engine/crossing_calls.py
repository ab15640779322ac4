"""Calls that go to the other dialect, for the tests beside this file."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

from headgate.core.errors import UpstreamBusy
from headgate.policy.recovery import Recovery
from headgate.testing import World
from headgate.testing.canned import (
    CLAUDE,
    GPT,
    chat_request,
    messages_request,
)
from headgate.testing.fakes import route

MIXED = MappingProxyType(
    {
        "claude": [route("anthropic", CLAUDE)],
        "gpt": [route("openai", GPT)],
        "claude-first": [route("anthropic", CLAUDE), route("openai", GPT)],
        "gpt-first": [route("openai", GPT), route("anthropic", CLAUDE)],
        "claudes": [route("anthropic", CLAUDE), route("anthropic", "claude-haiku-5-5")],
    }
)
BUSY = UpstreamBusy("busy", kind="overloaded", retryable=True, elsewhere=True, status=529)
ONCE = Recovery(attempts=4, per_route=1)


def asks(dialect: str, model: str, *, stream: bool = False, **more: object) -> tuple[bytes, str]:
    """(a request of the dialect for a virtual model, the dialect)."""
    made = messages_request if dialect == "anthropic" else chat_request
    return made(model=model, stream=stream, **more), dialect


def sent(world: World, place: int = -1) -> Any:
    return json.loads(world.upstream.sent[place].body)


def names(world: World, place: int = -1) -> set[bytes]:
    return {name for name, _ in world.upstream.sent[place].headers}
