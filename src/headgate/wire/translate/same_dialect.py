"""A hop to another model of the same dialect: everything stays but what belongs to the model that wrote it."""

from __future__ import annotations

from headgate.wire.translate import reading
from headgate.wire.translate.reading import Json
from headgate.wire.translate.report import Report

_THINKING = ("thinking", "redacted_thinking")


def other_model(dialect: str, request: Json, report: Report, model: str) -> Json:
    """The request for another model of its dialect.

    Anthropic's thinking blocks are bound to their model and refused by any other (wire-formats 1.3). A turn that has
    nothing else is left out.
    """
    out = {**request, "model": model}
    if dialect != "anthropic":
        return out
    kept = []
    for index, each in enumerate(reading.array(request.get("messages"), "messages")):
        message = reading.table(each, f"messages.{index}")
        content = message.get("content")
        if isinstance(content, list) and any(map(_is_thinking, content)):
            report.lose("thinking", f"messages.{index}.content")
            message = {**message, "content": [block for block in content if not _is_thinking(block)]}
            if not message["content"]:
                continue
        kept.append(message)
    out["messages"] = kept
    return out


def _is_thinking(block: object) -> bool:
    return isinstance(block, dict) and block.get("type") in _THINKING
