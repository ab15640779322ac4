"""The real Anthropic SDK, unmodified, over a gate, in front of the simulator."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

import headgate
from headgate import Gate
from headgate.core.money import nano
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Pace, Rule, Scenario, When

HAIKU = "claude-haiku-4-5"
WEATHER = {
    "name": "get_weather",
    "description": "The weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
def client(gate: Gate, headgate_simulator: SimulatorServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=headgate_simulator.url, api_key="fake", http_client=gate.client())


@pytest.fixture
def aclient(gate: Gate, headgate_simulator: SimulatorServer) -> Callable[[], anthropic.AsyncAnthropic]:
    """Makes one inside the running loop, as an application does."""
    return lambda: anthropic.AsyncAnthropic(
        base_url=headgate_simulator.url, api_key="fake", http_client=gate.async_client()
    )


def ask(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": HAIKU, "max_tokens": 300, "messages": [{"role": "user", "content": text}], **more}


def plain(sim: SimulatorServer, **more: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=sim.url, api_key="fake", max_retries=0, **more)


def agrees(gate: Gate, sim: SimulatorServer) -> Any:
    """The ledger's total is the simulated provider's invoice, to the nano-dollar. Returns the total."""
    total = gate.usage().total
    assert total.cost_nano == sim.invoice()["total"]["cost_nano"]
    return total


# Like without Headgate


def test_a_message_is_what_the_sdk_gets_without_headgate(
    client: anthropic.Anthropic, gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    governed = client.messages.create(**ask())
    agrees(gate, headgate_simulator)
    bare = plain(headgate_simulator).messages.create(**ask())
    assert governed.content == bare.content
    assert governed.usage == bare.usage
    assert governed._request_id
    last = headgate.last()
    assert last is not None
    assert (last.ending, last.attempts, last.estimated, last.model) == ("complete", 1, False, governed.model)
    assert last.cost_usd > 0
    assert last.input_tokens == governed.usage.input_tokens
    assert last.output_tokens == governed.usage.output_tokens
    assert last.latency_ms is not None


def test_a_raw_stream_has_the_events_it_has_without_headgate(
    client: anthropic.Anthropic, gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    governed = [e.model_dump() for e in client.messages.create(**ask(), stream=True)]
    agrees(gate, headgate_simulator)
    bare = [e.model_dump() for e in plain(headgate_simulator).messages.create(**ask(), stream=True)]
    for events in (governed, bare):
        events[0]["message"]["id"] = ""
    assert governed == bare
    assert headgate.last().ending == "complete"


def test_the_streaming_helper_works(
    client: anthropic.Anthropic, gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    with client.messages.stream(**ask("say: one \N{WATER WAVE} two")) as stream:
        assert "".join(stream.text_stream) == "one \N{WATER WAVE} two"
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert headgate.last().output_tokens == final.usage.output_tokens
    agrees(gate, headgate_simulator)


def test_tools_work_streamed_and_not(client: anthropic.Anthropic) -> None:
    told = ask(tools=[WEATHER], tool_choice={"type": "tool", "name": "get_weather"})
    message = client.messages.create(**told)
    call = next(block for block in message.content if block.type == "tool_use")
    with client.messages.stream(**told) as stream:
        streamed = next(block for block in stream.get_final_message().content if block.type == "tool_use")
    assert (call.name, call.input) == (streamed.name, streamed.input)
    assert set(call.input) == {"city"}


def test_structured_outputs_are_parsed(client: anthropic.Anthropic) -> None:
    class City(BaseModel):
        name: str
        people: int

    parsed = client.messages.parse(**ask(), output_format=City)
    assert isinstance(parsed.parsed_output, City)


def test_raw_and_streaming_responses_show_our_headers(client: anthropic.Anthropic) -> None:
    raw = client.messages.with_raw_response.create(**ask())
    assert raw.headers["x-headgate-exchange"] == headgate.last().exchange_id
    assert raw.headers["x-headgate-attempts"] == "1"
    assert float(raw.headers["x-headgate-cost-usd"]) == float(headgate.last().cost_usd)
    assert raw.headers["x-headgate-simulated"] == "true"
    assert raw.parse().stop_reason == "end_turn"
    with client.messages.with_streaming_response.create(**ask()) as response:
        assert json.loads(b"".join(response.iter_bytes()))["type"] == "message"


def test_what_is_known_only_at_the_end_of_a_stream_is_its_last_line(client: anthropic.Anthropic) -> None:
    with client.messages.with_streaming_response.create(**ask(), stream=True) as response:
        body = b"".join(response.iter_bytes())
    last = headgate.last()
    assert body.rstrip().split(b"\n")[-1].startswith(f": x-headgate-exchange={last.exchange_id} ".encode())
    assert f"x-headgate-cost-usd={last.cost_usd:f}".rstrip("0").encode() in body


def test_counting_tokens_and_listing_models_are_free(client: anthropic.Anthropic, gate: Gate) -> None:
    assert client.messages.count_tokens(model=HAIKU, messages=ask()["messages"]).input_tokens > 0
    assert HAIKU in {model.id.removesuffix("-20251001") for model in client.models.list()}
    total = gate.usage().total
    assert (total.exchanges, total.cost_nano) == (2, 0)


def test_headers_and_fields_nobody_knows_reach_the_provider_and_ours_do_not(
    client: anthropic.Anthropic, headgate_simulator: SimulatorServer
) -> None:
    told = ask(extra_headers={"anthropic-beta": "made-up-2030", "x-custom": "1"}, extra_body={"made_up_field": 1.50})
    plain(headgate_simulator).messages.create(**told)
    told["extra_headers"]["x-headgate-user"] = "ada"
    client.messages.create(**told)
    bare, governed = headgate_simulator.requests()
    headers = governed["headers"]
    assert (headers["anthropic-beta"], headers["x-custom"]) == ("made-up-2030", "1")
    assert bare["body_bytes"] == governed["body_bytes"]
    assert bare["credential_sha256"] == governed["credential_sha256"]
    assert not any(name.startswith("x-headgate") for name in headers)


# Asynchronous


def test_the_asynchronous_sdk_works_streamed_and_not(
    aclient: Callable[[], anthropic.AsyncAnthropic], gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    async def main() -> str:
        async with aclient() as client:
            message = await client.messages.create(**ask("say: hi"))
            assert headgate.last().ending == "complete"
            async with client.messages.stream(**ask("say: hi")) as stream:
                text = "".join([t async for t in stream.text_stream])
            assert headgate.last().ending == "complete"
            events = await client.messages.create(**ask("say: hi"), stream=True)
            assert [e.type async for e in events][-1] == "message_stop"
        return message.content[0].text + text

    assert asyncio.run(main()) == "hihi"
    assert agrees(gate, headgate_simulator).exchanges == 3


def test_one_gate_serves_several_event_loops_one_after_another(
    aclient: Callable[[], anthropic.AsyncAnthropic], gate: Gate
) -> None:
    async def main() -> str:
        async with aclient() as client:
            return (await client.messages.create(**ask("say: hi"))).content[0].text

    assert [asyncio.run(main()) for _ in range(3)] == ["hi"] * 3
    assert gate.stats.total_calls == 3


def test_many_tasks_at_once_each_have_their_own_last(aclient: Callable[[], anthropic.AsyncAnthropic]) -> None:
    async def one(client: anthropic.AsyncAnthropic, number: int) -> tuple[str, str]:
        with headgate.caller(user=f"u{number}"):
            await client.messages.create(**ask(f"say: {number}"))
            await asyncio.sleep(0)
            last = headgate.last()
            return last.exchange_id, last.ending

    async def main() -> list[tuple[str, str]]:
        async with aclient() as client:
            return list(await asyncio.gather(*(one(client, n) for n in range(20))))

    found = asyncio.run(main())
    assert len({exchange for exchange, _ in found}) == 20
    assert {ending for _, ending in found} == {"complete"}


def test_a_cancelled_task_settles_its_exchange(
    aclient: Callable[[], anthropic.AsyncAnthropic], gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("slow_first_token", seconds=30)),)))

    async def main() -> None:
        async with aclient() as client:
            call = asyncio.create_task(client.messages.create(**ask()))
            while not headgate_simulator.simulator.requests(0):
                await asyncio.sleep(0.005)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(main())
    rows = gate.usage(by=("ending",)).rows
    assert [row.by["ending"] for row in rows] == ["cancelled"]


def test_the_synchronous_sdk_works_inside_a_running_loop(client: anthropic.Anthropic) -> None:
    async def main() -> str:
        return client.messages.create(**ask("say: hi")).content[0].text

    assert asyncio.run(main()) == "hi"


# Streams that are left


def test_a_stream_that_is_closed_early_is_abandoned_and_charged_for_what_was_shown(
    client: anthropic.Anthropic, gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(pace=Pace(seconds_per_event=0.05)))
    with client.messages.stream(**ask("tokens: 4000", max_tokens=5000)) as stream:
        next(iter(stream.text_stream))
    last = headgate.last()
    assert (last.ending, last.estimated) == ("abandoned", True)
    total = gate.usage().total
    assert total.cost_nano >= headgate_simulator.invoice()["total"]["cost_nano"] > 0


def test_a_stream_that_nobody_reads_or_closes_settles_when_it_is_collected(
    client: anthropic.Anthropic, gate: Gate
) -> None:
    stream = client.messages.create(**ask("tokens: 4000", max_tokens=5000), stream=True)
    assert headgate.last().ending == ""
    del stream
    gc.collect()
    assert headgate.last().ending == "abandoned"
    assert gate.usage().total.exchanges == 1


def test_an_asynchronous_stream_that_nobody_reads_settles_too(
    aclient: Callable[[], anthropic.AsyncAnthropic], gate: Gate
) -> None:
    async def main() -> str:
        client = aclient()
        stream = await client.messages.create(**ask("tokens: 4000", max_tokens=5000), stream=True)
        del stream
        gc.collect()
        ending = headgate.last().ending
        await client.close()
        return ending

    assert asyncio.run(main()) == "abandoned"


# Trouble


def test_a_stream_that_breaks_off_raises_the_sdks_own_typed_error(
    client: anthropic.Anthropic, headgate_simulator: SimulatorServer, gate: Gate
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("cut", after_events=6)),)))
    with pytest.raises(anthropic.APIStatusError) as caught, client.messages.stream(**ask("tokens: 100")) as stream:
        "".join(stream.text_stream)
    assert caught.value.body["headgate"]["code"] == "provider_broken"
    assert caught.value.body["error"]["details"]["error_code"] == "provider_broken"
    assert headgate.last().ending == "cut"
    assert headgate.refusal(caught.value) is None  # the provider failed; nobody refused
    total = gate.usage().total
    assert total.cost_nano >= headgate_simulator.invoice()["total"]["cost_nano"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("rate_limit", retry_after_ms=1),
        Fault("overloaded"),
        Fault("server_error", status=502, html=True),
        Fault("drop"),
        Fault("error_event", after_events=0),
    ],
    ids=lambda fault: fault.kind,
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_passing_failure_is_never_seen(
    client: anthropic.Anthropic, headgate_simulator: SimulatorServer, fault: Fault, stream: bool
) -> None:
    if fault.kind == "error_event" and not stream:
        return
    headgate_simulator.load(Scenario(rules=(Rule(fault, when=When(nth=(1,))),)))
    if stream:
        with client.messages.stream(**ask("say: hi")) as told:
            assert told.get_final_text() == "hi"
    else:
        assert client.messages.create(**ask("say: hi")).content[0].text == "hi"
    assert headgate.last().attempts == 2


def test_an_sdk_left_at_its_default_retries_does_not_amplify(
    client: anthropic.Anthropic, headgate_simulator: SimulatorServer, gate: Gate
) -> None:
    assert client.max_retries == 2
    headgate_simulator.load("outage")
    for _ in range(3):
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(**ask())
        assert caught.value.status_code == 503
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert "not available" in caught.value.message
    sent = len(headgate_simulator.requests())
    assert 3 + 5 <= sent <= 3 * 4  # the retry budget's floor is 5 in 10 s; more only as its window moves on
    assert (gate.stats.total_calls, gate.stats.total_attempts, gate.stats.failed_calls) == (3, sent, 3)
    stats = gate.stats
    assert (stats.attempt_error_rate, stats.exchange_error_rate, stats.waiting) == (1.0, 1.0, 0)


def test_a_storm_costs_few_requests_for_each_call(
    client: anthropic.Anthropic, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("rate_limit", retry_after_ms=1), when=When(every=5)),)))
    for _ in range(40):
        client.messages.create(**ask())
    assert len(headgate_simulator.requests()) <= 1.3 * 40


def test_where_the_sdk_owns_the_retries_it_sees_the_provider_as_it_is(
    make_gate: Callable[..., Gate], headgate_simulator: SimulatorServer
) -> None:
    gate = make_gate(retry={"attempts": 1})
    client = anthropic.Anthropic(
        base_url=headgate_simulator.url, api_key="fake", http_client=gate.client(), max_retries=0
    )
    headgate_simulator.load(Scenario(rules=(Rule(Fault("rate_limit", retry_after=2)),)))
    with pytest.raises(anthropic.RateLimitError) as caught:
        client.messages.create(**ask())
    assert caught.value.response.headers["retry-after"] == "2"
    assert caught.value.response.headers.get("x-should-retry") != "false"
    headgate_simulator.load(Scenario(rules=(Rule(Fault("overloaded"), when=When(nth=(1,))),)))
    again = client.with_options(max_retries=1)
    assert again.messages.create(**ask("say: hi")).content[0].text == "hi"
    assert gate.stats.total_calls == 3


def test_where_the_sdk_owns_the_retries_a_lost_connection_is_one_it_can_retry(
    make_gate: Callable[..., Gate], headgate_simulator: SimulatorServer
) -> None:
    gate = make_gate(retry={"attempts": 1})
    client = anthropic.Anthropic(
        base_url=headgate_simulator.url, api_key="fake", http_client=gate.client(), max_retries=0
    )
    headgate_simulator.load(Scenario(rules=(Rule(Fault("drop")),)))
    with pytest.raises(anthropic.APIConnectionError):
        client.messages.create(**ask())


def test_the_callers_mistake_is_the_sdks_typed_error_with_the_providers_words(
    client: anthropic.Anthropic, headgate_simulator: SimulatorServer
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**ask(), extra_body={"messages": [{"role": "wizard", "content": "x"}]})
    assert caught.value.request_id
    assert len(headgate_simulator.requests()) <= 1
    assert headgate.refusal(caught.value) is None


def test_a_refusal_of_ours_is_the_sdks_typed_error_and_can_be_had_back(
    client: anthropic.Anthropic, headgate_simulator: SimulatorServer, gate: Gate
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**ask(model="claude-made-up"))
    refusal = headgate.refusal(caught.value)
    assert refusal is not None
    assert (refusal.code, refusal.exchange_id) == ("unknown_price", headgate.last().exchange_id)
    assert "claude-made-up" in refusal.message
    assert headgate_simulator.requests() == []
    assert (gate.stats.refused_calls, gate.stats.total_attempts) == (1, 0)
    assert gate.usage().total.exchanges == 1


def test_a_closed_gate_refuses_and_sends_nothing(
    client: anthropic.Anthropic, headgate_simulator: SimulatorServer, gate: Gate
) -> None:
    client.messages.create(**ask())
    gate.close()
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(**ask())
    assert headgate.refusal(caught.value).code == "headgate_unavailable"
    assert len(headgate_simulator.requests()) == 1


def test_an_sdks_own_timeout_bounds_the_whole_exchange(
    client: anthropic.Anthropic, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("slow_first_token", seconds=20)),)))
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.with_options(timeout=0.2).messages.create(**ask())
    assert caught.value.body["headgate"]["code"] == "provider_timeout"
    assert headgate.last().latency_ms < 10_000


# Attribution and figures


def test_nested_callers_add_up_and_inner_values_win(client: anthropic.Anthropic, gate: Gate) -> None:
    with headgate.caller(user="ada", tenant="acme", tags={"team": "x"}):
        client.messages.create(**ask())
        with headgate.caller(user="bob", task="summarise", tags={"release": "2"}) as inner:
            client.messages.create(**ask())
            assert (inner.tenant, dict(inner.tags)) == ("acme", {"team": "x", "release": "2"})
        client.messages.create(**ask(), extra_headers={"x-headgate-user": "eve"})
    client.messages.create(**ask(metadata={"user_id": "from-the-body"}))
    rows = gate.usage(by=("user",)).rows
    assert {row.by["user"]: row.amounts.exchanges for row in rows} == {"ada": 1, "bob": 1, "eve": 1, "from-the-body": 1}
    assert gate.usage(user="bob", task="summarise", tenant="acme", days=1).total.exchanges == 1


def test_the_gates_figures_are_the_ledgers(client: anthropic.Anthropic, gate: Gate) -> None:
    for _ in range(3):
        client.messages.create(**ask())
    stats, total = gate.stats, gate.usage().total
    assert stats.total_calls == total.exchanges == 3
    assert total.cost_nano == nano(stats.total_cost_usd)
    assert (stats.input_tokens, stats.output_tokens) == (total.input_tokens, total.output_tokens)
    assert 0 < stats.latency_p50_ms <= stats.latency_p95_ms <= stats.latency_p99_ms
    assert stats.ttft_p50_ms <= stats.latency_p99_ms


def test_no_credential_and_no_body_reaches_ledger_or_log(headgate_simulator: SimulatorServer, tmp_path: Any) -> None:
    gate = Gate.load(env={}, storage=f"sqlite:///{tmp_path / 'own.db'}", log={"bodies": "off"})
    canary = "-".join(["sk", "ant", "canary" * 5])
    client = anthropic.Anthropic(base_url=headgate_simulator.url, api_key=canary, http_client=gate.client())
    client.messages.create(**ask("say: the-body-canary"), extra_headers={"x-api-key": canary})
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**ask(model="claude-made-up", messages=[{"role": "user", "content": "the-body-canary"}]))
    gate.close()
    for path in tmp_path.iterdir():
        written = path.read_bytes()
        assert canary.encode() not in written, path.name
        assert b"the-body-canary" not in written, path.name
