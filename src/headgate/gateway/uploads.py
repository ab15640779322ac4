"""Request bodies: read whole where they decide about money, handed on piece by piece where they do not."""

from __future__ import annotations

from headgate.core.errors import Gone, TooLarge
from headgate.core.exchange import Headers
from headgate.gateway.cycle import Receive


async def whole(receive: Receive, limit: int) -> bytes | None:
    """The whole request body; None if the caller left first.

    Raises:
        TooLarge: it has more than `limit` bytes. What the connection allows may be more: it knows paths, not dialects.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise TooLarge(f"the request body is larger than the {limit} bytes allowed here")
        pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Arriving:
    """A body on its way from the caller (`core.exchange.Upload`). At most what the connection buffers is in memory."""

    __slots__ = ("_over", "_receive", "begun", "length")

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self._over = False
        self.begun = False
        self.length: int | None = None
        for name, value in headers:
            if name == b"content-length":
                self.length = int(value)

    async def read(self) -> bytes:
        """See `Upload.read`."""
        self.begun = True
        while not self._over:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone("the caller left while sending its request's body")
            self._over = not message.get("more_body", False)
            piece: bytes = message.get("body", b"")
            if piece:
                return piece
        return b""
