"""What an experiment's calls are, and a bare HTTP client that sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from headgate.cli.lab_provider import CALL, Provider
from headgate.core.exchange import Headers
from headgate.core.ports import Outgoing, Timeouts

_MODELS = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}
_OUTPUT = 32  # tokens of an answer; its cap, too
PATIENT = Timeouts(connect=1e6, pool=1e6, write=1e6, first_byte=1e6, idle=1e6, total=1e6)
"""No timer of a client's is part of the experiment."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, the same for every attempt of a call."""

    url: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    client: str
    tenant: str = ""


def ask_of(served: Provider, number: int, client: int) -> Ask:
    """The request of a call."""
    dialect = served.account.dialect
    cap = "max_tokens" if dialect == "anthropic" else "max_completion_tokens"
    text = f"tokens: {_OUTPUT}\nThis is call {number} of client {client}."
    body = {"model": _MODELS[dialect], cap: _OUTPUT, "messages": [{"role": "user", "content": text}]}
    headers = [(CALL.encode(), b"%d" % number), (b"content-type", b"application/json")]
    if dialect == "anthropic":
        headers += [(b"anthropic-version", b"2023-06-01"), (b"x-api-key", b"simulated")]
    else:
        headers.append((b"authorization", b"Bearer simulated"))
    return Ask(served.url + served.path, tuple(headers), json.dumps(body).encode(), f"client-{client}")


class Sender(Protocol):
    """What a client sends through."""

    async def send(self, ask: Ask) -> tuple[int, Headers]:
        """The answer's status and headers, once it has been read to its end."""
        ...


class Bare:
    """One request over HTTP, and nothing else."""

    def __init__(self, connections: int) -> None:
        from headgate.upstream.choose import async_upstream

        self._upstream = async_upstream(trust_env=False, max_connections=connections, max_idle=connections)

    async def send(self, ask: Ask) -> tuple[int, Headers]:
        """See `Sender`."""
        outgoing = Outgoing("POST", ask.url, ask.headers, ask.body, PATIENT)
        incoming = await self._upstream.send(outgoing)
        try:
            while await incoming.read():
                pass
        finally:
            incoming.close()
        return incoming.status, incoming.headers
