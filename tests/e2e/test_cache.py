"""The cache from the configuration to the SDKs: real ones at their defaults, both ways in, the simulator behind."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_sdks import ERRORS, Way, body, call  # it lies beside this file
from e2e_world import Gateway, rows  # it lies beside this file

import headgate
from headgate import Gate
from headgate.core.errors import CacheMiss
from headgate.gateway.auth import KeyRecord
from headgate.testing.server import SimulatorServer

SDKS = pytest.mark.parametrize("sdk", ["anthropic", "openai"])
WAYS = pytest.mark.parametrize("way_in", ["gateway", "in-process"])
COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
KEYS = {name: "-".join(("hg", name, digit * 24)) for name, digit in (("ada", "1"), ("bob", "2"))}


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture(autouse=True)
def healthy(sim: SimulatorServer) -> None:
    sim.load("healthy")


class World:
    """One way in, with a cache."""

    def __init__(self, sim: SimulatorServer, folder: Path, way_in: str, **settings: Any) -> None:
        self.gate: Gate | None = None
        self.gateway: Gateway | None = None
        self.ledger = folder / ("gateway.db" if way_in == "gateway" else "own.db")
        told = {"cache": {"default": "1h"}, **settings}
        keys = told.pop("virtual_keys", None)
        if way_in == "gateway":
            self.gateway = Gateway(folder, sim.url, sim.openai_url, overrides=told, keys=keys)
        else:
            env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
            self.gate = Gate.load(env=env, storage=f"sqlite:///{self.ledger}", wait=lambda state: 0.0, **told)
        self._url = sim.url

    def __enter__(self) -> World:
        if self.gateway is not None:
            self.gateway.__enter__()
            self._url = self.gateway.url
        self.way = Way(self._url, self.gate)
        return self

    def __exit__(self, *error: Any) -> None:
        if self.gateway is not None:
            self.gateway.__exit__(None, None, None)
        if self.gate is not None:
            self.gate.close()

    def exchanges(self) -> list[dict[str, Any]]:
        built = self.gateway.built if self.gateway is not None else self.gate.built  # type: ignore[union-attr]  # one is there
        built.ledger.flush()
        return rows(self.ledger, "exchanges")


@SDKS
@WAYS
@COLOURS
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_question_gets_the_same_answer_and_one_bill(
    sim: SimulatorServer, tmp_path: Path, sdk: str, way_in: str, colour: str, stream: bool
) -> None:
    with World(sim, tmp_path, way_in) as world:
        before = len(sim.requests())
        told = body(sdk, "tokens: 12", stream=stream)
        first, second = (call(world.way, sdk, colour, told) for _ in range(2))
        assert first.error is second.error is None
        assert len(sim.requests()) == before + 1
        assert second.text() == first.text() != ""
        assert (second.stop(), second.tokens()) == (first.stop(), first.tokens())
        assert (first.headers["x-headgate-cache"], second.headers["x-headgate-cache"]) == ("miss", "hit")
        assert second.headers["x-headgate-attempts"] == "0"
        assert second.headers["x-headgate-model"].startswith(first.headers["x-headgate-model"])  # a stream tells late
        assert second.headers["x-headgate-simulated"] == "true"
        one, two = world.exchanges()
        assert (one["cache"], two["cache"]) == ("miss", "hit")
        assert (two["cost_nano"], two["attempts"], two["ending"], two["status"]) == (0, 0, "complete", 200)
        assert one["cost_nano"] == sim.invoice()["lines"][-1]["cost_nano"]
        assert two["model_served"] == one["model_served"]


@SDKS
@pytest.mark.parametrize("stream", [False, True])
def test_twenty_callers_at_once_make_one_call_through_a_gateway(
    sim: SimulatorServer, tmp_path: Path, sdk: str, stream: bool
) -> None:
    sim.load({"pace": {"first_token_seconds": 0.3}})

    async def all_at_once(way: Way) -> list[Any]:
        async with way.http("async") as http:
            client = way.client(sdk, "async", http)
            create = (client.messages if sdk == "anthropic" else client.chat.completions).with_raw_response.create

            async def one() -> tuple[str, str]:
                raw = await create(**body(sdk, "say: together", stream=stream))
                answer = raw.parse()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if not stream:
                    return raw.headers["x-headgate-cache"], str(answer)
                return raw.headers["x-headgate-cache"], str([event async for event in answer])

            return await asyncio.gather(*(one() for _ in range(20)))

    with World(sim, tmp_path, "gateway") as world:
        before = len(sim.requests())
        seen = asyncio.run(all_at_once(world.way))
        assert len(sim.requests()) == before + 1
        assert Counter(cache for cache, _ in seen) == {"miss": 1, "hit": 19}
        assert len({answer for _, answer in seen}) == 1
        assert sum(row["cost_nano"] for row in world.exchanges()) == sim.invoice()["lines"][-1]["cost_nano"]


@SDKS
def test_threads_and_tasks_of_one_program_wait_for_the_same_answer(
    sim: SimulatorServer, tmp_path: Path, sdk: str
) -> None:
    sim.load({"pace": {"first_token_seconds": 0.5}})
    with World(sim, tmp_path, "in-process") as world:
        before = len(sim.requests())
        texts: list[str] = []

        def one(colour: str) -> None:
            texts.append(call(world.way, sdk, colour, body(sdk, "say: both")).text())

        threads = [threading.Thread(target=one, args=(colour,)) for colour in ("sync", "async") * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert texts == ["both"] * 8
        assert len(sim.requests()) == before + 1
        assert world.gate is not None
        assert world.gate.stats.cache_hit_rate == pytest.approx(7 / 8)
        assert world.gate.stats.cache_size == 1


@SDKS
def test_the_upstream_call_outlives_the_caller_that_began_it(sim: SimulatorServer, tmp_path: Path, sdk: str) -> None:
    sim.load({"pace": {"first_token_seconds": 0.6}})

    async def leave(way: Way) -> str:
        async with way.http("async") as http:
            client = way.client(sdk, "async", http)
            create = client.messages.create if sdk == "anthropic" else client.chat.completions.create
            first = asyncio.create_task(create(**body(sdk, "say: still here")))
            await asyncio.sleep(0.2)
            second = asyncio.create_task(create(**body(sdk, "say: still here")))
            await asyncio.sleep(0.1)
            first.cancel()
            answer = await second
            return str(answer)

    with World(sim, tmp_path, "gateway") as world:
        before = len(sim.requests())
        assert "still here" in asyncio.run(leave(world.way))
        assert len(sim.requests()) == before + 1
        assert sorted(row["ending"] for row in world.exchanges()) == ["complete", "complete"]
        assert sum(row["cost_nano"] for row in world.exchanges()) == sim.invoice()["lines"][-1]["cost_nano"]


@SDKS
def test_two_tenants_with_the_same_question_make_two_calls(sim: SimulatorServer, tmp_path: Path, sdk: str) -> None:
    keys = {KEYS[name]: KeyRecord(id=name, name=name, tenant=name) for name in KEYS}
    with World(sim, tmp_path, "gateway", virtual_keys=keys) as world:
        before = len(sim.requests())
        seen = []
        for name in ("ada", "bob", "ada", "bob"):
            way = Way(world.way.url, key=KEYS[name])
            seen.append(call(way, sdk, "sync", body(sdk, "say: mine")).headers["x-headgate-cache"])
        assert seen == ["miss", "miss", "hit", "hit"]
        assert len(sim.requests()) == before + 2


@SDKS
@WAYS
def test_the_header_turns_the_cache_off_renews_it_and_asks_it_only(
    sim: SimulatorServer, tmp_path: Path, sdk: str, way_in: str
) -> None:
    def asked(world: World, wanted: str) -> Any:
        return call(world.way, sdk, "sync", body(sdk, "hello", extra_headers={"x-headgate-cache": wanted}))

    with World(sim, tmp_path, way_in) as world:
        seen = asked(world, "only")
        assert isinstance(seen.error, ERRORS[sdk].APIStatusError)
        assert seen.error.status_code == 504
        ours = headgate.refusal(seen.error)
        assert isinstance(ours, CacheMiss) or getattr(ours, "code", "") == "cache_miss"
        assert asked(world, "refresh").headers["x-headgate-cache"] == "miss"
        assert asked(world, "only").headers["x-headgate-cache"] == "hit"
        off = asked(world, "off")
        assert (off.headers["x-headgate-cache"], off.headers["x-headgate-cache-why"]) == ("bypass", "off")
        assert asked(world, "wrong").error.status_code == 400


def test_by_default_nothing_is_cached_but_temperature_0(sim: SimulatorServer, tmp_path: Path) -> None:
    with World(sim, tmp_path, "gateway", cache={"version": "1"}) as world:
        warm = [call(world.way, "openai", "sync", body("openai", "hello", temperature=1)) for _ in range(2)]
        plain = [call(world.way, "openai", "sync", body("openai", "hello")) for _ in range(2)]
        assert all("x-headgate-cache" not in each.headers for each in (*warm, *plain))


@SDKS
@pytest.mark.parametrize("stop", ["refusal", "max_tokens"])
def test_refused_and_truncated_answers_are_asked_for_again(
    sim: SimulatorServer, tmp_path: Path, sdk: str, stop: str
) -> None:
    cap = {"max_tokens" if sdk == "anthropic" else "max_completion_tokens": 3}
    told = body(sdk, "stop: refusal") if stop == "refusal" else body(sdk, "tokens: 50", **cap)
    with World(sim, tmp_path, "gateway") as world:
        seen = [call(world.way, sdk, "sync", told).headers["x-headgate-cache"] for _ in range(2)]
    assert seen == ["miss", "miss"]


def test_what_responses_keep_at_the_provider_is_not_kept_here(sim: SimulatorServer, tmp_path: Path) -> None:
    with World(sim, tmp_path, "gateway") as world, world.way.http("sync") as http:
        create = world.way.client("openai", "sync", http).responses.with_raw_response.create
        kept = [create(model="gpt-6-luna", input="say: hi").headers["x-headgate-cache"] for _ in range(2)]
        own = [create(model="gpt-6-luna", input="say: hi", store=False).headers["x-headgate-cache"] for _ in range(2)]
    assert kept == ["bypass", "bypass"]
    assert own == ["miss", "hit"]


def test_embeddings_are_kept_where_it_is_said(sim: SimulatorServer, tmp_path: Path) -> None:
    with World(sim, tmp_path, "in-process") as world, world.way.http("sync") as http:
        client = world.way.client("openai", "sync", http)
        first, second = (client.embeddings.create(model="text-embedding-3-small", input="canal") for _ in range(2))
    assert first.data[0].embedding == second.data[0].embedding
    assert [row["cache"] for row in world_rows(world)] == ["miss", "hit"]


def world_rows(world: World) -> list[dict[str, Any]]:
    return rows(world.ledger, "exchanges")


def test_usage_tells_of_hits(sim: SimulatorServer, tmp_path: Path) -> None:
    with World(sim, tmp_path, "in-process") as world:
        for _ in range(3):
            call(world.way, "anthropic", "sync", body("anthropic", "say: hi"))
        assert world.gate is not None
        total = world.gate.usage().total
        assert (total.exchanges, total.attempts, total.cache_hits) == (3, 1, 2)
