"""What is asked and answered: a 1 KB request, a JSON answer of 658 bytes, a stream of 100 events."""

from __future__ import annotations

import json

MODEL = "claude-haiku-4-5"
PATH = "/v1/messages"
REQUEST_BYTES = 1024
ANSWER_BYTES = 658
EVENTS = 100

_START = {"id": "msg_bench", "type": "message", "role": "assistant", "model": f"{MODEL}-20251001"}
_USAGE = {
    "input_tokens": 250,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 60,
    "service_tier": "standard",
    "inference_geo": "not_available",
}


def request(*, stream: bool) -> bytes:
    """A Messages request of exactly 1,024 bytes."""

    def made(text: str) -> bytes:
        asked: dict[str, object] = {"model": MODEL, "max_tokens": 300}
        if stream:
            asked["stream"] = True
        asked["system"] = "You are a terse assistant for a benchmark."
        asked["messages"] = [{"role": "user", "content": text}]
        return json.dumps(asked).encode()

    return made(_words(REQUEST_BYTES - len(made(""))))


def answer() -> bytes:
    """A Messages answer of exactly 658 bytes."""

    def made(text: str) -> bytes:
        content = [{"type": "text", "text": text}]
        whole = {**_START, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": _USAGE}
        return json.dumps(whole, separators=(",", ":")).encode()

    return made(_words(ANSWER_BYTES - len(made(""))))


def events() -> list[bytes]:
    """The 100 events of a streamed answer, each a whole SSE frame."""
    start: dict[str, object] = {
        **_START,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**_USAGE, "output_tokens": 1},
    }
    text = {"type": "text", "text": ""}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        frame("message_start", message=start),
        frame("content_block_start", index=0, content_block=text),
        frame("ping"),
        *(delta(f" word{number:02}") for number in range(EVENTS - 6)),
        frame("content_block_stop", index=0),
        frame("message_delta", delta=ended, usage={"output_tokens": 188}),
        frame("message_stop"),
    ]


def delta(text: str) -> bytes:
    """A piece of text as an event."""
    return frame("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def frame(kind: str, **fields: object) -> bytes:
    """An SSE frame as Anthropic writes it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, separators=(',', ':'))}\n\n".encode()


def _words(length: int) -> str:
    return ("the quick brown fox jumps over the lazy dog " * 40)[:length]
