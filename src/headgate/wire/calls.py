"""Tool calls and words of ours as a complete answer in the caller's dialect, streamed if the caller streams.

As `wire.sentence`, for answers that hold calls: their usage is zero, and they end as an answer with calls does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headgate.core.exchange import Facts
from headgate.core.guards import ToolCall
from headgate.wire import sse
from headgate.wire.sentence import JSON, NO_TOKENS, STREAM, completion_of, message_of, response_of

Part = str | ToolCall
"""Words, or a call."""

_Json = dict[str, Any]
_encode = msgspec.json.encode


def can_call(endpoint: str) -> bool:
    """Whether an answer of this endpoint may hold calls."""
    return endpoint in _SHAPES


def say_parts(
    endpoint: str, facts: Facts, parts: Sequence[Part], *, exchange_id: str, now: float
) -> tuple[bytes, bytes]:
    """(content type, body) of the answer.

    Args:
        endpoint: one that `can_call` is true of.
        parts: in order. Where a dialect has one place for words and one for calls, each keeps its order.
        now: seconds since the epoch.
    """
    whole, stream = _SHAPES[endpoint]
    shape = stream if facts.stream else whole
    return (STREAM if facts.stream else JSON), shape(facts, parts, exchange_id, int(now))


def _input(call: ToolCall) -> msgspec.Raw:
    """Arguments as part of a JSON document; what is no JSON object, and was never looked at, is none."""
    try:
        found = msgspec.json.decode(call.arguments)
    except (msgspec.DecodeError, RecursionError):
        found = None
    return msgspec.Raw(call.arguments.encode() if isinstance(found, dict) else b"{}")


def _calls(parts: Sequence[Part]) -> bool:
    return any(isinstance(part, ToolCall) for part in parts)


def _words(parts: Sequence[Part]) -> str:
    return "\n\n".join(part for part in parts if isinstance(part, str))


def _block(part: Part) -> _Json:
    if isinstance(part, str):
        return {"type": "text", "text": part, "citations": None}
    return {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part)}


def _message(facts: Facts, parts: Sequence[Part], exchange_id: str, now: int) -> bytes:
    stop = "tool_use" if _calls(parts) else "end_turn"
    return _encode(message_of(facts, exchange_id, [_block(part) for part in parts], stop))


def _message_stream(facts: Facts, parts: Sequence[Part], exchange_id: str, now: int) -> bytes:
    def frame(kind: str, **fields: Any) -> bytes:
        return sse.encode(_encode({"type": kind, **fields}), kind)

    frames = [frame("message_start", message=message_of(facts, exchange_id, [], None))]
    for index, part in enumerate(parts):
        if isinstance(part, str):
            begun: _Json = {"type": "text", "text": ""}
            delta: _Json = {"type": "text_delta", "text": part}
        else:
            begun = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": bytes(_input(part)).decode()}
        frames.append(frame("content_block_start", index=index, content_block=begun))
        frames.append(frame("content_block_delta", index=index, delta=delta))
        frames.append(frame("content_block_stop", index=index))
    ended = {"stop_reason": "tool_use" if _calls(parts) else "end_turn", "stop_sequence": None}
    frames.append(frame("message_delta", delta=ended, usage={"input_tokens": 0, "output_tokens": 0}))
    frames.append(frame("message_stop"))
    return b"".join(frames)


def _answer_of(parts: Sequence[Part], *, numbered: bool) -> tuple[_Json, str]:
    """(what the assistant says, why it ends) in a chat completion."""
    calls = [part for part in parts if isinstance(part, ToolCall)]
    said: _Json = {"role": "assistant", "content": _words(parts) or (None if calls else "")}
    if not calls:
        return said, "stop"
    if not calls[0].id:  # a legacy function call has no id, and there is one of it
        said["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
        return said, "function_call"
    said["tool_calls"] = [
        {
            **({"index": index} if numbered else {}),
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments or "{}"},
        }
        for index, call in enumerate(calls)
    ]
    return said, "tool_calls"


def _completion(facts: Facts, parts: Sequence[Part], exchange_id: str, now: int) -> bytes:
    said, finish = _answer_of(parts, numbered=False)
    others: _Json = {"role": "assistant", "content": "", "refusal": None}
    choices = [
        {
            "index": index,
            "message": others if index else {**said, "refusal": None},
            "logprobs": None,
            "finish_reason": "stop" if index else finish,
        }
        for index in range(max(1, facts.choices))
    ]
    return _encode({**completion_of(facts, exchange_id, now, ""), "choices": choices, "usage": NO_TOKENS})


def _completion_stream(facts: Facts, parts: Sequence[Part], exchange_id: str, now: int) -> bytes:
    base = completion_of(facts, exchange_id, now, ".chunk")
    said, finish = _answer_of(parts, numbered=True)

    def frame(index: int, delta: _Json, ended: str | None) -> bytes:
        return sse.encode(_encode({**base, "choices": [{"index": index, "delta": delta, "finish_reason": ended}]}))

    frames = []
    for index in range(max(1, facts.choices)):
        frames.append(frame(index, {"role": "assistant", "content": ""} if index else said, None))
        frames.append(frame(index, {}, "stop" if index else finish))
    if facts.include_usage:
        frames.append(sse.encode(_encode({**base, "choices": [], "usage": NO_TOKENS})))
    return b"".join(frames) + sse.encode(b"[DONE]")


def _item(number: int, part: Part, exchange_id: str, status: str) -> _Json:
    done = status == "completed"
    if isinstance(part, str):
        text = {"type": "output_text", "text": part, "annotations": [], "logprobs": []}
        content = [text] if done else []
        name = f"msg_{exchange_id}_{number}"
        return {"id": name, "type": "message", "status": status, "role": "assistant", "content": content}
    return {
        "id": f"fc_{exchange_id}_{number}",
        "type": "function_call",
        "status": status,
        "call_id": part.id,
        "name": part.name,
        "arguments": (part.arguments or "{}") if done else "",
    }


def _response(facts: Facts, parts: Sequence[Part], exchange_id: str, now: int) -> bytes:
    output = [_item(number, part, exchange_id, "completed") for number, part in enumerate(parts)]
    return _encode(response_of(facts, exchange_id, now, "completed", output))


def _response_stream(facts: Facts, parts: Sequence[Part], exchange_id: str, now: int) -> bytes:
    begun = response_of(facts, exchange_id, now, "in_progress", [])
    told: list[tuple[str, _Json]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
    ]
    output = []
    for number, part in enumerate(parts):
        item = _item(number, part, exchange_id, "completed")
        output.append(item)
        place = {"output_index": number}
        told.append(("response.output_item.added", {**place, "item": _item(number, part, exchange_id, "in_progress")}))
        told += _inside(part, item, {"item_id": item["id"], **place})
        told.append(("response.output_item.done", {**place, "item": item}))
    told.append(("response.completed", {"response": response_of(facts, exchange_id, now, "completed", output)}))
    return b"".join(
        sse.encode(_encode({"type": kind, "sequence_number": number, **fields}), kind)
        for number, (kind, fields) in enumerate(told)
    )


def _inside(part: Part, item: _Json, place: _Json) -> list[tuple[str, _Json]]:
    """The events between an item's begin and its end."""
    if isinstance(part, ToolCall):
        arguments = item["arguments"]
        return [
            ("response.function_call_arguments.delta", {**place, "delta": arguments}),
            ("response.function_call_arguments.done", {**place, "arguments": arguments, "name": part.name}),
        ]
    place = {**place, "content_index": 0}
    (text,) = item["content"]
    return [
        ("response.content_part.added", {**place, "part": {**text, "text": ""}}),
        ("response.output_text.delta", {**place, "delta": part, "logprobs": []}),
        ("response.output_text.done", {**place, "text": part, "logprobs": []}),
        ("response.content_part.done", {**place, "part": text}),
    ]


_Shape = Callable[[Facts, Sequence[Part], str, int], bytes]
_SHAPES: dict[str, tuple[_Shape, _Shape]] = {
    "messages": (_message, _message_stream),
    "chat": (_completion, _completion_stream),
    "responses": (_response, _response_stream),
}
"""By endpoint: the answer in one piece, and as a stream."""
