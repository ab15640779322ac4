"""Requests with nothing out of the ordinary are read in a shorter way: it finds what the careful one finds."""

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
