"""Having a provider count a prompt, where it does so for nothing: Anthropic's `count_tokens`.

An estimate, its documentation says; so it is only held with a margin (decisions 2, `policy.estimate.COUNT_MARGIN`).
https://docs.anthropic.com/en/docs/build-with-claude/token-counting
"""

from __future__ import annotations

import json

import msgspec

from headgate.core.errors import BudgetExceeded
from headgate.core.exchange import Attempt, Exchange, Request, Route
from headgate.core.ports import Outgoing, Ports, Timeouts
from headgate.engine.plan import Plan
from headgate.engine.sending import headers_for

COUNT_SECONDS = 5.0
MAX_ANSWER_BYTES = 64 * 1024

COUNT_PAUSE_SECONDS = 1.0
"""After a count that did not help, none for the same account in this time: it has nothing left for such calls."""
MOST_PAUSES = 10_000

Place = tuple[object, ...]
"""Who says no: an account, by its key; or the ceiling of a single call, by caller and model."""

_COUNTED = frozenset(
    {"messages", "system", "tools", "tool_choice", "thinking", "cache_control", "output_config", "mcp_servers"}
    | {"context_management", "container"}
)
"""What the endpoint takes of a Messages request, beside the model; anything else is an error there."""


class CountPauses:
    """Who has had a prompt counted for nothing lately: each refused call would otherwise cost one more request."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[tuple[Place, Place], float] = {}

    @staticmethod
    def place(exchange: Exchange, attempt: Attempt, error: BudgetExceeded) -> Place:
        """Who said no."""
        return error.claim.key if error.claim is not None else _caller(exchange, attempt)

    def on(self, place: Place, exchange: Exchange, attempt: Attempt, now: float) -> bool:
        """Whether none is counted for `place` now: for its own sake, or for that of another that such a call lacks."""
        until = self._until
        if not until:
            return False
        others = (place, _caller(exchange, attempt), *(claim.key for claim in attempt.claims))
        return any(until.get((place, other), 0.0) > now for other in others)

    def note(self, place: Place, other: Place, now: float) -> None:
        """A count for `place` has not helped: there, or because `other` said no behind it. Calls that `place` refuses
        and that do not fall under `other` are not in the pause."""
        if len(self._until) >= MOST_PAUSES:
            self._until.clear()
        self._until[place, other] = now + COUNT_PAUSE_SECONDS


def _caller(exchange: Exchange, attempt: Attempt) -> Place:
    caller, route = exchange.request.caller, attempt.route
    return caller.tenant, caller.key, caller.user, route.provider, route.model


def countable(request: Request, route: Route) -> bool:
    """Whether the route's provider counts such prompts."""
    return route.dialect == "anthropic" and request.endpoint == "messages" and request.upload is None


async def count_prompt(ports: Ports, plan: Plan, request: Request, route: Route) -> int | None:
    """Input tokens of `request` at `route`, as its provider counts them; None where it does not.

    Raises:
        UpstreamError: it could not be asked.
    """
    if not countable(request, route):
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
