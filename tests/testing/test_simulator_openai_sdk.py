"""The real OpenAI SDK against the simulator."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from headgate.testing.server import SimulatorServer

LUNA = "gpt-6-luna"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def client(headgate_simulator: SimulatorServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=headgate_simulator.openai_url, api_key="fake", max_retries=0)


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": LUNA, "messages": [{"role": "user", "content": text}], **more}


def test_a_completion_has_text_usage_and_a_tier(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ask("tokens: 20"))
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens, whole.usage.total_tokens) == (9, 20, 29)
    assert whole.service_tier == "default"


def test_usage_is_streamed_only_when_asked_for(client: openai.OpenAI) -> None:
    plain = list(client.chat.completions.create(**ask("say: one two"), stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in plain)
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(**ask("say: one two"), **asked))
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2
    assert "".join(c.choices[0].delta.content or "" for c in chunks[:-1]) == "one two"
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_n_choices_differ_and_are_all_billed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ask("hello", n=3))
    texts = [choice.message.content for choice in whole.choices]
    assert len(set(texts)) == 3
    exactly = client.chat.completions.create(**ask("tokens: 10", n=3))
    assert exactly.usage is not None
    assert exactly.usage.completion_tokens == 30


def test_the_cap_is_taken_under_the_name_the_model_wants(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ask("tokens: 50", max_completion_tokens=5))
    assert whole.choices[0].finish_reason == "length"
    old = client.chat.completions.create(**ask("tokens: 50", model="gpt-4o-mini", max_tokens=5))
    assert old.model == "gpt-4o-mini-2024-07-18"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ask("hi", max_tokens=5))
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "max_tokens")


def test_a_tool_is_called_streamed_and_not_and_its_result_is_answered(client: openai.OpenAI) -> None:
    called = client.chat.completions.create(**ask("use the tool", tools=[WEATHER]))
    assert called.choices[0].finish_reason == "tool_calls"
    calls = called.choices[0].message.tool_calls
    assert calls is not None
    assert json.loads(calls[0].function.arguments) == {"city": "sample"}  # type: ignore[union-attr]
    with client.chat.completions.stream(**ask("x", tools=[WEATHER], tool_choice="required")) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.name == "get_weather"  # type: ignore[index,union-attr]
    turns = [
        {"role": "user", "content": "use the tool"},
        called.choices[0].message.to_dict(),
        {"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"},
    ]
    after = client.chat.completions.create(model=LUNA, messages=turns, tools=[WEATHER])
    assert after.choices[0].finish_reason == "stop"


def test_structured_output_parses_and_json_mode_is_json(client: openai.OpenAI) -> None:
    class Place(BaseModel):
        name: str
        tags: list[str]

    parsed = client.chat.completions.parse(**ask("where?"), response_format=Place)
    assert parsed.choices[0].message.parsed == Place(name="sample", tags=[])
    loose = client.chat.completions.create(**ask("where?", response_format={"type": "json_object"}))
    assert isinstance(json.loads(loose.choices[0].message.content or ""), dict)


def test_reasoning_tokens_are_hidden_and_part_of_the_completion(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ask("tokens: 10", reasoning_effort="medium"))
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 74
    assert whole.usage.completion_tokens_details is not None
    assert whole.usage.completion_tokens_details.reasoning_tokens == 64


@pytest.mark.parametrize(
    ("asked", "served"), [("auto", "default"), ("flex", "flex"), ("priority", "priority"), ("fast", "priority")]
)
def test_the_response_names_the_tier_that_served(client: openai.OpenAI, asked: str, served: str) -> None:
    assert client.chat.completions.create(**ask("hi", service_tier=asked)).service_tier == served


def test_models_are_listed_and_an_unknown_one_is_a_404_in_the_dialect(client: openai.OpenAI) -> None:
    assert LUNA in [model.id for model in client.models.list()]
    assert client.models.retrieve("gpt-4o").id == "gpt-4o-2024-08-06"
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**ask("hi", model="gpt-2"))
    assert caught.value.code == "model_not_found"
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "role"),
        ({"n": 0.5}, "'n'"),
        ({"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 600_000}]}, "maximum context length"),
        ({"stream_options": [1]}, "wrong type"),
    ],
)
def test_a_wrong_request_is_a_400(client: openai.OpenAI, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client.chat.completions.create(**(ask("hi") | wrong))


def test_no_key_is_a_401_and_every_response_says_it_is_simulated(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(**ask("hi"), extra_headers={"Authorization": ""})
    assert caught.value.response.headers["x-headgate-simulated"] == "true"


def test_the_async_sdk_is_served_streamed_and_not(headgate_simulator: SimulatorServer) -> None:
    async def both() -> tuple[str | None, str]:
        async with openai.AsyncOpenAI(base_url=headgate_simulator.openai_url, api_key="fake") as client:
            whole = await client.chat.completions.create(**ask("say: one"))
            stream = await client.chat.completions.create(**ask("say: two"), stream=True)
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            return whole.choices[0].message.content, text

    assert asyncio.run(both()) == ("one", "two")
