"""Caches over each place that answers may be kept in, with a clock that stands still unless it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cached_answers import T0, answer
from memcached_server import the_memcached
from redis_server import the_redis

from headgate.core.cache import Stored, sealed
from headgate.engine.blocking import run_blocking
from headgate.stores.cache_layers import LayeredCache
from headgate.stores.cache_memcached import MemcachedBackend
from headgate.stores.cache_memory import MemoryCache
from headgate.stores.cache_redis import RedisBackend
from headgate.stores.cache_sqlite import SqliteBackend
from headgate.stores.cache_thread import ThreadedCache
from headgate.stores.memcached_place import memcached_place
from headgate.stores.redis_place import redis_place

PATIENT = 30.0  # this suite is not about outages, and the machine may be busy
ADA, BOB = "a" * 16, "b" * 16  # whose answers


class Kept:
    """One place. `run` drives the port; `another` is what a second process would have."""

    too_large = 9 * 1024 * 1024
    counts = True  # it can tell how many it has forgotten
    remote = True  # raw bytes can be put there behind its back

    def __init__(self, folder: Path, run: Callable[[Any], Any]) -> None:
        self.now = T0
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._run = run
        self._opened: list[ThreadedCache] = []
        self.port = self.open(folder)

    def open(self, folder: Path) -> Any:
        raise NotImplementedError

    def threaded(self, backend: Any) -> Any:
        backend.patience = PATIENT
        cache = ThreadedCache(
            backend, tell=lambda name, **fields: self.told.append((name, fields)), now=lambda: self.now
        )
        self._opened.append(cache)
        return cache.blocking() if self._run is run_blocking else cache.asynchronous()

    def get(self, key: str) -> Stored | None:
        found: Stored | None = self._run(self.port.get(key))
        return found

    def body(self, key: str) -> bytes | None:
        found = self.get(key)
        return None if found is None else found.body

    def put(self, key: str, stored: Stored | bytes, **more: Any) -> Stored:
        made = sealed(key, answer(stored, **more) if isinstance(stored, bytes) else stored)

        async def put() -> None:
            self.port.put(key, made)

        self._run(put())
        return made

    def forget(self, prefix: str = "") -> int:
        count: int = self._run(self.port.forget(prefix))
        return count

    def write_raw(self, key: str, change: Callable[[bytes], bytes]) -> None:
        """Change the bytes of an entry behind the cache's back."""
        raise NotImplementedError

    def close(self) -> None:
        for cache in self._opened:
            cache.close()


class MemoryKept(Kept):
    too_large = 33 * 1024 * 1024
    remote = False

    def open(self, folder: Path) -> Any:
        return MemoryCache(now=lambda: self.now)


class SqliteKept(Kept):
    def open(self, folder: Path) -> Any:
        self._file = folder / "headgate.db.cache"
        return self.threaded(SqliteBackend(self._file, now=lambda: self.now))

    def write_raw(self, key: str, change: Callable[[bytes], bytes]) -> None:
        import sqlite3

        with sqlite3.connect(self._file) as sql:
            where = (key.encode(),)
            (row, data) = sql.execute(
                "SELECT id, data FROM entries JOIN bodies USING (id) WHERE key=?", where
            ).fetchone()
            sql.execute("UPDATE bodies SET data=? WHERE id=?", (change(data), row))
        sql.close()


class RedisKept(Kept):
    def open(self, folder: Path) -> Any:
        self._place = replace(redis_place(the_redis().url()), timeout=PATIENT)
        return self.threaded(RedisBackend(self._place))

    def write_raw(self, key: str, change: Callable[[bytes], bytes]) -> None:
        name = f"{{{self._place.prefix}}}:cache:1:{key}"
        the_redis().run("SET", name, change(the_redis().run("GET", name)))


class MemcachedKept(Kept):
    too_large = 2 * 1024 * 1024
    counts = False

    def open(self, folder: Path) -> Any:
        self._backend = MemcachedBackend(memcached_place(the_memcached().url()))
        return self.threaded(self._backend)

    def write_raw(self, key: str, change: Callable[[bytes], bytes]) -> None:
        from pymemcache.client.base import Client

        client = Client(("127.0.0.1", the_memcached().port), timeout=PATIENT)
        name = self._backend._name(b"e", key.encode())
        found = client.get(name)
        client.set(name, found[:32] + change(found[32:]), noreply=False)
        client.close()


class LayeredKept(RedisKept):
    """Memory in front of Redis."""

    too_large = 33 * 1024 * 1024
    remote = False  # what was just put is in front

    def open(self, folder: Path) -> Any:
        return LayeredCache(MemoryCache(now=lambda: self.now), super().open(folder))


CACHES = (MemoryKept, SqliteKept, RedisKept, MemcachedKept, LayeredKept)
