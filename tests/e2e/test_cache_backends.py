"""An answer that one gateway has had is given by another one that shares the place, or by its own successor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_sdks import Way, body, call  # it lies beside this file
from e2e_world import Gateway  # it lies beside this file

from headgate.stores import cache_memcached, cache_sqlite, redis_place
from headgate.testing.server import SimulatorServer

sys.path.append(str(Path(__file__).parents[1] / "stores"))

from memcached_server import the_memcached  # it lies beside the stores' tests
from redis_server import the_redis


@pytest.fixture
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.mark.parametrize("backend", ["sqlite", "shared", "memcached"])
def test_both_sdks_get_answers_that_another_gateway_has_had_whole_and_as_streams(
    sim: SimulatorServer, tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A store that is slow because this machine is busy is not what this is about.
    monkeypatch.setattr(cache_sqlite, "PATIENCE", 30.0)
    monkeypatch.setattr(redis_place.RedisPlace.__init__, "__defaults__", (30.0,))
    monkeypatch.setattr(
        cache_memcached.MemcachedBackend.__init__, "__kwdefaults__", {"largest": 1 << 20, "timeout": 30.0}
    )
    told: dict[str, object] = {"cache": {"default": "1h", "backend": backend}}
    if backend == "shared":
        told["shared"] = the_redis().url()
    elif backend == "memcached":
        told["cache"] = {"default": "1h", "backend": the_memcached().url()}
    folders = [tmp_path / name for name in ("one", "two" if backend != "sqlite" else "one")]
    asked = [(sdk, stream) for sdk in ("anthropic", "openai") for stream in (False, True)]
    texts: list[list[str]] = []
    for folder, expected in zip(folders, ("miss", "hit"), strict=True):
        folder.mkdir(exist_ok=True)
        texts.append([])
        with Gateway(folder, sim.url, sim.openai_url, overrides=told) as gateway:
            for sdk, stream in asked:
                seen = call(Way(gateway.url), sdk, "sync", body(sdk, "say: hello there", stream=stream))
                assert seen.error is None
                assert seen.headers["x-headgate-cache"] == expected
                texts[-1].append(seen.text())
            told_of = gateway.built.caching.report()
            assert (told_of["ok"], told_of["corrupt"]) == (True, 0)
    assert texts[0] == texts[1]
    assert len(sim.requests()) == len(asked)
