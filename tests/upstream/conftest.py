"""A provider made of raw sockets, and the colours that every test of this room runs in."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from headgate.core.ports import Outgoing, Timeouts
from headgate.engine.blocking import run_blocking
from headgate.upstream.blocking import BlockingPool
from headgate.upstream.pool import AsyncPool

PATIENT = Timeouts(connect=60, pool=60, write=60, first_byte=60, idle=60)
"""What is no test of a timer has all the time that a busy machine may take."""


class Line:
    """The provider's end of one connection."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number  # 1, 2, ... in the order of arrival
        self.sock.settimeout(60)
        self._rest = b""

    def request(self) -> tuple[bytes, bytes]:
        """The next request's head and body; (b"", b"") when the client has closed."""
        while b"\r\n\r\n" not in self._rest:
            data = self.sock.recv(65536)
            if not data:
                return b"", b""
            self._rest += data
        head, _, rest = self._rest.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = bytearray(rest)
        while len(body) < length:
            body += self.sock.recv(1 << 20)
        self._rest = bytes(body[length:])
        return head, bytes(body[:length])

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def gone(self) -> bool:
        """Wait until the client has closed; False if it has not within a minute."""
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True  # reset; or its own thread has seen the end first, and closed
        return True

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


@dataclass
class Provider:
    """Listens on loopback; each connection is played by `play` in its own thread."""

    play: Callable[[Line], None]
    tls: ssl.SSLContext | None = None
    lines: list[Line] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        self.accepting = threading.Thread(target=self._accept, daemon=True)
        self.accepting.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.threads.append(threading.Thread(target=self._serve, args=(sock,), daemon=True))
                self.threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(sock):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(60)
            if self.tls is not None:
                sock = self.tls.wrap_socket(sock, server_side=True)
            line = Line(sock, len(self.lines) + 1)
            self.lines.append(line)
            with sock:
                self.play(line)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # a close alone leaves the blocked accept one more connection
        self.accepting.join(5)
        self.listener.close()
        for line in self.lines:
            # Only its own thread may close a socket that OpenSSL may be reading: the number is soon another's.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(line.sock, socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)


@pytest.fixture
def provide() -> Iterator[Callable[..., Provider]]:
    """Start providers that end with the test."""
    running: list[Provider] = []

    def start(play: Callable[[Line], None], **options: Any) -> Provider:
        running.append(Provider(play, **options))
        return running[-1]

    yield start
    for provider in running:
        provider.close()


@dataclass
class Colour:
    name: str
    run: Callable[[Any], Any]

    def pool(self, **options: Any) -> Any:
        return BlockingPool(**options) if self.name == "blocking" else AsyncPool(**options)


COLOURS = [Colour("blocking", run_blocking), Colour("asyncio", asyncio.run), Colour("uvloop", uvloop.run)]


@pytest.fixture(params=COLOURS, ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Colour:
    """Every test runs without an event loop, on asyncio's and on uvloop."""
    chosen: Colour = request.param
    return chosen


@pytest.fixture
def outgoing() -> Callable[..., Outgoing]:
    def make(
        url: str,
        body: bytes = b"",
        *,
        method: str = "POST",
        headers: Any = (),
        timeouts: Timeouts = PATIENT,
    ) -> Outgoing:
        return Outgoing(method, url, headers, body, timeouts)

    return make


@pytest.fixture
def whole() -> Callable[[Any], Awaitable[bytes]]:
    async def read(answer: Any) -> bytes:
        pieces = []
        while piece := await answer.read():
            pieces.append(piece)
        return b"".join(pieces)

    return read
