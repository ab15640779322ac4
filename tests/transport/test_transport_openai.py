"""The real OpenAI SDK, unmodified, over a gate, in front of the simulator."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel

import headgate
from headgate import Gate
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Rule, Scenario, When

LUNA = "gpt-6-luna"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "strict": True, "parameters": PARAMETERS}}


@pytest.fixture
def client(gate: Gate, headgate_simulator: SimulatorServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=headgate_simulator.openai_url, api_key="fake", http_client=gate.client())


def ask(text: str = "hello", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": LUNA, "max_completion_tokens": 300, "messages": messages, **more}


def plain(sim: SimulatorServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=sim.openai_url, api_key="fake", max_retries=0)


def agrees(gate: Gate, sim: SimulatorServer) -> None:
    """The ledger's total is the simulated provider's invoice, to the nano-dollar."""
    assert gate.usage().total.cost_nano == sim.invoice()["total"]["cost_nano"] > 0


def test_a_completion_is_what_the_sdk_gets_without_headgate(
    client: openai.OpenAI, gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    governed = client.chat.completions.create(**ask())
    agrees(gate, headgate_simulator)
    bare = plain(headgate_simulator).chat.completions.create(**ask())
    assert governed.choices == bare.choices
    assert governed.usage == bare.usage
    assert governed._request_id
    assert (headgate.last().ending, headgate.last().estimated) == ("complete", False)


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_has_the_chunks_it_has_without_headgate_and_is_charged_exactly(
    client: openai.OpenAI, gate: Gate, headgate_simulator: SimulatorServer, include_usage: bool
) -> None:
    told = ask(
        "say: one two three four five",
        stream=True,
        **({"stream_options": {"include_usage": True}} if include_usage else {}),
    )
    governed = [c.model_dump(exclude={"id", "created", "usage"}) for c in client.chat.completions.create(**told)]
    agrees(gate, headgate_simulator)
    bare = plain(headgate_simulator).chat.completions.create(**told)
    assert governed == [c.model_dump(exclude={"id", "created", "usage"}) for c in bare]
    assert (headgate.last().ending, headgate.last().estimated) == ("complete", False)
    assert any(not c["choices"] for c in governed) is include_usage


def test_the_streaming_helper_works(client: openai.OpenAI, gate: Gate, headgate_simulator: SimulatorServer) -> None:
    with client.chat.completions.stream(**ask("say: one \N{WATER WAVE} two")) as stream:
        text = "".join(e.delta for e in stream if e.type == "content.delta")
        final = stream.get_final_completion()
    assert text == final.choices[0].message.content == "one \N{WATER WAVE} two"
    agrees(gate, headgate_simulator)


def test_tools_work_streamed_and_not(client: openai.OpenAI) -> None:
    told = ask(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}})
    call = client.chat.completions.create(**told).choices[0].message.tool_calls[0]
    with client.chat.completions.stream(**told) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert set(json.loads(call.function.arguments)) == {"city"}
    assert streamed.function.arguments == call.function.arguments


def test_structured_outputs_are_parsed(client: openai.OpenAI) -> None:
    class City(BaseModel):
        name: str
        people: int

    parsed = client.chat.completions.parse(**ask(), response_format=City)
    assert isinstance(parsed.choices[0].message.parsed, City)


def test_raw_and_streaming_responses_show_our_headers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**ask())
    assert raw.headers["x-headgate-exchange"] == headgate.last().exchange_id
    assert raw.parse().choices[0].finish_reason == "stop"
    with client.chat.completions.with_streaming_response.create(**ask(stream=True)) as response:
        body = b"".join(response.iter_bytes())
    assert body.index(b"data: [DONE]") < body.index(b": x-headgate-exchange=")


def test_models_are_listed_for_nothing(client: openai.OpenAI, gate: Gate) -> None:
    assert LUNA in {model.id for model in client.models.list()}
    assert (gate.usage().total.exchanges, gate.usage().total.cost_nano) == (1, 0)


def test_the_asynchronous_sdk_works_streamed_and_not(gate: Gate, headgate_simulator: SimulatorServer) -> None:
    async def main() -> str:
        async with openai.AsyncOpenAI(
            base_url=headgate_simulator.openai_url, api_key="fake", http_client=gate.async_client()
        ) as client:
            whole = await client.chat.completions.create(**ask("say: hi"))
            chunks = await client.chat.completions.create(**ask("say: hi", stream=True))
            text = "".join([c.choices[0].delta.content or "" async for c in chunks])
            async with client.chat.completions.stream(**ask("say: hi")) as stream:
                final = await stream.get_final_completion()
        return whole.choices[0].message.content + text + final.choices[0].message.content

    assert asyncio.run(main()) == "hihihi"
    agrees(gate, headgate_simulator)


def test_a_stream_that_breaks_off_raises_the_sdks_own_error(
    client: openai.OpenAI, headgate_simulator: SimulatorServer, gate: Gate
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("cut", after_events=6)),)))
    with pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(**ask("tokens: 100", stream=True)))
    assert caught.value.code == "provider_broken"
    assert headgate.last().ending == "cut"
    assert gate.usage().total.cost_nano >= headgate_simulator.invoice()["total"]["cost_nano"] > 0


def test_a_stream_without_its_end_is_no_silent_success(
    client: openai.OpenAI, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("cut", after_events=6, how="fin")),)))
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(**ask("tokens: 100", stream=True)))
    assert headgate.last().ending == "cut"


def test_a_stream_without_usage_and_done_is_no_success_and_is_charged_no_less_than_it_cost(
    client: openai.OpenAI, headgate_simulator: SimulatorServer, gate: Gate
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("no_terminal")),)))
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(**ask("tokens: 100", stream=True)))
    assert (headgate.last().ending, headgate.last().estimated) == ("cut", True)
    assert gate.usage().total.cost_nano >= headgate_simulator.invoice()["total"]["cost_nano"] > 0


def test_an_sdk_left_at_its_default_retries_does_not_amplify(
    client: openai.OpenAI, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load("outage")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**ask())
    assert (caught.value.status_code, caught.value.code) == (503, "provider_busy")
    assert headgate.refusal(caught.value) is None
    assert len(headgate_simulator.requests()) == 4


def test_exhausted_money_is_not_asked_again(client: openai.OpenAI, headgate_simulator: SimulatorServer) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("spend_limit")),)))
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**ask())
    assert caught.value.code == "insufficient_quota"  # the account is the caller's own
    assert len(headgate_simulator.requests()) == 1


def test_a_refusal_of_ours_is_the_sdks_typed_error_and_can_be_had_back(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ask(model="gpt-made-up"))
    assert caught.value.code == "unknown_price"
    assert headgate.refusal(caught.value).exchange_id == headgate.last().exchange_id


def test_a_user_of_the_body_is_attributed(client: openai.OpenAI, gate: Gate) -> None:
    client.chat.completions.create(**ask(safety_identifier="ada"))
    assert gate.usage(user="ada").total.exchanges == 1


def test_a_callers_malformed_body_is_refused_before_it_is_sent(
    client: openai.OpenAI, headgate_simulator: SimulatorServer, gate: Gate
) -> None:
    with pytest.raises(openai.BadRequestError, match="messages"):
        client.post("/chat/completions", body={"model": LUNA}, cast_to=dict)
    assert headgate_simulator.requests() == []
    assert gate.usage(ending="refused").total.exchanges == 1


def test_both_sdks_fall_back_to_a_configured_route(
    make_gate: Callable[..., Gate], headgate_simulator: SimulatorServer
) -> None:
    gate = make_gate(
        providers={
            "spare": {
                "dialect": "openai",
                "base_url": headgate_simulator.openai_url,
                "api_key": "env:SPARE_KEY",
                "price": {"input": 1, "output": 2},
            }
        },
        models={"fast": [f"openai/{LUNA}", f"spare/{LUNA}"]},
        env={"SPARE_KEY": "fake-spare"},
    )
    headgate_simulator.load(Scenario(rules=(Rule(Fault("auth"), when=When(nth=(1,))),)))
    # Another spelling of the same address: the SDK's own base URL is not the spare provider's.
    own = headgate_simulator.openai_url.replace("127.0.0.1", "localhost")
    client = openai.OpenAI(base_url=own, api_key="fake-own", http_client=gate.client())
    assert client.chat.completions.create(**ask("say: hi", model="fast")).choices[0].message.content == "hi"
    first, second = headgate_simulator.requests()
    assert first["credential_sha256"] != second["credential_sha256"]
    assert headgate.last().attempts == 2
    providers = {row.by["provider"] for row in gate.usage(by=("provider",)).rows}
    assert "spare" in providers
