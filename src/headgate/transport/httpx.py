"""The transport under SDKs that run on httpx: anthropic 0.x, openai 1.x and 2.x. Needs the extra `legacy-httpx`."""

from __future__ import annotations

import httpx

from headgate.transport.governed import AsyncBody, Asynchronous, Blocking, BlockingBody


class _Stream(BlockingBody, httpx.SyncByteStream):
    _http = httpx


class _AsyncStream(AsyncBody, httpx.AsyncByteStream):
    _http = httpx


class Transport(Blocking, httpx.BaseTransport):
    """Governs the calls of a synchronous SDK client. Made by `Gate.legacy_client()`."""

    _http = httpx
    _stream = _Stream


class AsyncTransport(Asynchronous, httpx.AsyncBaseTransport):
    """Governs the calls of an asynchronous SDK client. Made by `Gate.legacy_async_client()`."""

    _http = httpx
    _stream = _AsyncStream
