"""The transport under SDKs that run on httpx2: both colours from one source."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import httpx2

from headgate.core.errors import HeadgateError, UpstreamError
from headgate.core.exchange import Exchange, Request
from headgate.engine.answer import error_answer
from headgate.engine.blocking import run_blocking
from headgate.engine.engine import Engine
from headgate.engine.relay import Reply
from headgate.transport.context import current_caller, remember
from headgate.transport.reading import Bases, read_request
from headgate.wire import DIALECTS

if TYPE_CHECKING:
    from headgate.build import Built


class _Governed:
    """What both colours share: reading a request, running it, answering."""

    def __init__(self, built: Built, engine: Engine) -> None:
        self._engine = engine
        self._bases = Bases(built.router.providers)
        self._keep = built.settings.log.bodies == "full"

    async def _run(self, request: httpx2.Request, body: bytes) -> tuple[Exchange, Reply]:
        read, wrong = read_request(
            self._bases,
            request.method.upper(),
            str(request.url),
            request.headers.raw,
            body,
            current_caller(),
            self._keep,
        )
        engine = self._engine
        exchange = engine.begin(read)
        remember(exchange)
        if wrong is not None:
            await engine.refuse(exchange, wrong)
            raise _Answered(self._error(exchange, wrong, request))
        try:
            return exchange, await engine.open(exchange)
        except HeadgateError as error:
            raise _Answered(self._error(exchange, error, request)) from error

    def _error(self, exchange: Exchange, error: HeadgateError, request: httpx2.Request) -> httpx2.Response:
        owns = self._engine.owns_retries(exchange)
        if isinstance(error, UpstreamError) and not owns and not error.status:
            raise _as_httpx2(error, request) from error
        read: Request = exchange.request
        now = self._engine.ports.clock.now()
        answer = error_answer(DIALECTS[read.dialect], exchange, error, owns_retries=owns, now=now)
        return httpx2.Response(answer.status, headers=answer.headers, content=answer.body, request=request)


class _Answered(Exception):
    """Carries a finished error response out of the engine's coroutine."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__()
        self.response = response


class Transport(_Governed, httpx2.BaseTransport):
    """Governs the calls of a synchronous SDK client. Made by `Gate.client()`."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Run one exchange. Blocks; works in any thread and inside a running event loop."""
        body = request.read()
        try:
            _, reply = run_blocking(self._run(request, body))
        except _Answered as answered:
            return answered.response
        if reply.length is not None:
            return _whole(reply, run_blocking(reply.read()), request)
        return httpx2.Response(reply.status, headers=reply.headers, stream=_Stream(reply, request), request=request)


class AsyncTransport(_Governed, httpx2.AsyncBaseTransport):
    """Governs the calls of an asynchronous SDK client. Made by `Gate.async_client()`."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Run one exchange."""
        body = await request.aread()
        try:
            _, reply = await self._run(request, body)
        except _Answered as answered:
            return answered.response
        if reply.length is not None:
            return _whole(reply, await reply.read(), request)
        return httpx2.Response(
            reply.status, headers=reply.headers, stream=_AsyncStream(reply, request), request=request
        )


def _whole(reply: Reply, body: bytes, request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(reply.status, headers=reply.headers, content=body, request=request)


class _Body:
    """A stream left without reading or closing it settles when it is collected."""

    def __init__(self, reply: Reply, request: httpx2.Request) -> None:
        self._reply = reply
        self._request = request

    def __del__(self) -> None:
        # Its event loop may be gone, and with it the connection; the books are closed before the connection is.
        with contextlib.suppress(RuntimeError):
            self._reply.close()


class _Stream(_Body, httpx2.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        reply = self._reply
        try:
            while piece := run_blocking(reply.read()):
                yield piece
        except UpstreamError as error:
            raise _as_httpx2(error, self._request) from error

    def close(self) -> None:
        self._reply.close()


class _AsyncStream(_Body, httpx2.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        reply = self._reply
        try:
            while piece := await reply.read():
                yield piece
        except UpstreamError as error:
            raise _as_httpx2(error, self._request) from error

    async def aclose(self) -> None:
        self._reply.close()


def _as_httpx2(error: UpstreamError, request: httpx2.Request) -> httpx2.TransportError:
    """As the SDK knows it: where it owns the retries, and in a body that has no format to say it in."""
    if error.code == "provider_timeout":
        kind: type[httpx2.TransportError] = httpx2.ConnectTimeout if error.kind == "connect" else httpx2.ReadTimeout
    elif error.kind == "connect":
        kind = httpx2.ConnectError
    elif error.kind == "saturated":
        kind = httpx2.PoolTimeout
    elif error.kind == "config":
        kind = httpx2.UnsupportedProtocol
    else:
        kind = httpx2.RemoteProtocolError
    return kind(error.message, request=request)
