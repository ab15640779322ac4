"""Sending through httpx2: where a proxy stands between, and under event loops that are not asyncio's (trio).

Slower than our own pool, and the same to look at from outside. HTTP/1.1 only, because an abandoned HTTP/2 stream is not
reset and the provider would go on billing. The transports are used bare: no redirects, no cookies, no decoding.

httpx2 asks for a body's read timer once, so the end of the whole exchange may be missed by one silence at most.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, TypeVar

import httpx2

from headgate.core.errors import UpstreamError
from headgate.core.exchange import Headers, Upload
from headgate.core.ports import Outgoing, Timeouts
from headgate.engine.blocking import run_blocking
from headgate.upstream import faults
from headgate.upstream.http1 import ACCEPT, HOP_BY_HOP, Origin, forwarded, parse_url, request_head
from headgate.upstream.pool import IDLE_EXPIRY, MAX_CONNECTIONS
from headgate.upstream.tls import Trust, Verify

_Transport = TypeVar("_Transport")
_TRUNCATED = "without sending complete message body"


def fault_of(error: Exception, where: str, timeouts: Timeouts, *, begun: bool, limit: int) -> UpstreamError:
    """httpx2's exceptions in our terms (wire-formats section 6). `begun`: the response's headers had arrived."""
    match error:
        case httpx2.PoolTimeout():
            return faults.saturated(where, timeouts.pool, limit)
        case httpx2.ConnectTimeout():
            return faults.connect_timeout(where, timeouts.connect)
        case httpx2.WriteTimeout():
            return faults.write_timeout(where, timeouts.write)
        case httpx2.TimeoutException() if begun:
            return faults.idle_timeout(where, timeouts.idle)
        case httpx2.TimeoutException():
            return faults.first_byte_timeout(where, timeouts.first_byte)
        case httpx2.ProxyError():
            return faults.not_connected(where, ConnectionError(0, f"the proxy said {error}"))
        case httpx2.ConnectError():
            return faults.not_connected(where, _root(error))
        case httpx2.UnsupportedProtocol() | httpx2.LocalProtocolError() | httpx2.InvalidURL():
            return faults.config(f"the request to {where} could not be made; nothing was sent")
        case httpx2.RemoteProtocolError() if begun and _TRUNCATED in str(error):
            return faults.truncated(where)
    return faults.broken(where, faults.reason_of(_root(error)))


def _root(error: BaseException) -> BaseException:
    """The operating system's or TLS's own error, if it is among the causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return error


class _Timers(dict[str, float]):
    """httpx2's timeouts, which it looks up phase by phase and read by read: none is later than the exchange's end."""

    def __init__(self, timeouts: Timeouts, ends: float) -> None:
        super().__init__(connect=timeouts.connect, pool=timeouts.pool, write=timeouts.write, read=timeouts.first_byte)
        self.ends = ends  # monotonic

    def get(self, key: str, default: Any = None) -> Any:
        """The timer, or what is left."""
        seconds = super().get(key, default)
        return seconds if seconds is None else max(0.001, min(seconds, self.ends - monotonic()))


class _Sender:
    """What both colours share.

    Args:
        proxy: the proxy's URL, or None for a direct connection.
        verify: whom to trust; see `tls.Verify`.
        max_connections, max_idle, idle_expiry: as `AsyncPool`, but for all origins together.
    """

    def __init__(
        self,
        proxy: str | None = None,
        *,
        verify: Verify = None,
        max_connections: int = MAX_CONNECTIONS,
        max_idle: int = MAX_CONNECTIONS,
        idle_expiry: float = IDLE_EXPIRY,
    ) -> None:
        self._trust = Trust(verify)
        self._proxy = proxy
        self._through = f" (through the proxy {_place(proxy)})" if proxy else ""
        self._limit = max_connections
        self._limits = httpx2.Limits(
            max_connections=max_connections, max_keepalive_connections=max_idle, keepalive_expiry=idle_expiry
        )

    def _where(self, origin: Origin) -> str:
        return f"{origin}{self._through}"

    def _options(self) -> dict[str, Any]:
        return {
            "verify": self._trust.context(),
            "proxy": self._proxy,
            "limits": self._limits,
            "http1": True,
            "http2": False,
            "trust_env": False,
        }

    def _make(self, kind: Callable[..., _Transport]) -> _Transport:
        try:
            return kind(**self._options())
        except (ImportError, ValueError, httpx2.InvalidURL) as error:
            hint = "SOCKS needs the package socksio" if isinstance(error, ImportError) else "it is not a proxy's URL"
            raise faults.config(f"the configured proxy cannot be used: {hint}") from error

    def _request(self, outgoing: Outgoing) -> tuple[httpx2.Request, _Timers, str]:
        """The request; its timeouts, for httpx2 to look up; and where it goes."""
        target = parse_url(outgoing.url)
        upload = outgoing.upload
        request_head(outgoing.method, target, outgoing.headers, 0)  # the same rules for what is sent
        sized = [(b"content-length", b"%d" % upload.length)] if upload is not None and upload.length is not None else []
        plain = [] if any(name == ACCEPT for name, _ in outgoing.headers) else [(ACCEPT, b"identity")]
        limits = outgoing.timeouts
        timeouts = _Timers(limits, inf if upload is not None else monotonic() + limits.total)
        request = httpx2.Request(
            outgoing.method,
            outgoing.url,
            headers=[*plain, *sized, *forwarded(outgoing.headers), (b"host", target.host)],
            content=outgoing.body if upload is None else self._pieces(upload),
            extensions={"timeout": timeouts},
        )
        return request, timeouts, self._where(target.origin)

    def _pieces(self, upload: Upload) -> AsyncIterator[bytes] | Iterator[bytes]:
        raise NotImplementedError

    def _fault(self, error: Exception, where: str, timeouts: Timeouts, ends: float, *, begun: bool) -> UpstreamError:
        if isinstance(error, (httpx2.ReadTimeout, httpx2.WriteTimeout)) and monotonic() >= ends - 0.001:
            return faults.out_of_time(where)
        return fault_of(error, where, timeouts, begun=begun, limit=self._limit)


def _place(proxy: str) -> str:
    """host:port of a proxy's URL, without its credentials."""
    url = httpx2.URL(proxy)
    return f"{url.host}:{url.port}" if url.port else url.host


class Httpx2Upstream(_Sender):
    """Sends through httpx2 from asyncio or trio (`core.ports.Upstream`). Parameters: see `_Sender`."""

    def __init__(self, proxy: str | None = None, **options: Any) -> None:
        super().__init__(proxy, **options)
        self._kept: dict[object, tuple[httpx2.AsyncHTTPTransport, AsyncGenerator[None, None]]] = {}

    async def send(self, outgoing: Outgoing) -> Httpx2Answer:
        """As `AsyncPool.send`. `timeouts.first_byte` and `idle` are between two reads; the head may trickle."""
        request, timeouts, where = self._request(outgoing)
        transport = await self._transport()
        try:
            response = await transport.handle_async_request(request)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise self._fault(error, where, outgoing.timeouts, timeouts.ends, begun=False) from error
        timeouts["read"] = outgoing.timeouts.idle
        return Httpx2Answer(self, response, where, outgoing.timeouts, timeouts.ends)

    async def _pieces(self, upload: Upload) -> AsyncIterator[bytes]:
        while piece := await upload.read():
            yield piece

    async def _transport(self) -> httpx2.AsyncHTTPTransport:
        """One per event loop and process: its connections work in no other."""
        key = _loop_key()
        kept = self._kept.get(key)
        if kept is None:
            transport = self._make(httpx2.AsyncHTTPTransport)
            guard = self._until_the_loop_ends(key, transport)
            kept = self._kept[key] = (transport, guard)
            await anext(guard)
        return kept[0]

    async def _until_the_loop_ends(
        self, key: object, transport: httpx2.AsyncHTTPTransport
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._kept.pop(key, None)
            with suppress(Exception):  # the loop is ending: there is nobody left to tell
                await transport.aclose()

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        kept = self._kept.get(_loop_key())
        if kept is not None:
            await kept[1].aclose()


class Httpx2Answer:
    """A response whose headers have arrived (`core.ports.Incoming`)."""

    def __init__(
        self, sender: Httpx2Upstream, response: httpx2.Response, where: str, timeouts: Timeouts, ends: float
    ) -> None:
        self.status = response.status_code
        self.headers: Headers = _headers(response)
        self._sender = sender
        self._where = where
        self._timeouts = timeouts
        self._ends = ends
        self._response: httpx2.Response | None = response
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        self._body: AsyncIterator[bytes] = aiter(response.stream)
        self._fault: UpstreamError | None = None

    async def read(self) -> bytes:
        """The next piece as it came; b"" at the end. Cancelling it drops the connection."""
        if self._fault is not None:
            raise self._fault
        if self._response is None:
            return b""
        try:
            async for piece in self._body:
                if piece:
                    return piece
            await self._response.aclose()
        except httpx2.TransportError as error:
            self._fault = self._sender._fault(error, self._where, self._timeouts, self._ends, begun=True)
            self.close()
            raise self._fault from error
        except BaseException:
            self.close()
            raise
        self._response = None
        return b""

    async def wait(self, seconds: float) -> bool:
        """See `core.ports.Incoming`: httpx2 does not tell without reading."""
        return True

    def whole(self) -> bytes | None:
        """See `core.ports.Incoming`."""
        return None

    def arrived(self) -> bytes:
        """See `core.ports.Incoming`: httpx2 does not tell without waiting."""
        return b""

    def close(self) -> None:
        """Drop the connection unless the body was read to its end: at the loop's next turn, because httpx2 awaits."""
        response, self._response = self._response, None
        if response is None:
            return
        if self._fault is None:
            self._fault = faults.broken(self._where, "the answer was closed by us")
        _spawn(_part, self._body, response)


async def _part(body: AsyncIterator[bytes], response: httpx2.Response) -> None:
    with suppress(Exception):  # it is being thrown away; how that fails concerns nobody
        if isinstance(body, AsyncGenerator):
            await body.aclose()
        await response.aclose()


_closing: set[asyncio.Task[None]] = set()


def _spawn(work: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
    if _trio_token() is not None:
        sys.modules["trio"].lowlevel.spawn_system_task(work, *args)
        return
    with suppress(RuntimeError):  # no loop, or a closed one: its sockets are gone with it
        task = asyncio.get_running_loop().create_task(work(*args))
        _closing.add(task)
        task.add_done_callback(_closing.discard)


def _trio_token() -> object | None:
    """What tells one trio run from another, or None outside of one (trio may be a guest in asyncio's thread)."""
    if "trio" not in sys.modules:
        return None
    try:
        token: object = sys.modules["trio"].lowlevel.current_trio_token()
    except RuntimeError:
        return None
    return token


def _loop_key() -> object:
    return os.getpid(), _trio_token() or asyncio.get_running_loop()


class Httpx2BlockingUpstream(_Sender):
    """Sends through httpx2 from threads (`core.ports.Upstream`). Never suspends. Parameters: see `_Sender`."""

    def __init__(self, proxy: str | None = None, **options: Any) -> None:
        super().__init__(proxy, **options)
        self._kept: dict[int, httpx2.HTTPTransport] = {}  # by process: a child never uses its parent's

    async def send(self, outgoing: Outgoing) -> Httpx2BlockingAnswer:
        """As `BlockingPool.send`. `timeouts.first_byte` and `idle` are between two reads; the head may trickle."""
        request, timeouts, where = self._request(outgoing)
        transport = self._kept.get(os.getpid()) or self._kept.setdefault(os.getpid(), self._make(httpx2.HTTPTransport))
        try:
            response = transport.handle_request(request)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise self._fault(error, where, outgoing.timeouts, timeouts.ends, begun=False) from error
        timeouts["read"] = outgoing.timeouts.idle
        return Httpx2BlockingAnswer(self, response, where, outgoing.timeouts, timeouts.ends)

    def _pieces(self, upload: Upload) -> Iterator[bytes]:
        while piece := run_blocking(upload.read()):
            yield piece

    def close(self) -> None:
        """Close this process's connections."""
        transport = self._kept.pop(os.getpid(), None)
        if transport is not None:
            transport.close()


class Httpx2BlockingAnswer:
    """A response whose headers have arrived (`core.ports.Incoming`). Its coroutine never suspends."""

    def __init__(
        self, sender: Httpx2BlockingUpstream, response: httpx2.Response, where: str, timeouts: Timeouts, ends: float
    ) -> None:
        self.status = response.status_code
        self.headers: Headers = _headers(response)
        self._sender = sender
        self._where = where
        self._timeouts = timeouts
        self._ends = ends
        self._response: httpx2.Response | None = response
        assert isinstance(response.stream, httpx2.SyncByteStream)
        self._body: Iterator[bytes] = iter(response.stream)
        self._fault: UpstreamError | None = None

    async def read(self) -> bytes:
        """The next piece as it came; b"" at the end."""
        if self._fault is not None:
            raise self._fault
        if self._response is None:
            return b""
        try:
            for piece in self._body:
                if piece:
                    return piece
            self._response.close()
        except httpx2.TransportError as error:
            self._fault = self._sender._fault(error, self._where, self._timeouts, self._ends, begun=True)
            self.close()
            raise self._fault from error
        except BaseException:
            self.close()
            raise
        self._response = None
        return b""

    async def wait(self, seconds: float) -> bool:
        """See `core.ports.Incoming`: httpx2 does not tell without reading."""
        return True

    def whole(self) -> bytes | None:
        """See `core.ports.Incoming`."""
        return None

    def arrived(self) -> bytes:
        """See `core.ports.Incoming`: httpx2 does not tell without waiting."""
        return b""

    def close(self) -> None:
        """Drop the connection at once unless the body was read to its end. Idempotent."""
        response, self._response = self._response, None
        if response is not None:
            if self._fault is None:
                self._fault = faults.broken(self._where, "the answer was closed by us")
            with suppress(Exception):  # it is being thrown away; how that fails concerns nobody
                response.close()


def _headers(response: httpx2.Response) -> list[tuple[bytes, bytes]]:
    return [(name, value) for raw, value in response.headers.raw if (name := raw.lower()) not in HOP_BY_HOP]
