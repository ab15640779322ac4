"""Kept answers outside of this process: one thread per process and place, which many threads and tasks ask at once.

Whoever asks waits for the backend's `patience` at most. Where it fails, everybody has a miss at once and without
asking, until it answers again; it is tried every second.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from headgate.core.cache import CacheStats, Stored
from headgate.core.errors import Unavailable
from headgate.stores.cache_backend import NO_ANSWER, UNKNOWN, Backend, Entry, NotKept
from headgate.stores.cache_codec import Codec, OtherVersion, Unbelievable
from headgate.stores.forks import work_lock
from headgate.stores.inbox import Inbox
from headgate.stores.waiters import BlockingWaiter, Waiter, async_waiter, wait_at_most, wake

Tell = Callable[..., None]
"""Takes a name and fields: `core.ports.Log.event`."""

RETRY_SECONDS = 1.0
TEND_SECONDS = 60.0
FORGET_SECONDS = 60.0
"""Whoever has answers forgotten waits so long."""
QUIET_SECONDS = 60.0
"""After telling of a corrupt entry, or of a loss, the next one is only counted for so long."""
MOST_QUEUED_BYTES = 64 * 1024 * 1024
"""Of answers that wait to be kept; beyond it they are not."""

_MOST_DEFLATED = 4  # a body this many times as long as an entry may be is not tried: text shrinks to a third, about
_MOST_AT_ONCE = 64  # gets or puts in one go
_CLOSING_SECONDS = 2.0
_IDLE_SECONDS = 3600.0


class _Get:
    __slots__ = ("found", "given_up", "key", "waiter")

    def __init__(self, key: str, waiter: Waiter) -> None:
        self.key = key
        self.waiter = waiter
        self.found: Stored | None = None
        self.given_up = False


class _Put:
    __slots__ = ("key", "size", "stored")

    def __init__(self, key: str, stored: Stored, size: int) -> None:
        self.key = key
        self.stored = stored
        self.size = size


class _Forget:
    __slots__ = ("count", "done", "prefix", "steps", "waiter")

    def __init__(self, prefix: str, waiter: Waiter) -> None:
        self.prefix = prefix
        self.waiter = waiter
        self.count = 0
        self.done = False
        self.steps: Iterator[int] | None = None


class _Wake:
    __slots__ = ()


_Item = _Get | _Put | _Forget | _Wake


class ThreadedCache:
    """A backend, its thread, and what is known of it. The thread starts with the first use, in each process.

    Args:
        backend: used by the thread alone.
        codec: answers to bytes and back.
        tell: told `cache_lost`, `cache_back`, `cache_corrupt` and `cache_full`, from any thread; must not wait.
        now: seconds since the epoch: when answers expire.
        clock: seconds that never run backwards: when it is tried again.
        retry_seconds: until a backend that failed is tried again.

    Attributes:
        up: it is taken to answer; False: do not ask.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        tell: Tell,
        now: Callable[[], float],
        codec: Codec | None = None,
        clock: Callable[[], float] = time.monotonic,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.backend = backend
        self.last_error = ""
        self._codec = codec or Codec()
        self._tell = tell
        self._now = now
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._closed = False
        self._hits = self._misses = self._stored = self._evicted = self._corrupt = self._dropped = 0
        self._lost_at = 0.0
        self._lost_told = False
        self._quiet_until = self._corrupt_quiet_until = self._full_quiet_until = float("-inf")
        self._corrupt_told = 0
        self._begin()
        _caches.add(self)

    def _begin(self) -> None:
        """As in a new process."""
        self.up = True  # until it has been asked
        self._inbox: Inbox[_Item] = Inbox()
        self._lock = threading.Lock()
        self._at_work = work_lock()
        self._thread: threading.Thread | None = None
        self._open = False
        self._queued_bytes = 0
        self._counted = (UNKNOWN, UNKNOWN)
        self._forgetting: deque[_Forget] = deque()
        self._busy_since: float | None = None
        self._retry_at = self._tend_at = float("-inf")

    def asynchronous(self) -> _Port:
        """The port for an engine on event loops; any number of loops in any number of threads."""
        return _Port(self, async_waiter)

    def blocking(self) -> _Port:
        """The port for an engine without an event loop; its coroutines never suspend."""
        return _Port(self, BlockingWaiter)

    async def get(self, key: str, new_waiter: Callable[[], Waiter]) -> Stored | None:
        """See the port."""
        if not self.up or self._closed:
            with self._lock:
                self._misses += 1
            return None
        waiter = new_waiter()
        asked = _Get(key, waiter)
        self._put(asked)
        try:
            await wait_at_most(waiter, self.backend.patience)
        finally:
            asked.given_up = True  # or nobody asks any more
        found = asked.found
        if found is None:
            self._late()
        with self._lock:
            if found is None:
                self._misses += 1
            else:
                self._hits += 1
        return found

    def put(self, key: str, stored: Stored) -> None:
        """See the port."""
        if stored.expires <= self._now():
            return
        size = stored.size + len(key)
        with self._lock:
            queued = self._queued_bytes + size
            if not self.up or self._closed or queued > MOST_QUEUED_BYTES:
                self._dropped += 1
                return
            self._queued_bytes = queued
        self._put(_Put(key, stored, size))

    async def forget(self, prefix: str, new_waiter: Callable[[], Waiter]) -> int:
        """See the port; -1 where the backend does not tell how many they were."""
        if self.up and not self._closed:
            asked = _Forget(prefix, new_waiter())
            self._put(asked)
            await wait_at_most(asked.waiter, FORGET_SECONDS)
            if asked.done:
                return asked.count
        why = "closed" if self._closed else self.last_error or NO_ANSWER
        raise Unavailable(f"{self.backend.name}: {why}. What it keeps may be there still; try again when it answers.")

    def stats(self) -> CacheStats:
        """See the port."""
        entries, size = self._counted
        return CacheStats(entries, size, self._hits, self._misses, self._stored, self._evicted, self._corrupt)

    def health(self) -> dict[str, Any]:
        """What is known, without asking: `ok`, `cache` (the backend's name), `dropped` (answers not kept, because it
        was gone or too slow, or they were too large) and `last_error` or None."""
        ok = self.up and not self._closed
        error = "closed" if self._closed else self.last_error
        return {"ok": ok, "cache": self.backend.name, "dropped": self._dropped, "last_error": None if ok else error}

    def close(self) -> None:
        """Keep what waits to be kept, and hang up. At most two seconds. Idempotent."""
        if self._closed:
            return
        self._closed = True
        thread = self._thread
        if thread is not None:
            self._inbox.put_hurried(_Wake())
            thread.join(_CLOSING_SECONDS)

    def _put(self, item: _Item) -> None:
        if self._thread is None:
            self._start()
        self._inbox.put_hurried(item)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="headgate-cache", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is shutting down and takes no new threads
                    self.up = False
                    return
                self._thread = thread

    def _late(self) -> None:
        """Somebody has waited in vain: where the backend has kept us waiting as long, nobody else need."""
        busy_since = self._busy_since
        if self.up and busy_since is not None and self._clock() - busy_since >= self.backend.patience:
            self._lose(NO_ANSWER)

    def _lose(self, why: str) -> None:
        now = self._clock()
        with self._lock:
            first, self.up = self.up, False
            self.last_error = why
            self._retry_at = now + self._retry_seconds
            if first:
                self._lost_at = now
            tells = first and now >= self._quiet_until and not self._closed
            if tells:
                self._lost_told, self._quiet_until = True, now + QUIET_SECONDS
        if tells:
            self._tell("cache_lost", cache=self.backend.name, reason=why)

    # From here on in the thread.

    def _serve(self) -> None:
        inbox = self._inbox
        while not self._closed or inbox.items:
            if not inbox.items:
                inbox.linger(self._idle())
            batch = inbox.take()
            if self.up:
                with self._at_work:
                    self._go_through(batch)
                continue
            self._dismiss(batch)
            if self._closed:
                break
            if self._clock() >= self._retry_at:
                with self._at_work:
                    self._try_again()
        self._dismiss([])
        if self._open:
            with self._at_work:
                self.backend.hang_up()

    def _idle(self) -> float:
        if self._forgetting:
            return 0.0
        until = self._retry_at if not self.up else self._tend_at if self._open else float("inf")
        return min(_IDLE_SECONDS, max(0.0, until - self._clock()))

    def _try_again(self) -> None:
        try:
            self._connect()
        except Exception as error:  # the driver's, the socket's, the file system's: it is of no use now
            self._lose(self.backend.reason(error))
            return
        with self._lock:
            self.up = True
            self.last_error = ""
            told, self._lost_told = self._lost_told, False
            lost = self._clock() - self._lost_at
        if told:
            self._tell("cache_back", cache=self.backend.name, seconds=round(lost, 3))

    def _connect(self) -> None:
        if self._open:
            self._open = False
            self.backend.hang_up()
        self.backend.open()
        self._open = True
        self._tend_at = self._clock() + TEND_SECONDS
        self._counted = self.backend.count()

    def _go_through(self, batch: Sequence[_Item]) -> None:
        try:
            for kind, several in groupby(batch, type):
                items = list(several)
                for first in range(0, len(items), _MOST_AT_ONCE):
                    self._work(kind, items[first : first + _MOST_AT_ONCE])
            if self._forgetting:
                self._tried(self._forget_some)
            if self._open and self._clock() >= self._tend_at:
                self._tend_at = self._clock() + TEND_SECONDS
                self._tried(self.backend.tend)
            if self._open:
                self._counted = self.backend.count()
        except Exception as error:  # as in `_try_again`
            self._lose(self.backend.reason(error))
            self._dismiss(batch)

    def _work(self, kind: type[_Item], items: Sequence[Any]) -> None:
        if kind is _Get:
            asked = [item for item in items if not item.given_up]
            if asked:
                self._tried(lambda: self._get(asked))
        elif kind is _Put:
            self._tried(lambda: self._keep(items))
        elif kind is _Forget:
            self._forgetting.extend(items)

    def _tried(self, work: Callable[[], None]) -> None:
        """Do it; once more where a connection fails that was good the last time: servers hang up on the idle."""
        self._busy_since = self._clock()
        fresh = not self._open
        try:
            try:
                if fresh:
                    self._connect()
                work()
            except Exception as error:  # as in `_try_again`
                if fresh or self.backend.reason(error) == NO_ANSWER:
                    raise
                self._connect()
                work()
        finally:
            self._busy_since = None

    def _get(self, asked: Sequence[_Get]) -> None:
        backend = self.backend
        keys = [_bytes(each.key) for each in asked]
        for each, key, data in zip(asked, keys, backend.get(keys), strict=True):
            if data is None:
                continue
            try:
                found = self._codec.decode(each.key, data)
            except OtherVersion:
                continue
            except Unbelievable as why:
                backend.drop(key)
                self._is_corrupt(str(why))
                continue
            if found.expires > self._now():
                each.found = found
        wake([each.waiter for each in asked])

    def _is_corrupt(self, why: str) -> None:
        self._corrupt += 1
        now = self._clock()
        if now >= self._corrupt_quiet_until:
            self._corrupt_quiet_until = now + QUIET_SECONDS
            count, self._corrupt_told = self._corrupt - self._corrupt_told, self._corrupt
            self._tell("cache_corrupt", cache=self.backend.name, reason=why, entries=count)

    def _is_full(self, why: str) -> None:
        now = self._clock()
        if now >= self._full_quiet_until:
            self._full_quiet_until = now + QUIET_SECONDS
            self._tell("cache_full", cache=self.backend.name, reason=why)

    def _keep(self, items: Sequence[_Put]) -> None:
        entries = []
        now = self._now()
        for item in items:
            seconds = item.stored.expires - now
            data = self._encoded(item) if seconds > 0 else None
            if data is not None:
                entries.append(Entry(_bytes(item.key), data, item.stored.expires, seconds))
        evicted = 0
        try:
            evicted = self.backend.put(entries) if entries else 0
        except NotKept as why:
            entries = []
            self._is_full(str(why))
        with self._lock:
            self._queued_bytes -= sum(item.size for item in items)
            self._dropped += len(items) - len(entries)
            for item in items:
                item.size = 0  # done with
            self._stored += len(entries)
            self._evicted += evicted

    def _encoded(self, item: _Put) -> bytes | None:
        """None: it is too large, or no text."""
        if len(item.stored.body) > _MOST_DEFLATED * self.backend.largest:
            return None
        try:
            data = self._codec.encode(item.key, item.stored)
        except ValueError:
            return None
        return data if len(data) <= self.backend.largest else None

    def _forget_some(self) -> None:
        """One step of the first of those who wait for it."""
        asked = self._forgetting[0]
        if asked.steps is None:
            asked.steps = iter(self.backend.forget(_bytes(asked.prefix)))
        try:
            count = next(asked.steps)
        except StopIteration:
            self._forgetting.popleft()
            asked.done = True
            wake([asked.waiter])
            return
        except BaseException:
            asked.steps = None  # begun anew, should it be tried again
            raise
        asked.count = UNKNOWN if UNKNOWN in (count, asked.count) else asked.count + count

    def _dismiss(self, batch: Sequence[_Item]) -> None:
        """Nothing comes of these, nor of what is being forgotten."""
        forgetting, self._forgetting = self._forgetting, deque()
        puts = [item for item in batch if isinstance(item, _Put) and item.size]
        with self._lock:
            self._queued_bytes -= sum(item.size for item in puts)
            self._dropped += len(puts)
        wake([*(item.waiter for item in batch if isinstance(item, _Get | _Forget)), *(f.waiter for f in forgetting)])


class _Port:
    """:class:`headgate.core.ports.Cache` in one colour."""

    __slots__ = ("_cache", "_new_waiter")

    def __init__(self, cache: ThreadedCache, new_waiter: Callable[[], Waiter]) -> None:
        self._cache = cache
        self._new_waiter = new_waiter

    async def get(self, key: str) -> Stored | None:
        """See the port."""
        return await self._cache.get(key, self._new_waiter)

    def peek(self, key: str) -> Stored | None:
        """See the port: it is asked for all there is."""
        return None

    def put(self, key: str, stored: Stored) -> None:
        """See the port."""
        self._cache.put(key, stored)

    async def forget(self, prefix: str = "") -> int:
        """See the port."""
        return await self._cache.forget(prefix, self._new_waiter)

    def stats(self) -> CacheStats:
        """See the port."""
        return self._cache.stats()


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


_caches: weakref.WeakSet[ThreadedCache] = weakref.WeakSet()


def _after_fork() -> None:
    for cache in _caches:
        cache._begin()  # the thread is not here
        cache.backend.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
