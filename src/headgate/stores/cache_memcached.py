"""Kept answers in Memcached, for all replicas together. Entries expire by the server's clock.

Memcached cannot tell which keys there are, so forgetting goes by marks: an entry begins with the marks of all and of
its partition (what is before the colon of its key) as they were when it was put, and counts while both are the same.
Forgetting changes a mark. A mark that Memcached has thrown away makes misses, and never an old answer.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from headgate.core.errors import ConfigError
from headgate.stores.cache_backend import NO_ANSWER, NO_CONNECTION, UNKNOWN, Entry, NotKept
from headgate.stores.cache_codec import VERSION
from headgate.stores.memcached_place import MemcachedPlace

LARGEST = 1024 * 1024 - 1024
"""Memcached takes items of 1 MiB with their keys, unless it is started with another `-I`."""
TIMEOUT = 0.25

_MARK = 16  # bytes
_ALL = b""  # the partition whose mark all entries bear
_MONTH = 30 * 86_400  # a longer time is a date to Memcached
_INSTALL = 'cache.backend: memcached://… needs the package pymemcache: pip install "headgate[memcached]"'


def memcached_backend(place: MemcachedPlace, *, largest: int = LARGEST) -> MemcachedBackend:
    """The backend, if it can be used.

    Raises:
        ConfigError: pymemcache is not installed.
    """
    try:
        import pymemcache  # noqa: F401 -- said at start-up, not at the first call
    except ImportError:
        raise ConfigError(_INSTALL) from None
    return MemcachedBackend(place, largest=largest)


class MemcachedBackend:
    """:class:`headgate.stores.cache_backend.Backend` over one connection.

    Args:
        largest: bytes of an entry, at the most; what the server does not take is not kept.
        timeout: seconds for each step, and for whoever waits.
    """

    def __init__(self, place: MemcachedPlace, *, largest: int = LARGEST, timeout: float = TIMEOUT) -> None:
        self.name = place.name
        self.largest = largest
        self.patience = timeout
        self._place = place
        self._client: Any = None

    def open(self) -> None:
        """See the protocol."""
        from pymemcache.client.base import Client

        # The client tries one address only, and `localhost` has two.
        found = socket.getaddrinfo(self._place.host, self._place.port, type=socket.SOCK_STREAM)
        for at, (*_, address) in enumerate(found):
            client = Client(address[:2], connect_timeout=self.patience, timeout=self.patience, no_delay=True)
            try:
                client.version()
            except Exception:
                client.close()
                if at == len(found) - 1:
                    raise
                continue
            self._client = client
            return

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """See the protocol. One round trip: entries and marks come together."""
        names = {key: self._name(b"e", key) for key in keys}
        marks = {part: self._name(b"m", part) for part in _partitions(keys)}
        found = self._client.get_many([*names.values(), *marks.values()])
        said: list[bytes | None] = []
        for key in keys:
            data = found.get(names[key])
            if data is None:
                said.append(None)
            elif len(data) <= 2 * _MARK:
                said.append(b"")  # no entry of ours: corrupt
            else:
                now = (found.get(marks[_ALL]), found.get(marks[_partition(key)]))
                then = (data[:_MARK], data[_MARK : 2 * _MARK])
                said.append(data[2 * _MARK :] if then == now else None)
        return said

    def put(self, entries: Sequence[Entry]) -> int:
        """See the protocol. What others had to go is Memcached's business."""
        from pymemcache.exceptions import MemcacheServerError, MemcacheUnexpectedCloseError

        marks = self._marks(_partitions([entry.key for entry in entries]))
        try:
            for entry in entries:
                data = marks[_ALL] + marks[_partition(entry.key)] + entry.data
                until = max(1, int(entry.seconds)) if entry.seconds < _MONTH else int(entry.expires)
                self._client.set(self._name(b"e", entry.key), data, expire=until, noreply=False)
        except MemcacheUnexpectedCloseError:
            raise
        except MemcacheServerError:
            raise NotKept(
                "it does not take an entry: its memory is full, or its items are to be smaller (-I)"
            ) from None
        return 0

    def drop(self, key: bytes) -> None:
        """See the protocol."""
        self._client.delete(self._name(b"e", key), noreply=False)

    def forget(self, prefix: bytes) -> Iterator[int]:
        """See the protocol. Forgets everything where `prefix` is not the whole of a partition: rather too much."""
        part = prefix[:-1] if prefix.endswith(b":") and prefix.count(b":") == 1 else _ALL
        self._client.set(self._name(b"m", part), secrets.token_bytes(_MARK), noreply=False)
        yield UNKNOWN

    def tend(self) -> None:
        """The server does it."""

    def count(self) -> tuple[int, int]:
        """Others' items are there, too."""
        return UNKNOWN, UNKNOWN

    def hang_up(self) -> None:
        """See the protocol."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def forked(self) -> None:
        """See the protocol."""
        self._client = None

    def reason(self, error: BaseException) -> str:
        """See the protocol."""
        from pymemcache.exceptions import MemcacheError, MemcacheUnexpectedCloseError

        if isinstance(error, TimeoutError):
            return NO_ANSWER
        if isinstance(error, MemcacheError) and not isinstance(error, MemcacheUnexpectedCloseError):
            return f"it answers with an error ({type(error).__name__})"
        return NO_CONNECTION

    def _marks(self, parts: Iterable[bytes]) -> dict[bytes, bytes]:
        """The marks of partitions; those that are missing are made."""
        names = {part: self._name(b"m", part) for part in parts}
        found = self._client.get_many(list(names.values()))
        for name in names.values():
            if len(found.get(name, b"")) != _MARK:
                if name in found:
                    self._client.delete(name, noreply=False)
                self._client.add(name, secrets.token_bytes(_MARK), noreply=False)
                found[name] = self._client.get(name, b"")  # another process may have been the first
        return {part: found[name] for part, name in names.items()}

    def _name(self, kind: bytes, key: bytes) -> bytes:
        """Memcached's keys have no spaces and 250 bytes: ours are hashed."""
        digest = hashlib.blake2b(key, digest_size=24).hexdigest()
        return f"{self._place.prefix}:{VERSION}:".encode() + kind + b":" + digest.encode()


def _partition(key: bytes) -> bytes:
    return key.partition(b":")[0]


def _partitions(keys: Iterable[bytes]) -> list[bytes]:
    return [_ALL, *{_partition(key): None for key in keys}]
