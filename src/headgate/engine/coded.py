"""Answers in a content coding: whole ones are read from a copy and handed on as they came; streams are decoded."""

from __future__ import annotations

from headgate.core.errors import UpstreamBroken
from headgate.core.exchange import Headers
from headgate.core.ports import Incoming
from headgate.wire.coding import Decoder, Undecodable, decode, decoder

MAX_STREAM_BYTES = 4 * 1024 * 1024 * 1024


def legible(body: bytes, coding: bytes, limit: int) -> bytes:
    """A body as the dialect can read it; b"" where it cannot be decoded, which is then a malformed answer.

    Args:
        coding: b"" = none.
        limit: bytes, decoded.
    """
    if not coding:
        return body
    try:
        return decode(coding, body, limit)
    except Undecodable:
        return b""


def decoded(incoming: Incoming, coding: bytes) -> Incoming:
    """`incoming` without its coding. We ask for plain streams; a provider that compresses them all the same is read."""
    if not coding:
        return incoming
    reader = decoder(coding, MAX_STREAM_BYTES)
    if reader is None:
        raise UpstreamBroken(
            f"the provider's stream came in a coding that was not asked for and cannot be read: {coding[:32]!r}",
            kind="broken",
            maybe_billed=True,
        )
    return _Decoded(incoming, reader)


class _Decoded:
    """An `Incoming` whose pieces are decoded as they come."""

    __slots__ = ("_incoming", "_reader", "headers", "status")

    def __init__(self, incoming: Incoming, reader: Decoder) -> None:
        self._incoming = incoming
        self._reader = reader
        self.status = incoming.status
        self.headers: Headers = [h for h in incoming.headers if h[0] not in (b"content-encoding", b"content-length")]

    async def read(self) -> bytes:
        """See `core.ports.Incoming`."""
        while piece := await self._incoming.read():
            try:
                plain = self._reader.feed(piece)
            except Undecodable as error:
                raise UpstreamBroken(f"the provider's stream: {error}", kind="broken", maybe_billed=True) from None
            if plain:
                return plain
        # A coding cut short shows as a stream without its terminal event: the meter sees to that.
        return b""

    async def wait(self, seconds: float) -> bool:
        """See `core.ports.Incoming`."""
        return await self._incoming.wait(seconds)

    def whole(self) -> bytes | None:
        """See `core.ports.Incoming`."""
        return None

    def arrived(self) -> bytes:
        """See `core.ports.Incoming`."""
        try:
            return self._reader.feed(self._incoming.arrived())
        except Undecodable:
            return b""  # nothing to count in it

    def close(self) -> None:
        """See `core.ports.Incoming`."""
        self._incoming.close()
