"""Calls and words of ours as an answer: our own meters and the real SDKs take it for a complete one."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.exchange import Facts
from headgate.core.guards import ToolCall
from headgate.wire import DIALECTS
from headgate.wire.calls import JSON, STREAM, Part, say_parts

DIALECT_OF = {"messages": "anthropic", "chat": "openai", "responses": "openai"}
CALL = ToolCall("call_1", "send_email", '{"to": "ada@acme.example", "n": [1, 2.50]}', "1")
OTHER = ToolCall("call_2", "search", "", "2")

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
made = st.builds(
    ToolCall,
    st.uuids().map(str),
    st.sampled_from(["search", "send"]),
    st.dictionaries(words, st.integers() | words | st.none(), max_size=3).map(json.dumps),
)
parts_of = st.lists(words | made, min_size=1, max_size=4)


def told(endpoint: str, parts: list[Part], *, stream: bool) -> tuple[bytes, bytes]:
    facts = Facts(model="m", stream=stream, include_usage=True)
    return say_parts(endpoint, facts, parts, exchange_id="ex_1", now=1.5)


@pytest.mark.parametrize("endpoint", DIALECT_OF)
@given(parts=parts_of)
@settings(max_examples=40)
def test_it_is_metered_as_a_finished_answer_that_cost_nothing(endpoint: str, parts: list[Part]) -> None:
    dialect = DIALECTS[DIALECT_OF[endpoint]]
    kind, whole = told(endpoint, parts, stream=False)
    answer, _ = dialect.read_answer(endpoint, whole, keep_text=True)
    assert (kind, answer.error) == (JSON, None)
    assert answer.usage is not None
    kind, body = told(endpoint, parts, stream=True)
    meter = dialect.meter(endpoint, Facts(model="m", stream=True, include_usage=True), keep_text=True)
    assert meter.feed(body) + meter.finish() == body
    assert (kind, meter.ended, meter.error) == (STREAM, True, None)
    assert meter.usage is not None
    for usage in (answer.usage, meter.usage):
        assert (usage.prompt_tokens, usage.output_tokens) == (0, 0)


def sdk(endpoint: str, parts: list[Part]) -> Any:
    def answer(request: httpx2.Request) -> httpx2.Response:
        kind, body = told(endpoint, parts, stream=b'"stream":true' in request.read().replace(b" ", b""))
        return httpx2.Response(200, content=body, headers={"content-type": kind.decode()})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    vendor = anthropic.Anthropic if endpoint == "messages" else openai.OpenAI
    return vendor(api_key="not-a-key", base_url="http://headgate.test", http_client=http, max_retries=0)


ASKED: Any = {"model": "m", "messages": [{"role": "user", "content": "go"}]}


def test_anthropics_sdk_sees_the_same_calls_streamed_and_not() -> None:
    client = sdk("messages", ["Look:", CALL, OTHER])
    whole = client.messages.create(max_tokens=9, **ASKED)
    with client.messages.stream(max_tokens=9, **ASKED) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        assert message.stop_reason == "tool_use"
        assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
        assert message.content[1].input == {"to": "ada@acme.example", "n": [1, 2.5]}
        assert message.content[2].input == {}


def test_openais_sdk_sees_the_same_calls_streamed_and_not() -> None:
    client = sdk("chat", ["Look:", CALL, OTHER])
    whole = client.chat.completions.create(**ASKED)
    with client.chat.completions.stream(**ASKED) as stream:
        streamed = stream.get_final_completion()
    for completion in (whole, streamed):
        (choice,) = completion.choices
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content == "Look:"
        calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
        assert calls == [("call_1", "send_email", CALL.arguments), ("call_2", "search", "{}")]


def test_openais_sdk_sees_the_same_items_of_a_response_streamed_and_not() -> None:
    client = sdk("responses", ["Look:", CALL, OTHER])
    whole = client.responses.create(model="m", input="go")
    with client.responses.stream(model="m", input="go") as stream:
        streamed = stream.get_final_response()
    for response in (whole, streamed):
        assert response.status == "completed"
        assert response.output_text == "Look:"
        assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
        assert (response.output[1].call_id, response.output[1].arguments) == ("call_1", CALL.arguments)


def test_a_legacy_function_call_is_one_again() -> None:
    _, body = told("chat", [ToolCall("", "search", '{"q": 1}')], stream=False)
    (choice,) = json.loads(body)["choices"]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "search", "arguments": '{"q": 1}'}


def test_of_several_choices_the_first_has_it() -> None:
    _, body = say_parts("chat", Facts(model="m", choices=2), [CALL], exchange_id="ex_1", now=0)
    choices = json.loads(body)["choices"]
    assert [(each["index"], each["finish_reason"]) for each in choices] == [(0, "tool_calls"), (1, "stop")]


def test_arguments_that_are_no_json_object_are_none_in_a_message() -> None:
    _, body = told("messages", [ToolCall("c", "t", "[1"), ToolCall("d", "t", "[]")], stream=False)
    assert [block["input"] for block in json.loads(body)["content"]] == [{}, {}]
