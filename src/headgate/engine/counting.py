"""Having a provider count a prompt, where it does so for nothing: Anthropic's `count_tokens`.

An estimate, its documentation says; so it is only held with a margin (decisions 2, `policy.estimate.COUNT_MARGIN`).
https://docs.anthropic.com/en/docs/build-with-claude/token-counting
"""

from __future__ import annotations

import json

import msgspec

from headgate.core.exchange import Request, Route
from headgate.core.ports import Outgoing, Ports, Timeouts
from headgate.engine.plan import Plan
from headgate.engine.sending import headers_for

COUNT_SECONDS = 5.0
MAX_ANSWER_BYTES = 64 * 1024

_COUNTED = frozenset(
    {"messages", "system", "tools", "tool_choice", "thinking", "cache_control", "output_config", "mcp_servers"}
    | {"context_management", "container"}
)
"""What the endpoint takes of a Messages request, beside the model; anything else is an error there."""


async def count_prompt(ports: Ports, plan: Plan, request: Request, route: Route) -> int | None:
    """Input tokens of `request` at `route`, as its provider counts them; None where it does not.

    Raises:
        UpstreamError: it could not be asked.
    """
    if route.dialect != "anthropic" or request.endpoint != "messages" or request.upload is not None:
        return None
    path, mark, query = request.path.partition("?")
    timeouts = Timeouts(*(COUNT_SECONDS,) * 6)
    outgoing = Outgoing(
        "POST",
        f"{route.base_url}{path}/count_tokens{mark}{query}",
        headers_for(request, route),
        _body(request.body, route.model or request.facts.model),
        timeouts,
    )
    incoming = await ports.upstream.send(outgoing)
    try:
        if incoming.status != 200:
            return None
        answer = b""
        while piece := await incoming.read():
            answer += piece
            if len(answer) > MAX_ANSWER_BYTES:
                return None
        return _count(answer)
    finally:
        incoming.close()


def _body(body: bytes, model: str) -> bytes:
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    kept = [f"{json.dumps(name)}:".encode() + bytes(value) for name, value in members.items() if name in _COUNTED]
    return b'{"model":' + msgspec.json.encode(model) + b"".join(b"," + each for each in kept) + b"}"


def _count(answer: bytes) -> int | None:
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    tokens = told.get("input_tokens") if isinstance(told, dict) else None
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0 else None
