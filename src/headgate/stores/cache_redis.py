"""Kept answers in Redis or Valkey, for all replicas together. Entries expire by the server's clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from headgate.stores.cache_backend import UNKNOWN, Entry, NotKept
from headgate.stores.cache_codec import VERSION
from headgate.stores.redis_link import pipelined
from headgate.stores.redis_place import RedisPlace, reason

if TYPE_CHECKING:
    import redis

LARGEST = 8 * 1024 * 1024
"""Bytes of an entry where nobody says otherwise: more would hold up what comes behind it on the connection."""

_SCANNED = 500  # keys that a step of forgetting looks at, about
_SPECIAL = b"\\*?[]^-"  # in the patterns of SCAN


class RedisBackend:
    """:class:`headgate.stores.cache_backend.Backend` over one connection of its own: answers may be long, and callers'
    limits must not wait behind them.

    Keys are ``{prefix}:cache:<version of the codec>:<key>``: replicas of two releases do not read each other's.
    """

    def __init__(self, place: RedisPlace, *, largest: int = LARGEST) -> None:
        """
        Args:
            largest: bytes of an entry, at the most; up to 512 MB, which is Redis's own limit.
        """
        self.name = place.name
        self.largest = largest
        self.patience = place.timeout
        self._place = place
        self._beginning = f"{{{place.prefix}}}:cache:{VERSION}:".encode()
        self._client: redis.Redis | None = None
        self._connection: Any = None

    def open(self) -> None:
        """See the protocol."""
        self._client = self._place.client()
        self._connection = self._client.connection_pool.get_connection()

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """See the protocol."""
        from redis.exceptions import ResponseError

        # One GET each: with MGET a key of another type would be as if it were not there, and nobody would be told.
        found = pipelined(self._connection, [("GET", self._key(key)) for key in keys])
        for at, reply in enumerate(found):
            if isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE"):
                found[at] = b""  # no entry of ours: corrupt
            elif isinstance(reply, BaseException):
                raise reply
        return found

    def put(self, entries: Sequence[Entry]) -> int:
        """See the protocol. What others had to go is Redis's business (`maxmemory-policy`)."""
        from redis.exceptions import OutOfMemoryError, ReadOnlyError

        told = [("SET", self._key(e.key), e.data, "PX", max(1, int(e.seconds * 1000))) for e in entries]
        for reply in pipelined(self._connection, told):
            if isinstance(reply, OutOfMemoryError | ReadOnlyError):
                raise NotKept(reason(reply))
            if isinstance(reply, BaseException):
                raise reply
        return 0

    def drop(self, key: bytes) -> None:
        """See the protocol."""
        self._run([("UNLINK", self._key(key))])

    def forget(self, prefix: bytes) -> Iterator[int]:
        """See the protocol. SCAN goes through all keys of the database, a few hundred at a time."""
        pattern = b"".join(b"\\" + bytes((b,)) if b in _SPECIAL else bytes((b,)) for b in self._key(prefix)) + b"*"
        cursor: bytes = b"0"
        while True:
            ((cursor, keys),) = self._run([("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED)])
            (count,) = self._run([("UNLINK", *keys)]) if keys else (0,)
            yield int(count)
            if cursor == b"0":
                return

    def tend(self) -> None:
        """The server does it."""

    def count(self) -> tuple[int, int]:
        """Others' keys are there, too."""
        return UNKNOWN, UNKNOWN

    def hang_up(self) -> None:
        """See the protocol."""
        self._connection = None
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):  # it is gone in any case
                client.connection_pool.disconnect()

    def forked(self) -> None:
        """See the protocol."""
        self._client = self._connection = None

    def reason(self, error: BaseException) -> str:
        """See the protocol."""
        return reason(error)

    def _run(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        replies = pipelined(self._connection, commands)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return replies

    def _key(self, key: bytes) -> bytes:
        return self._beginning + key
