"""The transport under SDKs that run on httpx2: anthropic 1 and later, openai 3 and later."""

from __future__ import annotations

import httpx2

from headgate.transport.governed import AsyncBody, Asynchronous, Blocking, BlockingBody


class _Stream(BlockingBody, httpx2.SyncByteStream):
    _http = httpx2


class _AsyncStream(AsyncBody, httpx2.AsyncByteStream):
    _http = httpx2


class Transport(Blocking, httpx2.BaseTransport):
    """Governs the calls of a synchronous SDK client. Made by `Gate.client()`."""

    _http = httpx2
    _stream = _Stream


class AsyncTransport(Asynchronous, httpx2.AsyncBaseTransport):
    """Governs the calls of an asynchronous SDK client. Made by `Gate.async_client()`."""

    _http = httpx2
    _stream = _AsyncStream
