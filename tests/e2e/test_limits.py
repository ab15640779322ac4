"""Callers' limits from the configuration to the SDKs: real ones at their defaults, both ways in, in fake time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from e2e_sdks import ERRORS, Way, body, call  # it lies beside this file
from e2e_world import Gateway, only  # it lies beside this file

import headgate
from headgate import Gate
from headgate.core.caller import Caller
from headgate.core.errors import RateExceeded
from headgate.core.limits import Taken
from headgate.gateway.auth import KeyRecord
from headgate.policy.gcra import Limits
from headgate.testing.server import SimulatorServer

SDKS = pytest.mark.parametrize("sdk", ["anthropic", "openai"])
WAYS = pytest.mark.parametrize("way_in", ["gateway", "in-process"])
COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
KEYS = {name: "-".join(("hg", name, digit * 24)) for name, digit in (("ada", "1"), ("bob", "2"), ("eve", "3"))}


class Time:
    """Moves when an SDK waits before it sends again."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The limits' clock, and the SDKs' waits with it."""
    made = Time()

    class Timed(Limits):
        def ask(self, caller: Caller, now: float, *more: Any, **named: Any) -> Any:
            return super().ask(caller, made.now, *more, **named)

        def correct(self, taken: Taken, tokens: int, now: float) -> None:
            super().correct(taken, tokens, made.now)

    async def wait(seconds: float) -> None:
        made.sleep(seconds)

    monkeypatch.setattr("headgate.stores.sharing.Limits", Timed)
    for sdk in ("anthropic", "openai"):
        monkeypatch.setattr(f"{sdk}._base_client.time", Patched(time, sleep=made.sleep))
        monkeypatch.setattr(f"{sdk}._base_client.anyio", Patched(__import__("anyio"), sleep=wait))
    return made


class Patched:
    """A module with some of its functions in place of its own, for one importer."""

    def __init__(self, module: Any, **own: Any) -> None:
        self.__dict__.update(own)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class World:
    """One way in, with its limits."""

    def __init__(self, sim: SimulatorServer, folder: Path, way_in: str, *limits: dict[str, Any]) -> None:
        self.gate: Gate | None = None
        self.gateway: Gateway | None = None
        if way_in == "gateway":
            self.gateway = Gateway(folder, sim.url, sim.openai_url, overrides={"limits": list(limits)})
        else:
            env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
            storage = f"sqlite:///{folder / 'own.db'}"
            self.gate = Gate.load(env=env, storage=storage, limits=list(limits), wait=lambda state: 0.0)
        self._url = sim.url

    def __enter__(self) -> Way:
        if self.gateway is not None:
            self.gateway.__enter__()
            return Way(self.gateway.url)
        return Way(self._url, self.gate)

    def __exit__(self, *error: Any) -> None:
        if self.gateway is not None:
            self.gateway.__exit__(None, None, None)
        if self.gate is not None:
            self.gate.close()


@SDKS
@WAYS
@COLOURS
def test_an_sdk_at_its_defaults_waits_as_it_is_told_and_then_succeeds(
    sim: SimulatorServer, tmp_path: Path, clock: Time, sdk: str, way_in: str, colour: str
) -> None:
    with World(sim, tmp_path, way_in, {"requests_per_minute": 3}) as way:
        for _ in range(3):
            assert call(way, sdk, colour, body(sdk, "say: hi")).error is None
        assert clock.slept == []
        seen = call(way, sdk, colour, body(sdk, "say: hello"))
    assert seen.text() == "hello"
    assert clock.slept == [pytest.approx(20.0, abs=0.002)]
    assert seen.headers["x-ratelimit-limit-requests"] == "3"
    assert seen.headers["x-ratelimit-remaining-requests"] == "0"


@SDKS
@WAYS
def test_a_burst_over_a_limit_lets_in_exactly_as_many_as_it_allows(
    sim: SimulatorServer, tmp_path: Path, clock: Time, sdk: str, way_in: str
) -> None:
    async def burst(way: Way) -> list[Any]:
        async with way.http("async") as http:
            client = way.client(sdk, "async", http, max_retries=0)
            create = client.messages.create if sdk == "anthropic" else client.chat.completions.create
            asked = [create(**body(sdk, "say: hi")) for _ in range(60)]
            return await asyncio.gather(*asked, return_exceptions=True)

    with World(sim, tmp_path, way_in, {"requests_per_minute": 25}) as way:
        refused = [each for each in asyncio.run(burst(way)) if isinstance(each, Exception)]
    assert len(refused) == 60 - 25
    for error in refused:
        assert isinstance(error, ERRORS[sdk].RateLimitError)
        ours = headgate.refusal(error)
        assert isinstance(ours, RateExceeded)
        assert ours.code == "rate_limit_exceeded"
        assert ours.retry_after == pytest.approx(2.4, abs=0.002)


@SDKS
@WAYS
def test_streams_are_counted_by_what_they_have_used(
    sim: SimulatorServer, tmp_path: Path, clock: Time, sdk: str, way_in: str
) -> None:
    with World(sim, tmp_path, way_in, {"tokens_per_minute": 100_000}) as way:
        first = call(way, sdk, "sync", body(sdk, "say: hi", stream=True))
        second = call(way, sdk, "sync", body(sdk, "say: hi", stream=True))
    estimate = 100_000 - int(first.headers["x-ratelimit-remaining-tokens"])
    used = sum(first.tokens())
    assert used != estimate  # so that it shows which of the two is counted
    assert 100_000 - int(second.headers["x-ratelimit-remaining-tokens"]) == used + estimate


@SDKS
def test_a_refusal_in_a_stream_is_a_whole_typed_error(
    sim: SimulatorServer, tmp_path: Path, clock: Time, sdk: str
) -> None:
    with World(sim, tmp_path, "gateway", {"requests_per_minute": 1}) as way:
        call(way, sdk, "sync", body(sdk, "say: hi"))
        seen = call(way, sdk, "sync", body(sdk, "say: hi", stream=True), max_retries=0)
    assert isinstance(seen.error, ERRORS[sdk].RateLimitError)
    assert seen.error.response.headers["retry-after"] == "60"
    if sdk == "openai":
        assert (seen.error.code, seen.error.type) == ("rate_limit_exceeded", "requests")
    else:
        assert seen.error.body["error"]["type"] == "rate_limit_error"


def gateway(sim: SimulatorServer, folder: Path, *limits: dict[str, Any], **overrides: Any) -> Gateway:
    keys = {KEYS[name]: KeyRecord(id=name, name=name, tenant=f"{name}s") for name in KEYS}
    return Gateway(folder, sim.url, sim.openai_url, keys=keys, overrides={"limits": list(limits), **overrides})


def head(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {KEYS[name]}", "anthropic-version": "2023-06-01"}


def post(made: Gateway, name: str, **headers: str) -> httpx2.Response:
    told = {**head(name), **{k.replace("_", "-"): v for k, v in headers.items()}}
    return httpx2.post(f"{made.url}/v1/messages", headers=told, json=body("anthropic", "say: hi"))


def test_no_header_takes_from_anothers_bucket_or_out_of_ones_own(
    sim: SimulatorServer, tmp_path: Path, clock: Time
) -> None:
    limits = [{"per": [each], "requests_per_minute": 2} for each in ("key", "tenant", "address")]
    with gateway(sim, tmp_path, *limits) as made:
        assert post(made, "eve", x_headgate_tenant="adas").status_code == 403
        hostile = {
            "x_headgate_key": "ada",
            "x_headgate_environment": "production",
            "x_forwarded_for": "203.0.113.9",
            "forwarded": "for=203.0.113.9",
            "x_real_ip": "203.0.113.9",
        }
        assert [post(made, "eve", **hostile).status_code for _ in range(3)] == [200, 200, 429]
    with gateway(sim, tmp_path, *limits[:2]) as made:
        assert [post(made, "eve", **hostile).status_code for _ in range(3)] == [200, 200, 429]
        assert [post(made, "ada").status_code for _ in range(3)] == [200, 200, 429]


def test_a_limit_per_tenant_and_user_keeps_users_of_the_same_name_apart(
    sim: SimulatorServer, tmp_path: Path, clock: Time
) -> None:
    with gateway(sim, tmp_path, {"per": ["tenant", "user"], "requests_per_minute": 1}) as made:
        assert [post(made, "eve", x_headgate_user="u1").status_code for _ in range(2)] == [200, 429]
        assert post(made, "ada", x_headgate_user="u1").status_code == 200


def test_addresses_behind_a_trusted_proxy_have_limits_of_their_own(
    sim: SimulatorServer, tmp_path: Path, clock: Time
) -> None:
    server = {"trusted_proxies": ["127.0.0.1"]}
    with gateway(sim, tmp_path, {"per": "address", "requests_per_minute": 1}, server=server) as made:
        first = [post(made, "eve", x_forwarded_for=f"6.6.6.{n}, 203.0.113.7").status_code for n in range(2)]
        assert first == [200, 429]
        assert post(made, "eve", x_forwarded_for="203.0.113.8").status_code == 200


def test_requests_over_one_connection_count_for_the_user_that_each_of_them_names(
    sim: SimulatorServer, tmp_path: Path, clock: Time
) -> None:
    with gateway(sim, tmp_path, {"per": "user", "requests_per_minute": 1}) as made, httpx2.Client() as http:
        seen = Counter(
            (user, http.post(f"{made.url}/v1/messages", headers=told, json=body("anthropic", "say: hi")).status_code)
            for user in ("u1", "u2", "u1", "u2")
            for told in [{**head("ada"), "x-headgate-user": user}]
        )
    assert seen == {("u1", 200): 1, ("u2", 200): 1, ("u1", 429): 1, ("u2", 429): 1}


def test_a_keys_own_limit_is_its_own(sim: SimulatorServer, tmp_path: Path, clock: Time) -> None:
    keys = [{"name": "ada", "key": "env:ADA", "limits": [{"requests_per_minute": 1}]}]
    with gateway(sim, tmp_path, {"requests_per_minute": 9}, keys=keys) as made:
        assert [post(made, "ada").status_code for _ in range(2)] == [200, 429]
        assert [post(made, "bob").headers["x-ratelimit-remaining-requests"] for _ in range(2)] == ["7", "6"]


def test_a_refusal_is_in_the_ledger_and_in_the_log(sim: SimulatorServer, tmp_path: Path, clock: Time) -> None:
    with gateway(sim, tmp_path, {"per": "key", "requests_per_minute": 1}) as made:
        post(made, "ada")
        refused = post(made, "ada")
        row = made.exchange(refused.headers["x-headgate-exchange"])
        assert (row["ending"], row["status"]) == ("refused", 429)
        line = only(
            [line for line in made.lines() if line.get("exchange_id") == row["id"] or line.get("exchange") == row["id"]]
        )
        assert (line["error_type"], line["limit"]) == ("rate_limit_exceeded", "override")


def test_calls_of_many_threads_and_tasks_in_one_process_share_one_limit(
    sim: SimulatorServer, tmp_path: Path, clock: Time
) -> None:
    world = World(sim, tmp_path, "in-process", {"per": "user", "requests_per_minute": 20})
    with world as way, headgate.caller(user="ada"):
        sdk = way.client("anthropic", "async", way.http("async"), max_retries=0)
        statuses: list[int] = []

        async def one() -> None:
            try:
                await sdk.messages.create(**body("anthropic", "say: hi"))
                statuses.append(200)
            except ERRORS["anthropic"].RateLimitError:
                statuses.append(429)

        async def many() -> None:
            await asyncio.gather(*(one() for _ in range(15)))

        def block() -> None:
            blocking = way.client("openai", "sync", way.http("sync"), max_retries=0)
            with headgate.caller(user="ada"):
                for _ in range(5):
                    try:
                        blocking.chat.completions.create(**body("openai", "say: hi"))
                        statuses.append(200)
                    except ERRORS["openai"].RateLimitError:
                        statuses.append(429)

        threads = [threading.Thread(target=block) for _ in range(3)]
        for thread in threads:
            thread.start()
        asyncio.run(many())
        for thread in threads:
            thread.join()
    assert Counter(statuses) == {200: 20, 429: 10}
