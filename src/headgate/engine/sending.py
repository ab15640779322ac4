"""What is sent: the caller's bytes and headers, with what has to differ for a route (decisions 15)."""

from __future__ import annotations

from headgate.core.exchange import Attempt, Headers, Request, Route
from headgate.wire.dialect import Dialect


def body_for(request: Request, dialect: Dialect, attempt: Attempt) -> bytes:
    """The request's body, with the route's model, the usage we need, the output cap that money is held for, and its
    marks for the provider's prompt cache."""
    facts, route = request.facts, attempt.route
    model, cap = route.model, attempt.output_cap
    ask_usage = facts.stream and not facts.include_usage and request.endpoint == "chat"
    if not (ask_usage or cap) and (model == facts.model or not model):
        return attempt.marked or request.body
    return dialect.rewrite(
        request.endpoint,
        attempt.marked or request.body,
        model=model if model and model != facts.model else None,
        ask_usage=ask_usage,
        output_cap=cap or None,
        newest=route.provider == "openai",
    )


# Whose account a key is used for is part of it: a caller must not choose that for a key of ours.
_CREDENTIALS = frozenset(
    {b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"openai-organization", b"openai-project"}
)
# A stream comes plain: a compressor may hold events back, and our comment could not stand behind the provider's bytes.
# So does what has links in it that are ours to change.
_CODING = frozenset({b"accept-encoding"})


def headers_for(request: Request, route: Route) -> Headers:
    """The caller's headers; with the route's credential in place of the caller's, where the route has one."""
    direct = request.direct
    if direct is not None and route.provider == direct.provider:
        return request.headers
    credential = route.credential
    key = "" if credential is None else credential.reveal()
    plain = request.facts.stream or request.endpoint == "stored"
    prepared = request.prepared
    if prepared is not None:
        known = prepared.get((route.provider, id(credential), plain))
        if known is not None and known[0] == key:
            return known[1]  # the same object each time: the pool has it encoded
    left_out = _CREDENTIALS | _CODING if plain else _CREDENTIALS
    kept = [h for h in request.headers if h[0] not in left_out]
    if key:
        if route.dialect == "anthropic":
            kept.append((b"x-api-key", key.encode()))
        else:
            kept.append((b"authorization", f"Bearer {key}".encode()))
    if prepared is not None:
        prepared[route.provider, id(credential), plain] = (key, kept)
    return kept
