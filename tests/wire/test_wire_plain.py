"""What has nothing out of the ordinary is read in a shorter way: it finds what the careful one finds."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import BadRequest
from headgate.core.exchange import Facts
from headgate.wire import DIALECTS, anthropic, openai

TEXT = st.sampled_from(["", "hi", '"type"', "\\u0074ype", "é", '{"type": "image"}', "a\nb"])
PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}),
    st.just({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}),
    st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}),
    st.just({"type": "container_upload", "file_id": "file_1"}),
    st.just({"nothing": 1}),
)
ROLE = st.sampled_from(["system", "developer", "user", "assistant"])
MESSAGE = st.fixed_dictionaries({"role": ROLE, "content": st.one_of(TEXT, st.lists(PART, max_size=3))})
TOOL = st.sampled_from(
    [{"name": "a"}, {"type": "custom", "name": "b"}, {"type": "function", "function": {}}, {"type": "bash_1"},
     {"type": "web_search"}, {"type": 1}, None]
)  # fmt: skip
ODD = st.sampled_from(
    [None, {}, [], "", "x", 0, {"user_id": "u"}, {"id": "resp_1"}, {"include_usage": True}, ["audio"]]
)
ODD_KEYS = [
    "metadata", "container", "mcp_servers", "thread", "previous_message_id", "fallbacks", "compaction", "speed", "user",
    "safety_identifier", "stream_options", "web_search_options", "search_parameters", "modalities", "plugins",
    "functions", "conversation", "previous_response_id", "typed",
]  # fmt: skip
BODY = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.integers(0, 9), "messages": st.lists(MESSAGE, max_size=3)},
    optional={
        "stream": st.sampled_from([True, False, None]),
        "system": st.one_of(TEXT, st.lists(PART, max_size=2)),
        "max_completion_tokens": st.integers(0, 9),
        "n": st.integers(1, 3),
        "tools": st.lists(TOOL, max_size=2),
        **dict.fromkeys(ODD_KEYS, ODD),
    },
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(BODY, st.sampled_from([("anthropic", "messages"), ("openai", "chat")]), st.booleans(), st.booleans())
def test_a_plain_request_is_read_as_the_careful_way_reads_it(
    body: dict[str, Any], where: tuple[str, str], keep_text: bool, ascii_only: bool
) -> None:
    raw = json.dumps(body, ensure_ascii=ascii_only).encode()

    def read() -> Facts | str:
        try:
            return DIALECTS[where[0]].read_request(where[1], raw, keep_text=keep_text)
        except BadRequest as error:
            return error.message

    short = read()
    with (
        patch.object(anthropic, "_closer_looks", lambda _: (True,)),
        patch.object(openai, "_closer_looks", lambda _: (True,)),
    ):
        assert short == read()


@pytest.mark.parametrize("model", ["", " ", "m" * 2000, "AKIA" + "QYLPMN5HFIQR7XYA"])
def test_a_model_that_is_no_name_is_refused_each_time(model: str) -> None:
    raw = json.dumps({"model": model, "max_tokens": 1, "messages": []}).encode()
    for _ in range(2):
        with pytest.raises(BadRequest, match="model"):
            DIALECTS["anthropic"].read_request("messages", raw)


def test_no_request_changes_what_the_next_one_is_read_from() -> None:
    said = {"model": "m", "max_tokens": 5, "messages": [], "stream": True, "system": "s", "n": 3}
    for dialect, endpoint in (("anthropic", "messages"), ("openai", "chat")):
        read = DIALECTS[dialect].read_request
        read(endpoint, json.dumps(said).encode())
        plain = read(endpoint, json.dumps({"model": "m", "max_tokens": 5, "messages": []}).encode())
        assert plain == Facts(model="m", max_output_tokens=5)


COUNT: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 40), st.sampled_from([None, -1, 1.5, 2.0, True, "3", 1 << 60, {}])
)
DETAILS = st.one_of(
    st.none(),
    st.just([]),
    st.dictionaries(
        st.sampled_from(["cached_tokens", "cache_write_tokens", "audio_tokens", "reasoning_tokens"]), COUNT, max_size=3
    ),
    st.just({"cached_tokens": 9, "cached_tokens_details": {"audio_tokens": 4}}),
    st.just({"cache_write_tokens": 9, "cache_write_tokens_details": {"ttl_12h_tokens": 4}}),
)
USAGE = st.one_of(
    st.sampled_from([None, {}, [], "x"]),
    st.fixed_dictionaries(
        {"prompt_tokens": COUNT, "completion_tokens": COUNT},
        optional={
            "total_tokens": COUNT,
            "prompt_tokens_details": DETAILS,
            "completion_tokens_details": DETAILS,
            "prompt_cache_hit_tokens": COUNT,
            "service_tier": st.sampled_from([None, "", "flex", 1]),
        },
    ),
)
CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, 1, None, "x"]),
        "finish_reason": st.sampled_from([None, "stop", "length", 3]),
        "message": st.sampled_from([None, {"content": "hi"}, {"refusal": "no"}, {"content": [1]}, "x"]),
        "error": st.sampled_from([None, {}, {"message": "broken"}]),
    },
)
ANSWER = st.fixed_dictionaries(
    {"choices": st.one_of(st.lists(CHOICE, max_size=2), st.none()), "model": st.sampled_from(["m", None, 3])},
    optional={
        "usage": USAGE,
        "service_tier": st.sampled_from([None, "", "default", 2]),
        "error": st.sampled_from([None, {}, {"message": "broken"}]),
        "x_groq": st.just({"usage": {"prompt_tokens": 1, "completion_tokens": 2}}),
    },
)


class Refusing:
    @staticmethod
    def decode(_: bytes) -> None:
        raise ValueError


@settings(max_examples=800, deadline=None)
@given(ANSWER, st.booleans())
def test_a_plain_answer_of_chat_is_read_as_the_careful_way_reads_it(answer: dict[str, Any], keep_text: bool) -> None:
    raw = json.dumps(answer).encode()
    read = DIALECTS["openai"].read_answer
    short = read("chat", raw, keep_text=keep_text)
    with patch.object(openai, "_plain_answer", Refusing):
        assert short == read("chat", raw, keep_text=keep_text)
