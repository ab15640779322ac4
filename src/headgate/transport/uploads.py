"""An SDK's request body that is not in memory: files go from the disk to the provider a piece at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from headgate.core.exchange import Upload


def upload_of(request: Any) -> Upload | None:
    """The body of a client library's request, where it is a stream that has not been read; else None."""
    if hasattr(request, "_content"):  # how both libraries keep a body that is bytes already
        return None
    stream = request.stream
    length = request.headers.get("content-length")
    told = int(length) if length is not None and length.isdigit() else None
    if hasattr(stream, "__aiter__") and not hasattr(stream, "__iter__"):
        return _AsyncSending(aiter(stream), told)
    return _Sending(iter(stream), told)


class _Sending:
    """See `Upload`. Its coroutine never suspends."""

    def __init__(self, pieces: Iterator[bytes], length: int | None) -> None:
        self._pieces = pieces
        self.length = length
        self.begun = False

    async def read(self) -> bytes:
        self.begun = True
        return next(filter(None, self._pieces), b"")


class _AsyncSending:
    """See `Upload`."""

    def __init__(self, pieces: AsyncIterator[bytes], length: int | None) -> None:
        self._pieces = pieces
        self.length = length
        self.begun = False

    async def read(self) -> bytes:
        self.begun = True
        async for piece in self._pieces:
            if piece:
                return piece
        return b""
