"""A provider's answer without a provider: what is measured is ours alone."""

from __future__ import annotations

from headgate.core.exchange import Headers


class CannedAnswer:
    """An answer that is here already, in one piece. See `core.ports.Incoming`."""

    __slots__ = ("_left", "headers", "status")

    def __init__(self, headers: Headers, body: bytes) -> None:
        self.status = 200
        self.headers = headers
        self._left = body

    async def read(self) -> bytes:
        """See the port."""
        return self.whole()

    def whole(self) -> bytes:
        """See the port."""
        piece, self._left = self._left, b""
        return piece

    async def wait(self, seconds: float) -> bool:
        """See the port."""
        return True

    def arrived(self) -> bytes:
        """See the port."""
        return b""

    def close(self) -> None:
        """Nothing is open."""
