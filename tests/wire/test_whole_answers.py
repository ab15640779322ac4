"""Whole JSON answers under an inspector: spliced in their texts and tool calls only."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from gate_streams import HIT, Player, r_call_item, r_message, r_response
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.guards import Denied, ToolCall
from headgate.wire.jsonplace import dump, place, put
from headgate.wire.whole import inspect_whole

ARGS = '{"q":"x"}'
NO = "The tool was not allowed."


def answer(endpoint: str, words: str, *, calls: int = 0) -> dict[str, Any]:
    if endpoint == "messages":
        blocks: list[Any] = [{"type": "thinking", "thinking": "Hmm SECRET", "signature": "s"}]
        blocks += [{"type": "text", "text": words, "citations": None}]
        blocks += [{"type": "tool_use", "id": f"t{n}", "name": "look", "input": {"q": "x"}} for n in range(calls)]
        return {"id": "msg", "content": blocks, "stop_reason": "tool_use" if calls else "end_turn", "x": 1.50}
    if endpoint == "chat":
        message: dict[str, Any] = {"role": "assistant", "content": words, "refusal": None}
        if calls:
            function = {"name": "look", "arguments": ARGS}
            message["tool_calls"] = [{"id": f"t{n}", "type": "function", "function": function} for n in range(calls)]
        finish = "tool_calls" if calls else "stop"
        return {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": finish}], "x": 1.50}
    return r_response("completed", [r_message(0, words), *(r_call_item(n + 1, ARGS) for n in range(calls))], x=1.50)


def text_of(endpoint: str, body: bytes) -> str:
    told = json.loads(body)
    if endpoint == "messages":
        return "|".join(block["text"] for block in told["content"] if block["type"] == "text")
    if endpoint == "chat":
        return str(told["choices"][0]["message"]["content"])
    return "|".join(item["content"][0]["text"] for item in told["output"] if item["type"] == "message")


ENDPOINTS = pytest.mark.parametrize("endpoint", ["messages", "chat", "responses"])


def spaced(value: Any) -> bytes:
    """In a style that no encoder of ours has."""
    return json.dumps(value, indent=1, ensure_ascii=True).encode()


@ENDPOINTS
@given(words=st.text(st.sampled_from('ab "\\\né😀')), good=st.sampled_from(["", "X", "😀"]))
def test_only_the_text_changes(endpoint: str, words: str, good: str) -> None:
    body = spaced(answer(endpoint, words, calls=1))
    assert inspect_whole(endpoint, body, Player(tools=True)) == body
    out = inspect_whole(endpoint, body, Player("ab", good))
    assert json.loads(out) == answer(endpoint, words.replace("ab", good), calls=1)
    assert (out == body) is ("ab" not in words)


@ENDPOINTS
def test_a_stop_is_told_and_the_body_is_the_callers_to_drop(endpoint: str) -> None:
    player = Player(stop_at="CANARY")
    inspect_whole(endpoint, spaced(answer(endpoint, "a CANARY")), player)
    assert player.stopped == HIT


@ENDPOINTS
@pytest.mark.parametrize("calls", [1, 2])
def test_denied_calls_become_text_and_where_none_is_left_the_answer_has_ended(endpoint: str, calls: int) -> None:
    player = Player(tools=True)
    player.answer = lambda call: Denied(NO) if len(player.calls) == 1 else call
    out = inspect_whole(endpoint, spaced(answer(endpoint, "Look.", calls=calls)), player)
    told = json.loads(out)
    assert NO in text_of(endpoint, out)
    if endpoint == "messages":
        assert told["stop_reason"] == ("end_turn" if calls == 1 else "tool_use")
        assert sum(block["type"] == "tool_use" for block in told["content"]) == calls - 1
    elif endpoint == "chat":
        assert told["choices"][0]["finish_reason"] == ("stop" if calls == 1 else "tool_calls")
        assert len(told["choices"][0]["message"]["tool_calls"] or ()) == calls - 1
    else:
        assert sum(item["type"] == "function_call" for item in told["output"]) == calls - 1


@ENDPOINTS
def test_an_edited_call_has_its_new_arguments(endpoint: str) -> None:
    def edit(call: ToolCall) -> ToolCall:
        return replace(call, arguments='{"q":"better"}')

    player = Player(tools=True, answer=edit)
    out = inspect_whole(endpoint, spaced(answer(endpoint, "Look.", calls=1)), player)
    assert b"better" in out
    assert [call.arguments for call in player.calls] == [ARGS]
    assert text_of(endpoint, out) == "Look."


def test_a_message_without_content_gets_some_where_a_call_was_denied() -> None:
    told = answer("chat", "", calls=1)
    del told["choices"][0]["message"]["content"]
    out = inspect_whole("chat", spaced(told), Player(tools=True, answer=lambda call: Denied(NO)))
    assert text_of("chat", out) == NO


def test_content_in_parts_is_watched_part_by_part() -> None:
    told = answer("chat", "")
    told["choices"][0]["message"]["content"] = [
        {"type": "text", "text": "a SEC"},
        {"type": "text", "text": "RET b"},
    ]
    out = json.loads(inspect_whole("chat", spaced(told), Player("SECRET", "***")))
    assert [part["text"] for part in out["choices"][0]["message"]["content"]] == ["a ***", " b"]


def test_an_answer_that_is_kept_is_watched_when_it_is_asked_for() -> None:
    body = spaced(answer("responses", "a SECRET"))
    assert b"SECRET" not in inspect_whole("stored", body, Player("SECRET", "***"))
    other = spaced({"object": "file", "output": "SECRET"})
    assert inspect_whole("stored", other, Player("SECRET", "***")) == other


@pytest.mark.parametrize("body", [b"", b"[]", b"not json", b'{"error": {"message": "no"}}', b'{"content": 3}'])
@ENDPOINTS
def test_what_is_no_answer_passes(endpoint: str, body: bytes) -> None:
    assert inspect_whole(endpoint, body, Player(tools=True)) == body


leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.sampled_from('a"\\é\ud800'), max_size=3)
names = st.text("ab", max_size=2)
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner))


@given(value=trees, path=st.lists(st.integers(0, 2) | names, max_size=3), new=leaves)
def test_a_value_at_a_path_is_put_where_it_stands_and_nothing_else_changes(value: Any, path: Any, new: Any) -> None:
    text = json.dumps({"top": [value]}, indent=1).encode()
    steps = ("top", 0, *path)
    expected = json.loads(text)
    inside: Any = expected
    try:
        for step in steps[:-1]:
            inside = inside[step]
            assert isinstance(inside, dict | list)
        assert isinstance(inside, dict) is isinstance(steps[-1], str)
        inside[steps[-1]]
        inside[steps[-1]] = new
    except (LookupError, TypeError, AssertionError):
        with contextlib.suppress(ValueError):  # a lone surrogate, which only the fallback reads
            assert place(text, steps) is None
    assert json.loads(put(text, {steps: dump(new)})) == json.loads(json.dumps(expected))
