"""Conversations and tools between the dialects: a golden pair for every row of the mapping."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from headgate.core.errors import BadRequest
from headgate.wire import ANTHROPIC, OPENAI
from headgate.wire.translate import NOT_TRANSLATABLE, LossPolicy, Translated, translate_request

GPT, CLAUDE = "gpt-4o", "claude-haiku-4-5"
USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"], "additionalProperties": False}
A_TOOL = {"name": "look", "description": "Looks.", "input_schema": SCHEMA}
O_TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA}}
DROP = LossPolicy("drop")
PNG = base64.b64encode(b"not really a picture").decode()
Pair = tuple[dict[str, Any], tuple[str, ...]]


def read(translated: Translated) -> Pair:
    return json.loads(translated.body), translated.report


def to_openai(*, model: str = GPT, policy: LossPolicy = DROP, newest: bool = True, **fields: Any) -> Pair:
    body = {"model": "claude-opus-5", "max_tokens": 300, "messages": [USER], **fields}
    told = translate_request(
        "anthropic", "openai", json.dumps(body).encode(), model=model, policy=policy, newest=newest
    )
    OPENAI.read_request("chat", told.body)
    return read(told)


def to_anthropic(*, model: str = CLAUDE, policy: LossPolicy = DROP, default: int | None = 1000, **fields: Any) -> Pair:
    body = {"model": "gpt-4o", "messages": [USER], **fields}
    told = translate_request(
        "openai",
        "anthropic",
        json.dumps(body).encode(),
        model=model,
        max_output_tokens_default=default,
        policy=policy,
    )
    ANTHROPIC.read_request("messages", told.body)
    return read(told)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_a_whole_messages_request_becomes_a_whole_chat_request() -> None:
    assert to_openai(system="be kind", stream=True) == (
        {
            "model": GPT,
            "messages": [{"role": "system", "content": "be kind"}, USER],
            "max_completion_tokens": 300,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
        (),
    )


def test_a_whole_chat_request_becomes_a_whole_messages_request() -> None:
    messages = [{"role": "developer", "content": "be kind"}, USER]
    assert to_anthropic(messages=messages, stream=True, stream_options={"include_usage": True}) == (
        {"model": CLAUDE, "max_tokens": 1000, "messages": [USER], "stream": True, "system": "be kind"},
        (),
    )


# System


def test_system_blocks_stay_apart_and_lose_their_cache_control() -> None:
    body, report = to_openai(system=[{**text("a"), "cache_control": {"type": "ephemeral"}}, text("b")])
    assert body["messages"][0] == {"role": "system", "content": [text("a"), text("b")]}
    assert report == ("cache_control",)


def test_leading_system_messages_are_joined() -> None:
    leading = [{"role": "system", "content": "a"}, {"role": "developer", "content": [text("b")]}]
    assert to_anthropic(messages=[*leading, USER])[0]["system"] == [text("a"), text("b")]


MIDDLE = {"role": "system", "content": "now in French"}
ANSWER = {"role": "assistant", "content": "hello"}


def test_a_later_system_message_of_anthropics_stays_where_it_is() -> None:
    body, report = to_openai(messages=[USER, MIDDLE, ANSWER, USER])
    assert (body["messages"], report) == ([USER, MIDDLE, ANSWER, USER], ())


def test_a_later_system_message_is_hoisted_where_the_model_takes_none() -> None:
    body, report = to_anthropic(messages=[USER, MIDDLE, ANSWER, USER])
    assert (body["system"], body["messages"], report) == (
        "now in French",
        [USER, ANSWER, USER],
        ("system_position",),
    )


def test_a_later_system_message_stays_behind_a_user_turn_where_the_model_takes_it() -> None:
    body, report = to_anthropic(model="claude-opus-5", messages=[USER, MIDDLE, ANSWER, USER])
    assert (body["messages"], report) == ([USER, MIDDLE, ANSWER, USER], ())


def test_a_system_message_before_a_user_turn_moves_behind_it_because_the_api_takes_it_only_there() -> None:
    body, report = to_anthropic(model="claude-opus-5", messages=[USER, ANSWER, MIDDLE, USER])
    assert (body["messages"], report) == ([USER, ANSWER, USER, MIDDLE], ("system_position",))


def test_a_system_message_that_no_user_turn_follows_goes_to_the_top() -> None:
    body, report = to_anthropic(model="claude-opus-5", messages=[USER, ANSWER, MIDDLE, ANSWER])
    assert (body["system"], body["messages"]) == ("now in French", [USER])
    assert report == ("system_position", "prefill")


# Turns


def test_turns_of_one_role_are_merged_for_anthropic() -> None:
    body, _ = to_anthropic(messages=[USER, USER, ANSWER, ANSWER, USER])
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"] == [text("hi"), text("hi")]


def test_a_prefill_is_dropped_where_the_model_takes_none_and_kept_where_it_does() -> None:
    prefill = {"role": "assistant", "content": "It is \n"}
    assert to_anthropic(model="claude-sonnet-5", messages=[USER, prefill]) == (
        {"model": "claude-sonnet-5", "max_tokens": 1000, "messages": [USER]},
        ("prefill",),
    )
    kept, report = to_anthropic(messages=[USER, prefill])
    assert (kept["messages"][-1], report) == ({"role": "assistant", "content": "It is"}, ())
    body, report = to_openai(messages=[USER, prefill])
    assert (body["messages"], report) == ([USER], ("prefill",))


def test_blank_texts_that_anthropic_refuses_are_left_out() -> None:
    messages = [USER, {"role": "assistant", "content": ""}, {"role": "user", "content": [text(" "), text("x")]}]
    assert to_anthropic(messages=messages)[0]["messages"] == [{"role": "user", "content": [text("hi"), text("x")]}]


def test_a_refusal_in_the_history_is_text() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "I will not."}
    assert to_anthropic(messages=[USER, refused, USER])[0]["messages"][1]["content"] == "I will not."


def test_authors_names_are_reported() -> None:
    assert to_anthropic(messages=[{**USER, "name": "ada"}])[1] == ("name",)


# Images and documents


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ({"type": "base64", "media_type": "image/png", "data": PNG}, f"data:image/png;base64,{PNG}"),
        ({"type": "url", "url": "https://example.test/a.png"}, "https://example.test/a.png"),
    ],
)
def test_an_image_goes_both_ways(source: dict[str, Any], url: str) -> None:
    block = {"type": "image", "source": source}
    part = {"type": "image_url", "image_url": {"url": url}}
    assert to_openai(messages=[{"role": "user", "content": [text("see"), block]}])[0]["messages"] == [
        {"role": "user", "content": [text("see"), part]}
    ]
    body, report = to_anthropic(messages=[{"role": "user", "content": [text("see"), part]}])
    assert (body["messages"], report) == ([{"role": "user", "content": [text("see"), block]}], ())


def test_an_images_detail_is_reported_and_a_misnamed_type_is_put_right() -> None:
    url = {"url": f"data:image/jpg;base64,{PNG}", "detail": "high"}
    body, report = to_anthropic(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": url}]}])
    assert body["messages"][0]["content"][0]["source"]["media_type"] == "image/jpeg"
    assert report == ("image_detail",)


@pytest.mark.parametrize("url", ["ftp://x/y", "data:image/png,raw", "", "javascript:1"])
def test_an_image_that_is_neither_an_https_nor_a_base64_url_is_refused(url: str) -> None:
    with pytest.raises(BadRequest, match=r"messages\.0\.content\.0\.image_url\.url"):
        to_anthropic(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])


def test_a_pdf_goes_both_ways() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": PNG}
    block = {"type": "document", "source": source, "title": "a.pdf"}
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}}
    assert to_openai(messages=[{"role": "user", "content": [block]}])[0]["messages"][0]["content"] == [part]
    assert to_anthropic(messages=[{"role": "user", "content": [part]}])[0]["messages"][0]["content"] == [block]


def test_documents_of_text_become_text_and_say_that_citations_are_lost() -> None:
    block = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "words"},
        "title": "T",
        "context": "C",
        "citations": {"enabled": True},
    }
    body, report = to_openai(messages=[{"role": "user", "content": [block]}])
    assert body["messages"][0]["content"] == [text("T\nC"), text("words")]
    assert report == ("citations",)


def test_a_search_result_becomes_text() -> None:
    block = {"type": "search_result", "title": "T", "source": "S", "content": [text("found")]}
    body, report = to_openai(messages=[{"role": "user", "content": [block]}])
    assert (body["messages"], report) == ([{"role": "user", "content": "T\nS\nfound"}], ())


def test_a_file_of_plain_text_becomes_a_document() -> None:
    data = base64.b64encode("Grüße".encode()).decode()
    part = {"type": "file", "file": {"file_data": f"data:text/plain;charset=utf-8;base64,{data}"}}
    source = to_anthropic(messages=[{"role": "user", "content": [part]}])[0]["messages"][0]["content"][0]["source"]
    assert source == {"type": "text", "media_type": "text/plain", "data": "Grüße"}


# Tools


def test_a_tool_goes_both_ways_with_its_strictness() -> None:
    body, report = to_openai(tools=[{**A_TOOL, "strict": True}])
    assert body["tools"] == [{**O_TOOL, "function": {**O_TOOL["function"], "strict": True}}]
    assert report == ()
    assert to_anthropic(tools=body["tools"])[0]["tools"] == [{**A_TOOL, "strict": True}]


def test_a_strict_tool_that_openai_would_not_take_is_not_strict_there() -> None:
    body, report = to_openai(tools=[{**A_TOOL, "strict": True, "input_schema": {"type": "object"}}])
    assert (body["tools"][0]["function"]["strict"], report) == (False, ("json_schema",))


def test_a_function_without_parameters_gets_the_schema_that_anthropic_wants() -> None:
    body, _ = to_anthropic(tools=[{"type": "function", "function": {"name": "now"}}])
    assert body["tools"] == [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_the_choice_of_tools_goes_both_ways(ours: Any, theirs: Any) -> None:
    assert to_openai(tools=[A_TOOL], tool_choice=ours)[0]["tool_choice"] == theirs
    assert to_anthropic(tools=[O_TOOL], tool_choice=theirs)[0]["tool_choice"] == ours


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-fable-5-1"])
def test_a_forced_call_becomes_an_instruction_where_the_model_cannot_be_forced(model: str) -> None:
    choice = {"type": "function", "function": {"name": "look"}}
    body, report = to_anthropic(model=model, tools=[O_TOOL], tool_choice=choice)
    assert body["tool_choice"] == {"type": "auto"}
    assert "`look`" in body["system"]
    assert report == ("tool_choice",)


def test_parallel_calls_are_inverted_and_need_a_choice_to_stand_in() -> None:
    assert to_openai(tools=[A_TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})[0][
        "parallel_tool_calls"
    ] is (False)
    body, _ = to_anthropic(tools=[O_TOOL], parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert "tool_choice" not in to_anthropic(tools=[O_TOOL], parallel_tool_calls=True)[0]


def test_allowed_tools_are_the_only_ones_that_are_sent() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "look"}}]}
    body, report = to_anthropic(tools=[O_TOOL, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"], report) == (["look"], {"type": "any"}, ())


def a_use(called: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": called, "name": "look", "input": given}


def o_call(called: str, arguments: str) -> dict[str, Any]:
    return {"id": called, "type": "function", "function": {"name": "look", "arguments": arguments}}


A_TURNS = [
    USER,
    {"role": "assistant", "content": [text("well"), a_use("toolu_1", q="a"), a_use("toolu_2", q="ä")]},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "two"},
            text("go on"),
        ],
    },
]
O_TURNS = [
    USER,
    {
        "role": "assistant",
        "content": "well",
        "tool_calls": [o_call("toolu_1", '{"q":"a"}'), o_call("toolu_2", '{"q":"ä"}')],
    },
    {"role": "tool", "tool_call_id": "toolu_1", "content": "one"},
    {"role": "tool", "tool_call_id": "toolu_2", "content": "two"},
    {"role": "user", "content": "go on"},
]


def test_results_are_split_into_messages_and_grouped_into_one_turn() -> None:
    assert to_openai(messages=A_TURNS)[0]["messages"] == O_TURNS
    assert to_anthropic(messages=O_TURNS)[0]["messages"] == A_TURNS


def test_results_over_two_user_turns_all_come_before_the_users_words() -> None:
    split = [*A_TURNS[:2], {"role": "user", "content": A_TURNS[2]["content"][:1]}]
    split.append({"role": "user", "content": A_TURNS[2]["content"][1:]})
    assert to_openai(messages=split)[0]["messages"] == O_TURNS


def test_a_result_that_is_an_error_says_so_and_its_image_follows_in_a_user_message() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.test/a.png"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "is_error": True,
        "content": [text("no"), image],
    }
    body, report = to_openai(
        messages=[
            USER,
            {"role": "assistant", "content": [a_use("toolu_1")]},
            {"role": "user", "content": [result, text("go on")]},
        ]
    )
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "toolu_1", "content": "Error: no"}
    assert body["messages"][3]["content"] == [
        text("Belongs to the result of tool call toolu_1:"),
        {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}},
        text("go on"),
    ]
    assert report == ()


def test_ids_that_the_other_side_does_not_take_are_made_fit_and_keep_their_pairs() -> None:
    messages = []
    for _ in range(2):  # a provider that numbers each turn's calls from zero
        messages += [USER, {"role": "assistant", "tool_calls": [o_call("functions.look:0", "{}")]}]
        messages.append({"role": "tool", "tool_call_id": "functions.look:0", "content": "x"})
    turns = to_anthropic(messages=messages)[0]["messages"]
    first, second = turns[1]["content"][0]["id"], turns[3]["content"][0]["id"]
    assert first == "functions_look_0" != second
    results = [block["tool_use_id"] for turn in (turns[2], turns[4]) for block in turn["content"][:1]]
    assert results == [first, second]
    long = "toolu_" + "x" * 60
    turns = to_openai(
        messages=[
            USER,
            {"role": "assistant", "content": [a_use(long)]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": long}]},
        ]
    )[0]["messages"]
    assert len(turns[1]["tool_calls"][0]["id"]) <= 40
    assert turns[2]["tool_call_id"] == turns[1]["tool_calls"][0]["id"]


@pytest.mark.parametrize("arguments", ["{", "[1]", '{"a": NaN}', "words"])
def test_arguments_that_are_no_object_are_wrapped_and_reported(arguments: str) -> None:
    turns = [
        USER,
        {"role": "assistant", "tool_calls": [o_call("call_1", arguments)]},
        {"role": "tool", "tool_call_id": "call_1", "content": "bad"},
    ]
    body, report = to_anthropic(messages=turns)
    assert body["messages"][1]["content"][0]["input"] == {"invalid_json": arguments}
    assert report == ("tool_arguments",)


@pytest.mark.parametrize(
    "messages",
    [
        [USER, {"role": "tool", "tool_call_id": "call_1", "content": "x"}],
        [USER, {"role": "assistant", "tool_calls": [o_call("call_1", "{}")]}, USER],
        [USER, {"role": "assistant", "tool_calls": [o_call("call_1", "{}")]}],
        [USER, {"role": "assistant", "tool_calls": [o_call("call_1", "{}"), o_call("call_1", "{}")]}],
    ],
)
def test_calls_and_results_that_do_not_pair_up_are_refused(messages: list[Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        to_anthropic(messages=messages)
    assert caught.value.code == "invalid_request"


def test_a_tools_name_too_long_for_openai_is_refused_because_answers_would_name_another() -> None:
    with pytest.raises(BadRequest, match=r"tools\.0\.name") as caught:
        to_openai(tools=[{**A_TOOL, "name": "n" * 65}])
    assert caught.value.code == NOT_TRANSLATABLE


def test_a_dropped_call_takes_its_result_with_it() -> None:
    custom = {"id": "call_1", "type": "custom", "custom": {"name": "sql", "input": "select"}}
    turns = [
        USER,
        {"role": "assistant", "content": "x", "tool_calls": [custom]},
        {"role": "tool", "tool_call_id": "call_1", "content": "r"},
        USER,
    ]
    body, report = to_anthropic(messages=turns)
    assert [turn["content"] for turn in body["messages"]] == ["hi", "x", "hi"]
    assert report == ("custom_tools",)
