"""The one door to caches: what it opens, and what it tells of it."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cached_answers import T0, a_closed_port, answer
from memcached_server import the_memcached
from redis_server import the_redis

from headgate.core.errors import ConfigError, Unavailable
from headgate.core.ports import Cache
from headgate.engine.blocking import run_blocking
from headgate.stores.caching import Caching

Opened = Callable[..., Caching]


class Clock:
    def __init__(self) -> None:
        self.now = T0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Opened]:
    made: list[Caching] = []

    def open_(backend: str, **more: Any) -> Caching:
        made.append(
            Caching(backend, file=tmp_path / "h.cache", now=lambda: clock.now, tell=lambda *_, **__: None, **more)
        )
        return made[-1]

    yield open_
    for each in made:
        each.close()


def has(port: Cache, key: str) -> bool:
    # The machine may be busy, and a slow answer is a miss.
    return any(run_blocking(port.get(key)) is not None for _ in range(100))


def backends() -> list[str]:
    return ["memory", "sqlite", the_redis().url(), the_memcached().url()]


@pytest.mark.parametrize("which", range(4), ids=["memory", "sqlite", "redis", "memcached"])
def test_both_colours_of_every_backend_see_the_same_answers(opened: Opened, which: int) -> None:
    caching = opened(backends()[which], memory_seconds=0)
    caching.port(blocking=False).put("a:1", answer())
    assert has(caching.port(blocking=True), "a:1")
    assert asyncio.run(caching.port(blocking=False).get("a:1")) is not None
    report = caching.report()
    assert report["ok"] is True
    assert report["hits"] >= 2
    assert report["stored"] == 1


def test_what_replicas_share_is_in_memory_for_a_minute_only(opened: Opened, clock: Clock) -> None:
    url = the_redis().url()
    mine, others = opened(url), opened(url, memory_seconds=0)
    mine.port(blocking=True).put("a:1", answer())
    assert has(others.port(blocking=True), "a:1")
    assert run_blocking(others.port(blocking=True).forget("a:")) == 1
    clock.now += 59
    assert run_blocking(mine.port(blocking=True).get("a:1")) is not None
    clock.now += 1
    assert run_blocking(mine.port(blocking=True).get("a:1")) is None


def test_what_another_replica_has_put_is_found_and_then_kept_in_memory(opened: Opened) -> None:
    url = the_redis().url()
    mine, others = opened(url), opened(url)
    others.port(blocking=True).put("a:1", answer())
    assert has(mine.port(blocking=True), "a:1")
    before = mine.report()["memory"]["hits"]
    assert run_blocking(mine.port(blocking=True).get("a:1")) is not None
    assert mine.report()["memory"]["hits"] == before + 1


def test_that_there_is_nothing_is_not_remembered(opened: Opened) -> None:
    url = the_redis().url()
    mine, others = opened(url), opened(url)
    assert run_blocking(mine.port(blocking=True).get("a:1")) is None
    others.port(blocking=True).put("a:1", answer())
    assert has(mine.port(blocking=True), "a:1")


def test_replicas_with_another_secret_do_not_believe_each_other(opened: Opened) -> None:
    url = the_redis().url()
    mine, theirs = opened(url, secret=b"ours"), opened(url, secret=b"theirs")
    theirs.port(blocking=True).put("a:1", answer())
    assert has(theirs.port(blocking=True), "a:1")
    while not mine.report()["corrupt"]:
        assert run_blocking(mine.port(blocking=True).get("a:1")) is None


def test_forgetting_in_a_place_that_is_gone_is_said_and_memory_forgets_all_the_same(opened: Opened) -> None:
    caching = opened(f"redis://127.0.0.1:{a_closed_port()}")
    port = caching.port(blocking=True)
    port.put("a:1", answer())
    assert run_blocking(port.get("a:1")) is not None  # in memory
    with pytest.raises(Unavailable):
        run_blocking(port.forget("a:"))
    assert run_blocking(port.get("a:1")) is None
    report = caching.report()
    assert report["ok"] is False
    assert report["last_error"] == "no connection to it"
    assert report["entries"] is None


@pytest.mark.parametrize(("scheme", "package"), [("redis", "redis"), ("memcached", "pymemcache")])
def test_a_backend_whose_package_is_missing_says_what_to_install(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, scheme: str, package: str
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=rf'cache.backend: .*pip install "headgate\[{scheme}\]"'):
        opened(f"{scheme}://h")


def test_nothing_is_opened_before_it_is_used(opened: Opened, tmp_path: Path) -> None:
    caching = opened("sqlite")
    assert caching.report()["entries"] is None
    assert list(tmp_path.iterdir()) == []
