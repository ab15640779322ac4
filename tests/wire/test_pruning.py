"""Turns of a conversation, and bodies without the first of them, in all dialects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.shaping import History, turns_to_drop
from headgate.wire.pruning import pruned, turns

Body = dict[str, Any]


def exchanges(n: int, *, tool: bool) -> dict[str, list[Body]]:
    """One turn, in each dialect: somebody asks, a tool may be called, the model answers."""
    call, said = f"call_{n}", f"question {n} \u2028 \"'"
    of = {
        "messages": [{"role": "user", "content": said}],
        "chat": [{"role": "user", "content": said}],
        "responses": [{"role": "user", "content": [{"type": "input_text", "text": said}]}],
    }
    if tool:
        of["messages"] += [
            {"role": "assistant", "content": [{"type": "tool_use", "id": call, "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": "sunny"}]},
        ]
        function = {"name": "look", "arguments": "{}"}
        of["chat"] += [
            {"role": "assistant", "tool_calls": [{"id": call, "type": "function", "function": function}]},
            {"role": "tool", "tool_call_id": call, "content": "sunny"},
        ]
        of["responses"] += [
            {"type": "function_call", "call_id": call, "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": call, "output": "sunny"},
        ]
    of["messages"].append({"role": "assistant", "content": f"answer {n}"})
    of["chat"].append({"role": "assistant", "content": f"answer {n}"})
    of["responses"].append({"type": "message", "role": "assistant", "content": f"answer {n}"})
    return of


def conversation(endpoint: str, tools: list[bool]) -> list[Body]:
    return [each for n, tool in enumerate(tools) for each in exchanges(n, tool=tool)[endpoint]]


def body(endpoint: str, said: list[Body], indent: int | None = None) -> bytes:
    holder = {"responses": "input"}.get(endpoint, "messages")
    return json.dumps({"model": "m", holder: said, "last": [1, {"x": 2}]}, indent=indent).encode()


def said_in(raw: bytes) -> list[Body]:
    told = json.loads(raw)
    found: list[Body] = told.get("messages", told.get("input"))
    return found


def ids(said: list[Body]) -> tuple[set[str], set[str]]:
    """Tool calls, and those that have a result."""
    text = [json.dumps(each) for each in said]
    every = {f"call_{n}" for n in range(60)}
    calls = [t for t in text if '"tool_use"' in t or '"tool_calls"' in t or '"function_call"' in t]
    results = [t for t in text if "tool_use_id" in t or "tool_call_id" in t or "function_call_output" in t]
    return (
        {each for each in every if any(f'"{each}"' in t for t in calls)},
        {each for each in every if any(f'"{each}"' in t for t in results)},
    )


endpoints = pytest.mark.parametrize("endpoint", ["messages", "chat", "responses"])


@endpoints
@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=25), st.integers(1, 12), st.integers(1, 12), st.booleans())
def test_what_is_left_is_the_end_of_the_conversation_and_no_call_is_parted_from_its_result(
    endpoint: str, tools: list[bool], most: int, block: int, pretty: bool
) -> None:
    said = conversation(endpoint, tools)
    raw = body(endpoint, said, 2 if pretty else None)
    found = turns(endpoint, raw)
    assert found is not None
    assert len(found.starts) == len(tools)
    drop = turns_to_drop(History(turns=most, block=min(block, most)), [1] * len(tools), 0)
    left_raw = pruned(endpoint, raw, found, drop)
    left = said_in(left_raw)
    assert left == said[len(said) - len(left) :]
    assert left[0]["role"] == "user"
    calls, results = ids(left)
    assert calls == results
    assert len(tools) - drop <= most
    assert {k: v for k, v in json.loads(left_raw).items() if k not in ("messages", "input")} == {
        "model": "m",
        "last": [1, {"x": 2}],
    }


@endpoints
def test_a_growing_conversation_begins_alike_for_a_whole_block(endpoint: str) -> None:
    firsts = []
    for count in range(21, 41):
        raw = body(endpoint, conversation(endpoint, [True] * count))
        found = turns(endpoint, raw)
        assert found is not None
        left = pruned(endpoint, raw, found, turns_to_drop(History(turns=20, block=10), [1] * count, 0))
        firsts.append(json.dumps(said_in(left)[0]))
    assert len(set(firsts[:10])) == len(set(firsts[10:])) == 1
    assert firsts[0] != firsts[10]


@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=40), st.integers(1, 20_000), st.integers(1, 8))
def test_a_history_of_tokens_drops_whole_blocks_until_it_fits_and_never_the_last_turn(
    tokens: list[int], most: int, block: int
) -> None:
    drop = turns_to_drop(History(tokens=most, block=block), tokens, 0)
    assert drop % block == 0
    assert drop < len(tokens)
    fits = sum(tokens[drop:]) <= most
    assert fits or drop + block >= len(tokens)
    assert drop == 0 or sum(tokens[drop - block :]) > most


def test_instructions_stay_wherever_they_stand_in_a_chat() -> None:
    said: list[Body] = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "a"},
        {"role": "developer", "content": "be brief"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    raw = body("chat", said)
    found = turns("chat", raw)
    assert found is not None
    assert said_in(pruned("chat", raw, found, 1)) == [said[0], said[2], said[4]]


def test_messages_with_instructions_in_the_middle_are_left_alone() -> None:
    said = [
        *conversation("messages", [False] * 2),
        {"role": "system", "content": "x"},
        {"role": "user", "content": "y"},
    ]
    assert turns("messages", body("messages", said)) is None


def test_signed_thinking_that_would_be_left_keeps_its_past() -> None:
    said = conversation("messages", [False] * 3)
    said[-1]["content"] = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "x"}]
    raw = body("messages", said)
    found = turns("messages", raw)
    assert found is not None
    assert pruned("messages", raw, found, 2) == raw


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"input":"hello"}', b'{"messages":[]}', b'{"messages":[1,null]}', b'{"messages":{}}']
)
@endpoints
def test_what_has_no_turns_is_left_alone(endpoint: str, raw: bytes) -> None:
    assert turns(endpoint, raw) is None


@given(st.lists(st.sampled_from(["call", "output", "user", "answer"]), min_size=1, max_size=14), st.integers(0, 6))
@settings(max_examples=60)
def test_a_call_and_its_result_stay_together_though_a_user_speaks_in_between(kinds: list[str], drop: int) -> None:
    said: list[Body] = [{"role": "user", "content": "first"}]
    open_calls: list[str] = []
    for place, kind in enumerate(kinds):
        if kind == "call":
            open_calls.append(f"c{place}")
            said.append({"type": "custom_tool_call", "call_id": f"c{place}", "name": "look", "input": ""})
        elif kind == "output" and open_calls:
            said.append({"type": "custom_tool_call_output", "call_id": open_calls.pop(0), "output": "sunny"})
        elif kind != "output":
            said.append({"role": "user" if kind == "user" else "assistant", "content": kind})
    raw = body("responses", said)
    found = turns("responses", raw)
    assert found is not None
    left = said_in(pruned("responses", raw, found, min(drop, len(found.starts) - 1)))
    called = {each["call_id"] for each in left if each.get("type") == "custom_tool_call"}
    told = {each["call_id"] for each in left if each.get("type") == "custom_tool_call_output"}
    before = {each["call_id"] for each in said if each.get("type") == "custom_tool_call_output"}
    assert told == called & before
