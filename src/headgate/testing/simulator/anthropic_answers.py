"""Writing answers as Anthropic does: messages, events and errors (wire-formats 1.4 to 1.6)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import msgspec

from headgate.testing.simulator.answers import sealed, signature
from headgate.testing.simulator.asked import Answer, Asked, Block, Event, Fail, Json
from headgate.testing.simulator.models import Model, of_dialect

_encode = msgspec.json.Encoder().encode
_STOPS = {
    "end": "end_turn",
    "cap": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool": "tool_use",
    "refusal": "refusal",
    "pause": "pause_turn",
    "window": "model_context_window_exceeded",
    "compaction": "compaction",
}
STOPS = {name: ours for ours, name in _STOPS.items()}
"""Our word for each stop reason."""
PING = b'event: ping\ndata: {"type":"ping"}\n\n'


def error(fail: Fail, request_id: str) -> bytes:
    """The body of an error."""
    inner: Json = {"type": fail.kind, "message": fail.message}
    if fail.code:
        inner["details"] = {"error_code": fail.code}
    return _encode({"type": "error", "error": inner, "request_id": request_id})


def error_event(kind: str, message: str, _sequence: int) -> bytes:
    """An error inside a stream."""
    return _frame("error", {"type": "error", "error": {"type": kind, "message": message}})


MALFORMED = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"te\n\n'


def message(asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float) -> bytes:
    """A whole answer."""
    answer = answers[0]
    whole = _message(asked, answer_id, [_whole(block, seed) for block in answer.blocks if _shown(block)])
    whole.update(_stop(answer))
    usage = _usage(asked)
    usage["output_tokens"] = answer.tokens
    if answer.thinking_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": answer.thinking_tokens}
    whole["usage"] = usage
    return _encode(whole)


def events(
    asked: Asked, answers: list[Answer], *, answer_id: str, seed: int, now: float, per_event: int
) -> Iterator[Event]:
    """The answer as a stream; `per_event`: output tokens in one delta."""
    answer = answers[0]
    start = _message(asked, answer_id, [])
    start["usage"] = {**_usage(asked), "output_tokens": 1 if answer.tokens else 0}
    yield Event(_frame("message_start", {"type": "message_start", "message": start}))
    index = 0
    for block in answer.blocks:
        if not _shown(block):
            continue
        opened = {"type": "content_block_start", "index": index, "content_block": _opening(block, seed)}
        yield Event(_frame("content_block_start", opened), block.extra)
        if index == 0:
            yield Event(PING)
        yield from _deltas(block, index, seed, per_event)
        yield Event(_frame("content_block_stop", {"type": "content_block_stop", "index": index}))
        index += 1
    usage: Json = {
        "input_tokens": asked.counts.input,
        "cache_creation_input_tokens": asked.counts.cache_write + asked.counts.cache_write_1h,
        "cache_read_input_tokens": asked.counts.cache_read,
        "output_tokens": answer.tokens,
    }
    if answer.thinking_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": answer.thinking_tokens}
    yield Event(_frame("message_delta", {"type": "message_delta", "delta": _stop(answer), "usage": usage}), usage=True)
    yield Event(_frame("message_stop", {"type": "message_stop"}), terminal=True)


def models_page(query: Mapping[str, str], lifecycles: Collection[str] = ()) -> bytes:
    """`GET /v1/models`, with `limit`, `after_id`, `before_id` and `lifecycle`."""
    listed = [m for m in of_dialect("anthropic") if not lifecycles or _lifecycle(m) in lifecycles]
    ids = [m.served for m in listed]
    limit = min(1000, max(1, int(query["limit"]))) if query.get("limit", "").isdecimal() else 20
    if query.get("after_id") in ids:
        listed = listed[ids.index(query["after_id"]) + 1 :]
    if query.get("before_id") in ids:
        before = listed[: ids.index(query["before_id"])]
        listed, has_more = before[-limit:], len(before) > limit
    else:
        has_more = len(listed) > limit
    page = [_model(m) for m in listed[:limit]]
    return _encode(
        {
            "data": page,
            "has_more": has_more,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }
    )


def model(found: Model) -> bytes:
    """`GET /v1/models/{id}`."""
    return _encode(_model(found))


def _frame(name: str, data: Json) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(data))


def _message(asked: Asked, answer_id: str, content: list[Json]) -> Json:
    return {
        "id": f"msg_{answer_id}",
        "type": "message",
        "role": "assistant",
        "model": asked.model.served,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _usage(asked: Asked) -> Json:
    counts = asked.counts
    return {
        "input_tokens": counts.input,
        "cache_creation_input_tokens": counts.cache_write + counts.cache_write_1h,
        "cache_read_input_tokens": counts.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": counts.cache_write,
            "ephemeral_1h_input_tokens": counts.cache_write_1h,
        },
        "output_tokens": 0,
        "service_tier": counts.tier,
        "speed": counts.speed,
        "inference_geo": counts.geo,
    }


def _stop(answer: Answer) -> Json:
    stop: Json = {"stop_reason": _STOPS[answer.stop], "stop_sequence": answer.stop_sequence}
    if answer.stop == "refusal":
        explanation = "The simulator refused, as its scenario says."
        stop["stop_details"] = {"type": "refusal", "category": "general_harms", "explanation": explanation}
    return stop


def _shown(block: Block) -> bool:
    """An empty text block is never sent."""
    return block.kind != "text" or bool(block.pieces)


def _whole(block: Block, seed: int) -> Json:
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": block.text, "signature": signature(seed, block.text)}
    if block.kind == "redacted":
        return {"type": "redacted_thinking", "data": sealed(seed, block.id)}
    if block.kind == "tool":
        return {
            "type": "tool_use",
            "id": f"toolu_{block.id}",
            "name": block.name,
            "input": msgspec.json.decode(block.text),
        }
    return {"type": "text", "text": block.text}


def _opening(block: Block, seed: int) -> Json:
    if block.kind == "redacted":
        return _whole(block, seed)
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    if block.kind == "tool":
        return {"type": "tool_use", "id": f"toolu_{block.id}", "name": block.name, "input": {}}
    return {"type": "text", "text": ""}


_DELTAS = {
    "thinking": ("thinking_delta", "thinking"),
    "redacted": ("thinking_delta", "thinking"),  # never used: it has no pieces
    "tool": ("input_json_delta", "partial_json"),
    "text": ("text_delta", "text"),
}


def _deltas(block: Block, index: int, seed: int, per_event: int) -> Iterator[Event]:
    kind, field = _DELTAS[block.kind]
    for text, tokens in block.batches(per_event):
        delta = {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}}
        yield Event(_frame("content_block_delta", delta), tokens)
    if block.kind == "thinking":
        signed = {"type": "signature_delta", "signature": signature(seed, block.text)}
        yield Event(_frame("content_block_delta", {"type": "content_block_delta", "index": index, "delta": signed}))


def _lifecycle(found: Model) -> str:
    return "deprecated" if found.deprecated else "active"


def _model(found: Model) -> Json:
    name = found.id.removeprefix("claude-").split("-")
    return {
        "type": "model",
        "id": found.served,
        "display_name": f"Claude {name[0].title()} {'.'.join(name[1:])}",
        "created_at": f"{found.created}T00:00:00Z",
        "lifecycle": _lifecycle(found),
        "deprecated_at": "2026-09-30T00:00:00Z" if found.deprecated else None,
        "retires_at": "2026-11-30T00:00:00Z" if found.deprecated else None,
        "line": name[0],
        "max_input_tokens": found.context,
        "max_tokens": found.max_output,
        "capabilities": None,
    }
