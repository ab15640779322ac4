"""Small requests and answers of both dialects, as the providers write them (wire-formats 1.4, 1.5, 2.2, 2.4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

JSON = b"application/json"
SSE = b"text/event-stream; charset=utf-8"
CLAUDE = "claude-haiku-4-5"
GPT = "gpt-6-luna"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def messages_request(*, stream: bool = False, model: str = CLAUDE, max_tokens: int = 100, **more: object) -> bytes:
    """The body of an Anthropic Messages request."""
    told = {"stream": True} if stream else {}
    turns = [{"role": "user", "content": "hello"}]
    return _json({"model": model, "max_tokens": max_tokens, "messages": turns, **told, **more})


def chat_request(*, stream: bool = False, model: str = GPT, max_tokens: int = 100, **more: object) -> bytes:
    """The body of an OpenAI Chat Completions request."""
    told = {"stream": True} if stream else {}
    turns = [{"role": "user", "content": "hello"}]
    return _json({"model": model, "max_completion_tokens": max_tokens, "messages": turns, **told, **more})


def message(text: str = "hello", *, input_tokens: int = 10, output_tokens: int = 5, **more: object) -> list[bytes]:
    """An Anthropic answer in one piece, for a script."""
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": f"{CLAUDE}-20251001",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": input_tokens, "output_tokens": output_tokens},
    }
    return [_json({**answer, **more})]


def completion(text: str = "hello", *, input_tokens: int = 10, output_tokens: int = 5, **more: object) -> list[bytes]:
    """An OpenAI answer in one piece, for a script."""
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": GPT,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": _counts(input_tokens, output_tokens),
    }
    return [_json({**answer, **more})]


def event(name: str, **fields: object) -> bytes:
    """One frame of an Anthropic stream."""
    return b"event: " + name.encode() + b"\ndata: " + _json({"type": name, **fields}) + b"\n\n"


def message_stream(*texts: str, input_tokens: int = 10, output_tokens: int = 5) -> list[bytes]:
    """An Anthropic stream, one frame per piece: start, block start, the texts, block stop, delta, stop."""
    start: dict[str, object] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": f"{CLAUDE}-20251001",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": input_tokens, "output_tokens": 1},
    }
    return [
        event("message_start", message=start),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(event("content_block_delta", index=0, delta={"type": "text_delta", "text": t}) for t in texts or ("hello",)),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": output_tokens}),
        event("message_stop"),
    ]


def chunk(choices: Sequence[Mapping[str, Any]], **more: object) -> bytes:
    """One frame of an OpenAI stream."""
    told = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": GPT, "choices": list(choices), **more}
    return b"data: " + _json(told) + b"\n\n"


def delta(finish: str | None = None, **fields: object) -> bytes:
    """One frame with a delta of the only choice."""
    return chunk([{"index": 0, "delta": fields, "finish_reason": finish}], usage=None)


DONE = b"data: [DONE]\n\n"


def completion_stream(*texts: str, input_tokens: int = 10, output_tokens: int = 5) -> list[bytes]:
    """An OpenAI stream, one frame per piece: role, the texts, finish, the usage chunk, [DONE]."""
    return [
        delta(role="assistant", content=""),
        *(delta(content=t) for t in texts or ("hello",)),
        delta("stop"),
        chunk([], usage=_counts(input_tokens, output_tokens)),
        DONE,
    ]


def _counts(input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }
