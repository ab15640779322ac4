"""A uvicorn protocol that lends the application its connection, so that a fault can break it; and TLS before it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headgate.testing.simulator.wire import EXTENSION, LINGER_ZERO

_HALF_A_HELLO = b"\x16\x03\x03\x00\x7a\x02\x00"  # a handshake record of 122 bytes, of which two come


class LendingProtocol(HttpToolsProtocol):
    """Puts the transport into ``scope["extensions"]``. For the simulator only."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast("dict[str, Any]", self.scope)["extensions"] = {EXTENSION: self.transport}


class TlsFront(asyncio.Protocol):
    """Accepts a connection, lets a TLS fault happen to it, else hands it on, encrypted, to the real protocol.

    The faults lie before HTTP, so they are chosen per connection: see `tls` in docs/simulator.md.
    """

    def __init__(
        self,
        choose: Callable[[], str],
        contexts: Mapping[str, ssl.SSLContext],
        connections: set[Any],
        inner: Callable[[], asyncio.Protocol],
    ) -> None:
        self._choose = choose
        self._contexts = contexts
        self._connections = connections
        self._inner = inner
        self._fault = ""
        self._early: list[bytes] = []
        self._raw: asyncio.Transport | None = None
        self._upgrading: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decide what becomes of it."""
        self._raw = raw = cast("asyncio.Transport", transport)
        self._connections.add(self)  # so that a server that stops closes it too
        self._fault = self._choose()
        if self._fault not in ("stall", "close", "reset"):
            raw.pause_reading()
            self._upgrading = asyncio.get_running_loop().create_task(self._upgrade(raw))

    def data_received(self, data: bytes) -> None:
        """The client's hello, or what it sent before we were through with the handshake."""
        raw = self._raw
        if self._upgrading is not None:
            self._early.append(data)
        elif raw is not None and self._fault in ("close", "reset"):
            raw.write(_HALF_A_HELLO)
            if self._fault == "close":
                raw.close()
                return
            sock = raw.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            raw.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, on whichever side."""
        self._connections.discard(self)

    def shutdown(self) -> None:
        """The server stops."""
        if self._raw is not None:
            self._raw.abort()

    async def _upgrade(self, raw: asyncio.Transport) -> None:
        context = self._contexts[self._fault or "valid"]
        try:
            tls = await asyncio.get_running_loop().start_tls(raw, self, context, server_side=True)
        except (OSError, ssl.SSLError):  # the client refused the certificate, as it should, or left
            self._connections.discard(self)
            return
        if tls is None or tls.is_closing():
            return
        inner = self._inner()
        tls.set_protocol(inner)
        self._connections.discard(self)
        inner.connection_made(tls)
        for data in self._early:
            inner.data_received(data)
