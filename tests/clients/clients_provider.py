"""The simulator with a notebook: what reached it over which connection, what it sent back, and in which order.

What it adds, for every client alike:

- every multi-byte character leaves in two pieces, so that no client may decode a piece on its own;
- a `stall` lasts until `/_test/release`: order of arrival can be told without a clock;
- `fault:short` in a prompt ends the stream properly, but in the middle (the simulator's books do not know of it);
- `stop:<reason>` in a prompt is the answer's stop reason, for those that the simulator has no occasion for.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.app import RealClock, Simulator
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Match, Rule, Scenario, When
from headgate.testing.simulator.wire import Message, Receive, Send

UNTIL_RELEASED = 1e6  # seconds
SHORT = b"fault:short"
_SHORT_MESSAGES = 6
_SETTLE_TURNS = 2_000
_STOP = re.compile(rb"stop:([a-z_]+)")
_TOLD = {b"end_turn": b'"stop_reason":"end_turn"', b"stop": b'"finish_reason":"stop"'}
FAULTS = {
    "fault:429": Fault("rate_limit", retry_after=7),
    "fault:overloaded": Fault("overloaded", retry_after=3),
    "fault:busy": Fault("overloaded"),
    "fault:500": Fault("server_error"),
    "fault:400": Fault("error", status=400, type="invalid_request_error", message="prompt is too long (simulated)"),
    "fault:401": Fault("auth"),
    "fault:403": Fault("auth", status=403),
    "fault:404": Fault("error", status=404, type="not_found_error", message="model: gone (simulated)"),
    "fault:413": Fault("error", status=413, type="request_too_large", message="too large (simulated)"),
    "fault:event": Fault("error_event", after_events=6),
    "fault:cut": Fault("cut", after_events=6),
    "fault:end": Fault("no_terminal"),
    "hold:stream": Fault("stall", after_events=8, seconds=UNTIL_RELEASED),
    "hold:answer": Fault("slow_first_token", seconds=UNTIL_RELEASED),
    "refuse:empty": Fault("refusal"),
    "refuse:message": Fault("refusal", style="message"),
    "refuse:midway": Fault("refusal", after_tokens=8),
}
"""What a word in the prompt brings about."""

SCENARIO = Scenario(
    name="clients",
    rules=(
        Rule(Fault("overloaded"), Match(prompt_contains="fault:twice"), When(first=2)),
        *(Rule(fault, Match(prompt_contains=word)) for word, fault in FAULTS.items()),
    ),
)


@dataclass
class Call:
    """One request at the provider, as it came and as it was answered."""

    check: str
    method: str
    path: str
    query: str
    connection: int  # the peer's port
    headers: dict[str, str]
    body: bytes = b""
    sent: bytes = b""
    record: dict[str, Any] = field(default_factory=dict)  # the simulator's own
    line: dict[str, Any] = field(default_factory=dict)  # of its invoice

    def told(self) -> dict[str, Any]:
        """As JSON can hold it; large bodies by their length only."""
        body = self.body.decode("utf-8", "replace") if len(self.body) < 300_000 else ""
        return {
            **asdict(self),
            "body": body,
            "body_bytes": len(self.body),
            "sent": self.sent.decode("utf-8", "replace"),
        }


class _HeldClock(RealClock):
    """Real time, but a wait of a million seconds lasts until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.permits = asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        if seconds >= UNTIL_RELEASED:
            await self.permits.acquire()
        else:
            await super().sleep(seconds)


class Provider(Simulator):
    """A simulator that keeps a list of its calls, by the check that made them."""

    def __init__(self) -> None:
        self.held = _HeldClock()
        super().__init__(0, SCENARIO, clock=self.held)
        self.check = ""
        self.calls: list[Call] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI."""
        path: str = scope["path"]
        if path.startswith("/_test/"):
            await self._control(path.removeprefix("/_test/"), send)
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        call = Call(self.check, scope["method"], path, query, scope["client"][1], headers)
        self.calls.append(call)

        async def hear() -> Message:
            message = await receive()
            call.body += message.get("body", b"")
            return message

        await super().__call__(scope, hear, _Mouth(call, send).say)

    async def _control(self, order: str, send: Send) -> None:
        name, _, told = order.partition("/")
        if name == "begin":
            await self._until(lambda: not self._provider.book.invoice()["total"]["open"])
            self.check = told
            self.held.permits = asyncio.Semaphore(0)
        elif name == "release":
            self.held.permits.release()
        elif name == "arrived":
            await self._until(lambda: any(call.check == self.check and call.body for call in self.calls))
        mine = [call for call in self.calls if call.check == self.check]
        answer = json.dumps({"calls": len(mine), "sent": len(mine[-1].sent) if mine else 0}).encode()
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": answer, "more_body": False})

    async def _until(self, holds: Any) -> None:
        for _ in range(_SETTLE_TURNS):
            if holds():
                return
            await asyncio.sleep(0.005)

    def books(self) -> list[Call]:
        """Every call with what the simulator has to say of it."""
        lines = {line["order"]: line for line in self.invoice(5)["lines"]}
        for call, record in zip(self.calls, self.requests(5), strict=True):
            call.record, call.line = record, lines.get(record["order"], {})
        return self.calls


class _Mouth:
    """Sends an answer in awkward pieces, and keeps it."""

    def __init__(self, call: Call, send: Send) -> None:
        self._call = call
        self._send = send
        self._start: Message | None = None
        self._messages = 0

    async def say(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message  # until the body's length is known
            return
        body = self._twisted(message.get("body", b""))
        more = message.get("more_body", False)
        self._messages += 1
        if self._messages > _SHORT_MESSAGES and SHORT in self._call.body:
            body = b""
        start, self._start = self._start, None
        if start is not None:
            headers = [
                (k, b"%d" % len(body) if k == b"content-length" and not more else v) for k, v in start["headers"]
            ]
            await self._send({**start, "headers": headers})
        self._call.sent += body
        pieces = _pieces(body)
        for piece in pieces:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            if len(pieces) > 1:
                await asyncio.sleep(0)
        if not more:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _twisted(self, body: bytes) -> bytes:
        wanted = _STOP.search(self._call.body)
        if wanted is None:
            return body
        for said, text in _TOLD.items():
            body = body.replace(text, text.replace(said, wanted[1]))
        return body


def _pieces(body: bytes) -> list[bytes]:
    """Cut behind the first byte of every character that has several."""
    cuts = [at + 1 for at, byte in enumerate(body) if byte >= 0xC0] if not body.isascii() else []
    edges = [0, *cuts, len(body)]
    return [body[a:b] for a, b in pairwise(edges) if a < b]


class ProviderServer(SimulatorServer):
    """A `Provider` behind a loopback port."""

    def __init__(self) -> None:
        super().__init__()
        self.simulator: Provider = Provider()
