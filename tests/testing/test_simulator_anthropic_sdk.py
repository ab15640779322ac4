"""The real Anthropic SDK against the simulator."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

from headgate.testing.server import SimulatorServer

HAIKU = "claude-haiku-4-5"
WEATHER = {
    "name": "get_weather",
    "description": "The weather",
    "input_schema": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "minimum": 2},
            "unit": {"enum": ["C", "F"]},
        },
        "required": ["city", "days", "unit"],
    },
}


@pytest.fixture
def client(headgate_simulator: SimulatorServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=headgate_simulator.url, api_key="fake", max_retries=0)


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": HAIKU, "max_tokens": 300, "messages": [{"role": "user", "content": text}], **more}


def test_a_message_has_text_usage_and_the_dated_model(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ask("tokens: 20"))
    assert message.model == "claude-haiku-4-5-20251001"
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (9, 20)
    assert message.usage.service_tier == "standard"


def test_the_same_seed_and_request_give_the_same_answer_streamed_or_not(client: anthropic.Anthropic) -> None:
    first = client.messages.create(**ask("hello"))
    again = client.messages.create(**ask("hello"))
    other = client.messages.create(**ask("hello!"))
    assert first.content == again.content
    assert first.content != other.content


def test_say_is_echoed_through_the_streaming_helper(client: anthropic.Anthropic) -> None:
    with client.messages.stream(**ask("say: one 🌊 two")) as stream:
        assert "".join(stream.text_stream) == "one 🌊 two"
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 4  # "one ", the emoji's two, " two"
    assert final.usage.input_tokens == 12


def test_a_stream_has_every_event_kind_in_order(client: anthropic.Anthropic) -> None:
    stream = client.messages.create(**ask("tokens: 8"), stream=True)
    kinds = [event.type for event in stream]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_the_cap_cuts_the_answer_and_says_so(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ask("tokens: 50", max_tokens=7))
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 7)


def test_a_stop_sequence_ends_the_answer_before_itself(client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ask("say: one two three", stop_sequences=["three", "two"]))
    assert message.content[0].text == "one "  # type: ignore[union-attr]  # a text block
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "two")


def test_a_tool_is_called_with_arguments_of_its_schema_and_its_result_is_answered_in_text(
    client: anthropic.Anthropic,
) -> None:
    question = {"role": "user", "content": "please use get_weather"}
    called = client.messages.create(model=HAIKU, max_tokens=200, tools=[WEATHER], messages=[question])
    block = called.content[0]
    assert called.stop_reason == "tool_use"
    assert block.type == "tool_use"
    assert (block.name, block.input) == ("get_weather", {"city": "sample", "days": 2, "unit": "C"})
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
    turns = [question, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
    final = client.messages.create(model=HAIKU, max_tokens=200, tools=[WEATHER], messages=turns)
    assert (final.stop_reason, final.content[0].type) == ("end_turn", "text")


def test_a_forced_tool_streams_its_arguments_in_fragments(client: anthropic.Anthropic) -> None:
    choice = {"type": "tool", "name": "get_weather"}
    with client.messages.stream(**ask("hello", tools=[WEATHER], tool_choice=choice)) as stream:
        fragments = [e.partial_json for e in stream if e.type == "input_json"]
        final = stream.get_final_message()
    assert len(fragments) > 1
    assert final.content[0].input["days"] == 2  # type: ignore[union-attr]  # a tool block
    whole = client.messages.create(**ask("hello", tools=[WEATHER], tool_choice=choice))
    assert whole.usage.output_tokens == final.usage.output_tokens


def test_structured_output_parses_into_the_model(client: anthropic.Anthropic) -> None:
    class Place(BaseModel):
        name: str
        population: int

    parsed = client.messages.parse(**ask("where?"), output_format=Place).parsed_output
    assert parsed == Place(name="sample", population=1)


def test_thinking_comes_signed_and_must_come_back_unchanged(client: anthropic.Anthropic) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = client.messages.create(**ask("tokens: 10", max_tokens=2000, thinking=thinking))
    block = message.content[0]
    assert block.type == "thinking"
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens == 10 + message.usage.output_tokens_details.thinking_tokens
    turns = [
        {"role": "user", "content": "tokens: 10"},
        {"role": "assistant", "content": [block.to_dict(), {"type": "text", "text": "x"}]},
        {"role": "user", "content": "more"},
    ]
    client.messages.create(model=HAIKU, max_tokens=100, messages=turns)
    turns[1]["content"][0]["thinking"] += "!"  # type: ignore[index]  # built above
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        client.messages.create(model=HAIKU, max_tokens=100, messages=turns)


def test_count_tokens_agrees_with_the_bill(client: anthropic.Anthropic) -> None:
    messages = [{"role": "user", "content": "Grüße, 世界 👋 and a longer tail"}]
    counted = client.messages.count_tokens(model=HAIKU, messages=messages, tools=[WEATHER]).input_tokens
    billed = client.messages.create(model=HAIKU, max_tokens=1, messages=messages, tools=[WEATHER]).usage.input_tokens
    assert counted == billed


def test_models_are_listed_in_pages_and_found_by_id(client: anthropic.Anthropic) -> None:
    ids = [model.id for model in client.models.list(limit=5)]
    assert len(ids) == len(set(ids)) == 16
    assert client.models.retrieve(HAIKU).id == "claude-haiku-4-5-20251001"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_the_new_version_refuses_sampling_and_the_old_one_takes_it(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**ask("hi"), extra_body={"temperature": 1})
    assert caught.value.body["error"]["message"] == "temperature: Extra inputs are not permitted"  # type: ignore[index]
    old = {"anthropic-version": "2023-06-01"}
    assert client.messages.create(**ask("hi"), extra_body={"temperature": 0}, extra_headers=old).stop_reason


def test_both_credential_headers_are_taken_and_none_is_a_401(
    headgate_simulator: SimulatorServer, client: anthropic.Anthropic
) -> None:
    client.messages.create(**ask("hi"))
    old_key = "fake-" + "x-api-key"
    client.messages.create(**ask("hi"), extra_headers={"x-api-key": old_key})
    seen = headgate_simulator.requests()
    assert [r["credential_header"] for r in seen] == ["authorization", "x-api-key"]
    assert old_key not in str(seen)
    with pytest.raises(anthropic.AuthenticationError):
        client.messages.create(**ask("hi"), extra_headers={"Authorization": anthropic.Omit()})


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"model": "claude-3-haiku-20240307"}, 404, "model: claude-3-haiku"),
        ({"max_tokens": 64_001}, 400, "maximum allowed number of output tokens"),
        ({"messages": []}, 400, "at least one message"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "messages.0.content"),
        ({"messages": "hello"}, 400, "valid list"),
        ({"output_config": "loud"}, 400, "wrong type"),
        ({"model": "claude-opus-5-5", "tools": [WEATHER], "tool_choice": {"type": "any"}}, 400, "forced tool use"),
        ({"model": "claude-opus-4-8", "messages": [{"role": "assistant", "content": "x"}]}, 400, "prefill"),
        ({"messages": [{"role": "user", "content": "x" * 900_000}]}, 400, "prompt is too long"),
    ],
)
def test_a_wrong_request_is_refused_in_the_dialect(
    client: anthropic.Anthropic, wrong: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**(ask("hi", timeout=60) | wrong))
    assert caught.value.status_code == status
    assert words in caught.value.message
    assert caught.value.request_id is not None


def test_every_response_says_that_it_is_simulated(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(**ask("hi"))
    assert raw.headers["x-headgate-simulated"] == "true"
    assert raw.headers["anthropic-organization-id"]
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(**ask("hi", model="nope"))
    assert caught.value.response.headers["x-headgate-simulated"] == "true"


def test_the_async_sdk_is_served_streamed_and_not(headgate_simulator: SimulatorServer) -> None:
    async def both() -> tuple[str, str]:
        async with anthropic.AsyncAnthropic(base_url=headgate_simulator.url, api_key="fake") as client:
            message = await client.messages.create(**ask("say: one"))
            async with client.messages.stream(**ask("say: two")) as stream:
                text = "".join([t async for t in stream.text_stream])
            return message.content[0].text, text  # type: ignore[union-attr]  # a text block

    assert asyncio.run(both()) == ("one", "two")
