"""One HTTP request as the simulator sees it: ASGI, plus the connection itself where the server lends it.

A plain ASGI server cannot reset a connection or break a promise made in `content-length`; `SimulatorServer` and
`headgate simulate` therefore put the transport into ``scope["extensions"]["headgate.transport"]`` (see `protocol`).
Elsewhere such a fault ends the response early, which servers turn into a closed connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate.core.ports import Clock


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
EXTENSION = "headgate.transport"
LINGER_ZERO = struct.pack("ii", 1, 0)
_FLUSH_TURNS = 20


class Broken(Exception):
    """We broke the connection on purpose; nothing more can be sent."""


class Wire:
    """Reads a request, sends its response, notices at once when the client leaves."""

    __slots__ = ("_clock", "_more", "_receive", "_send", "_transport", "_watch", "started")

    def __init__(self, scope: Message, receive: Receive, send: Send, clock: Clock) -> None:
        self._receive = receive
        self._send = send
        self._clock = clock
        self._transport = (scope.get("extensions") or {}).get(EXTENSION)
        self._watch: asyncio.Future[None] | None = None
        self._more = True  # of the request's body is still to come
        self.started = False

    async def body(self, limit: int) -> bytes | None:
        """The request's body; None where it is longer than `limit` bytes.

        Raises:
            ConnectionError: the client left before it was complete.
        """
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ConnectionError
            part = message.get("body", b"")
            size += len(part)
            if size <= limit:
                parts.append(part)
            if not message.get("more_body", False):
                return (parts[0] if len(parts) == 1 else b"".join(parts)) if size <= limit else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The request's body as it arrives.

        Raises:
            ConnectionError: the client left before it was complete.
        """
        while self._more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ConnectionError
            self._more = message.get("more_body", False)  # before the piece goes out: its reader may stop at it
            yield message.get("body", b"")

    async def drain(self) -> None:
        """Let the request's body pass."""
        async for _ in self.chunks():
            pass

    def gone(self) -> bool:
        """The client has left."""
        if self._transport is not None and self._transport.is_closing():
            return True
        return self._watch is not None and self._watch.done()

    def watch(self) -> asyncio.Future[None]:
        """Completes when the client leaves."""
        if self._watch is None:
            self._watch = asyncio.ensure_future(self._left())
        return self._watch

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def wait(self, seconds: float | None) -> bool:
        """Wait; False as soon as the client leaves. None: until it leaves. 0 lets the event loop turn once."""
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return not self.gone()
        watch = self.watch()
        if seconds is None:
            await watch
            return False
        pause = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((watch, pause), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
        return not self.gone()

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the status line and the headers."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool = True) -> bool:
        """Hand `data` to the socket; False where the client had left and it was not taken."""
        if self.gone():
            return False
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        return not self.gone() or not more

    async def finish(self) -> None:
        """End a stream's body."""
        if not self.gone():
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def break_off(self, how: str) -> None:
        """Break the connection: what was written arrives, then a RST (`how` "reset") or a FIN ("fin").

        Raises:
            Broken: always; the response is over.
        """
        transport = self._transport
        if transport is not None:
            for _ in range(_FLUSH_TURNS):
                await asyncio.sleep(0)
                if transport.get_write_buffer_size() == 0:
                    break
            if how == "reset":
                sock = transport.get_extra_info("socket")
                if sock is not None:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
                transport.abort()
            else:
                transport.close()
            # The server must know before we return, or it would try to answer on a closed connection.
            await asyncio.wait((self.watch(),), timeout=1)
        raise Broken

    def done(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
