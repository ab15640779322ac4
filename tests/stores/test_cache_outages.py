"""Places for answers that go away, hang, fill up and come back. None of it is a caller's business."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from cached_answers import T0, a_closed_port, answer
from memcached_server import MemcachedServer, own_memcached  # noqa: F401 -- a fixture
from redis_server import RedisServer, own_redis  # noqa: F401 -- a fixture

from headgate.core.errors import Unavailable
from headgate.engine.blocking import run_blocking
from headgate.stores.cache_memcached import MemcachedBackend
from headgate.stores.cache_redis import RedisBackend
from headgate.stores.cache_thread import ThreadedCache
from headgate.stores.memcached_place import memcached_place
from headgate.stores.redis_place import redis_place

PATIENCE = 30.0


class Watched:
    """A cache over a place that comes and goes, and what it has told."""

    def __init__(self, backend: Any) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.cache = ThreadedCache(backend, tell=self._tell, now=lambda: T0, retry_seconds=0.05)
        self.port = self.cache.blocking()

    def _tell(self, name: str, **fields: Any) -> None:
        self.told.append((name, fields))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.told]

    def has(self, key: str) -> bool:
        return run_blocking(self.port.get(key)) is not None

    def until(self, name: str) -> None:
        end = time.monotonic() + PATIENCE
        while name not in self.names:
            assert time.monotonic() < end, self.told
            time.sleep(0.01)


@pytest.fixture(params=["redis", "memcached"])
def server(request: pytest.FixtureRequest) -> RedisServer | MemcachedServer:
    found: RedisServer | MemcachedServer = request.getfixturevalue(f"own_{request.param}")
    return found


@pytest.fixture
def watched(server: RedisServer | MemcachedServer) -> Iterator[Watched]:
    made = Watched(backend_at(server.url()))
    yield made
    made.cache.close()


def backend_at(url: str, timeout: float = 5.0) -> Any:
    if url.startswith("redis"):
        return RedisBackend(replace(redis_place(url), timeout=timeout))
    return MemcachedBackend(memcached_place(url), timeout=timeout)


def test_a_place_that_dies_is_a_miss_told_once_and_used_again_when_it_is_back(
    server: RedisServer | MemcachedServer, watched: Watched
) -> None:
    watched.port.put("a:1", answer())
    assert watched.has("a:1")
    server.stop()
    for _ in range(3):
        watched.port.put("a:2", answer())
        assert not watched.has("a:1")
    assert watched.names == ["cache_lost"]
    assert watched.told[0][1]["reason"] == "no connection to it"
    assert watched.cache.health()["ok"] is False
    with pytest.raises(Unavailable, match="may be there still"):
        run_blocking(watched.port.forget())
    server.start()
    watched.until("cache_back")
    watched.port.put("a:3", answer())
    assert watched.has("a:3")
    assert watched.cache.health()["ok"] is True
    assert watched.names == ["cache_lost", "cache_back"]


def test_a_server_that_only_hung_up_costs_no_miss(server: RedisServer | MemcachedServer, watched: Watched) -> None:
    watched.port.put("a:1", answer())
    assert watched.has("a:1")
    server.stop()
    server.start()  # empty, but there
    watched.port.put("a:1", answer())
    assert watched.has("a:1")
    assert watched.told == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_place_that_hangs_keeps_nobody_waiting_for_long_and_then_nobody_at_all(
    server: RedisServer | MemcachedServer, asynchronous: bool
) -> None:
    watched = Watched(backend_at(server.url(), timeout=0.5))
    watched.port.put("a:1", answer())
    while not watched.has("a:1"):  # the machine may be busy
        watched.port.put("a:1", answer())
    watched.told.clear()
    server.stop(signal.SIGSTOP)
    try:
        port = watched.cache.asynchronous() if asynchronous else watched.port
        run: Any = asyncio.run if asynchronous else run_blocking
        while run(port.get("a:1")) is not None:
            pass  # the signal is on its way
        watched.until("cache_lost")
        assert watched.told[0][1]["reason"] == "it did not answer in time"
        assert not watched.cache.up
        assert run(port.get("a:1")) is None
    finally:
        server.go_on()
    watched.until("cache_back")
    watched.cache.close()


@pytest.mark.parametrize("scheme", ["redis", "memcached"])
def test_a_place_that_was_never_there_is_told_once_and_every_call_is_a_miss(scheme: str) -> None:
    watched = Watched(backend_at(f"{scheme}://127.0.0.1:{a_closed_port()}"))
    assert [watched.has("a:1") for _ in range(3)] == [False] * 3
    assert watched.names == ["cache_lost"]
    assert watched.cache.stats().misses == 3
    watched.cache.close()


def test_a_redis_that_is_full_answers_what_it_has_and_takes_no_more_and_that_is_told_once(
    own_redis: RedisServer,  # noqa: F811 -- a fixture
) -> None:
    watched = Watched(backend_at(own_redis.url()))
    watched.port.put("a:1", answer())
    assert watched.has("a:1")
    own_redis.run("CONFIG", "SET", "maxmemory", "1")
    for number in (2, 3):
        watched.port.put(f"a:{number}", answer())
        assert not watched.has(f"a:{number}")
    assert watched.has("a:1")
    assert watched.told == [("cache_full", {"cache": watched.cache.backend.name, "reason": "its memory is full"})]
    assert watched.cache.health()["dropped"] == 2
    watched.cache.close()


def test_a_key_of_another_type_in_redis_is_a_corrupt_entry_and_no_outage(
    own_redis: RedisServer,  # noqa: F811 -- a fixture
) -> None:
    url = own_redis.url()
    watched = Watched(backend_at(url))
    name = f"{{{url.partition('prefix=')[2]}}}:cache:1:a:1"
    own_redis.run("LPUSH", name, "poison")
    watched.port.put("a:2", answer())
    assert watched.has("a:2")
    assert not watched.has("a:1")
    assert watched.names == ["cache_corrupt"]
    watched.port.put("a:1", answer())
    assert watched.has("a:1")
    watched.cache.close()


def test_redis_itself_throws_away_what_has_expired(own_redis: RedisServer) -> None:  # noqa: F811 -- a fixture
    url = own_redis.url()
    watched = Watched(backend_at(url))
    watched.port.put("a:1", answer(seconds=100.0))
    watched.port.put("a:2", answer(seconds=0.05))
    assert watched.has("a:1")
    (first, *_) = own_redis.keys(url)
    assert 50_000 <= own_redis.run("PTTL", first) <= 100_000
    end = time.monotonic() + PATIENCE
    while len(own_redis.keys(url)) > 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    watched.cache.close()


class Slow:
    """A backend that stands still until it is let go on."""

    name, largest, patience = "slow", 1 << 20, 0.05

    def __init__(self) -> None:
        self.go = threading.Event()
        self.put_were: list[bytes] = []

    def open(self) -> None: ...

    def get(self, keys: Any) -> Any:
        self.go.wait(PATIENCE)
        return [None for _ in keys]

    def put(self, entries: Any) -> int:
        self.put_were += [entry.key for entry in entries]
        return 0

    def tend(self) -> None: ...

    def count(self) -> tuple[int, int]:
        return -1, -1

    def hang_up(self) -> None: ...

    def forked(self) -> None: ...

    def reason(self, error: BaseException) -> str:
        return "?"


def test_what_waits_to_be_kept_is_bounded_and_the_rest_is_dropped_and_counted() -> None:
    slow = Slow()
    slow.patience = PATIENCE
    watched = Watched(slow)
    asking = threading.Thread(target=watched.has, args=("a:0",))
    asking.start()
    while watched.cache._busy_since is None:
        time.sleep(0.001)
    body = answer(b"x" * (1024 * 1024))
    for number in range(70):  # 64 MiB may wait
        watched.port.put(f"a:{number}", body)
    assert watched.cache.health()["dropped"] == 7
    slow.go.set()
    asking.join()
    watched.cache.close()
    assert len(slow.put_were) == 63


def test_one_who_waits_in_vain_spares_the_others_the_waiting() -> None:
    slow = Slow()
    watched = Watched(slow)
    end = time.monotonic() + PATIENCE
    while watched.cache.up:  # on a busy machine the thread may have begun after us
        assert not watched.has("a:1")
        assert time.monotonic() < end
    assert watched.names == ["cache_lost"]
    slow.go.set()
    watched.until("cache_back")
    assert not watched.has("a:1")
    watched.cache.close()


def test_a_task_that_is_cancelled_while_it_waits_harms_nobody() -> None:
    slow = Slow()
    slow.patience = PATIENCE
    watched = Watched(slow)

    async def main() -> None:
        task = asyncio.ensure_future(watched.cache.asynchronous().get("a:1"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    slow.go.set()
    assert not watched.has("a:1")
    assert watched.told == []
    watched.cache.close()
