"""What an answer says, apart from how it was delivered: for comparing two of them."""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.exchange import Facts
from headgate.policy.comparing import Said
from headgate.wire.dialect import Dialect
from headgate.wire.endings import endings, how_of
from headgate.wire.lenient import table, text


def said(dialect: Dialect, endpoint: str, facts: Facts, body: bytes, stop: str = "") -> Said | None:
    """What a whole answer or a whole stream says; None where it cannot be told, as of a stream that calls tools.

    Args:
        facts: of its request.
        body: decoded.
        stop: the provider's stop reason, of a stream.
    """
    if facts.stream:
        meter = dialect.meter(endpoint, facts, keep_text=True)
        meter.feed(body)
        meter.finish()
        how = how_of(stop)
        return None if how == "tools" or not meter.ended else Said(meter.text(), (), how == "end")
    found = endings(endpoint, body)
    if len(found) != 1:
        return None
    calls = _calls(body) if found[0].how == "tools" else ()
    if found[0].how == "tools" and not calls:
        return None
    return Said(found[0].text, calls, found[0].how in ("end", "tools"))


def _calls(body: bytes) -> tuple[tuple[str, str], ...]:
    """(name, arguments) of the tools that an answer calls, in its order, in all dialects."""
    answer = table(msgspec.json.decode(body))
    found: list[tuple[str, str]] = []
    for block in _dicts(answer.get("content")):
        if block.get("type") == "tool_use":
            found.append((text(block.get("name")), msgspec.json.encode(block.get("input")).decode()))
    for choice in _dicts(answer.get("choices")):
        for call in _dicts(table(choice.get("message")).get("tool_calls")):
            function = table(call.get("function") or call.get("custom"))
            found.append((text(function.get("name")), text(function.get("arguments") or function.get("input"))))
    for item in _dicts(answer.get("output")):
        if item.get("type") in ("function_call", "custom_tool_call"):
            found.append((text(item.get("name")), text(item.get("arguments") or item.get("input"))))
    return tuple(found)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
