"""Answers kept in this process: the least recently used go first when room is short."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable

from headgate.core.cache import CacheStats, Stored

DEFAULT_BYTES = 256 * 1024 * 1024
"""What a memory cache holds where nobody has said anything (`cache.bytes`)."""
_LARGEST = 8  # one entry takes at most this part of the room, or it would drive out all others


class MemoryCache:
    """`core.ports.Cache` for both colours; safe to share between threads and event loops.

    Args:
        most_bytes: of all entries together, by `Stored.size`; >= 0, and 0 keeps nothing.
        now: seconds since the epoch.
        most_seconds: after which an entry goes, whenever it expires; > 0. For what others may forget elsewhere.
    """

    def __init__(
        self, most_bytes: int = DEFAULT_BYTES, *, now: Callable[[], float], most_seconds: float = math.inf
    ) -> None:
        self._most = most_bytes
        self._most_seconds = most_seconds
        self._now = now
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[Stored, int, float]] = OrderedDict()
        self._size = self._hits = self._misses = self._stored = self._evicted = 0

    async def get(self, key: str) -> Stored | None:
        """See the port."""
        return self.look(key)

    def look(self, key: str) -> Stored | None:
        """`get`, for those who need not await it."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None and found[2] > self._now():
                self._entries.move_to_end(key)
                self._hits += 1
                return found[0]
            if found is not None:
                self._drop(key)
            self._misses += 1
            return None

    def peek(self, key: str) -> Stored | None:
        """See the port."""
        with self._lock:
            found = self._entries.get(key)
            if found is None or found[2] <= self._now():
                return None
            self._entries.move_to_end(key)
            self._hits += 1
            return found[0]

    def put(self, key: str, stored: Stored) -> None:
        """See the port. What would take more than an eighth of the room is not kept."""
        size = stored.size + 2 * len(key)
        with self._lock:
            self._drop(key)
            now = self._now()
            if size * _LARGEST > self._most or stored.expires <= now:
                return
            self._entries[key] = (stored, size, min(stored.expires, now + self._most_seconds))
            self._size += size
            self._stored += 1
            while self._size > self._most:
                self._drop(next(iter(self._entries)))
                self._evicted += 1

    async def forget(self, prefix: str = "") -> int:
        """See the port."""
        with self._lock:
            found = [key for key in self._entries if key.startswith(prefix)]
            for key in found:
                self._drop(key)
            return len(found)

    def stats(self) -> CacheStats:
        """See the port."""
        with self._lock:
            return CacheStats(
                len(self._entries), self._size, self._hits, self._misses, self._stored, self._evicted, corrupt=0
            )

    def _drop(self, key: str) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self._size -= found[1]
