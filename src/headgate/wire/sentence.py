"""A sentence of ours as a complete answer in the caller's dialect: what a person can be shown where no model answers.

Its usage is zero and it ends as a finished answer does (`end_turn`, `stop`, `completed`), streamed if the caller
streams, so that an unmodified SDK takes it for an answer like any other. It bears the name of the model asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headgate.core.exchange import Facts
from headgate.wire import sse
from headgate.wire.lenient import table

JSON = b"application/json"
STREAM = b"text/event-stream; charset=utf-8"

_Json = dict[str, Any]
_encode = msgspec.json.encode


def can_say(endpoint: str, path: str, facts: Facts, body: bytes, text: str) -> bool:
    """Whether `text` can be the answer: not where the answer is no text, nor where it has to be JSON and is none.

    Args:
        path: behind the base URL, with the query.
        body: the request's.
    """
    if endpoint not in _SHAPES or facts.background or facts.max_output_tokens == 0:
        return False  # asked for again by its id, which nobody keeps; or a prompt that is only to be cached
    if endpoint == "responses" and not path.partition("?")[0].rstrip("/").endswith("/responses"):
        return False  # a compacted conversation
    if not _structured(endpoint, body):
        return True
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def say(endpoint: str, facts: Facts, text: str, *, exchange_id: str, now: float) -> tuple[bytes, bytes]:
    """(content type, body) of the answer.

    Args:
        endpoint: one that `can_say` is true of.
        now: seconds since the epoch.
    """
    whole, stream = _SHAPES[endpoint]
    shape = stream if facts.stream else whole
    return (STREAM if facts.stream else JSON), shape(facts, text, exchange_id, int(now))


def _structured(endpoint: str, body: bytes) -> bool:
    """The caller's program will read the answer as JSON."""
    try:
        asked = table(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return False
    if endpoint == "messages":
        told = table(asked.get("output_config")).get("format") or asked.get("output_format")
    elif endpoint == "chat":
        told = asked.get("response_format")
    else:
        told = table(asked.get("text")).get("format")
    return table(told).get("type") in ("json_schema", "json_object")


def _message(facts: Facts, text: str, exchange_id: str, now: int) -> bytes:
    return _encode(message_of(facts, exchange_id, [{"type": "text", "text": text, "citations": None}], "end_turn"))


def message_of(facts: Facts, exchange_id: str, content: list[_Json], stop: str | None) -> _Json:
    """An Anthropic message of ours."""
    return {
        "id": f"msg_{exchange_id}",
        "type": "message",
        "role": "assistant",
        "model": facts.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }


def _message_stream(facts: Facts, text: str, exchange_id: str, now: int) -> bytes:
    def frame(kind: str, **fields: Any) -> bytes:
        return sse.encode(_encode({"type": kind, **fields}), kind)

    return b"".join(
        (
            frame("message_start", message=message_of(facts, exchange_id, [], None)),
            frame("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            frame("content_block_delta", index=0, delta={"type": "text_delta", "text": text}),
            frame("content_block_stop", index=0),
            frame(
                "message_delta",
                delta={"stop_reason": "end_turn", "stop_sequence": None},
                usage={"input_tokens": 0, "output_tokens": 0},
            ),
            frame("message_stop"),
        )
    )


NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def _completion(facts: Facts, text: str, exchange_id: str, now: int) -> bytes:
    answer = {"role": "assistant", "content": text, "refusal": None}
    choices = [
        {"index": index, "message": answer, "logprobs": None, "finish_reason": "stop"} for index in range(facts.choices)
    ]
    return _encode({**completion_of(facts, exchange_id, now, ""), "choices": choices, "usage": NO_TOKENS})


def completion_of(facts: Facts, exchange_id: str, now: int, kind: str) -> _Json:
    """What every part of a chat completion of ours says. `kind`: "" or ".chunk"."""
    return {
        "id": f"chatcmpl-{exchange_id}",
        "object": f"chat.completion{kind}",
        "created": now,
        "model": facts.model,
    }


def _completion_stream(facts: Facts, text: str, exchange_id: str, now: int) -> bytes:
    base = completion_of(facts, exchange_id, now, ".chunk")

    def frames(delta: _Json, finish: str | None) -> bytes:
        return b"".join(
            sse.encode(_encode({**base, "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}))
            for index in range(facts.choices)
        )

    usage = sse.encode(_encode({**base, "choices": [], "usage": NO_TOKENS})) if facts.include_usage else b""
    begun = {"role": "assistant", "content": ""}
    return frames(begun, None) + frames({"content": text}, None) + frames({}, "stop") + usage + sse.encode(b"[DONE]")


def _response(facts: Facts, text: str, exchange_id: str, now: int) -> bytes:
    return _encode(response_of(facts, exchange_id, now, "completed", [_item(exchange_id, "completed", text)]))


def response_of(facts: Facts, exchange_id: str, now: int, status: str, output: list[_Json]) -> _Json:
    """A response of ours."""
    done = status == "completed"
    usage: _Json = {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    return {
        "id": f"resp_{exchange_id}",
        "object": "response",
        "created_at": now,
        "completed_at": now if done else None,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": facts.max_output_tokens,
        "metadata": {},
        "model": facts.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,  # nobody keeps it
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage if done else None,
    }


def _item(exchange_id: str, status: str, text: str | None) -> _Json:
    content = [] if text is None else [_part(text)]
    return {"id": f"msg_{exchange_id}", "type": "message", "status": status, "role": "assistant", "content": content}


def _part(text: str) -> _Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _response_stream(facts: Facts, text: str, exchange_id: str, now: int) -> bytes:
    begun = response_of(facts, exchange_id, now, "in_progress", [])
    item = _item(exchange_id, "completed", text)
    of_item: _Json = {"item_id": item["id"], "output_index": 0}
    place: _Json = {**of_item, "content_index": 0}
    told: list[tuple[str, _Json]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        ("response.output_item.added", {"output_index": 0, "item": _item(exchange_id, "in_progress", None)}),
        ("response.content_part.added", {**place, "part": _part("")}),
        ("response.output_text.delta", {**place, "delta": text, "logprobs": []}),
        ("response.output_text.done", {**place, "text": text, "logprobs": []}),
        ("response.content_part.done", {**place, "part": _part(text)}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": response_of(facts, exchange_id, now, "completed", [item])}),
    ]
    return b"".join(
        sse.encode(_encode({"type": kind, "sequence_number": number, **fields}), kind)
        for number, (kind, fields) in enumerate(told)
    )


_Shape = Callable[[Facts, str, str, int], bytes]
_SHAPES: dict[str, tuple[_Shape, _Shape]] = {
    "messages": (_message, _message_stream),
    "chat": (_completion, _completion_stream),
    "responses": (_response, _response_stream),
}
"""By endpoint: the answer in one piece, and as a stream."""
