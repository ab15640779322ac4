"""What ties a request to a model, and whether an answer is a refusal: seen in raw bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.wire.continuing import has_thinking, in_tool_turn
from headgate.wire.refused import is_refusal


def body(**members: Any) -> bytes:
    return json.dumps(members).encode()


THOUGHT = {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]}
SEALED = {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "c2ln"}]}
TALK = {"role": "user", "content": 'say "type": "thinking"'}


@pytest.mark.parametrize(
    ("endpoint", "text", "found"),
    [
        ("messages", body(messages=[THOUGHT]), True),
        ("messages", body(messages=[SEALED]), True),
        ("messages", body(messages=[TALK], thinking={"type": "enabled", "budget_tokens": 1024}), False),
        ("responses", body(input=[{"type": "reasoning", "encrypted_content": "x"}]), True),
        ("responses", body(input="x", reasoning={"effort": "high"}), False),
        ("chat", body(messages=[THOUGHT]), False),
    ],
)
def test_thinking_is_what_a_model_has_signed_and_not_the_wish_for_it(endpoint: str, text: bytes, found: bool) -> None:
    assert has_thinking(endpoint, text) is found


RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "1"}, {"type": "text"}]}
OVER = {"role": "user", "content": "and?"}


@pytest.mark.parametrize(
    ("endpoint", "text", "found"),
    [
        ("messages", body(messages=[OVER, RESULT]), True),
        ("messages", body(messages=[RESULT, OVER]), False),
        ("messages", body(messages=[{"role": "user", "content": "tool_result"}]), False),
        ("messages", body(messages=[]), False),
        ("messages", b'{"messages": 7, "x": "tool_result"}', False),
        ("chat", body(messages=[OVER, {"role": "tool", "tool_call_id": "c", "content": "1"}]), True),
        ("chat", body(messages=[{"role": "tool", "tool_call_id": "c", "content": "1"}, OVER]), False),
        ("responses", body(input=[{"type": "function_call_output", "call_id": "c", "output": "1"}]), True),
        ("responses", body(input=[{"type": "function_call_output", "call_id": "c", "output": "1"}, OVER]), False),
        ("responses", body(input="function_call_output"), False),
        ("embeddings", body(input=["tool_result"]), False),
    ],
)
def test_a_tool_turn_is_under_way_where_the_last_thing_is_a_tools_result(
    endpoint: str, text: bytes, found: bool
) -> None:
    assert in_tool_turn(endpoint, text) is found


@pytest.mark.parametrize(
    ("endpoint", "stop_reason", "answer", "found"),
    [
        ("messages", "refusal", b"", True),
        ("messages", "end_turn", b'{"refusal": "x"}', False),
        ("chat", "content_filter", b"", True),
        ("chat", "stop", body(choices=[{"message": {"content": None, "refusal": "I will not"}}]), True),
        ("chat", "stop", body(choices=[{"message": {"content": 'the "refusal": "x"', "refusal": None}}]), False),
        ("chat", "", b'data: {"choices":[{"delta":{"content":"","refusal":""}}]}\n\n', False),
        ("chat", "", b'data: {"choices":[{"delta":{"refusal":"I"}}]}\n\n', True),
        ("responses", "completed", body(output=[{"content": [{"type": "refusal", "refusal": "no"}]}]), True),
        ("responses", "", b'event: response.refusal.delta\ndata: {"type":"response.refusal.delta"}\n\n', True),
        ("responses", "completed", body(output=[{"content": [{"type": "output_text", "text": "no"}]}]), False),
    ],
)
def test_a_refusal_is_told_by_the_stop_reason_or_by_the_answers_own_structure(
    endpoint: str, stop_reason: str, answer: bytes, found: bool
) -> None:
    assert is_refusal(endpoint, stop_reason, answer) is found


def test_tools_are_a_fact_of_every_dialect() -> None:
    from headgate.wire import DIALECTS

    claude, gpt = DIALECTS["anthropic"], DIALECTS["openai"]
    turns = [OVER]
    assert claude.read_request("messages", body(model="m", max_tokens=1, messages=turns, tools=[{}])).has_tools
    assert not claude.read_request("messages", body(model="m", max_tokens=1, messages=turns, tools=[])).has_tools
    assert gpt.read_request("chat", body(model="m", messages=turns, tools=[{}])).has_tools
    assert gpt.read_request("chat", body(model="m", messages=turns, functions=[{"name": "f"}])).has_tools
    assert gpt.read_request("responses", body(model="m", input="x", tools=[{"type": "function"}])).has_tools
    assert not gpt.read_request("responses", body(model="m", input="x")).has_tools
