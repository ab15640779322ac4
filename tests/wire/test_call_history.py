"""The tool calls of a request's own conversation."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.guards.loops import LoopLimits, judge_history
from headgate.wire.call_history import call_history


def use(number: int, **arguments: Any) -> Any:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": "look", "input": arguments}


def result(number: int, *more: Any) -> Any:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"toolu_{number}"}, *more]}


def assistant(*blocks: Any) -> Any:
    return {"role": "assistant", "content": list(blocks)}


def told(endpoint: str, turns: Any) -> list[tuple[str, str]]:
    body = json.dumps({"input" if endpoint == "responses" else "messages": turns}).encode()
    return [(call.name, call.arguments) for call in call_history(endpoint, body)]


TEXT = {"type": "text", "text": "go on"}


def test_calls_of_messages_are_in_their_order_with_sorted_arguments() -> None:
    turns = [{"role": "user", "content": "go"}, assistant(TEXT, use(1, b=1, a=2), use(2)), result(1), assistant(use(3))]
    assert told("messages", turns) == [("look", '{"a":2,"b":1}'), ("look", "{}"), ("look", "{}")]


def test_what_a_user_says_ends_the_row_and_what_comes_with_a_result_does_not() -> None:
    calls = [each for number in range(4) for each in (assistant(use(number)), result(number, TEXT))]
    assert len(told("messages", calls)) == 4
    for said in ("and now?", [TEXT]):
        assert len(told("messages", [*calls, {"role": "user", "content": said}, *calls[:2]])) == 1


def test_calls_of_chat_are_in_their_order_legacy_ones_too() -> None:
    def call(number: int) -> Any:
        return {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": "look", "arguments": f'{{"n":{number}}}'},
        }

    turns = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "tool_calls": [call(1), call(2)]},
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
        {"role": "assistant", "function_call": {"name": "old", "arguments": "{}"}},
        {"role": "function", "name": "old", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "raw", "input": "x"}}]},
    ]
    assert told("chat", turns) == [("look", '{"n":1}'), ("look", '{"n":2}'), ("old", "{}"), ("raw", "x")]


def test_calls_of_responses_are_in_their_order() -> None:
    def call(name: str) -> Any:
        return {"type": "function_call", "call_id": name, "name": name, "arguments": "{}"}

    turns = [
        call("before"),
        {"role": "user", "content": "go"},
        *(call("a"), {"type": "function_call_output", "call_id": "a", "output": "x"}),
        *(call("b"), {"type": "custom_tool_call", "call_id": "c", "name": "c", "input": "x"}),
    ]
    assert told("responses", turns) == [("a", "{}"), ("b", "{}"), ("c", "x")]


def test_a_loop_shows_in_a_conversation() -> None:
    turns = [each for number in range(5) for each in (assistant(use(number, q="x")), result(number))]
    loop = judge_history(call_history("messages", json.dumps({"messages": turns}).encode()), LoopLimits())
    assert loop is not None
    assert (loop.reason, loop.count, loop.over) == ("same_call", 5, True)


def test_so_many_calls_are_looked_for() -> None:
    turns = [assistant(use(1, n=number)) for number in range(90)]
    body = json.dumps({"messages": turns}).encode()
    found = call_history("messages", body, most=10)
    assert [json.loads(call.arguments)["n"] for call in found] == list(range(80, 90))
    many = json.dumps({"messages": [assistant(*(use(1, n=number) for number in range(90)))]}).encode()
    assert [json.loads(call.arguments)["n"] for call in call_history("messages", many, most=10)] == list(range(80, 90))


@pytest.mark.parametrize("endpoint", ["messages", "chat", "responses", "embeddings"])
@given(
    st.recursive(
        st.none() | st.integers() | st.sampled_from(["tool_use", "user", "assistant", "function_call"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["role", "content", "type", "tool_calls", "function_call", "function", "input"]), inner
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_a_body_holds_its_calls_can_be_asked_for(endpoint: str, turns: Any) -> None:
    padding = [{"type": "tool_use"}] * 3 + [{"tool_calls": 1}] * 3 + [{"type": "function_call"}] * 3
    for each in (turns, [turns, *padding]):
        assert isinstance(told(endpoint, each), list)
    assert call_history(endpoint, b'"tool_use"' * 5) == []
