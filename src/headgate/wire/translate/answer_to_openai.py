"""An answer of Messages as one of Chat Completions."""

from __future__ import annotations

from typing import Any

from headgate.core.errors import UpstreamBroken
from headgate.wire import anthropic_usage
from headgate.wire.lenient import table, text
from headgate.wire.translate import reading, stops, usage
from headgate.wire.translate.reading import Json
from headgate.wire.translate.report import Report

_THINKING = ("thinking", "redacted_thinking")


def chat_id(given: str) -> str:
    """The answer's id as Chat Completions writes it."""
    return f"chatcmpl-{given.removeprefix('msg_')}"


def to_openai(answer: Json, report: Report, created: int) -> Json:
    """See `translate_answer`."""
    reason = text(answer.get("stop_reason"))
    content = answer.get("content")
    if not isinstance(content, list):
        raise UpstreamBroken("the provider's answer has no content to translate", kind="broken", maybe_billed=True)
    if reason in stops.UNFINISHED:
        raise UpstreamBroken(unfinished(reason), kind="broken", maybe_billed=True)
    words, calls = _content(content, report)
    message: Json = {"role": "assistant", "content": words, "refusal": None, "annotations": []}
    if calls:
        message["tool_calls"] = calls
    if reason == "refusal":
        message["refusal"] = text(table(answer.get("stop_details")).get("explanation")) or None
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": stops.to_openai(reason, report)}
    out: Json = {
        "id": chat_id(text(answer.get("id"))),
        "object": "chat.completion",
        "created": created,
        "model": text(answer.get("model")),
        "choices": [choice],
    }
    counted = anthropic_usage.usage(table(answer.get("usage")))
    if counted is None:
        report.note("usage")
    else:
        out["usage"] = usage.to_openai(counted)
    return out


def unfinished(reason: str) -> str:
    """What to say of an answer that is none yet."""
    return f"the provider stopped with {reason}, which asks for another request and cannot be translated"


def _content(blocks: list[Any], report: Report) -> tuple[str | None, list[Json]]:
    """(the text, None where there is none; the tool calls)."""
    words: list[str] = []
    calls: list[Json] = []
    for each in blocks:
        block = table(each)
        kind = text(block.get("type"))
        if kind == "text":
            words.append(text(block.get("text")))
            if block.get("citations"):
                report.note("citations")
        elif kind == "tool_use":
            given = reading.dump(block.get("input") or {}).decode()
            function = {"name": text(block.get("name")), "arguments": given}
            calls.append({"id": text(block.get("id")), "type": "function", "function": function})
        else:
            report.note(lost_block(kind))
    return "".join(words) if words else None, calls


def lost_block(kind: str) -> str:
    """The word for a block that Chat Completions has no place for."""
    if kind in _THINKING:
        return "thinking"
    return "server_tools" if kind == "server_tool_use" or kind.endswith("_tool_result") else "unknown_blocks"
