"""The transport itself: one source for both colours, and for httpx2 and the httpx that it was forked from.

The two libraries have one interface under two names, so the one in use is a class attribute (`_http`), and the files
beside this one say no more than which it is. Nothing here imports either.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from headgate.core.errors import HeadgateError, UpstreamError
from headgate.core.exchange import Exchange, Request, Upload
from headgate.draining import Drains
from headgate.engine.answer import error_answer
from headgate.engine.blocking import run_blocking
from headgate.engine.engine import Engine
from headgate.engine.relay import Reply
from headgate.transport.context import approval_sent, current_caller, ends_by, in_batch, remember
from headgate.transport.current_span import with_span
from headgate.transport.reading import Bases, Heads, goes_through, read_head
from headgate.transport.uploads import upload_of
from headgate.wire import DIALECTS

if TYPE_CHECKING:
    from headgate.build import Built

_LEAST_SECONDS = 0.001  # for a call that begins when its run's deadline has come: it fails at once, in the usual way


class HttpRequest(Protocol):
    """What is asked of a library's request."""

    method: str

    @property
    def url(self) -> object: ...
    @property
    def headers(self) -> Any: ...
    def read(self) -> bytes: ...
    async def aread(self) -> bytes: ...


class Governed:
    """What both colours share: reading a request, running it, answering."""

    _http: Any  # of the class; the library: httpx2 or httpx
    _stream: type[Body]

    def __init__(self, built: Built, engine: Engine) -> None:
        self._engine = engine
        self._bases = Bases(built.router.providers)
        # With a span of its own in it, no head comes twice.
        traced = engine.policies.tracing is not None
        self._head = partial(read_head, self._bases) if traced else Heads(self._bases).head
        self._keep = built.settings.log.bodies != "off"
        self._drains = built.drains

    def _upload(self, request: HttpRequest) -> Upload | None:
        """The body, where it is neither in memory nor has to be."""
        upload = upload_of(request)
        if upload is None:
            return None
        through = goes_through(self._bases, request.method.upper(), str(request.url), request.headers.raw)
        return upload if through else None

    async def _run(self, request: HttpRequest, body: bytes, upload: Upload | None) -> Reply:
        headers, caller = request.headers.raw, current_caller()
        if self._engine.policies.tracing is not None:
            headers = with_span(headers)
        head = self._head(request.method.upper(), str(request.url), headers, caller)
        read, wrong = head.request(body, caller, self._keep, upload, in_batch(), approval_sent())
        engine = self._engine
        end = ends_by()
        if end is not None:
            left = max(end - engine.ports.clock.now(), _LEAST_SECONDS)
            read.timeout = left if read.timeout is None else min(left, read.timeout)
        exchange = engine.begin(read)
        remember(exchange)
        if wrong is not None:
            await engine.refuse(exchange, wrong)
            raise _Answered(self._error(exchange, wrong, request))
        try:
            return await engine.open(exchange)
        except HeadgateError as error:
            raise _Answered(self._error(exchange, error, request)) from error

    def _error(self, exchange: Exchange, error: HeadgateError, request: HttpRequest) -> Any:
        owns = self._engine.owns_retries(exchange)
        if isinstance(error, UpstreamError) and not owns and not error.status:
            raise _as_librarys(self._http, error, request) from error
        read: Request = exchange.request
        now = self._engine.ports.clock.now()
        answer = error_answer(DIALECTS[read.dialect], exchange, error, owns_retries=owns, now=now)
        return self._http.Response(answer.status, headers=answer.headers, content=answer.body, request=request)

    def _whole(self, reply: Reply, body: bytes, request: HttpRequest) -> Any:
        return self._http.Response(reply.status, headers=reply.headers, content=body, request=request)

    def _flowing(self, reply: Reply, request: HttpRequest) -> Any:
        stream = self._stream(reply, request, self._drains)
        return self._http.Response(reply.status, headers=reply.headers, stream=stream, request=request)


class Blocking(Governed):
    """Governs the calls of a synchronous SDK client."""

    def handle_request(self, request: Any) -> Any:
        """Run one exchange. Blocks; works in any thread and inside a running event loop."""
        upload = self._upload(request)
        body = request.read() if upload is None else b""
        try:
            reply = run_blocking(self._run(request, body, upload))
        except _Answered as answered:
            return answered.response
        if reply.length is not None:
            return self._whole(reply, run_blocking(reply.read()), request)
        return self._flowing(reply, request)


class Asynchronous(Governed):
    """Governs the calls of an asynchronous SDK client."""

    async def handle_async_request(self, request: Any) -> Any:
        """Run one exchange."""
        upload = self._upload(request)
        body = await request.aread() if upload is None else b""
        try:
            reply = await self._run(request, body, upload)
        except _Answered as answered:
            return answered.response
        if reply.length is not None:
            return self._whole(reply, await reply.read(), request)
        return self._flowing(reply, request)


class Body:
    """A stream left without reading or closing it settles when it is collected."""

    _http: Any

    def __init__(self, reply: Reply, request: HttpRequest, drains: Drains) -> None:
        self._reply = reply
        self._request = request
        self._drains = drains
        self._handed = False  # to `drains`, whose it is now, or to nobody in a forked child
        self._pid = os.getpid()

    @property
    def _inherited(self) -> bool:
        """By a forked child, which has neither sent this call nor may end it: its parent still reads, and settles."""
        return os.getpid() != self._pid

    def __del__(self) -> None:
        # Its event loop may be gone, and with it the connection; the books are closed before the connection is.
        if not (self._handed or self._inherited):
            with contextlib.suppress(RuntimeError):
                self._reply.close()


class BlockingBody(Body):
    """An answer's stream as a synchronous client reads it."""

    def __iter__(self) -> Iterator[bytes]:
        reply = self._reply
        try:
            while piece := run_blocking(reply.read()):
                yield piece
        except UpstreamError as error:
            raise _as_librarys(self._http, error, self._request) from error

    def close(self) -> None:
        """The caller is done. Before the end it abandons the exchange, which a thread may read on for the bill."""
        self._handed = self._handed or self._inherited or self._drains.take(self._reply)
        if not self._handed:
            self._reply.close()


class AsyncBody(Body):
    """An answer's stream as an asynchronous client reads it."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reply = self._reply
        try:
            while piece := await (self._read_on() if reply.drains else reply.read()):
                yield piece
        except UpstreamError as error:
            raise _as_librarys(self._http, error, self._request) from error

    async def _read_on(self) -> bytes:
        """The next piece. A caller that is cancelled meanwhile leaves the read itself alone: its answer is drained."""
        try:
            reading = asyncio.get_running_loop().create_task(self._reply.read())
        except RuntimeError:  # not asyncio's loop
            return await self._reply.read()
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            self._handed = self._drains.take_async(self._reply, reading)
            if not self._handed:
                reading.cancel()
            raise

    async def aclose(self) -> None:
        """See `BlockingBody.close`; here it is a task."""
        self._handed = self._handed or self._inherited or self._drains.take_async(self._reply)
        if not self._handed:
            self._reply.close()


class _Answered(Exception):
    """Carries a finished error response out of the engine's coroutine."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.response = response


def _as_librarys(http: Any, error: UpstreamError, request: HttpRequest) -> Exception:
    """As the SDK knows it: where it owns the retries, and in a body that has no format to say it in."""
    if error.code == "provider_timeout":
        kind = http.ConnectTimeout if error.kind == "connect" else http.ReadTimeout
    elif error.kind == "connect":
        kind = http.ConnectError
    elif error.kind == "saturated":
        kind = http.PoolTimeout
    elif error.kind == "config":
        kind = http.UnsupportedProtocol
    else:
        kind = http.RemoteProtocolError
    found: Exception = kind(error.message, request=request)
    return found
