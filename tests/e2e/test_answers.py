"""Answers of a kind, for the unmodified SDKs: gone on with, repaired, refused; and the invoice has every attempt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_sdks import Way, body, call  # it lies beside this file
from e2e_world import Gateway, rows  # it lies beside this file

import headgate
from headgate import Gate
from headgate.core.errors import AnswerInvalid
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.tokens import pieces, weight

SCHEMA = {"type": "object", "required": ["price"], "properties": {"price": {"type": "integer"}}}
ANSWER = {"schema": SCHEMA, "repair": "on", "continue": "2"}
GOOD, BAD = '{"price": 7}', '{"price": "a lot of money"}'
OVERRIDES: dict[str, Any] = {
    "providers": {name: {"breaker": "off", "concurrency": "off"} for name in ("anthropic", "openai")},
    "tasks": {
        "extract": {"answer": ANSWER},
        "lenient": {"answer": {"schema": SCHEMA, "on_invalid": "flag"}},
    },
}


class World:
    def __init__(self, folder: Path, sim: SimulatorServer, gateway: Gateway, gate: Gate) -> None:
        self.sim = sim
        self.ways = {"gateway": Way(gateway.url), "in-process": Way(sim.url, gate)}
        self._kept = {"gateway": (folder / "gateway.db", gateway.built), "in-process": (folder / "own.db", gate.built)}

    def row(self, way: str, exchange: str) -> dict[str, Any]:
        path, built = self._kept[way]
        built.ledger.flush()
        return next(row for row in rows(path, "exchanges") if row["id"] == exchange)

    def says(self, *texts: str) -> None:
        """What the model says, one after the other."""
        self.sim.reset()
        rules = [{"fault": {"kind": "says", "message": text}, "when": {"nth": [n]}} for n, text in enumerate(texts, 1)]
        self.sim.load(json.dumps({"name": "scripted", "rules": rules}))

    def invoiced(self) -> int:
        """Nano-dollars."""
        return int(self.sim.invoice()["total"]["cost_nano"])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("answers")
    with SimulatorServer() as sim, Gateway(folder, sim.url, sim.openai_url, overrides=OVERRIDES) as gateway:
        env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
        with Gate.load(env=env, storage=f"sqlite:///{folder / 'own.db'}", wait=lambda state: 0.0, **OVERRIDES) as gate:
            yield World(folder, sim, gateway, gate)


def rest(text: str, cap: int) -> str:
    """What is left of a text behind so many of the simulator's tokens."""
    parts, spent = pieces(text), 0
    for number, part in enumerate(parts):
        spent += weight(part)
        if spent > cap:
            return "".join(parts[number:])
    raise AssertionError("all of it fits")


def asked(sdk: str, task: str = "extract", **more: Any) -> dict[str, Any]:
    return {**body(sdk, "hello", **more), "extra_headers": {"x-headgate-task": task}}


matrix = pytest.mark.parametrize(
    ("way", "sdk", "colour"),
    [
        ("gateway", "anthropic", "sync"),
        ("gateway", "openai", "async"),
        ("in-process", "anthropic", "async"),
        ("in-process", "openai", "sync"),
    ],
)


@matrix
def test_a_truncated_answer_is_gone_on_with_and_comes_as_one(world: World, way: str, sdk: str, colour: str) -> None:
    long = json.dumps({"price": 7, "why": "The river is high, and the keeper has lowered the gate. " * 3})
    world.says(long, rest(long, 30))
    cap = {"max_tokens": 30} if sdk == "anthropic" else {"max_completion_tokens": 30}
    seen = call(world.ways[way], sdk, colour, {**asked(sdk), **cap})
    assert seen.error is None
    assert seen.text() == long
    assert seen.stop() in ("end_turn", "stop")
    assert seen.headers["x-headgate-answer"] == "continued 1"
    assert world.row(way, seen.headers["x-headgate-exchange"])["cost_nano"] == world.invoiced()


@matrix
def test_an_invalid_answer_is_repaired_and_the_money_is_the_invoice(
    world: World, way: str, sdk: str, colour: str
) -> None:
    world.says(BAD, GOOD)
    seen = call(world.ways[way], sdk, colour, asked(sdk))
    assert seen.error is None
    assert seen.text() == GOOD
    assert seen.headers["x-headgate-answer"] == "repaired"
    assert seen.headers["x-headgate-attempts"] == "2"
    row = world.row(way, seen.headers["x-headgate-exchange"])
    assert (row["ending"], row["cost_nano"]) == ("complete", world.invoiced())


@matrix
def test_an_answer_that_stays_invalid_is_the_sdk_s_own_422_and_paid_for(
    world: World, way: str, sdk: str, colour: str
) -> None:
    world.says(BAD, BAD, GOOD)
    seen = call(world.ways[way], sdk, colour, asked(sdk))
    assert isinstance(seen.error, anthropic.UnprocessableEntityError | openai.UnprocessableEntityError)
    assert isinstance(headgate.refusal(seen.error), AnswerInvalid)
    assert "schema /properties/price/type" in str(seen.error)
    assert "a lot of money" not in str(seen.error)
    row = world.row(way, seen.error.response.headers["x-headgate-exchange"])
    assert (row["ending"], row["status"], row["cost_nano"]) == ("refused", 422, world.invoiced())


@matrix
def test_an_empty_answer_and_a_refusal_never_pass(world: World, way: str, sdk: str, colour: str) -> None:
    world.sim.load(json.dumps({"name": "no", "rules": [{"fault": "refusal"}]}))
    assert call(world.ways[way], sdk, colour, asked(sdk)).error.status_code == 422
    world.says(" ", " ")
    assert call(world.ways[way], sdk, colour, asked(sdk)).error.status_code == 422


@matrix
def test_a_stream_is_flagged(world: World, way: str, sdk: str, colour: str) -> None:
    world.says(BAD)
    seen = call(world.ways[way], sdk, colour, asked(sdk, stream=True))
    assert seen.error is None
    assert seen.text() == BAD


def test_a_task_that_only_flags_shows_it(world: World) -> None:
    world.says(BAD)
    seen = call(world.ways["gateway"], "openai", "sync", asked("openai", "lenient"))
    assert seen.text() == BAD
    assert seen.headers["x-headgate-answer"] == "invalid: schema /properties/price/type"


def test_a_response_is_repaired_too(world: World) -> None:
    world.says(BAD, GOOD)
    there = world.ways["gateway"]
    with there.http("sync") as http:
        client: openai.OpenAI = there.client("openai", "sync", http)
        found = client.responses.create(model="gpt-6-luna", input="hello", extra_headers={"x-headgate-task": "extract"})
    assert found.output_text == GOOD
