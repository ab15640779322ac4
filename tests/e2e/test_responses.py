"""Responses, Embeddings and Moderations by the real SDK, both ways in: the ledger says what the invoice says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from e2e_sdks import Way  # it lies beside this file
from e2e_world import Gateway, rows  # it lies beside this file

import headgate
from headgate import Gate
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Rule, Scenario, When

pytestmark = pytest.mark.parametrize("way", ["gateway", "in-process"])
LUNA = "gpt-6-luna"
SMALL = "text-embedding-3-small"
LONG = "The gate decides how much flows in from upstream, how fast, and what is kept out. " * 80
UNCACHED = LONG[: len(LONG) // 2]  # shorter than what the provider caches


@dataclass
class World:
    """A simulator, and both ways in to it with their ledgers."""

    sim: SimulatorServer
    ways: dict[str, Way]
    ledgers: dict[str, tuple[Path, Any]]

    @contextmanager
    def client(self, way: str = "") -> Iterator[openai.OpenAI]:
        there = self.ways[way] if way else Way(self.sim.url)
        with there.http("sync") as http:
            yield there.client("openai", "sync", http, max_retries=0)

    def row(self, way: str, headers: Any) -> dict[str, Any]:
        path, built = self.ledgers[way]
        built.ledger.flush()
        return next(row for row in rows(path, "exchanges") if row["id"] == headers["x-headgate-exchange"])

    def billed(self, row: dict[str, Any]) -> int:
        """What the provider charges for an exchange's request."""
        lines = self.sim.invoice()["lines"]
        return int(next(line["cost_nano"] for line in lines if line["request_id"] == row["request_id"]))

    def charged(self, way: str, headers: Any, endpoint: str = "responses") -> dict[str, Any]:
        """The row of an answered call, which is as the invoice has it."""
        row = self.row(way, headers)
        assert (row["endpoint"], row["ending"], row["status"], row["estimated"]) == (endpoint, "complete", 200, 0)
        assert row["cost_nano"] == self.billed(row) > 0
        return row


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("responses")
    with SimulatorServer() as sim, Gateway(folder, sim.url, sim.openai_url) as gateway:
        env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
        with Gate.load(env=env, storage=f"sqlite:///{folder / 'own.db'}", wait=lambda state: 0.0) as gate:
            ways = {"gateway": Way(gateway.url), "in-process": Way(sim.url, gate)}
            ledgers = {
                "gateway": (folder / "gateway.db", gateway.built),
                "in-process": (folder / "own.db", gate.built),
            }
            yield World(sim, ways, ledgers)


@pytest.fixture(autouse=True)
def healthy(world: World) -> None:
    world.sim.load("healthy")


def failing(fault: Fault, times: int = 0) -> Scenario:
    return Scenario(name="failing", rules=(Rule(fault, when=When(times=times)),))


def test_a_response_is_the_one_a_direct_call_gets(way: str, world: World) -> None:
    with world.client() as direct, world.client(way) as client:
        expected = direct.responses.create(model=LUNA, input="Tell me of the canal.")
        raw = client.responses.with_raw_response.create(model=LUNA, input="Tell me of the canal.")
    found = raw.parse()
    assert (found.output_text, found.usage, found.status) == (expected.output_text, expected.usage, "completed")
    row = world.charged(way, raw.headers)
    assert found.usage is not None
    assert (row["input_tokens"], row["output_tokens"]) == (found.usage.input_tokens, found.usage.output_tokens)
    assert (row["model_asked"], row["stop_reason"], row["attempts"]) == (LUNA, "completed", 1)


def test_a_stream_has_every_event_of_a_direct_one(way: str, world: World) -> None:
    told: Any = {"model": LUNA, "input": "Tell me of the canal.", "stream": True, "reasoning": {"effort": "low"}}
    with world.client() as direct, world.client(way) as client:
        expected = [event.type for event in direct.responses.create(**told)]
        raw = client.responses.with_raw_response.create(**told)
        events = list(raw.parse())
    assert [event.type for event in events] == expected
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    row = world.charged(way, raw.headers)
    assert row["stream"] == 1
    assert row["output_tokens"] == events[-1].response.usage.output_tokens
    assert events[-1].response.usage.output_tokens_details.reasoning_tokens > 0


def test_the_sdks_own_stream_helper_works_async_too(way: str, world: World) -> None:
    async def run() -> Any:
        async with world.ways[way].http("async") as http:
            client = world.ways[way].client("openai", "async", http, max_retries=0)
            async with client.responses.stream(model=LUNA, input="say: one two three") as stream:
                deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
                return "".join(deltas), await stream.get_final_response()

    text, final = asyncio.run(run())
    assert text == final.output_text == "one two three"


def test_parsed_output_is_the_callers_own_type(way: str, world: World) -> None:
    class Place(pydantic.BaseModel):
        city: str
        population: int

    with world.client(way) as client:
        raw = client.responses.with_raw_response.parse(model=LUNA, input="Where?", text_format=Place)
        assert isinstance(raw.parse().output_parsed, Place)
        world.charged(way, raw.headers)


@pytest.mark.parametrize("streamed", [False, True])
def test_cached_written_and_reasoning_tokens_are_charged_as_billed(way: str, streamed: bool, world: World) -> None:
    told: Any = {"model": LUNA, "instructions": f"{way} {streamed} {LONG}", "reasoning": {"effort": "medium"}}
    seen = []
    with world.client(way) as client:
        for question in ("first?", "second?"):
            raw = client.responses.with_raw_response.create(**told, input=question, stream=streamed)
            answer = raw.parse()
            usage = list(answer)[-1].response.usage if streamed else answer.usage
            world.charged(way, raw.headers)
            seen.append(usage)
    first, second = seen
    assert first.input_tokens_details.cache_write_tokens > 1000
    assert second.input_tokens_details.cached_tokens > 1000
    assert second.output_tokens_details.reasoning_tokens > 0


def test_a_conversation_goes_on_from_what_the_provider_keeps(way: str, world: World) -> None:
    with world.client(way) as client:
        first = client.responses.create(model=LUNA, input=f"Remember this. {LONG}")
        raw = client.responses.with_raw_response.create(
            model=LUNA, previous_response_id=first.id, input="say: I remember"
        )
        second = raw.parse()
        assert second.output_text == "I remember"
        assert second.usage is not None
        assert first.usage is not None
        assert second.usage.input_tokens > first.usage.input_tokens
        row = world.charged(way, raw.headers)
        # What it goes on from is not in the body, so its bytes bound nothing.
        attempts = rows(world.ledgers[way][0], "attempts")
        assert next(a for a in attempts if a["exchange_id"] == row["id"])["bound_nano"] is None


def test_what_is_kept_can_be_read_and_deleted_for_free(way: str, world: World) -> None:
    with world.client(way) as client:
        made = client.responses.create(model=LUNA, input="say: kept")
        calls = [
            client.responses.with_raw_response.retrieve(made.id),
            client.responses.input_items.with_raw_response.list(made.id),
            client.responses.input_tokens.with_raw_response.count(model=LUNA, input="say: kept"),
            client.responses.with_raw_response.delete(made.id),
        ]
        assert calls[0].parse().output_text == "kept"  # type: ignore[attr-defined]  # of four kinds
        assert calls[1].parse().data[0].content[0].text == "say: kept"  # type: ignore[attr-defined]
        assert made.usage is not None
        assert calls[2].parse().input_tokens == made.usage.input_tokens  # type: ignore[attr-defined]
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)
    found = [world.row(way, call.headers) for call in calls]
    assert [row["endpoint"] for row in found] == ["stored", "stored", "count_tokens", "stored"]
    assert all((row["ending"], row["cost_nano"], row["estimated"]) == ("complete", 0, 0) for row in found)


def test_work_in_the_background_is_charged_its_bound_and_can_be_asked_for(way: str, world: World) -> None:
    with world.client(way) as client:
        raw = client.responses.with_raw_response.create(
            model=LUNA, input="say: done", background=True, max_output_tokens=200
        )
        made = raw.parse()
        assert made.status in ("queued", "in_progress")
        assert client.responses.retrieve(made.id).id == made.id
        client.responses.cancel(made.id)
    row = world.row(way, raw.headers)
    assert (row["ending"], row["estimated"]) == ("complete", 1)
    assert row["cost_nano"] > 200 * 400  # the cap at Luna's output price is the most of it
    assert row["cost_nano"] >= world.billed(row)


def test_a_conversation_in_the_background_is_charged_all_it_may_cost(way: str, world: World) -> None:
    with world.client(way) as client:
        first = client.responses.create(model=LUNA, input=f"Remember this. {UNCACHED}")
        raw = client.responses.with_raw_response.create(
            model=LUNA, previous_response_id=first.id, input="tokens: 150", background=True, max_output_tokens=150
        )
        made = raw.parse()
        while made.status in ("queued", "in_progress"):
            made = client.responses.retrieve(made.id)
    row = world.row(way, raw.headers)
    assert (made.status, row["estimated"]) == ("completed", 1)
    assert row["cost_nano"] >= world.billed(row) > 0


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("why", ["max_output_tokens", "content_filter"])
def test_an_incomplete_response_says_why_and_is_charged(way: str, streamed: bool, why: str, world: World) -> None:
    told: Any = {"model": LUNA, "input": "say: one two three", "stream": streamed}
    if why == "max_output_tokens":
        told |= {"input": "tokens: 200", "max_output_tokens": 16}
    else:
        world.sim.load(failing(Fault("refusal")))
    with world.client(way) as client:
        raw = client.responses.with_raw_response.create(**told)
        answer = raw.parse()
        final = list(answer)[-1].response if streamed else answer
    assert (final.status, final.incomplete_details.reason) == ("incomplete", why)
    assert world.charged(way, raw.headers)["stop_reason"] == why


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_fails_once_is_made_again_and_both_are_paid(way: str, streamed: bool, world: World) -> None:
    world.sim.load(failing(Fault("failed"), times=1))
    with world.client(way) as client:
        raw = client.responses.with_raw_response.create(model=LUNA, input="say: at last", stream=streamed)
        answer = raw.parse()
        final: Any = list(answer)[-1].response if streamed else answer  # type: ignore[call-overload]
    assert final.output_text == "at last"
    row = world.row(way, raw.headers)
    attempts = [a for a in rows(world.ledgers[way][0], "attempts") if a["exchange_id"] == row["id"]]
    lines = {line["request_id"]: line["cost_nano"] for line in world.sim.invoice()["lines"]}
    assert [a["cost_nano"] for a in attempts] == [lines.get(a["request_id"], 0) for a in attempts]
    assert len(attempts) == 2


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_stream_that_breaks_off_raises_in_the_sdk_and_is_never_charged_below_the_invoice(
    way: str, how: str, world: World
) -> None:
    world.sim.load(failing(Fault("cut", after_events=9, how=how)))
    got: list[Any] = []
    with world.client(way) as client:
        raw = client.responses.with_raw_response.create(model=LUNA, input="tokens: 80", stream=True)
        with pytest.raises(openai.APIError, match="broke off") as raised:
            got.extend(event for event in raw.parse())
    assert raised.value.code == "provider_broken"
    found = headgate.refusal(raised.value)
    assert found is None or found.code == "provider_broken"
    row = world.row(way, raw.headers)
    assert (row["ending"], row["estimated"]) == ("cut", 1)
    assert row["cost_nano"] >= world.billed(row) > 0


def test_a_cut_conversation_is_never_charged_below_the_invoice(way: str, world: World) -> None:
    world.sim.load(Scenario(name="second", rules=(Rule(Fault("cut", after_events=9), when=When(after=1)),)))
    with world.client(way) as client:
        first = client.responses.create(model=LUNA, input=f"Remember this. {UNCACHED}")
        raw = client.responses.with_raw_response.create(
            model=LUNA, previous_response_id=first.id, input="tokens: 80", stream=True
        )
        with pytest.raises(openai.APIError):
            list(raw.parse())
    row = world.row(way, raw.headers)
    assert (row["ending"], row["estimated"]) == ("cut", 1)
    assert row["cost_nano"] >= world.billed(row) > 0


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_vectors_are_those_of_a_direct_call(way: str, encoding: str | None, world: World) -> None:
    told: Any = {"model": SMALL, "input": "the gate of the canal", "dimensions": 64}
    if encoding is not None:
        told["encoding_format"] = encoding
    with world.client() as direct, world.client(way) as client:
        expected = direct.embeddings.create(**told)
        raw = client.embeddings.with_raw_response.create(**told)
    found = raw.parse()
    assert found.data == expected.data
    assert isinstance(found.data[0].embedding, str if encoding == "base64" else list)
    row = world.charged(way, raw.headers, "embeddings")
    assert (row["input_tokens"], row["output_tokens"]) == (found.usage.prompt_tokens, 0)


@pytest.mark.parametrize("told", [["one", "two two", "three"], [1, 2, 3], [[1, 2], [3]]], ids=["texts", "ids", "lists"])
def test_a_batch_of_inputs_is_charged_as_billed(way: str, told: Any, world: World) -> None:
    with world.client(way) as client:
        raw = client.embeddings.with_raw_response.create(model="text-embedding-3-large", input=told)
    assert len(raw.parse().data) == (1 if told == [1, 2, 3] else len(told))
    world.charged(way, raw.headers, "embeddings")


def test_a_moderation_is_free_and_passes(way: str, world: World) -> None:
    with world.client() as direct, world.client(way) as client:
        for model in ({}, {"model": "omni-moderation-latest"}):
            told: Any = {"input": ["all is well", "flag: violence"], **model}
            raw = client.moderations.with_raw_response.create(**told)
            found = raw.parse()
            assert [result.flagged for result in found.results] == [False, True]
            assert found.results == direct.moderations.create(**told).results
            row = world.row(way, raw.headers)
            assert (row["endpoint"], row["ending"], row["cost_nano"]) == ("moderations", "complete", 0)


@pytest.mark.parametrize("path", ["responses", "embeddings"])
def test_a_wrong_body_is_refused_in_the_dialect_and_nothing_is_sent(way: str, path: str, world: World) -> None:
    before = len(world.sim.requests())
    with world.client(way) as client, pytest.raises(openai.BadRequestError) as raised:
        client.post(f"/{path}", cast_to=object, body={"model": 3, "input": "hi"})
    assert raised.value.code == "invalid_request"
    assert "`model` must be a string" in str(raised.value)
    with world.client(way) as client, pytest.raises(openai.BadRequestError) as unknown:
        client.post(f"/{path}", cast_to=object, body={"model": "no-such-model", "input": "hi"})
    assert unknown.value.code == "unknown_price"
    assert len(world.sim.requests()) == before
    assert json.loads(unknown.value.response.content)["headgate"]["code"] == "unknown_price"
