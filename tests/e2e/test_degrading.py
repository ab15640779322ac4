"""No provider answers, and an unmodified SDK shows its user a sentence: parsed, streamed and not, both ways in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_sdks import Way, body, call  # it lies beside this file
from e2e_world import Gateway, lines, rows  # it lies beside this file

from headgate import Gate
from headgate.testing.server import SimulatorServer

BREAK = "The assistant is taking a short break. Please try again in a minute."
OVERRIDES: dict[str, Any] = {
    "models": {"fast": ["anthropic/claude-haiku-4-5"]},
    # An outage after another must not shut the routes to the tests that follow.
    "providers": {name: {"breaker": "off", "concurrency": "off"} for name in ("anthropic", "openai")},
    "retry": {"attempts": 2, "budget": "off"},
    "degrade": [{"on": "any", "say": BREAK}],
    "tasks": {
        "simple": {"degrade": [{"on": "overload", "model": "fast"}]},
        "strict": {"degrade": "off"},
        "label": {"degrade": [{"say": '{"label": "unknown"}'}]},
    },
}
TURNS = [{"role": "user", "content": "hello"}]


class World:
    """A simulator, and both ways in to it, with their ledgers and logs."""

    def __init__(self, folder: Path, sim: SimulatorServer, gateway: Gateway, gate: Gate) -> None:
        self.sim = sim
        self.ways = {"gateway": Way(gateway.url), "in-process": Way(sim.url, gate)}
        self._kept = {"gateway": (folder / "gateway.db", gateway.built), "in-process": (folder / "own.db", gate.built)}

    def row(self, way: str, exchange: str) -> dict[str, Any]:
        path, built = self._kept[way]
        built.ledger.flush()
        return next(row for row in rows(path, "exchanges") if row["id"] == exchange)

    def line(self, way: str, exchange: str) -> dict[str, Any]:
        path, built = self._kept[way]
        built.log.flush()
        return next(line for line in lines(Path(f"{path}.log.jsonl")) if line.get("exchange_id") == exchange)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("degrading")
    with SimulatorServer() as sim, Gateway(folder, sim.url, sim.openai_url, overrides=OVERRIDES) as gateway:
        env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
        with Gate.load(env=env, storage=f"sqlite:///{folder / 'own.db'}", wait=lambda state: 0.0, **OVERRIDES) as gate:
            yield World(folder, sim, gateway, gate)


@pytest.fixture(autouse=True)
def outage(world: World) -> None:
    world.sim.load("outage")


both_ways = pytest.mark.parametrize("way", ["gateway", "in-process"])


@both_ways
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("sdk", ["anthropic", "openai"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_sdk_has_a_finished_answer_and_the_record_says_what_it_was(
    world: World, way: str, sdk: str, colour: str, stream: bool
) -> None:
    seen = call(world.ways[way], sdk, colour, body(sdk, "hello", stream=stream))
    assert seen.error is None
    assert seen.text() == BREAK
    assert seen.stop() in ("end_turn", "stop")
    assert seen.tokens() == (0, 0)
    assert seen.headers["x-headgate-degraded"] == "overload: say"
    assert seen.headers["x-headgate-attempts"] == "2"
    exchange = seen.headers["x-headgate-exchange"]
    row, line = world.row(way, exchange), world.line(way, exchange)
    assert (row["ending"], row["status"], row["cost_nano"]) == ("failed", 200, 0)
    assert (line["degraded"], line["ending"], line["status_code"]) == ("overload: say", "failed", 200)
    assert line["error_kind"] == "overloaded"


@both_ways
def test_the_sdks_helpers_put_the_stream_together(world: World, way: str) -> None:
    there = world.ways[way]
    with there.http("sync") as http:
        claude: anthropic.Anthropic = there.client("anthropic", "sync", http)
        with claude.messages.stream(model="claude-haiku-4-5", max_tokens=9, messages=TURNS) as told:  # type: ignore[arg-type]  # as an application writes it
            assert "".join(told.text_stream) == BREAK
            assert told.get_final_message().stop_reason == "end_turn"
        gpt: openai.OpenAI = there.client("openai", "sync", http)
        with gpt.chat.completions.stream(model="gpt-6-luna", messages=TURNS) as chat:  # type: ignore[arg-type]  # likewise
            for _ in chat:
                pass
            assert chat.get_final_completion().choices[0].message.content == BREAK


@both_ways
def test_a_response_is_said_too(world: World, way: str) -> None:
    there = world.ways[way]
    with there.http("sync") as http:
        client: openai.OpenAI = there.client("openai", "sync", http)
        whole = client.responses.create(model="gpt-6-luna", input="hello")
        assert (whole.output_text, whole.status) == (BREAK, "completed")
        assert whole.usage is not None
        assert whole.usage.total_tokens == 0
        *_, last = client.responses.create(model="gpt-6-luna", input="hello", stream=True)
        assert last.type == "response.completed"
        with client.responses.stream(model="gpt-6-luna", input="hello") as streamed:
            assert streamed.get_final_response().output_text == BREAK


@both_ways
def test_another_model_answers_for_the_one_that_is_overloaded(world: World, way: str) -> None:
    strike = {"match": {"model": "claude-opus-*"}, "fault": "overloaded"}
    world.sim.load(json.dumps({"name": "opus is out", "rules": [strike]}))
    told = {**body("anthropic", "hello"), "model": "claude-opus-4-5"}
    seen = call(world.ways[way], "anthropic", "sync", {**told, "extra_headers": {"x-headgate-task": "simple"}})
    assert seen.error is None
    assert seen.answer.model.startswith("claude-haiku-4-5")
    assert seen.headers["x-headgate-degraded"] == "overload: fast"
    assert seen.headers["x-headgate-attempts"] == "3"
    row = world.row(way, seen.headers["x-headgate-exchange"])
    assert (row["ending"], row["status"]) == ("complete", 200)
    assert world.line(way, row["id"])["degraded"] == "overload: fast"


@both_ways
def test_a_task_without_a_ladder_gets_the_error(world: World, way: str) -> None:
    told = {**body("openai", "hello"), "extra_headers": {"x-headgate-task": "strict"}}
    assert call(world.ways[way], "openai", "sync", told, max_retries=0).error.status_code == 503


@both_ways
def test_an_answer_that_a_program_parses_is_said_only_as_what_it_can_parse(world: World, way: str) -> None:
    there = world.ways[way]
    asked = {**body("openai", "hello"), "response_format": {"type": "json_object"}}
    assert call(there, "openai", "sync", asked, max_retries=0).error.status_code == 503
    labelled = call(there, "openai", "sync", {**asked, "extra_headers": {"x-headgate-task": "label"}})
    assert json.loads(labelled.text()) == {"label": "unknown"}


def test_nobody_waits_for_a_breaker_where_a_sentence_can_be_said(tmp_path: Path) -> None:
    told = {**OVERRIDES, "providers": {}, "retry": {"attempts": 4, "budget": "off"}}
    with SimulatorServer() as sim, Gateway(tmp_path, sim.url, sim.openai_url, overrides=told) as gateway:
        sim.load("outage")
        seen = [call(Way(gateway.url), "openai", "sync", body("openai", "hello")) for _ in range(12)]
        assert [each.text() for each in seen] == [BREAK] * 12
        assert seen[-1].headers["x-headgate-attempts"] == "0"  # the breaker is open
        assert seen[-1].headers["x-headgate-degraded"] == "overload: say"


def test_a_bad_request_is_told_and_never_degraded(world: World) -> None:
    told = {**body("anthropic", "hello"), "messages": "hello"}
    seen = call(world.ways["gateway"], "anthropic", "sync", told, max_retries=0)
    assert seen.error.status_code == 400
    assert "x-headgate-degraded" not in seen.error.response.headers
