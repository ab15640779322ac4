"""What `test_transport_legacy.py` runs in a process of its own, where the SDKs that run on httpx come first."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest

import headgate
from headgate import Gate
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Pace, Rule, Scenario, When

ERRORS: dict[str, Any] = {"anthropic": anthropic, "openai": openai}
MODELS = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}
both_sdks = pytest.mark.parametrize("sdk", ["anthropic", "openai"])
both_colours = pytest.mark.parametrize("colour", ["sync", "async"])
both_kinds = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


class Calls:
    """Makes the same call with either SDK in either colour, governed or not."""

    def __init__(self, gate: Gate | None, sim: SimulatorServer) -> None:
        self.gate = gate
        self.sim = sim

    def client(self, sdk: str, colour: str, **more: Any) -> Any:
        told = {"api_key": "fake", **more}
        if self.gate is not None and "http_client" not in told:
            told["http_client"] = self.gate.legacy_client() if colour == "sync" else self.gate.legacy_async_client()
        if sdk == "anthropic":
            return (anthropic.Anthropic if colour == "sync" else anthropic.AsyncAnthropic)(
                base_url=self.sim.url, **told
            )
        return (openai.OpenAI if colour == "sync" else openai.AsyncOpenAI)(base_url=self.sim.openai_url, **told)

    def make(self, sdk: str, colour: str, prompt: str, stream: bool, model: str = "", **more: Any) -> list[Any]:
        """One call: its answer, or its events, as plain data without what differs from call to call."""
        client = self.client(sdk, colour, **more)
        told = {"model": model or MODELS[sdk], "stream": stream}
        if colour == "sync":
            with client:
                answer = create(client, sdk, prompt, **told)
                found = list(answer) if stream else [answer]
        else:

            async def call() -> list[Any]:
                async with client:
                    answer = await create(client, sdk, prompt, **told)
                    return [event async for event in answer] if stream else [answer]

            found = asyncio.run(call())
        return [without_ids(each.model_dump()) for each in found]


def create(client: Any, sdk: str, prompt: str, **more: Any) -> Any:
    told = {"model": MODELS[sdk], "messages": [{"role": "user", "content": prompt}], **more}
    if sdk == "anthropic":
        return client.messages.create(max_tokens=5000, **told)
    if told.get("stream"):
        told["stream_options"] = {"include_usage": True}
    return client.chat.completions.create(**told)


def without_ids(data: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in data.items() if name not in ("id", "created")}
    if isinstance(kept.get("message"), dict):
        kept["message"] = without_ids(kept["message"])
    return kept


@pytest.fixture
def calls(gate: Gate, headgate_simulator: SimulatorServer) -> Calls:
    return Calls(gate, headgate_simulator)


def test_these_are_the_sdks_that_run_on_httpx() -> None:
    assert (anthropic.__version__, openai.__version__) == ("0.125.0", "2.54.0")
    assert issubclass(anthropic.DefaultHttpxClient, httpx.Client)
    assert issubclass(openai.DefaultHttpxClient, httpx.Client)


def test_a_legacy_client_does_not_load_the_new_library_for_requests(gate: Gate) -> None:
    with gate.legacy_client() as client:
        assert isinstance(client, httpx.Client)
        assert "headgate.transport.httpx2" not in sys.modules


@both_colours
def test_the_new_librarys_client_is_refused_by_the_old_anthropic(calls: Calls, colour: str) -> None:
    wrong = calls.gate.client() if colour == "sync" else calls.gate.async_client()
    with pytest.raises(TypeError, match="http_client"):
        calls.client("anthropic", colour, http_client=wrong)


def test_the_last_openai_2_takes_the_new_librarys_client_too(calls: Calls) -> None:
    client = calls.client("openai", "sync", http_client=calls.gate.client())
    assert create(client, "openai", "say: hi").choices[0].message.content == "hi"
    assert headgate.last().ending == "complete"


@both_sdks
@both_colours
@both_kinds
def test_an_answer_is_what_the_sdk_gets_without_headgate(calls: Calls, sdk: str, colour: str, stream: bool) -> None:
    governed = calls.make(sdk, colour, "hello", stream)
    total = calls.gate.usage().total
    assert total.cost_nano == calls.sim.invoice()["total"]["cost_nano"] > 0
    assert total.exchanges == 1
    assert governed == Calls(None, calls.sim).make(sdk, colour, "hello", stream)


@both_sdks
def test_what_just_happened_is_known(calls: Calls, sdk: str) -> None:
    with headgate.caller(user="ada", task="summarise"):
        answer = create(calls.client(sdk, "sync"), sdk, "hello")
    last = headgate.last()
    assert (last.ending, last.attempts, last.estimated, last.model) == ("complete", 1, False, answer.model)
    assert last.cost_usd > 0
    assert calls.gate.usage(user="ada", task="summarise").total.cost_nano == int(last.cost_usd * 10**9)


def test_the_streaming_helper_works(calls: Calls) -> None:
    told = {
        "model": MODELS["anthropic"],
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "say: one \N{WATER WAVE}"}],
    }
    with calls.client("anthropic", "sync").messages.stream(**told) as stream:
        assert "".join(stream.text_stream) == "one \N{WATER WAVE}"
    assert headgate.last().ending == "complete"


@both_sdks
@both_colours
def test_an_sdk_left_at_its_default_retries_does_not_amplify(calls: Calls, sdk: str, colour: str) -> None:
    calls.sim.load("outage")
    with pytest.raises(ERRORS[sdk].APIStatusError) as caught:
        calls.make(sdk, colour, "hello", False)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(calls.sim.requests()) == 4
    assert (calls.gate.stats.total_calls, calls.gate.stats.total_attempts) == (1, 4)


@both_sdks
@both_kinds
def test_a_failure_that_passes_is_never_seen(calls: Calls, sdk: str, stream: bool) -> None:
    calls.sim.load(Scenario(rules=(Rule(Fault("rate_limit", retry_after_ms=1), when=When(nth=(1,))),)))
    assert calls.make(sdk, "sync", "say: hi", stream)
    assert headgate.last().attempts == 2


@both_sdks
@both_colours
def test_a_refusal_of_ours_is_the_sdks_typed_error_and_can_be_had_back(calls: Calls, sdk: str, colour: str) -> None:
    with pytest.raises(ERRORS[sdk].BadRequestError) as caught:
        calls.make(sdk, colour, "hello", False, model="claude-made-up" if sdk == "anthropic" else "gpt-made-up")
    refused = headgate.refusal(caught.value)
    assert refused is not None
    assert (refused.code, "made-up" in refused.message) == ("unknown_price", True)
    assert calls.sim.requests() == []


@both_sdks
@pytest.mark.parametrize(("status", "kind"), [(400, "BadRequestError"), (429, "RateLimitError")])
def test_where_the_sdk_owns_the_retries_the_providers_error_is_typed_as_without_headgate(
    make_gate: Callable[..., Gate], headgate_simulator: SimulatorServer, sdk: str, status: int, kind: str
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("error", status=status, retry_after=7, message="theirs")),)))
    calls = Calls(make_gate(retry={"attempts": 1}), headgate_simulator)
    with pytest.raises(getattr(ERRORS[sdk], kind), match="theirs") as caught:
        calls.make(sdk, "sync", "hello", False, max_retries=0)
    assert caught.value.response.headers["retry-after"] == "7"
    assert headgate.refusal(caught.value) is None


@both_sdks
@both_colours
def test_where_the_sdk_owns_the_retries_a_lost_connection_is_one_it_can_retry(
    make_gate: Callable[..., Gate], headgate_simulator: SimulatorServer, sdk: str, colour: str
) -> None:
    headgate_simulator.load(Scenario(rules=(Rule(Fault("drop")),)))
    calls = Calls(make_gate(retry={"attempts": 1}), headgate_simulator)
    with pytest.raises(ERRORS[sdk].APIConnectionError) as caught:
        calls.make(sdk, colour, "hello", False, max_retries=0)
    assert isinstance(caught.value.__cause__, httpx.TransportError)


@both_sdks
@both_colours
def test_a_stream_that_breaks_off_raises_a_typed_error(calls: Calls, sdk: str, colour: str) -> None:
    calls.sim.load(Scenario(rules=(Rule(Fault("cut", after_events=6)),)))
    with pytest.raises(ERRORS[sdk].APIError, match="broke off"):
        calls.make(sdk, colour, "tokens: 100", True)
    assert headgate.last() is None or colour == "async" or headgate.last().ending == "cut"
    assert [row.by["ending"] for row in calls.gate.usage(by=("ending",)).rows] == ["cut"]


@both_sdks
def test_a_stream_that_is_closed_early_is_abandoned_and_charged(calls: Calls, sdk: str) -> None:
    calls.sim.load(Scenario(pace=Pace(seconds_per_event=0.05)))
    stream = create(calls.client(sdk, "sync"), sdk, "tokens: 4000", stream=True)
    with stream:
        next(iter(stream))
    assert (headgate.last().ending, headgate.last().estimated) == ("abandoned", True)
    assert calls.sim.requests()[-1]["ending"] == "abandoned"


@both_sdks
def test_a_stream_that_nobody_reads_or_closes_settles_when_it_is_collected(calls: Calls, sdk: str) -> None:
    stream = create(calls.client(sdk, "sync"), sdk, "tokens: 4000", stream=True)
    assert headgate.last().ending == ""
    del stream
    gc.collect()
    assert headgate.last().ending == "abandoned"


@both_sdks
def test_a_cancelled_task_settles_its_exchange_and_leaves_the_provider(calls: Calls, sdk: str) -> None:
    calls.sim.load(Scenario(rules=(Rule(Fault("slow_first_token", seconds=30)),)))

    async def main() -> None:
        async with calls.client(sdk, "async") as client:
            call = asyncio.create_task(create(client, sdk, "hello"))
            while not calls.sim.simulator.requests(0):
                await asyncio.sleep(0.005)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(main())
    assert [row.by["ending"] for row in calls.gate.usage(by=("ending",)).rows] == ["cancelled"]
    assert calls.sim.requests()[-1]["ending"] == "abandoned"
