"""Writing answers as OpenAI does: completions, chunks and errors (wire-formats 2.2 to 2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from headgate.testing.simulator.asked import Answer, Asked, Block, Event, Fail, Json
from headgate.testing.simulator.models import Model, of_dialect

_encode = msgspec.json.Encoder().encode
_STOPS = {"end": "stop", "cap": "length", "stop_sequence": "stop", "tool": "tool_calls"}
STOPS = {
    "stop": "end",
    "length": "cap",
    "tool_calls": "tool",
    "content_filter": "filter",
    "refusal": "refusal",
}
"""Our word for each finish reason; `refusal` is a message's."""
MALFORMED = b'data: {"id":"chatcmpl-broken","object":"chat.completion.chunk","choices":[{"ind\n\n'
DONE = b"data: [DONE]\n\n"


def error(fail: Fail, request_id: str) -> bytes:
    """The body of an error. `request_id` travels in a header only."""
    inner = {"message": fail.message, "type": fail.kind, "param": fail.param or None, "code": fail.code or None}
    return _encode({"error": inner})


def error_event(kind: str, message: str, _sequence: int) -> bytes:
    """An error inside a stream."""
    return _frame({"error": {"message": message, "type": kind, "param": None, "code": kind}})


def message(asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float) -> bytes:
    """A whole answer."""
    choices = [
        {"index": i, "message": _message(answer), "logprobs": None, "finish_reason": _finish(answer)}
        for i, answer in enumerate(answers)
    ]
    whole = _envelope(asked, answer_id, now, "chat.completion", choices)
    whole["usage"] = usage(asked, answers)
    return _encode(whole)


def events(
    asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float, per_event: int
) -> Iterator[Event]:
    """The answer as a stream; `per_event`: output tokens in one chunk."""
    base = _envelope(asked, answer_id, now, "chat.completion.chunk", [])
    if asked.include_usage:
        base["usage"] = None
    for index, answer in enumerate(answers):
        yield _chunk(base, index, {"role": "assistant", "content": "", "refusal": None}, answer.hidden)
        calls = 0
        for block in answer.blocks:
            if block.kind == "tool":
                yield from _call(base, index, calls, block, per_event)
                calls += 1
                continue
            field = "refusal" if answer.refusal else "content"
            for text, tokens in block.batches(per_event):
                yield _chunk(base, index, {field: text}, tokens)
        yield _chunk(base, index, {}, 0, _finish(answer))
    if asked.include_usage:
        yield Event(_frame({**base, "choices": [], "usage": usage(asked, answers)}), usage=True)
    yield Event(DONE, terminal=True)


def usage(asked: Asked, answers: list[Answer]) -> Json:
    """What OpenAI says it counted: the prompt includes what was cached and written."""
    counts = asked.counts
    completion = sum(a.tokens for a in answers)
    details: Json = {"cached_tokens": counts.cache_read, "audio_tokens": 0}
    if asked.model.cache_writes:
        details["cache_write_tokens"] = counts.cache_write
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": completion,
        "total_tokens": counts.prompt + completion,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": sum(a.thinking_tokens for a in answers),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def models_page() -> bytes:
    """`GET /v1/models`."""
    return _encode({"object": "list", "data": [_model(m) for m in of_dialect("openai")]})


def model(found: Model) -> bytes:
    """`GET /v1/models/{id}`."""
    return _encode(_model(found))


def _model(found: Model) -> Json:
    created = int(datetime.fromisoformat(found.created).replace(tzinfo=UTC).timestamp())
    return {"id": found.served, "object": "model", "created": created, "owned_by": "openai", "shutdown_date": None}


def _frame(data: Json) -> bytes:
    return b"data: %s\n\n" % _encode(data)


def _envelope(asked: Asked, answer_id: str, now: float, kind: str, choices: list[Json]) -> Json:
    return {
        "id": f"chatcmpl-{answer_id}",
        "object": kind,
        "created": int(now),
        "model": asked.model.served,
        "service_tier": asked.counts.tier,
        "system_fingerprint": "fp_headgate",
        "choices": choices,
    }


def _chunk(base: Json, index: int, delta: Json, tokens: int, finish: str | None = None) -> Event:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return Event(_frame({**base, "choices": [choice]}), tokens)


def _call(base: Json, index: int, number: int, block: Block, per_event: int) -> Iterator[Event]:
    opened = {
        "index": number,
        "id": f"call_{block.id}",
        "type": "function",
        "function": {"name": block.name, "arguments": ""},
    }
    yield _chunk(base, index, {"tool_calls": [opened]}, block.extra)
    for text, tokens in block.batches(per_event):
        yield _chunk(base, index, {"tool_calls": [{"index": number, "function": {"arguments": text}}]}, tokens)


def _message(answer: Answer) -> Json:
    text = "".join(b.text for b in answer.blocks if b.kind == "text")
    calls = [
        {"id": f"call_{b.id}", "type": "function", "function": {"name": b.name, "arguments": b.text}}
        for b in answer.blocks
        if b.kind == "tool"
    ]
    whole: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if answer.stop == "refusal":
        whole["content"] = None
        whole["refusal"] = answer.refusal or None
    if calls:
        whole["content"] = None
        whole["tool_calls"] = calls
    return whole


def _finish(answer: Answer) -> str:
    if answer.stop == "refusal":
        return "stop" if answer.refusal else "content_filter"
    return _STOPS[answer.stop]
