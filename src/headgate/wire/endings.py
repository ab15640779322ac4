"""How a whole answer has ended, choice by choice: its visible text, and whether it is all there."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.policy.guards.answers import Ending
from headgate.wire.lenient import table, text
from headgate.wire.refused import STOP_REASONS

TRUNCATED = frozenset({"max_tokens", "model_context_window_exceeded", "length", "max_output_tokens", "max_messages"})
"""Of all dialects (wire-formats 1.4, 2.2)."""
ON_ITS_WAY = frozenset({"tool_use", "pause_turn", "compaction", "tool_calls", "function_call"})
"""The model waits: for what its tools say, or to be asked to go on."""

_CALLS = ("function_call", "custom_tool_call", "mcp_approval_request", "local_shell_call", "computer_call")


def endings(endpoint: str, body: bytes) -> list[Ending]:
    """One for each choice; [] where the body is no answer that can be read.

    Args:
        endpoint: "messages", "chat" or "responses".
        body: a whole JSON answer, decoded.
    """
    try:
        answer = table(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return _READERS[endpoint](answer)


def how_of(stop: str, *, refusal: bool = False, tools: bool = False) -> str:
    """`Ending.how` of a stop reason, in any dialect's words."""
    if refusal or stop in STOP_REASONS:
        return "refused"
    if stop in TRUNCATED:
        return "truncated"
    return "tools" if tools or stop in ON_ITS_WAY else "end"


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _message(answer: dict[str, Any]) -> list[Ending]:
    blocks = _dicts(answer.get("content"))
    shown = "".join(text(each.get("text")) for each in blocks if each.get("type") == "text")
    calls = any(each.get("type") == "tool_use" for each in blocks)
    return [Ending(shown, how_of(text(answer.get("stop_reason")), tools=calls))]


def _completion(answer: dict[str, Any]) -> list[Ending]:
    found = []
    for choice in _dicts(answer.get("choices")):
        said = table(choice.get("message"))
        content = said.get("content")
        shown = "".join(text(part.get("text")) for part in _dicts(content)) or text(content)
        calls = bool(said.get("tool_calls") or said.get("function_call"))
        stop = text(choice.get("finish_reason"))
        found.append(Ending(shown, how_of(stop, refusal=bool(said.get("refusal")), tools=calls)))
    return found


def _response(answer: dict[str, Any]) -> list[Ending]:
    items = _dicts(answer.get("output"))
    parts = [part for item in items if item.get("type") == "message" for part in _dicts(item.get("content"))]
    shown = "".join(text(part.get("text")) for part in parts if part.get("type") == "output_text")
    refusal = any(part.get("type") == "refusal" for part in parts)
    calls = any(item.get("type") in _CALLS for item in items)
    stop = text(table(answer.get("incomplete_details")).get("reason"))
    if not stop and answer.get("status") in ("queued", "in_progress", "cancelled"):
        return [Ending(shown, "tools")]  # generated without anybody waiting: there is nothing to look at yet
    return [Ending(shown, how_of(stop, refusal=refusal, tools=calls))]


_READERS = {"messages": _message, "chat": _completion, "responses": _response}
