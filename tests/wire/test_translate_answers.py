"""Whole answers between the dialects: content, tool calls, stop reasons, usage, and what is reported as lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import UpstreamBroken
from headgate.wire import ANTHROPIC, OPENAI
from headgate.wire.translate import translate_answer

A_USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 3,
    "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 4},
    "output_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 2},
}
O_USAGE = {
    "prompt_tokens": 18,
    "completion_tokens": 7,
    "total_tokens": 25,
    "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
Pair = tuple[dict[str, Any], tuple[str, ...]]


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def to_openai(*content: Any, stop: str = "end_turn", **more: Any) -> Pair:
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": A_USAGE,
        **more,
    }
    told = translate_answer("openai", "anthropic", json.dumps(answer).encode(), created=1_700_000_000)
    return json.loads(told.body), told.report


def to_anthropic(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> Pair:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "gpt-4o-2024",
        "choices": [choice],
        "usage": O_USAGE,
        **more,
    }
    told = translate_answer("anthropic", "openai", json.dumps(answer).encode())
    return json.loads(told.body), told.report


def test_an_answer_of_anthropics_becomes_a_whole_completion() -> None:
    assert to_openai(text("one "), text("two")) == (
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "claude-haiku-4-5",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "one two", "refusal": None, "annotations": []},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": O_USAGE,
        },
        (),
    )


def test_an_answer_of_openais_becomes_a_whole_message() -> None:
    assert to_anthropic({"content": "hello", "refusal": None}) == (
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "gpt-4o-2024",
            "content": [text("hello")],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 10,
                "cache_creation_input_tokens": 5,
                "cache_read_input_tokens": 3,
                "output_tokens": 7,
                "output_tokens_details": {"thinking_tokens": 2},
            },
        },
        (),
    )


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ],
)
def test_a_stop_reason_becomes_a_finish_reason(stop: str, finish: str) -> None:
    body, report = to_openai(text("x"), stop=stop)
    assert (body["choices"][0]["finish_reason"], report) == (finish, ())


@pytest.mark.parametrize(
    ("finish", "stop"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "refusal"),
    ],
)
def test_a_finish_reason_becomes_a_stop_reason(finish: str, stop: str) -> None:
    body, report = to_anthropic({"content": "x"}, finish)
    assert (body["stop_reason"], report) == (stop, ())


@pytest.mark.parametrize("stop", ["pause_turn", "compaction"])
def test_a_turn_that_is_only_paused_is_no_answer(stop: str) -> None:
    with pytest.raises(UpstreamBroken, match=stop) as caught:
        to_openai(text("x"), stop=stop)
    assert caught.value.maybe_billed


def test_a_reason_that_is_not_known_is_an_ordinary_end_and_reported() -> None:
    assert to_openai(text("x"), stop="tired")[1] == ("stop_reason",)
    body, report = to_anthropic({"content": "x"}, None)
    assert (body["stop_reason"], report) == ("end_turn", ("stop_reason",))


def test_a_refusal_says_why_in_either_dialect() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    body, _ = to_openai(stop="refusal", stop_details=details)
    assert body["choices"][0]["message"]["refusal"] == "Not this."
    assert body["choices"][0]["message"]["content"] is None
    body, _ = to_anthropic({"content": None, "refusal": "I will not."})
    assert (body["content"], body["stop_reason"]) == ([text("I will not.")], "refusal")
    assert body["stop_details"]["type"] == "refusal"


def test_tool_calls_keep_their_ids_and_arguments() -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": "ä", "n": [1.5, None]}}
    body, _ = to_openai(text("so"), use, stop="tool_use")
    message = body["choices"][0]["message"]
    called = {"name": "look", "arguments": '{"q":"ä","n":[1.5,null]}'}
    assert message["tool_calls"] == [{"id": "toolu_1", "type": "function", "function": called}]
    back, _ = to_anthropic(message, "tool_calls")
    assert back["content"] == [text("so"), use]


def test_a_forced_call_that_ends_with_stop_is_a_call_all_the_same() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}
    body, _ = to_anthropic({"content": None, "tool_calls": [call]}, "stop")
    assert (body["stop_reason"], body["content"][0]["input"]) == ("tool_use", {})


def test_arguments_that_are_no_object_are_wrapped_and_reported() -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": '{"q": '}}
    body, report = to_anthropic({"content": None, "tool_calls": [call]}, "tool_calls")
    assert body["content"] == [
        {"type": "tool_use", "id": "call_1_0", "name": "look", "input": {"invalid_json": '{"q": '}}
    ]
    assert report == ("tool_arguments",)


def test_the_old_function_call_is_a_tool_call() -> None:
    body, _ = to_anthropic({"content": None, "function_call": {"name": "look", "arguments": "{}"}}, "function_call")
    assert body["content"] == [{"type": "tool_use", "id": "call_1_0", "name": "look", "input": {}}]


def test_what_an_answer_loses_is_reported() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    server = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    cited = {**text("x"), "citations": [{"type": "page_location"}]}
    body, report = to_openai(thought, server, cited)
    assert (body["choices"][0]["message"]["content"], report) == ("x", ("thinking", "server_tools", "citations"))
    body, report = to_anthropic(
        {"content": "x", "reasoning_content": "hm", "annotations": [{"type": "url_citation"}], "audio": {"id": "a"}}
    )
    assert (body["content"], report) == ([text("x")], ("thinking", "citations", "audio"))
    choices = [{"index": i, "message": {"content": str(i)}, "finish_reason": "stop"} for i in (1, 0)]
    body, report = to_anthropic({}, choices=choices)
    assert (body["content"], report) == ([text("0")], ("n",))


def test_usage_that_is_not_told_is_said_to_be_missing() -> None:
    body, report = to_openai(text("x"), usage=None)
    assert ("usage" in body, report) == (False, ("usage",))
    body, report = to_anthropic({"content": "x"}, usage=None)
    assert (body["usage"]["input_tokens"], report) == (0, ("usage",))


def test_usage_is_floored_at_zero() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}}
    assert to_anthropic({"content": "x"}, usage=usage)[0]["usage"]["input_tokens"] == 0


counts = st.integers(0, 1_000_000)


@given(counts, counts, counts, counts, counts)
def test_the_meters_count_the_same_on_both_sides_of_a_translation(
    given_: int, read: int, written: int, output: int, thought: int
) -> None:
    usage = {
        "input_tokens": given_,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": min(thought, output)},
    }
    body, _ = to_openai(text("x"), usage=usage)
    there, _ = OPENAI.read_answer("chat", json.dumps(body).encode())
    back = translate_answer("anthropic", "openai", json.dumps(body).encode())
    here, _ = ANTHROPIC.read_answer("messages", back.body)
    for counted in (there.usage, here.usage):
        assert counted is not None
        assert (counted.input_tokens, counted.cache_read_tokens, counted.cache_write_tokens) == (given_, read, written)
        assert (counted.output_tokens, counted.reasoning_tokens) == (output, min(thought, output))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"<html>", b"\xff", b'{"error": {"message": "m"}}', b"{}", b'{"choices": []}', b"[" * 100_000],
)
def test_what_is_no_answer_is_a_broken_one(body: bytes) -> None:
    for source, target in (("anthropic", "openai"), ("openai", "anthropic")):
        with pytest.raises(UpstreamBroken, match="translate"):
            translate_answer(source, target, body)


def test_an_answer_of_the_same_dialect_is_the_same() -> None:
    assert translate_answer("openai", "openai", b"anything").body == b"anything"
