"""Writing answers as OpenAI's Responses API does: responses, items and the events of a stream (wire-formats 2.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headgate.testing.simulator.answers import sealed
from headgate.testing.simulator.asked import Answer, Asked, Block, Event, Json

encode = msgspec.json.Encoder().encode
_REASONS = {"cap": "max_output_tokens", "filter": "content_filter", "messages": "max_messages", "steered": "steered"}
STOPS = {
    "completed": "end",
    "max_output_tokens": "cap",
    "content_filter": "filter",
    "max_messages": "messages",
    "steered": "steered",
    "refusal": "refusal",
    "failed": "failed",
    "function_call": "tool",
}
"""Our word for each way a response may end: its status, its incomplete reason, or what it holds."""
MALFORMED = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"ms\n\n'
_SUMMARY = "Looking at what was asked, and at what is given."


def error_event(kind: str, message: str, sequence: int) -> bytes:
    """An error inside a stream; `sequence` is its number."""
    told = {"type": "error", "code": kind, "message": message, "param": None, "sequence_number": sequence}
    return b"event: error\ndata: %s\n\n" % encode(told)


def opening(asked: Asked, answer_id: str, now: float, status: str) -> Json:
    """A response that has not ended."""
    body = asked.request
    text = body.get("text") or {}
    return {
        "id": f"resp_{answer_id}",
        "object": "response",
        "created_at": int(now),
        "status": status,
        "background": body.get("background") is True,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "model": asked.model.served,
        "output": [],
        "parallel_tool_calls": asked.parallel_tools,
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **(body.get("reasoning") or {})},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": asked.counts.tier,
        "store": body.get("store") is not False,
        "temperature": body.get("temperature", 1.0),
        "text": {"verbosity": "medium", **text, "format": text.get("format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def ended(asked: Asked, answer: Answer, *, answer_id: str, seed: int, now: float) -> Json:
    """A response that has ended, with its output and its usage."""
    status = _status(answer)
    whole = opening(asked, answer_id, now, status)
    item_status = "completed" if status == "completed" else "incomplete"
    whole["output"] = [item for _, item in _items(asked, answer, answer_id, seed, item_status)]
    whole["usage"] = usage(asked, answer)
    if status == "completed":
        whole["completed_at"] = int(now)
    elif status == "incomplete":
        whole["incomplete_details"] = {"reason": _reason(answer)}
    else:
        whole["error"] = {
            "code": answer.code or "server_error",
            "message": answer.message or "The model failed to generate a response (simulated).",
        }
    return whole


def usage(asked: Asked, answer: Answer) -> Json:
    """What OpenAI says it counted: input includes what was cached and written."""
    counts = asked.counts
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cache_read, "cache_write_tokens": counts.cache_write},
        "output_tokens": answer.tokens,
        "output_tokens_details": {"reasoning_tokens": answer.thinking_tokens},
        "total_tokens": counts.prompt + answer.tokens,
    }


def events(
    asked: Asked, answer: Answer, *, answer_id: str, seed: int, now: float, per_event: int, final: Json
) -> Iterator[Event]:
    """The answer as a stream that ends with `final`; `per_event`: output tokens in one delta."""
    numbered = _Numbered()
    frame = numbered.frame
    first = "queued" if asked.request.get("background") is True else "in_progress"
    begun = opening(asked, answer_id, now, first)
    yield frame("response.created", response=begun)
    if first == "queued":
        yield frame("response.queued", response=begun)
    yield frame("response.in_progress", response={**begun, "status": "in_progress"})
    for index, (block, item) in enumerate(_items(asked, answer, answer_id, seed, "in_progress")):
        bare = {**item, **_EMPTY[item["type"]]}
        billed = block.extra if block is not None else answer.hidden
        yield frame("response.output_item.added", billed, output_index=index, item=bare)
        yield from _inside(numbered, block, item, index, per_event)
        yield frame("response.output_item.done", output_index=index, item=final["output"][index])
    yield Event(
        frame(f"response.{final['status']}", response=final).frame,
        usage=True,
        terminal=True,
    )


_EMPTY: dict[str, Json] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "reasoning": {"summary": []},
}


class _Numbered:
    """Frames with their sequence numbers."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def frame(self, kind: str, tokens: int = 0, /, **fields: Any) -> Event:
        told = {"type": kind, "sequence_number": self._next, **fields}
        self._next += 1
        return Event(b"event: %s\ndata: %s\n\n" % (kind.encode(), encode(told)), tokens)


def _inside(numbered: _Numbered, block: Block | None, item: Json, index: int, per_event: int) -> Iterator[Event]:
    frame = numbered.frame
    at: Json = {"item_id": item["id"], "output_index": index}
    if block is None:
        for number, part in enumerate(item["summary"]):
            place = {**at, "summary_index": number}
            yield frame("response.reasoning_summary_part.added", **place, part={"type": "summary_text", "text": ""})
            for start in range(0, len(part["text"]), 4 * per_event):
                piece = part["text"][start : start + 4 * per_event]
                yield frame("response.reasoning_summary_text.delta", **place, delta=piece)
            yield frame("response.reasoning_summary_text.done", **place, text=part["text"])
            yield frame("response.reasoning_summary_part.done", **place, part=part)
    elif block.kind == "tool":
        for text, tokens in block.batches(per_event):
            yield frame("response.function_call_arguments.delta", tokens, **at, delta=text)
        yield frame("response.function_call_arguments.done", **at, name=block.name, arguments=block.text)
    else:
        for part in item["content"]:
            place = {**at, "content_index": 0}
            name, key = ("refusal", "refusal") if part["type"] == "refusal" else ("output_text", "text")
            yield frame("response.content_part.added", **place, part={**part, key: ""})
            more: Json = {"logprobs": []} if name == "output_text" else {}
            for text, tokens in block.batches(per_event):
                yield frame(f"response.{name}.delta", tokens, **place, delta=text, **more)
            yield frame(f"response.{name}.done", **place, **{key: block.text}, **more)
            yield frame("response.content_part.done", **place, part=part)


def _status(answer: Answer) -> str:
    if answer.stop == "failed":
        return "failed"
    refused_empty = answer.stop == "refusal" and not answer.refusal
    return "incomplete" if answer.stop in _REASONS or refused_empty else "completed"


def _reason(answer: Answer) -> str:
    return _REASONS.get(answer.stop, "content_filter")


def _items(asked: Asked, answer: Answer, answer_id: str, seed: int, status: str) -> Iterator[tuple[Block | None, Json]]:
    """Every output item with the block it shows; reasoning, which is hidden, has none."""
    if answer.hidden:
        yield None, _reasoning(asked, answer_id, seed)
    for number, block in enumerate(answer.blocks):
        if block.kind == "tool":
            yield (
                block,
                {
                    "id": f"fc_{answer_id}{number:02d}",
                    "type": "function_call",
                    "status": status,
                    "call_id": f"call_{block.id}",
                    "name": block.name,
                    "arguments": block.text,
                },
            )
            continue
        if answer.refusal:
            part: Json = {"type": "refusal", "refusal": block.text}
        else:
            part = {"type": "output_text", "text": block.text, "annotations": [], "logprobs": []}
        yield (
            block,
            {
                "id": f"msg_{answer_id}{number:02d}",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [part],
            },
        )


def _reasoning(asked: Asked, answer_id: str, seed: int) -> Json:
    told = (asked.request.get("reasoning") or {}).get("summary")
    item: Json = {
        "id": f"rs_{answer_id}",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": _SUMMARY}] if told else [],
    }
    if "reasoning.encrypted_content" in (asked.request.get("include") or ()):
        item["encrypted_content"] = sealed(seed, item["id"])
    return item
