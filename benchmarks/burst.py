"""A burst: many callers at once, each with one call and no retry, and what became of every one of them.

Plain HTTP/1.1 over a connection per caller (`connection: close`), so that the burst itself costs little CPU and nothing
of an SDK's own retries or pools is in the picture.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

CALLERS_KEY = "sk-bench-" + "callers-key"
_SHOWN = 300  # bytes of an answer that is no 200, kept to say what it was


@dataclass(frozen=True, slots=True)
class Call:
    """One call, the same for every caller.

    Attributes:
        name: its API: "chat" (OpenAI's chat completions) or "messages" (Anthropic's).
        cost_nano: what the simulator bills for it, in nano-dollars.
        cap: the output cap it sends, in tokens; every hold is made of it.
        output: the tokens it will get.
    """

    name: str
    path: str
    model: str
    cap: int
    output: int
    cost_nano: int

    def body(self, model: str = "") -> bytes:
        """The request's body; `model` where the peer has another name for it."""
        limit = "max_completion_tokens" if self.name == "chat" else "max_tokens"
        turn = {"role": "user", "content": f"tokens: {self.output}"}
        return json.dumps({"model": model or self.model, limit: self.cap, "messages": [turn]}).encode()

    def head(self, body: bytes, host: str, key: str) -> bytes:
        """The request up to its body."""
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"host: {host}",
            f"authorization: Bearer {key}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
        ]
        if self.name == "messages":
            lines.append("anthropic-version: 2023-06-01")
        return "\r\n".join([*lines, "", ""]).encode()


CHAT = Call("chat", "/v1/chat/completions", "gpt-6.1-sol", cap=250, output=198, cost_nano=1_998_000)
MESSAGES = Call("messages", "/v1/messages", "claude-haiku-4-5", cap=500, output=398, cost_nano=1_999_000)
CALLS = {call.name: call for call in (CHAT, MESSAGES)}
"""About $0.002 each."""


@dataclass(slots=True)
class Outcome:
    """What became of a burst.

    Attributes:
        through: answered with 200.
        refused: told that the budget is used up (`is_refusal`).
        failed: anything else: an error, a broken connection, no answer in time.
        seconds: wall time from the first connection to the last answer.
        latencies: of the calls that got through, in seconds, ascending.
        statuses: of everything that did not get through, and how often; 0 = no answer.
        refusal, failure: the first body of each.
    """

    through: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    refusal: str = ""
    failure: str = ""


def parse_status(answer: bytes) -> int:
    """The status of a whole HTTP/1.1 answer; 0 where there is none, or where it ended before its body did."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    first = head.split(b"\r\n", 1)[0].split(b" ")
    if not separator or len(first) < 2 or not first[1].isdigit():
        return 0
    lowered = head.lower()
    _, found, rest = lowered.partition(b"content-length:")
    if found and len(body) < int(rest.split(b"\r\n", 1)[0]):
        return 0
    if b"transfer-encoding: chunked" in lowered and not body.endswith(b"0\r\n\r\n"):
        return 0
    return int(first[1])


def is_refusal(status: int, answer: bytes) -> bool:
    """Whether a caller was told that there is no money left: in a status made for it, or by name.

    Peers differ: Headgate answers 429 (`budget_exceeded`), LiteLLM 422 for a key (`budget_exceeded`) and 429 for a
    deployment.
    """
    return status in (402, 429) or (400 <= status < 500 and b"budget_exceeded" in answer)


async def _one(host: str, port: int, request: bytes, patience: float) -> tuple[int, bytes, float]:
    began = time.monotonic()
    answer = b""
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                answer = await reader.read(-1)
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        answer = repr(error).encode()
    return parse_status(answer), answer, time.monotonic() - began


async def _all(host: str, port: int, requests: Sequence[bytes], patience: float) -> Outcome:
    outcome = Outcome()
    began = time.monotonic()
    for status, answer, seconds in await asyncio.gather(*(_one(host, port, each, patience) for each in requests)):
        if status == 200:
            outcome.through += 1
            outcome.latencies.append(seconds)
            continue
        outcome.statuses[status] += 1
        told = (answer.partition(b"\r\n\r\n")[2] or answer)[:_SHOWN].decode(errors="replace")
        if is_refusal(status, answer):
            outcome.refused += 1
            outcome.refusal = outcome.refusal or told
        else:
            outcome.failed += 1
            outcome.failure = outcome.failure or told
    outcome.seconds = time.monotonic() - began
    outcome.latencies.sort()
    return outcome


def burst(
    port: int, call: Call, callers: int, *, key: str = CALLERS_KEY, model: str = "", patience: float = 180.0
) -> Outcome:
    """All callers at once, on a loopback port.

    Args:
        patience: seconds that a caller waits for its whole answer.
    """
    body = call.body(model)
    request = call.head(body, f"127.0.0.1:{port}", key) + body
    return asyncio.run(_all("127.0.0.1", port, [request] * callers, patience))
