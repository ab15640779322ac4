"""Two gateways on one Redis: a caller has one limit, however its calls are spread; and Redis dies on the way."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from e2e_sdks import ERRORS, Way, body, call  # it lies beside this file
from e2e_world import Gateway  # it lies beside this file

from headgate.stores import redis_place
from headgate.testing.server import SimulatorServer

sys.path.append(str(Path(__file__).parents[1] / "stores"))

from redis_server import RedisServer, own_redis  # it lies beside the stores' tests

__all__ = ["own_redis"]

PATIENCE = 30.0


@pytest.fixture
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


def _ready(gateway: Gateway) -> Any:
    answer = httpx2.get(f"{gateway.url}/health/ready")
    assert answer.status_code == 200
    return answer.json()


def test_two_gateways_hold_one_limit_together_and_their_shares_while_redis_is_away(
    sim: SimulatorServer, tmp_path: Path, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Redis that is slow because this machine is busy is not what this is about.
    monkeypatch.setattr(redis_place, "redis_place", lambda url: replace(redis_place.place_of(url), timeout=PATIENCE))
    told = {"limits": [{"requests_per_minute": 8}], "shared": own_redis.url()}
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with (
        Gateway(folders[0], sim.url, sim.openai_url, overrides=told) as one,
        Gateway(folders[1], sim.url, sim.openai_url, overrides=told) as two,
    ):
        both = (one, two)

        def let_in(calls: int) -> list[int]:
            found = [0, 0]
            for number in range(calls):
                sdk, colour = ("anthropic", "openai")[number % 2], ("sync", "async")[number // 2 % 2]
                seen = call(Way(both[number % 2].url), sdk, colour, body(sdk, "say: hi"), max_retries=0)
                assert seen.error is None or isinstance(seen.error, ERRORS[sdk].RateLimitError)
                found[number % 2] += seen.error is None
            return found

        began = time.monotonic()
        at_first = sum(let_in(10))
        assert 8 <= at_first <= 8 + (time.monotonic() - began) / 7.5 + 1
        assert _ready(one) == {"status": "ready"}
        _until(lambda: one_knows(one) == one_knows(two) == 2)
        own_redis.stop()
        began = time.monotonic()
        alone = let_in(10)
        for each in alone:
            assert 4 <= each <= 4 + (time.monotonic() - began) / 15 + 1
        assert _ready(one) == {"status": "ready", "shared": "lost (no connection to it): this process goes on with 1/2"}
        own_redis.start()
        _until(lambda: "shared" not in _ready(one) and "shared" not in _ready(two))
        assert sum(let_in(4)) == 4


def one_knows(gateway: Gateway) -> int:
    replicas: int = gateway.built.sharing.health()["replicas"]
    return replicas


def _until(what: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)
