"""An answer of Chat Completions as one of Messages."""

from __future__ import annotations

from typing import Any

from headgate.core.errors import UpstreamBroken
from headgate.wire import openai_usage
from headgate.wire.lenient import table, text
from headgate.wire.translate import stops, tools, usage
from headgate.wire.translate.reading import Json, dump
from headgate.wire.translate.report import Report

REASONING = ("reasoning_content", "reasoning", "reasoning_details")
"""Where compatible providers show a model's thinking. It has no signature, so it cannot become a thinking block."""


def message_id(given: str) -> str:
    """The answer's id as Messages writes it."""
    return f"msg_{given.removeprefix('chatcmpl-')}"


def to_anthropic(answer: Json, report: Report) -> Json:
    """See `translate_answer`."""
    choices = [choice for choice in _items(answer.get("choices")) if isinstance(choice, dict)]
    if not choices:
        raise UpstreamBroken("the provider's answer has no choice to translate", kind="broken", maybe_billed=True)
    choice = min(choices, key=lambda each: each["index"] if type(each.get("index")) is int else 0)
    if choice.get("error"):
        raise UpstreamBroken("the provider's answer carries an error", kind="broken", maybe_billed=True)
    if len(choices) > 1:
        report.note("n")
    message = table(choice.get("message"))
    blocks, called, refused = _content(message, text(answer.get("id")), report)
    fields = openai_usage.reported(answer.get("usage"), answer.get("x_groq")) or {}
    counted = openai_usage.usage(fields)
    if counted is None:
        report.note("usage")
    reason = stops.to_anthropic(text(choice.get("finish_reason")), called=called, refused=refused, report=report)
    out: Json = {
        "id": message_id(text(answer.get("id"))),
        "type": "message",
        "role": "assistant",
        "model": text(answer.get("model")),
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage.to_anthropic(counted),
    }
    if reason == "refusal":
        out["stop_details"] = stop_details()
    return out


def stop_details() -> Json:
    """What Messages says beside a refusal: OpenAI tells no category."""
    return {"type": "refusal", "category": None, "explanation": None}


def _content(message: Json, answer_id: str, report: Report) -> tuple[list[Json], bool, bool]:
    """(the blocks, whether tools were called, whether it is a refusal)."""
    blocks: list[Json] = []
    refusal = text(message.get("refusal"))
    for words in (_visible(message.get("content")), refusal):
        if words:
            blocks.append({"type": "text", "text": words})
    if any(message.get(name) for name in REASONING):
        report.note("thinking")
    if message.get("annotations"):
        report.note("citations")
    if message.get("audio"):
        report.note("audio")
    calls = [call for call in _items(message.get("tool_calls")) if isinstance(call, dict)]
    old = message.get("function_call")
    if isinstance(old, dict) and not calls:
        calls = [{"function": old}]
    for number, call in enumerate(calls):
        blocks += _call(call, call_id(answer_id, number), report)
    return blocks, bool(calls), bool(refusal)


def call_id(answer_id: str, number: int) -> str:
    """An id for a call that came without one."""
    return f"call_{answer_id.removeprefix('chatcmpl-')}_{number}"


def _call(call: Json, own_id: str, report: Report) -> list[Json]:
    function = table(call.get("function"))
    if not function and call.get("custom"):
        report.note("custom_tools")
        return []
    given = function.get("arguments")
    read = tools.arguments(given)
    if read is None:
        report.note("tool_arguments")
        read = {tools.INVALID: given if isinstance(given, str) else dump(given).decode()}
    name = text(function.get("name"))
    return [{"type": "tool_use", "id": text(call.get("id")) or own_id, "name": name, "input": read}]


def _visible(content: Any) -> str:
    """A message's text; some providers send parts."""
    if isinstance(content, list):
        return "".join(text(table(part).get("text")) for part in content)
    return text(content)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
