"""A provider made of a few lines: answers as told, byte for byte, and keeps what it received."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    line: bytes
    headers: tuple[tuple[bytes, bytes], ...]  # names in lower case
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.headers if known == name]


Answer = Callable[[Received], bytes]


def whole(status: str, body: bytes, *headers: str, kind: str = "application/json") -> bytes:
    """A complete response."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


class RawUpstream:
    """Serves on a free loopback port, one connection per request.

    Attributes:
        url: without a path.
        answer: makes the response; replace it at any time.
        received: every request so far.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> RawUpstream:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._one(connection)

    def _one(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection.makefile("rb") as stream:
            line = stream.readline().rstrip(b"\r\n")
            headers = []
            while field := stream.readline().rstrip(b"\r\n"):
                name, _, value = field.partition(b":")
                headers.append((name.lower(), value.strip()))
            length = next((int(value) for name, value in headers if name == b"content-length"), 0)
            request = Received(line, tuple(headers), stream.read(length))
        self.received.append(request)
        answer = self.answer(request)
        head, mark, body = answer.partition(b"\r\n\r\n")
        connection.sendall(head + b"\r\nconnection: close" + mark + body)
