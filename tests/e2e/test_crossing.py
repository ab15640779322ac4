"""The real SDKs, answered by the other vendor: through both ways in, beside the simulator's own invoice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_sdks import ERRORS, Seen, Way, body, call  # it lies beside this file
from e2e_world import Gateway, lines, rows  # it lies beside this file

import headgate
from headgate import Gate
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Match, Rule, Scenario, When

WAYS = ("gateway", "in-process")
pytestmark = [
    pytest.mark.parametrize("way", WAYS),
    pytest.mark.parametrize("sdk", ["anthropic", "openai"]),
]
both_kinds = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])

OTHER = {"anthropic": "openai", "openai": "anthropic"}
SERVES = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}
CROSSED = {"anthropic": "gpt", "openai": "claude"}
FIRST_OWN = {"anthropic": "claude-first", "openai": "gpt-first"}
CLAUDE, GPT = "anthropic/claude-haiku-4-5", "openai/gpt-6-luna"
CALM = {"breaker": "off", "pacing": "off", "concurrency": "off"}  # a test's failures are nobody else's
CONFIG: dict[str, object] = {
    "models": {"claude": [CLAUDE], "gpt": [GPT], "claude-first": [CLAUDE, GPT], "gpt-first": [GPT, CLAUDE]},
    "tasks": {"strict": {"lossy": "refuse"}, "loose": {"lossy": "drop"}},
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
KEYS = {"ANTHROPIC_API_KEY": "configured-for-anthropic", "OPENAI_API_KEY": "configured-for-openai"}


@dataclass
class World:
    """Both ways in with their ledgers; `<way>-1` has `attempts: 1`."""

    sim: SimulatorServer
    ways: dict[str, Way]
    ledgers: dict[str, tuple[Path, Any]]

    def exchange(self, way: str, seen: Seen) -> dict[str, Any]:
        path, built = self.ledgers[way]
        built.ledger.flush()
        return next(row for row in rows(path, "exchanges") if row["id"] == self.headers(seen)["x-headgate-exchange"])

    def line(self, way: str, seen: Seen) -> dict[str, Any]:
        path, built = self.ledgers[way]
        built.log.flush()
        wanted = self.headers(seen)["x-headgate-exchange"]
        found = lines(path.with_name(f"{path.name}.log.jsonl"))
        return next(line for line in found if line.get("exchange_id") == wanted)

    @staticmethod
    def headers(seen: Seen) -> Any:
        return seen.headers if seen.headers is not None else seen.error.response.headers

    def fails(self, fault: Fault, *, times: int = 0, **match: Any) -> None:
        self.sim.load(Scenario(name="failing", rules=(Rule(fault, Match(**match), When(times=times)),)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    ways: dict[str, Way] = {}
    ledgers: dict[str, tuple[Path, Any]] = {}
    with SimulatorServer(seed=3) as sim:
        opened: list[Any] = []
        for suffix, attempts in (("", 4), ("-1", 1)):
            folder = tmp_path_factory.mktemp(f"crossing{suffix}")
            providers = {name: {**CALM} for name in OTHER}
            told: dict[str, object] = {
                **CONFIG,
                "providers": providers,
                "retry": {"attempts": attempts, "budget": "off"},
            }
            gateway = Gateway(folder, sim.url, sim.openai_url, overrides=told).__enter__()
            env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url, **KEYS}
            gate = Gate.load(env=env, storage=f"sqlite:///{folder / 'own.db'}", wait=lambda state: 0.0, **told)
            opened += [gateway, gate]
            ways[f"gateway{suffix}"] = Way(gateway.url)
            ways[f"in-process{suffix}"] = Way(sim.url, gate)
            ledgers[f"gateway{suffix}"] = (folder / "gateway.db", gateway.built)
            ledgers[f"in-process{suffix}"] = (folder / "own.db", gate.built)
        yield World(sim, ways, ledgers)
        for one in opened:
            one.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def healthy(world: World) -> None:
    world.sim.reset()
    world.sim.load("healthy")


def asks(sdk: str, prompt: str, *, stream: bool = False, model: str = "", **more: Any) -> dict[str, Any]:
    return {**body(sdk, prompt, stream=stream, **more), "model": model or CROSSED[sdk]}


@both_kinds
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_an_answer_of_the_other_vendor_reads_like_ones_own_and_costs_what_the_other_bills(
    way: str, sdk: str, colour: str, stream: bool, world: World
) -> None:
    seen = call(world.ways[way], sdk, colour, asks(sdk, 'say: Grüße, "Welt" 😀', stream=stream))
    assert seen.error is None
    assert seen.text() == 'Grüße, "Welt" 😀'
    assert seen.stop() == ("end_turn" if sdk == "anthropic" else "stop")
    row, (billed,) = world.exchange(way, seen), world.sim.invoice()["lines"]
    assert seen.tokens() == (row["input_tokens"], row["output_tokens"])
    assert row["cost_nano"] == billed["cost_nano"] > 0
    assert (row["provider"], row["dialect"], row["estimated"]) == (OTHER[sdk], sdk, 0)
    assert row["model_served"].startswith(SERVES[OTHER[sdk]])
    assert seen.headers["x-headgate-model"].startswith(SERVES[OTHER[sdk]])
    (sent,) = world.sim.requests()
    assert sent["dialect"] == OTHER[sdk]
    assert "x-headgate-degraded" not in seen.headers


@both_kinds
def test_tools_are_called_and_answered_over_two_turns(way: str, sdk: str, stream: bool, world: World) -> None:
    with world.ways[way].http("sync") as http:
        client = world.ways[way].client(sdk, "sync", http)
        answered = _anthropic_agent(client, stream) if sdk == "anthropic" else _openai_agent(client, stream)
    assert answered
    assert [r["dialect"] for r in world.sim.requests()] == [OTHER[sdk]] * 2


def _anthropic_agent(client: Any, stream: bool) -> str:
    tool = {"name": "weather", "description": "the weather", "input_schema": SCHEMA}
    turns: list[Any] = [{"role": "user", "content": "the weather?"}]
    asked: Any = {"model": "gpt", "max_tokens": 300, "tools": [tool]}
    if stream:
        with client.messages.stream(**asked, messages=turns, tool_choice={"type": "any"}) as streamed:
            message = streamed.get_final_message()
    else:
        message = client.messages.create(**asked, messages=turns, tool_choice={"type": "any"})
    assert message.stop_reason == "tool_use"
    uses = [block for block in message.content if block.type == "tool_use"]
    assert set(uses[0].input) == {"city"}
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "rain"} for use in uses]
    turns += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    final = client.messages.create(**asked, messages=turns)
    assert final.stop_reason == "end_turn"
    return str(final.content[0].text)


def _openai_agent(client: Any, stream: bool) -> str:
    tool = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
    turns: list[Any] = [{"role": "user", "content": "the weather?"}]
    asked: Any = {"model": "claude", "tools": [tool]}
    if stream:
        with client.chat.completions.stream(**asked, messages=turns, tool_choice="required") as streamed:
            choice = streamed.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(**asked, messages=turns, tool_choice="required").choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert set(json.loads(calls[0].function.arguments)) == {"city"}
    kept = [
        {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
        for c in calls
    ]
    turns += [{"role": "assistant", "content": None, "tool_calls": kept}]
    turns += [{"role": "tool", "tool_call_id": c.id, "content": "rain"} for c in calls]
    final = client.chat.completions.create(**asked, messages=turns).choices[0]
    assert final.finish_reason == "stop"
    return str(final.message.content)


def test_images_go_along(way: str, sdk: str, world: World) -> None:
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    if sdk == "openai":
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    told = asks(sdk, "")
    told["messages"] = [{"role": "user", "content": [image, {"type": "text", "text": "say: seen"}]}]
    assert call(world.ways[way], sdk, "sync", told).text() == "seen"


STOPS = {
    "anthropic": [("length", "max_tokens"), ("stop", "end_turn"), ("content_filter", "refusal")],
    "openai": [("max_tokens", "length"), ("stop_sequence", "stop"), ("refusal", "content_filter")],
}


@both_kinds
def test_every_reason_to_stop_has_its_word_in_the_callers_dialect(
    way: str, sdk: str, stream: bool, world: World
) -> None:
    for theirs, ours in STOPS[sdk]:
        seen = call(world.ways[way], sdk, "sync", asks(sdk, f"stop: {theirs}", stream=stream))
        assert seen.stop() == ours
        assert world.exchange(way, seen)["stop_reason"] == theirs


FAULTS = [
    Fault("cut", after_events=4, how="reset"),
    Fault("cut", after_events=6, how="fin"),
    Fault("cut", after_events=9, how="reset"),
    Fault("error_event", after_events=5),
    Fault("malformed_event", after_events=5),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.after_events}")
def test_a_stream_that_breaks_off_raises_the_callers_own_typed_error_once(
    way: str, sdk: str, fault: Fault, world: World
) -> None:
    world.fails(fault)
    seen = call(world.ways[way], sdk, "sync", asks(sdk, "tokens: 60", stream=True))
    assert isinstance(seen.error, ERRORS[sdk].APIError)
    assert seen.text()
    assert len(world.sim.requests()) == 1
    row, billed = world.exchange(way, seen), sum(x["cost_nano"] for x in world.sim.invoice()["lines"])
    assert row["ending"] in ("cut", "abandoned")  # the SDK may have hung up by then
    assert row["cost_nano"] >= billed > 0


@both_kinds
def test_an_overloaded_vendor_is_replaced_by_the_other(way: str, sdk: str, stream: bool, world: World) -> None:
    world.fails(Fault("overloaded"), dialect=sdk)
    seen = call(world.ways[way], sdk, "sync", asks(sdk, "say: still here", stream=stream, model=FIRST_OWN[sdk]))
    assert (seen.error, seen.text()) == (None, "still here")
    row = world.exchange(way, seen)
    assert (row["provider"], row["ending"], row["cost_nano"]) == (
        OTHER[sdk],
        "complete",
        world.sim.invoice()["total"]["cost_nano"],
    )
    assert [r["dialect"] for r in world.sim.requests()][-1] == OTHER[sdk]


def test_a_stream_that_fails_before_its_first_content_goes_on_at_the_other_vendor(
    way: str, sdk: str, world: World
) -> None:
    world.fails(Fault("error_event", after_events=1), dialect=sdk)
    seen = call(world.ways[way], sdk, "sync", asks(sdk, "say: still here", stream=True, model=FIRST_OWN[sdk]))
    assert (seen.error, seen.text()) == (None, "still here")
    if sdk == "anthropic":
        assert [event.type for event in seen.events].count("message_start") == 1
    assert world.exchange(way, seen)["provider"] == OTHER[sdk]


CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    429: "RateLimitError",
    500: "InternalServerError",
}


@pytest.mark.parametrize("status", CLASSES)
def test_the_other_vendors_errors_are_the_callers_own_classes(way: str, sdk: str, status: int, world: World) -> None:
    world.fails(Fault("error", status=status, message="said the other one"))
    seen = call(world.ways[f"{way}-1"], sdk, "sync", asks(sdk, "hi"), max_retries=0)
    assert type(seen.error) is getattr(ERRORS[sdk], CLASSES[status])
    assert "said the other one" in str(seen.error)
    assert seen.error.request_id == world.sim.requests()[0]["request_id"]
    assert headgate.refusal(seen.error) is None


def test_exhausted_money_and_overload_are_what_they_are_called_by_the_callers_vendor(
    way: str, sdk: str, world: World
) -> None:
    for fault, ours in ((Fault("spend_limit"), (402, 429)), (Fault("overloaded"), (529, 503))):
        world.fails(fault)
        seen = call(world.ways[f"{way}-1"], sdk, "sync", asks(sdk, "hi"), max_retries=0)
        assert seen.error.status_code == ours[sdk == "openai"]
        if sdk == "openai":
            assert seen.error.code in ("insufficient_quota", "server_is_overloaded")


def test_a_prompt_that_is_too_long_for_the_other_vendor_is_said_in_the_callers_words(
    way: str, sdk: str, world: World
) -> None:
    if sdk == "openai":
        fault = Fault("error", status=400, type="invalid_request_error", message="prompt is too long: 9 > 8")
    else:
        fault = Fault("error", status=400, code="context_length_exceeded", message="too many tokens")
    world.fails(fault)
    seen = call(world.ways[way], sdk, "sync", asks(sdk, "hi"))
    assert isinstance(seen.error, ERRORS[sdk].BadRequestError)
    assert (
        "prompt is too long" in str(seen.error) if sdk == "anthropic" else seen.error.code == "context_length_exceeded"
    )


LOSSY = {"anthropic": {"extra_body": {"top_k": 5}}, "openai": {"extra_body": {"seed": 7}}}


def test_what_is_lost_is_dropped_and_reported_or_refused_as_the_task_says(way: str, sdk: str, world: World) -> None:
    word = "top_k" if sdk == "anthropic" else "seed"
    seen = call(world.ways[way], sdk, "sync", asks(sdk, "say: yes", **LOSSY[sdk]))
    assert seen.text() == "yes"
    assert seen.headers["x-headgate-degraded"] == f"translated: {word}"
    assert world.line(way, seen)["degraded"] == f"translated: {word}"
    strict = asks(sdk, "say: yes", **LOSSY[sdk], extra_headers={"x-headgate-task": "strict"})
    seen = call(world.ways[way], sdk, "sync", strict)
    refusal = headgate.refusal(seen.error)
    assert refusal is not None
    assert refusal.code == "not_translatable"
    assert isinstance(seen.error, ERRORS[sdk].BadRequestError)
    assert f"`{word}` cannot be translated" in str(seen.error)
    assert len(world.sim.requests()) == 1


def test_what_the_other_vendor_cannot_do_is_refused_unless_the_task_lets_it_go(
    way: str, sdk: str, world: World
) -> None:
    if sdk == "anthropic":
        unmapped: dict[str, Any] = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    else:
        unmapped = {"logprobs": True}
    seen = call(world.ways[way], sdk, "sync", asks(sdk, "say: yes", **unmapped))
    assert headgate.refusal(seen.error).code == "not_translatable"  # type: ignore[union-attr]  # it is one
    own = call(world.ways[way], sdk, "sync", asks(sdk, "say: yes", model=FIRST_OWN[OTHER[sdk]], **unmapped))
    assert world.exchange(way, own)["provider"] == sdk  # the route that cannot be told is skipped
    loose = asks(sdk, "say: yes", **unmapped, extra_headers={"x-headgate-task": "loose"})
    seen = call(world.ways[way], sdk, "sync", loose)
    assert seen.text() == "yes"
    assert seen.headers["x-headgate-degraded"] in ("translated: server_tools", "translated: logprobs")


def test_a_model_of_the_other_vendor_is_asked_for_by_its_providers_name(way: str, sdk: str, world: World) -> None:
    name = f"{OTHER[sdk]}/{SERVES[OTHER[sdk]]}"
    assert call(world.ways[way], sdk, "sync", asks(sdk, "say: yes", model=name)).text() == "yes"


def test_the_other_vendor_gets_the_configured_key_and_nothing_of_the_callers_sdk(
    way: str, sdk: str, world: World
) -> None:
    call(world.ways[way], sdk, "sync", asks(sdk, "say: yes", extra_headers={"anthropic-beta": "x", "openai-beta": "y"}))
    (sent,) = world.sim.requests()
    names = set(sent["headers"])
    assert not {name for name in names if name.startswith(("x-stainless", "openai-", "anthropic-beta"))}
    assert ("anthropic-version" in names) == (sdk == "openai")
    assert "callers-own-key" not in str(sent["headers"])


def test_what_is_not_translated_keeps_needing_its_own_dialect(way: str, sdk: str, world: World) -> None:
    with world.ways[way].http("sync") as http:
        client = world.ways[way].client(sdk, "sync", http)
        if sdk == "anthropic":
            with pytest.raises(anthropic.NotFoundError, match="through the other SDK"):
                client.messages.count_tokens(model="gpt", messages=[{"role": "user", "content": "hi"}])
        else:
            with pytest.raises(openai.NotFoundError, match="through the other SDK"):
                client.responses.create(model="claude", input="hi")


def test_a_path_that_names_the_other_vendor_is_served_by_it(way: str, sdk: str, world: World) -> None:
    if way != "gateway":
        return  # in process there are no such paths
    pinned = Way(f"{world.ways[way].url}/p/{OTHER[sdk]}")
    told = asks(sdk, "say: yes", model=SERVES[OTHER[sdk]])
    seen = call(pinned, sdk, "sync", told)
    assert (seen.error, seen.text()) == (None, "yes")
    assert world.exchange(way, seen)["provider"] == OTHER[sdk]
