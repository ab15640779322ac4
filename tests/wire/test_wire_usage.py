"""Usage objects of every provider in one form, and complete answers (wire-formats 1.4, 2.2 and 3)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.usage import Iteration, Usage
from headgate.wire import ANTHROPIC, OPENAI
from headgate.wire.anthropic_usage import merge
from headgate.wire.anthropic_usage import usage as anthropic_usage
from headgate.wire.openai_usage import usage as openai_usage

BAD_COUNTS = [-1, 1.5, "7", None, True, [], {}, 2**53 + 1, 10**400, float("inf")]


def test_every_anthropic_field_is_read() -> None:
    assert anthropic_usage(
        {
            "input_tokens": 1,
            "cache_creation_input_tokens": 70,
            "cache_read_input_tokens": 4,
            "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 40},
            "output_tokens": 9,
            "output_tokens_details": {"thinking_tokens": 6},
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 8},
            "service_tier": "priority",
            "speed": "fast",
            "inference_geo": "us",
            "iterations": [
                {"type": "message", "input_tokens": 1, "output_tokens": 9, "model": "claude-a"},
                {
                    "type": "compaction",
                    "input_tokens": 5,
                    "cache_creation_input_tokens": 3,
                    "cache_read_input_tokens": 2,
                },
                "not an entry",
            ],
        }
    ) == Usage(
        input_tokens=1,
        cache_read_tokens=4,
        cache_write_tokens=30,
        cache_write_long_tokens=40,
        output_tokens=9,
        reasoning_tokens=6,
        web_searches=2,
        service_tier="priority",
        speed="fast",
        inference_geo="us",
        iterations=(
            Iteration("message", "claude-a", input_tokens=1, output_tokens=9),
            Iteration("compaction", "", input_tokens=5, cache_write_tokens=3, cache_read_tokens=2),
        ),
    )


@pytest.mark.parametrize(
    ("fields", "short", "long"),
    [
        ({"cache_creation_input_tokens": 9}, 9, 0),
        ({"cache_creation_input_tokens": 9, "cache_creation": None}, 9, 0),
        ({"cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}}, 5, 4),
        ({"cache_creation": {"ephemeral_1h_input_tokens": 4, "ephemeral_5m_input_tokens": 1}}, 1, 4),
    ],
)
def test_cache_writes_without_a_split_are_five_minute_writes(fields: dict[str, Any], short: int, long: int) -> None:
    usage = anthropic_usage({"input_tokens": 0, "output_tokens": 0, **fields})
    assert usage is not None
    assert (usage.cache_write_tokens, usage.cache_write_long_tokens) == (short, long)


def test_a_deltas_counts_replace_and_the_rest_of_the_start_stays() -> None:
    start = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        "cache_read_input_tokens": 3,
        "output_tokens": 1,
        "service_tier": "standard",
        "speed": "fast",
        "inference_geo": "us",
    }
    delta = {
        "output_tokens": 99,
        "input_tokens": None,
        "cache_creation_input_tokens": 60,
        "cache_read_input_tokens": -4,
    }
    usage = anthropic_usage(merge(start, delta))
    assert usage == Usage(
        input_tokens=10,
        cache_read_tokens=3,
        cache_write_tokens=30,
        cache_write_long_tokens=30,
        output_tokens=99,
        service_tier="standard",
        speed="fast",
        inference_geo="us",
    )


def test_every_openai_field_is_read() -> None:
    assert openai_usage(
        {
            "prompt_tokens": 100,
            "completion_tokens": 40,
            "total_tokens": 140,
            "prompt_tokens_details": {
                "cached_tokens": 30,
                "cache_write_tokens": 20,
                "cache_write_tokens_details": {"ttl_30m_tokens": 15, "ttl_12h_tokens": 5},
                "audio_tokens": 12,
                "cached_tokens_details": {"audio_tokens": 7},
            },
            "completion_tokens_details": {"reasoning_tokens": 25, "audio_tokens": 3},
        },
        "flex",
    ) == Usage(
        input_tokens=50,
        cache_read_tokens=30,
        cache_write_tokens=15,
        cache_write_long_tokens=5,
        output_tokens=40,
        reasoning_tokens=25,
        input_audio_tokens=5,
        cache_read_audio_tokens=7,
        output_audio_tokens=3,
        service_tier="flex",
    )


def test_deepseeks_cache_hits_are_cache_reads() -> None:
    fields = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}
    assert openai_usage(fields) == Usage(input_tokens=6, cache_read_tokens=4, output_tokens=1)


@pytest.mark.parametrize(("total", "output"), [(60, 50), (30, 20), (None, 20)])
def test_reasoning_is_added_only_where_the_total_says_that_it_is_missing(total: int | None, output: int) -> None:
    fields = {"prompt_tokens": 10, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 30}}
    usage = openai_usage({**fields, "total_tokens": total})
    assert usage is not None
    assert (usage.output_tokens, usage.reasoning_tokens) == (output, min(30, output))


def test_more_cached_than_asked_leaves_no_negative_remainder() -> None:
    usage = openai_usage({"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}})
    assert usage == Usage(cache_read_tokens=9, output_tokens=1)


@pytest.mark.parametrize("bad", BAD_COUNTS)
def test_what_is_no_count_is_missing_and_told(bad: Any) -> None:
    wrong = bad is not None
    assert anthropic_usage({"input_tokens": bad, "output_tokens": 3, "cache_read_input_tokens": bad}) == Usage(
        output_tokens=3, bad=wrong
    )
    assert openai_usage({"prompt_tokens": 3, "completion_tokens": bad}) == Usage(input_tokens=3, bad=wrong)
    assert anthropic_usage({"input_tokens": bad, "output_tokens": bad}) == (Usage(bad=True) if wrong else None)
    assert openai_usage({"prompt_tokens": bad}) == (Usage(bad=True) if wrong else None)
    entry = {"type": "compaction", "input_tokens": 7, "output_tokens": bad}
    hop = anthropic_usage({"input_tokens": 1, "output_tokens": 2, "iterations": [entry]})
    assert hop is not None
    assert (hop.bad, hop.iterations[0].input_tokens) == (wrong, 7)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
NAMES = [
    "input_tokens",
    "output_tokens",
    "cache_creation",
    "cache_creation_input_tokens",
    "iterations",
    "output_tokens_details",
    "prompt_tokens",
    "server_tool_use",
    "completion_tokens",
    "prompt_tokens_details",
    "completion_tokens_details",
    "total_tokens",
    "speed",
    "service_tier",
]


@given(st.dictionaries(st.sampled_from(NAMES), JSON), st.dictionaries(st.sampled_from(NAMES), JSON))
def test_no_usage_object_raises_or_counts_below_zero(one: dict[str, Any], two: dict[str, Any]) -> None:
    for usage in (anthropic_usage(merge(one, two)), openai_usage(one)):
        if usage is not None:
            assert min(v for v in (getattr(usage, n) for n in Usage.__slots__) if isinstance(v, int)) >= 0
            assert usage.reasoning_tokens <= usage.output_tokens


MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "model": "claude-haiku-4-5",
    "content": [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "He"},
        {"type": "text", "text": "llo"},
    ],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 5},
}
COMPLETION = {
    "id": "c",
    "model": "gpt-4o-2024",
    "choices": [
        {"index": 1, "message": {"content": "other"}, "finish_reason": "length"},
        {"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"},
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    "service_tier": "default",
}


def test_a_messages_answer_is_read() -> None:
    answer, text = ANTHROPIC.read_answer("messages", json.dumps(MESSAGE).encode(), keep_text=True)
    assert (answer.usage, answer.model, answer.error) == (Usage(3, output_tokens=5), "claude-haiku-4-5", None)
    assert (answer.stop_reason, text) == ("end_turn", "Hello")
    assert ANTHROPIC.read_answer("messages", json.dumps(MESSAGE).encode())[1] == ""


def test_a_chat_answer_is_read() -> None:
    answer, text = OPENAI.read_answer("chat", json.dumps(COMPLETION).encode(), keep_text=True)
    assert answer.usage == Usage(3, output_tokens=5, service_tier="default")
    assert (answer.model, answer.stop_reason, answer.error, text) == ("gpt-4o-2024", "stop", None, "Hello")


@pytest.mark.parametrize(
    "reason",
    [
        "end_turn",
        "stop_sequence",
        "max_tokens",
        "tool_use",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
        "compaction",
        "newer",
    ],
)
def test_anthropic_stop_reasons_stay_what_the_provider_said(reason: str) -> None:
    body = json.dumps({**MESSAGE, "stop_reason": reason, "content": []}).encode()
    assert ANTHROPIC.read_answer("messages", body)[0].stop_reason == reason


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call", "newer"])
def test_openai_finish_reasons_stay_what_the_provider_said(reason: str) -> None:
    choice = {"finish_reason": reason, "message": {"content": None, "refusal": "no"}}
    answer, text = OPENAI.read_answer("chat", json.dumps({"choices": [choice]}).encode(), keep_text=True)
    assert (answer.stop_reason, answer.usage, text) == (reason, None, "no")


@pytest.mark.parametrize("usage", [None, [], "x", {}, {"input_tokens": 3}])
def test_usage_without_both_counts_is_none(usage: Any) -> None:
    assert ANTHROPIC.read_answer("messages", json.dumps({**MESSAGE, "usage": usage}).encode())[0].usage is None
    chat = {"prompt_tokens": 1} if isinstance(usage, dict) else usage
    assert OPENAI.read_answer("chat", json.dumps({**COMPLETION, "usage": chat}).encode())[0].usage is None


def test_groqs_usage_is_found_beside() -> None:
    body = {**COMPLETION, "usage": None, "x_groq": {"id": "r", "usage": {"prompt_tokens": 2, "completion_tokens": 4}}}
    usage = OPENAI.read_answer("chat", json.dumps(body).encode())[0].usage
    assert usage == Usage(2, output_tokens=4, service_tier="default")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"code": 502, "message": "upstream"}}, "502"),
        ({"error": "it broke", "code": "busy"}, "busy"),
        ({"error": [{"message": "m", "code": "c"}]}, "c"),
        ({"choices": [{"error": {"code": 429, "message": "slow"}, "finish_reason": "error"}]}, "429"),
    ],
)
def test_an_error_in_a_200_is_an_error(body: dict[str, Any], code: str) -> None:
    error = OPENAI.read_answer("chat", json.dumps(body).encode())[0].error
    assert error is not None
    assert error.code == code


def test_an_anthropic_error_in_a_200_is_an_error() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    error = ANTHROPIC.read_answer("messages", json.dumps(body).encode())[0].error
    assert error is not None
    assert (error.type, error.message, error.request_id) == ("overloaded_error", "Overloaded", "req_1")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"x"', b"{" * 50_000, b'{"model": "\xff"}'])
def test_an_answer_that_is_no_object_is_a_malformed_answer(body: bytes) -> None:
    for dialect, endpoint in ((ANTHROPIC, "messages"), (OPENAI, "chat")):
        answer, text = dialect.read_answer(endpoint, body, keep_text=True)
        assert answer.error is not None
        assert (answer.error.type, text) == ("malformed_answer", "")


@pytest.mark.parametrize("endpoint", ["models", "count_tokens", "other"])
def test_answers_without_usage_are_not_looked_at(endpoint: str) -> None:
    assert ANTHROPIC.read_answer(endpoint, b"?")[0].error is None
    assert OPENAI.read_answer(endpoint, b"?")[0].error is None


@given(
    st.dictionaries(
        st.sampled_from(["type", "model", "content", "stop_reason", "usage", "error", "choices", "x_groq"]), JSON
    )
)
def test_no_answer_raises(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    ANTHROPIC.read_answer("messages", raw, keep_text=True)
    OPENAI.read_answer("chat", raw, keep_text=True)


def test_numbers_and_surrogates_that_only_the_standard_library_reads_do_not_lose_the_usage() -> None:
    body = (
        json.dumps(MESSAGE)
        .replace('"id"', '"container": "\\ud83d", "model": "m\\ud83d", "usage2": 1e999, "id"')
        .encode()
    )
    body = body.replace(b'"output_tokens": 5', b'"output_tokens": 5, "cache_read_input_tokens": 1e999')
    assert ANTHROPIC.read_answer("messages", body)[0].usage == Usage(3, output_tokens=5, bad=True)
