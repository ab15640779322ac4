"""A kept answer as bytes, for stores outside of this process: bound to its key, so that what is corrupt, truncated or
lies under another key is known before anything of it is read.

    version (1 byte)  flags (1 byte)  digest (32 bytes)  MessagePack of `core.cache.Stored`, perhaps deflated

The digest is BLAKE2b (RFC 7693) over key, version, flags and the rest. With a secret it is keyed, and proves that
whoever wrote the entry has the secret, too; without one it shows accidents, and not forgeries.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from dataclasses import replace

import msgspec

from headgate.core.cache import Stored

VERSION = 1
"""Of this layout and of `Stored`'s fields: whoever changes either counts on."""
DEFLATE_BYTES = 4096
"""What is longer is deflated: below it the time is not worth the bytes."""
MOST_BYTES = 64 * 1024 * 1024
"""What an entry may become when it is inflated; more was not written by us."""
MOST_SECRET = 64
"""Bytes of a secret: BLAKE2b's longest key. Longer ones are hashed to it."""

_DIGEST = 32
_HEAD = 2 + _DIGEST
_DEFLATED = 1
_LEVEL = 1  # of zlib: text shrinks by two thirds already, at three times the speed of the default


class OtherVersion(Exception):
    """Written by another release. It is no entry for us, and no mistake either."""


class Unbelievable(Exception):
    """It is not what was put under its key. `str()` says in which way, never what is in it."""


class Codec:
    """Stored answers to bytes and back. Safe to share between threads.

    Args:
        secret: shared by all who may write; b"" = none.
    """

    __slots__ = ("_decoder", "_encoder", "_secret")

    def __init__(self, secret: bytes = b"") -> None:
        self._secret = secret if len(secret) <= MOST_SECRET else hashlib.sha512(secret).digest()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Stored)

    def encode(self, key: str, stored: Stored) -> bytes:
        """The entry for `key`.

        Raises:
            ValueError: a text in it is not Unicode (half of a surrogate pair).
        """
        rest = self._encoder.encode(stored)
        flags = 0
        if len(rest) > DEFLATE_BYTES:
            deflated = zlib.compress(rest, _LEVEL)
            if len(deflated) < len(rest):
                rest, flags = deflated, _DEFLATED
        head = bytes((VERSION, flags))
        return head + self._digest(key, head, rest) + rest

    def decode(self, key: str, entry: bytes) -> Stored:
        """What was put under `key`.

        Raises:
            OtherVersion: another release wrote it.
            Unbelievable: it is corrupt, cut, forged, or another key's.
        """
        if not entry:
            raise Unbelievable("it is empty")
        if entry[0] != VERSION:
            raise OtherVersion
        if len(entry) < _HEAD:
            raise Unbelievable("it is cut")
        head, digest, rest = entry[:2], entry[2:_HEAD], memoryview(entry)[_HEAD:]
        if not hmac.compare_digest(digest, self._digest(key, head, rest)):
            raise Unbelievable("its digest does not fit")
        try:
            found = self._decoder.decode(_inflated(rest) if head[1] == _DEFLATED else rest)
        except (msgspec.MsgspecError, zlib.error, ValueError) as error:
            # With a right digest: something else writes such entries, or ours are wrong.
            raise Unbelievable(f"it cannot be read ({type(error).__name__})") from None
        return replace(found, headers=tuple(found.headers))

    def _digest(self, key: str, head: bytes, rest: bytes | memoryview) -> bytes:
        told = key.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(len(told).to_bytes(8, "big") + told + head, digest_size=_DIGEST, key=self._secret)
        digest.update(rest)
        return digest.digest()


def _inflated(deflated: memoryview) -> bytes:
    inflating = zlib.decompressobj()
    found = inflating.decompress(deflated, MOST_BYTES)
    if not inflating.eof:
        raise ValueError("it is longer than anything of ours, or cut")
    return found
