"""What is sent: the caller's bytes and headers, with what has to differ for a route (decisions 15)."""

from __future__ import annotations

from headgate.core.exchange import Attempt, Headers, Request, Route
from headgate.wire.dialect import Dialect


def body_for(request: Request, dialect: Dialect, attempt: Attempt) -> bytes:
    """The request's body, with the route's model, the usage we need, the output cap that money is held for, and its
    marks for the provider's prompt cache."""
    facts, route = request.facts, attempt.route
    given = attempt.marked or request.body
    model = route.model if route.model and route.model != facts.model else None
    ask_usage = request.endpoint == "chat" and facts.stream and not facts.include_usage
    cap = attempt.output_cap or None
    if model is None and not ask_usage and cap is None:
        return given
    return dialect.rewrite(
        request.endpoint,
        given,
        model=model,
        ask_usage=ask_usage,
        output_cap=cap,
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
    key = route.credential.reveal() if route.credential is not None else ""
    prepared = request.prepared
    plain = request.facts.stream or request.endpoint == "stored"
    place = (route.provider, id(route.credential), plain)
    if prepared is not None:
        known = prepared.get(place)
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
        prepared[place] = (key, kept)
    return kept
