"""A provider that fails before content: its error event is no content, and the call goes on elsewhere."""

from __future__ import annotations

import json

import pytest

from headgate.core.exchange import Facts
from headgate.policy.guards.rules import profile_rules
from headgate.policy.guards.watch import Watching
from headgate.wire import DIALECTS
from headgate.wire.gated import gated


def frame(name: str, data: dict[str, object]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


START = frame("message_start", {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3}}})
BLOCK = frame(
    "content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
)
ERROR = frame("error", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


def delta(text: str) -> bytes:
    return frame(
        "content_block_delta",
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
    )


@pytest.mark.parametrize("before", [[], [START], [START, BLOCK]])
def test_an_error_event_before_content_is_not_taken_for_content(before: list[bytes]) -> None:
    inner = DIALECTS["anthropic"].meter("messages", Facts())
    meter = gated("messages", inner, Watching(profile_rules("standard"), ())())
    for piece in (*before, ERROR):
        meter.feed(piece)
    assert meter.error is not None
    assert not meter.started


def test_an_error_event_behind_content_leaves_it_begun() -> None:
    inner = DIALECTS["anthropic"].meter("messages", Facts())
    meter = gated("messages", inner, Watching(profile_rules("standard"), ())())
    out = b"".join(meter.feed(piece) for piece in (START, BLOCK, delta("Good morning to all. "), ERROR))
    assert meter.started
    assert b"Good morning" in out
    assert out.endswith(ERROR)
