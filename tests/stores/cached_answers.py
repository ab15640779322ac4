"""Answers to keep."""

from __future__ import annotations

import socket
from typing import Any

from headgate.core.cache import Stored
from headgate.core.usage import Usage

T0 = 1_795_132_800.0
HEADERS = ((b"content-type", b"application/json"), (b"request-id", b"req_\xff"))


def answer(body: bytes = b"{}", *, seconds: float = 3600.0, now: float = T0, **more: Any) -> Stored:
    """One that expires `seconds` after `now`."""
    return Stored("whole", 200, HEADERS, body, made=now, expires=now + seconds, usage=Usage(3, output_tokens=4), **more)


def a_closed_port() -> int:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port
