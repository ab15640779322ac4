"""The tool calls that a request's own conversation shows, since somebody last said something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from headgate.core.guards import ToolCall
from headgate.wire.lenient import table

LEAST = 3
"""Calls; of fewer nothing can be said."""

_MARKS = {"messages": (b'"tool_use"',), "chat": (b'"tool_calls"', b'"function_call"'), "responses": (b'_call"',)}
_encode = msgspec.json.Encoder(order="sorted").encode


def call_history(endpoint: str, body: bytes, *, most: int = 64) -> list[ToolCall]:
    """The last calls, oldest first; none where there are too few for a loop.

    What a tool has answered does not end the row, nor what comes along with that; what a user says alone does.

    Args:
        body: the request's; what cannot be read has no calls.
        most: calls that are looked for.
    """
    marks = _MARKS.get(endpoint)
    # Most requests show none: then nothing is decoded.
    if marks is None or sum(body.count(mark) for mark in marks) < LEAST:
        return []
    try:
        told = table(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return []
    turns = told.get("input" if endpoint == "responses" else "messages")
    found: list[ToolCall] = []
    if isinstance(turns, list):
        for turn in reversed(turns):
            if _ends_row(turn) or len(found) >= most:
                break
            found += reversed(list(_CALLS[endpoint](turn)))
    return found[:most][::-1]


def _ends_row(turn: Any) -> bool:
    """A user says something, and not only what a tool has answered."""
    turn = table(turn)
    if turn.get("role") != "user":
        return False
    content = turn.get("content")
    blocks = content if isinstance(content, list) else []
    return not any(table(block).get("type") == "tool_result" for block in blocks)


def _of_message(turn: Any) -> Iterator[ToolCall]:
    content = table(turn).get("content")
    for block in content if isinstance(content, list) else ():
        block = table(block)
        if block.get("type") == "tool_use":
            yield ToolCall(str(block.get("id")), str(block.get("name")), _text(block.get("input")))


def _of_chat(turn: Any) -> Iterator[ToolCall]:
    turn = table(turn)
    calls = turn.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        call = table(call)
        function = table(call.get("function") or call.get("custom"))
        arguments = function.get("arguments", function.get("input"))
        yield ToolCall(str(call.get("id")), str(function.get("name")), _text(arguments))
    legacy = table(turn.get("function_call"))
    if legacy:
        yield ToolCall("", str(legacy.get("name")), _text(legacy.get("arguments")))


def _of_response(turn: Any) -> Iterator[ToolCall]:
    turn = table(turn)
    if turn.get("type") in ("function_call", "custom_tool_call", "mcp_call"):
        arguments = turn.get("arguments", turn.get("input"))
        yield ToolCall(str(turn.get("call_id")), str(turn.get("name")), _text(arguments))


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else _encode(arguments).decode()


_CALLS: dict[str, Callable[[Any], Iterable[ToolCall]]] = {
    "messages": _of_message,
    "chat": _of_chat,
    "responses": _of_response,
}
