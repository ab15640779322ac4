"""How each kind of guard is asked. One source for both colours: nothing is awaited but ports and the engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from headgate._version import __version__
from headgate.core.checks import Check, Opinion
from headgate.core.errors import HeadgateError
from headgate.core.exchange import Exchange, Request, Route
from headgate.core.ports import Clock, Outgoing, Timeouts, Upstream
from headgate.core.secret import Secret
from headgate.policy.guards.network import (
    Malformed,
    judged,
    judging_request,
    moderation_opinions,
    signature,
    webhook_opinion,
)
from headgate.wire import DIALECTS
from headgate.wire.endings import endings

if TYPE_CHECKING:
    from headgate.engine.engine import Engine

MAX_BYTES = 1024 * 1024
"""Of an answer to a guard."""
_JSON = (b"content-type", b"application/json")
_AGENT = (b"user-agent", b"headgate/" + __version__.encode())


class Unanswered(Exception):
    """Nobody could be asked. The message holds no text and no credential."""


class Classifier(Protocol):
    """A model of our own that tells how likely each text is an injection."""

    def score(self, texts: list[str]) -> list[float]:
        """One number from 0 to 1 for each text."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What guards are asked with.

    Attributes:
        providers: by name; what a moderation is reached by.
        secrets: by their references.
        mark: makes a word that nobody can guess.
    """

    upstream: Upstream
    clock: Clock
    providers: Mapping[str, Route]
    secrets: Mapping[str, Secret]
    mark: Callable[[], str]


async def moderate(means: Means, check: Check, texts: Sequence[str]) -> list[Opinion]:
    """One opinion for each text. Raises Unanswered; Malformed."""
    if check.url:
        url, key = check.url, means.secrets.get(check.secret)
    else:
        route = means.providers.get(check.provider)
        if route is None:
            raise Unanswered(f"there is no provider {check.provider!r}")
        url, key = f"{route.base_url}/moderations", route.credential
    asked: dict[str, object] = {"input": list(texts)}
    if check.model:
        asked["model"] = check.model
    headers = [] if not key else [(b"authorization", b"Bearer " + key.reveal().encode())]
    answer = await _post(means, url, headers, json.dumps(asked).encode(), check.timeout)
    return moderation_opinions(check, answer, len(texts))


async def call_webhook(means: Means, check: Check, exchange: Exchange, channel: str, text: str) -> Opinion:
    """Raises Unanswered; Malformed."""
    caller = exchange.request.caller
    told = {
        "text": text,
        "channel": channel,
        "exchange": exchange.id,
        "correlation_id": exchange.request.correlation_id,
        **{name: getattr(caller, name) for name in ("key", "tenant", "user", "session", "task")},
    }
    body = json.dumps(told).encode()
    headers: list[tuple[bytes, bytes]] = []
    secret = means.secrets.get(check.secret)
    if secret is not None:
        at = int(means.clock.now())
        headers = [
            (b"x-headgate-timestamp", b"%d" % at),
            (b"x-headgate-signature", signature(secret.reveal(), at, body).encode()),
        ]
    return webhook_opinion(await _post(means, check.url, headers, body, check.timeout))


async def judge(means: Means, engine: Engine, check: Check, exchange: Exchange, texts: Sequence[str]) -> list[Opinion]:
    """One opinion for each text, by a model: an exchange of its own, for the same caller, so that it is held for,
    charged and logged as any other. Its task is ``guard:<name>``. Raises Unanswered; Malformed."""
    asking = exchange.request
    body = judging_request(check, texts, means.mark())
    request = Request(
        "openai",
        "chat",
        "POST",
        "/chat/completions",
        [_JSON, _AGENT],
        body,
        DIALECTS["openai"].read_request("chat", body),
        replace(asking.caller, task=f"guard:{check.guard}"),
        asking.way_in,
        correlation_id=asking.correlation_id,
        timeout=check.timeout,
        address=asking.address,
        of_guard=check.guard,
    )
    try:
        reply = await engine.open(engine.begin(request))
        answer = b""
        try:
            while piece := await reply.read():
                answer += piece
        finally:
            reply.close()
    except HeadgateError as error:
        raise Unanswered(error.code) from None
    said = endings("chat", answer)
    if not said or said[0].how != "end":
        raise Malformed("the model has not answered to its end")
    return judged(check, said[0].text, len(texts))


async def _post(means: Means, url: str, headers: list[tuple[bytes, bytes]], body: bytes, seconds: float) -> bytes:
    """The body of a 2xx answer. Raises Unanswered."""
    timeouts = Timeouts(seconds, seconds, seconds, seconds, seconds, seconds)
    try:
        incoming = await means.upstream.send(Outgoing("POST", url, [_JSON, _AGENT, *headers], body, timeouts))
        try:
            if not 200 <= incoming.status < 300:
                raise Unanswered(f"status {incoming.status}")
            found = b""
            while piece := await incoming.read():
                found += piece
                if len(found) > MAX_BYTES:
                    raise Unanswered("the answer is too long")
            return found
        finally:
            incoming.close()
    except HeadgateError as error:
        raise Unanswered(error.code) from None
