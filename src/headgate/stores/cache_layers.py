"""Two caches as one: memory in front of a place outside of the process."""

from __future__ import annotations

from headgate.core.cache import CacheStats, Stored
from headgate.core.ports import Cache
from headgate.stores.cache_memory import MemoryCache


class LayeredCache:
    """:class:`headgate.core.ports.Cache` in one colour: what is found behind is kept in front. That there is nothing is
    not remembered: another replica may put it there at any moment.

    Args:
        front: shared by both colours; its entries should not live long where others may forget what is behind.
        behind: of the same colour as whoever asks.
    """

    __slots__ = ("_behind", "_front")

    def __init__(self, front: MemoryCache, behind: Cache) -> None:
        self._front = front
        self._behind = behind

    async def get(self, key: str) -> Stored | None:
        """See the port."""
        found = self._front.look(key)
        if found is not None:
            return found
        found = await self._behind.get(key)
        if found is not None:
            self._front.put(key, found)
        return found

    def peek(self, key: str) -> Stored | None:
        """See the port."""
        return self._front.peek(key)

    def put(self, key: str, stored: Stored) -> None:
        """See the port."""
        self._front.put(key, stored)
        self._behind.put(key, stored)

    async def forget(self, prefix: str = "") -> int:
        """See the port. What is behind decides how many they were; in front it is forgotten twice, for what was
        fetched meanwhile."""
        await self._front.forget(prefix)
        try:
            return await self._behind.forget(prefix)
        finally:
            await self._front.forget(prefix)

    def stats(self) -> CacheStats:
        """See the port. Entries and bytes are those behind, where it tells them; a miss is one of both."""
        front, behind = self._front.stats(), self._behind.stats()
        told = behind.entries >= 0
        return CacheStats(
            behind.entries if told else front.entries,
            behind.size if told else front.size,
            front.hits + behind.hits,
            behind.misses,
            behind.stored,
            behind.evicted,
            behind.corrupt,
        )
