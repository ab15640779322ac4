"""The one door to caches: what `cache.backend` names, for both colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.core.errors import ConfigError
from headgate.core.ports import Cache
from headgate.stores.cache_layers import LayeredCache
from headgate.stores.cache_memory import DEFAULT_BYTES, MemoryCache

if TYPE_CHECKING:
    from headgate.stores.cache_backend import Backend
    from headgate.stores.cache_thread import Tell, ThreadedCache

MEMORY = "memory"
SQLITE = "sqlite"
SHARED_SECONDS = 60.0
"""How long memory keeps what replicas share: so long may an answer be given that was forgotten elsewhere."""
ENTRY_BYTES = 8 * 1024 * 1024
DISK_BYTES = 1024**3
_REDIS = ("redis://", "rediss://")
_MEMCACHED = "memcached://"


class Caching:
    """Where the answers of one configuration are kept. Opens nothing before its first use.

    Args:
        backend: ``memory``, ``sqlite``, ``redis://…``, ``rediss://…`` or ``memcached://…``, as `settings` has checked
            it.
        file: of ``sqlite``.
        memory_bytes: what this process keeps in memory; 0 = nothing.
        memory_seconds: how long it keeps what is kept elsewhere, too; 0 = not at all, None = `SHARED_SECONDS` in front
            of what replicas share, else as long as the answer is good.
        disk_bytes: what the file holds.
        entry_bytes: of one answer outside of memory, as it is kept there; None = as much as is sensible.
        secret: shared by all replicas; b"" = none. See `stores.cache_codec`.
        now: seconds since the epoch.
        tell: the log's `event`; told `cache_lost`, `cache_back`, `cache_corrupt` and `cache_full`.

    Raises:
        ConfigError: it is no such backend, or a package that it needs is not installed.
    """

    def __init__(
        self,
        backend: str,
        *,
        file: Path,
        now: Callable[[], float],
        tell: Tell,
        memory_bytes: int = DEFAULT_BYTES,
        memory_seconds: float | None = None,
        disk_bytes: int = DISK_BYTES,
        entry_bytes: int | None = None,
        secret: bytes = b"",
    ) -> None:
        self._behind: ThreadedCache | None = None
        shares = backend not in (MEMORY, SQLITE)
        if backend != MEMORY:
            from headgate.stores.cache_codec import Codec
            from headgate.stores.cache_thread import ThreadedCache

            place = _backend(backend, file, disk_bytes, entry_bytes, now)
            self._behind = ThreadedCache(place, codec=Codec(secret), tell=tell, now=now)
        if memory_seconds is None:
            memory_seconds = SHARED_SECONDS if shares else math.inf
        self._front: MemoryCache | None = None
        if self._behind is None or memory_seconds > 0:
            most_seconds = math.inf if self._behind is None else memory_seconds
            self._front = MemoryCache(memory_bytes, now=now, most_seconds=most_seconds)

    def port(self, *, blocking: bool) -> Cache:
        """The port for an engine of one colour."""
        front, behind = self._front, self._behind
        if behind is None:
            assert front is not None
            return front
        port = behind.blocking() if blocking else behind.asynchronous()
        return port if front is None else LayeredCache(front, port)

    @property
    def in_memory(self) -> int:
        """Answers that this process keeps in memory now."""
        return 0 if self._front is None else self._front.stats().entries

    def report(self) -> dict[str, Any]:
        """What is known, without asking: plain JSON values. Bytes and entries are None where they cannot be told."""
        front = None if self._front is None else self._front.stats()
        behind = self._behind
        whole = self.port(blocking=True).stats()
        asked = whole.hits + whole.misses
        told = {
            **({"ok": True, "cache": MEMORY, "dropped": 0, "last_error": None} if behind is None else behind.health()),
            "entries": _known(whole.entries if behind is None else behind.stats().entries),
            "bytes": _known(whole.size if behind is None else behind.stats().size),
            "hits": whole.hits,
            "misses": whole.misses,
            "hit_rate": round(whole.hits / asked, 4) if asked else None,
            "stored": whole.stored,
            "evicted": whole.evicted,
            "corrupt": whole.corrupt,
        }
        if behind is not None and front is not None:
            told["memory"] = {"entries": front.entries, "bytes": front.size, "hits": front.hits}
        return told

    def close(self) -> None:
        """Keep what waits to be kept, and hang up. At most two seconds. Idempotent."""
        if self._behind is not None:
            self._behind.close()


def check_backend(text: str) -> str:
    """`cache.backend`, if it can be one; nothing is imported or opened.

    Raises:
        ValueError: it cannot. Never repeats it: it may hold a password.
    """
    if text in (MEMORY, SQLITE):
        return text
    if text.startswith(_REDIS):
        from headgate.stores.redis_place import place_of

        place_of(text)
        return text
    if text.startswith(_MEMCACHED):
        from headgate.stores.memcached_place import memcached_place

        memcached_place(text)
        return text
    raise ValueError("expected memory, sqlite, shared, redis://host:6379/0, rediss://… or memcached://host:11211")


def _backend(text: str, file: Path, disk_bytes: int, entry_bytes: int | None, now: Callable[[], float]) -> Backend:
    if text == SQLITE:
        from headgate.stores.cache_sqlite import SqliteBackend

        return SqliteBackend(file, now=now, most_bytes=disk_bytes, largest=entry_bytes or ENTRY_BYTES)
    if text.startswith(_REDIS):
        from headgate.stores.cache_redis import RedisBackend
        from headgate.stores.redis_place import redis_place

        return RedisBackend(redis_place(text, "cache.backend"), largest=entry_bytes or ENTRY_BYTES)
    if text.startswith(_MEMCACHED):
        from headgate.stores.cache_memcached import LARGEST, memcached_backend
        from headgate.stores.memcached_place import memcached_place

        return memcached_backend(memcached_place(text), largest=entry_bytes or LARGEST)
    raise ConfigError("cache.backend: expected memory, sqlite, redis://… or memcached://…")


def _known(number: int) -> int | None:
    return None if number < 0 else number
