"""Streams that the provider cuts in the middle, and what unmodified SDKs see of it: held back, or begun anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from e2e_sdks import Seen, Way, body, call  # it lies beside this file
from e2e_world import Gateway, lines, rows  # it lies beside this file

from headgate import Gate
from headgate.testing.server import SimulatorServer

WORDS = " ".join(f"word{number}" for number in range(40))
SAY = f"say: {WORDS}"
OVERRIDES: dict[str, Any] = {
    "tasks": {"held": {"on_cut": "buffer"}, "anew": {"on_cut": "restart"}},
    "providers": {name: {"breaker": "off"} for name in ("anthropic", "openai")},
    "log": {"bodies": "full"},
    "retry": {"attempts": 3, "budget": "off"},
}
CUT = {"name": "cut once", "rules": [{"when": {"nth": 1}, "fault": {"kind": "cut", "after_events": 6}}]}


class World:
    """A simulator, and both ways in to it with their ledgers and logs."""

    def __init__(self, folder: Path, sim: SimulatorServer, gateway: Gateway, gate: Gate) -> None:
        self.sim = sim
        self.ways = {"gateway": Way(gateway.url), "in-process": Way(sim.url, gate)}
        self._kept = {"gateway": (folder / "gateway.db", gateway.built), "in-process": (folder / "own.db", gate.built)}

    def cut(self) -> None:
        """The next call's first stream is cut after some words, and the one behind it is whole."""
        self.sim.load(json.dumps(CUT))

    def rows(self, way: str, table: str) -> list[dict[str, Any]]:
        path, built = self._kept[way]
        built.ledger.flush()
        return rows(path, table)

    def line(self, way: str, exchange: str) -> dict[str, Any]:
        path, built = self._kept[way]
        built.log.flush()
        return next(line for line in lines(Path(f"{path}.log.jsonl")) if line.get("exchange_id") == exchange)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("mending")
    with SimulatorServer() as sim, Gateway(folder, sim.url, sim.openai_url, overrides=OVERRIDES) as gateway:
        env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
        with Gate.load(env=env, storage=f"sqlite:///{folder / 'own.db'}", wait=lambda state: 0.0, **OVERRIDES) as gate:
            yield World(folder, sim, gateway, gate)


def stream(world: World, way: str, sdk: str, colour: str, task: str, **headers: str) -> Seen:
    extra = {"x-headgate-task": task, **headers}
    return call(world.ways[way], sdk, colour, body(sdk, SAY, stream=True, extra_headers=extra))


both_ways = pytest.mark.parametrize("way", ["gateway", "in-process"])
both_sdks = pytest.mark.parametrize("sdk", ["anthropic", "openai"])


@both_ways
@both_sdks
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_cut_in_a_stream_that_is_held_back_is_never_seen_and_both_attempts_are_paid(
    world: World, way: str, sdk: str, colour: str
) -> None:
    world.cut()
    seen = stream(world, way, sdk, colour, "held")
    assert seen.error is None
    assert seen.text() == WORDS
    assert seen.stop() in ("end_turn", "stop")
    exchange = seen.headers["x-headgate-exchange"]
    first, second = (row for row in world.rows(way, "attempts") if row["exchange_id"] == exchange)
    assert (first["error_kind"], bool(first["estimated"])) == ("broken", True)
    assert not second["estimated"]
    cut, whole = world.sim.invoice()["lines"]
    assert second["cost_nano"] == whole["cost_nano"]
    assert first["cost_nano"] >= cut["cost_nano"] > 0
    line = world.line(way, exchange)
    assert (line["ending"], line["attempts"], line["response_text"]) == ("complete", 2, WORDS)
    assert WORDS.startswith(line["discarded_texts"][0].strip())


@both_ways
def test_a_caller_that_knows_the_event_forgets_what_came_before_it(world: World, way: str) -> None:
    world.cut()
    seen = stream(world, way, "anthropic", "sync", "anew", **{"x-headgate-on-cut": "restart"})
    assert seen.error is None
    assert seen.headers["x-headgate-on-cut"] == "restart"
    marks = [place for place, event in enumerate(seen.events) if event.type == "headgate_discard"]
    assert len(marks) == 1
    assert Seen(events=seen.events[: marks[0]]).text() not in ("", WORDS)
    assert Seen(events=seen.events[marks[0] + 1 :]).text() == WORDS
    assert (seen.events[marks[0]].attempt, seen.events[marks[0]].reason) == (1, "provider_broken")


@both_ways
def test_in_chat_completions_the_event_is_a_chunk_without_choices(world: World, way: str) -> None:
    world.cut()
    seen = stream(world, way, "openai", "async", "anew", **{"x-headgate-on-cut": "restart"})
    (mark,) = [place for place, chunk in enumerate(seen.events) if hasattr(chunk, "headgate_discard")]
    assert seen.events[mark].choices == []
    assert Seen(events=seen.events[mark:]).text() == WORDS


@both_ways
def test_responses_have_an_event_of_their_own(world: World, way: str) -> None:
    world.cut()
    there = world.ways[way]
    with there.http("sync") as http:
        client: openai.OpenAI = there.client("openai", "sync", http)
        extra = {"x-headgate-task": "anew", "x-headgate-on-cut": "restart"}
        told = list(client.responses.create(model="gpt-6-luna", input=SAY, stream=True, extra_headers=extra))
        kinds = [str(event.type) for event in told]
        assert kinds.count("response.created") == 2
        mark = kinds.index("headgate.discard")
        assert "".join(event.delta for event in told[mark:] if event.type == "response.output_text.delta") == WORDS
        world.cut()
        with client.responses.stream(
            model="gpt-6-luna", input=SAY, extra_headers={"x-headgate-task": "held"}
        ) as streamed:
            assert streamed.get_final_response().output_text == WORDS


@both_ways
@both_sdks
def test_nobody_who_has_not_asked_is_given_two_answers(world: World, way: str, sdk: str) -> None:
    world.cut()
    seen = stream(world, way, sdk, "sync", "anew")
    assert seen.error is not None
    assert WORDS.startswith(seen.text().strip())
    assert seen.text().strip() != WORDS
