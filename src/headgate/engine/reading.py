"""What is read of a provider's response: its headers, a whole body, and what stands for one that is an error."""

from __future__ import annotations

from operator import itemgetter

from headgate.core.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from headgate.core.exchange import Attempt, Exchange, Headers
from headgate.core.ports import Clock, Incoming
from headgate.engine.coded import legible
from headgate.engine.plan import Plan
from headgate.policy.failures import failure, failure_inside
from headgate.wire import lenient
from headgate.wire.dialect import Dialect, ProviderError

MAX_ERROR_BYTES = 1024 * 1024
MAX_TOLD_BYTES = 32 * 1024 * 1024


def read_headers(exchange: Exchange, attempt: Attempt, dialect: Dialect, headers: Headers) -> bytes:
    """Take over what the attempt needs of them; returns the body's coding, b"" = none."""
    like = dialect.name, tuple(map(_NAME, headers))
    places = _places.get(like)
    if places is None:
        places = _find(dialect, like)
    request_id, coded, ours = places
    if request_id is not None:
        attempt.request_id = headers[request_id][1].decode("latin-1")
    if ours:
        _read_ours(exchange, attempt, headers)
    if coded is None:
        return b""
    coding = headers[coded][1].strip().lower()
    return b"" if coding == b"identity" else coding


_NAME = itemgetter(0)
_Places = tuple[int | None, int | None, bool]
_places: dict[tuple[str, tuple[bytes, ...]], _Places] = {}
"""By dialect and names of headers, which a provider sends again and again: where the request id is, where the coding,
and whether any is a Headgate's."""
_MOST_PLACES = 256
_MOST_NAMES = 64
_MOST_BYTES = 4096


def _find(dialect: Dialect, like: tuple[str, tuple[bytes, ...]]) -> _Places:
    names = like[1]
    # Each name with its place for a value: so the dialect tells which it goes by.
    request_id = dialect.request_id([(name, b"%d" % place) for place, name in enumerate(names)])
    codings = [place for place, name in enumerate(names) if name == b"content-encoding"]
    ours = any(name.startswith(b"x-headgate-") for name in names)
    places = int(request_id) if request_id else None, codings[-1] if codings else None, ours
    if len(names) <= _MOST_NAMES and sum(map(len, names)) <= _MOST_BYTES:
        if len(_places) >= _MOST_PLACES:
            _places.clear()
        _places[like] = places
    return places


def _read_ours(exchange: Exchange, attempt: Attempt, headers: Headers) -> None:
    for name, value in headers:
        if name == b"x-headgate-simulated":
            attempt.simulated = True
        elif name == b"x-headgate-exchange" and exchange.request.way_in == "in-process":
            # Not in a gateway: there any provider could make its calls free by sending this (decisions 20).
            exchange.upstream_gateway = value.decode("ascii", "replace")[:64]


def is_stream(headers: Headers) -> bool:
    """Server-sent events."""
    return any(name == b"content-type" and value.lower().startswith(b"text/event-stream") for name, value in headers)


def is_told(headers: Headers) -> bool:
    """A JSON body about what is kept, and not the contents of a file that happens to be JSON."""
    told = False
    for name, value in headers:
        if name == b"content-type":
            told = value.lower().startswith(b"application/json")
        elif name == b"content-length" and (not value.isdigit() or int(value) > MAX_TOLD_BYTES):
            return False
    return told


async def read_all(incoming: Incoming, limit: int, plan: Plan, clock: Clock) -> bytes:
    """A body to its end. Raises `UpstreamError`: it is larger than `limit` bytes, or not finished in time."""
    body = await incoming.read()
    if not body:
        return b""
    pieces = [body]
    size = len(body)
    while piece := await incoming.read():
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise UpstreamBroken(
                f"the provider's answer is larger than {limit} bytes", kind="broken", maybe_billed=True
            )
        if clock.now() > plan.ends_by:  # a body that drips is never idle
            raise UpstreamTimeout("the provider's answer was not finished in time", kind="timeout", maybe_billed=True)
    return body if len(pieces) == 1 else b"".join(pieces)


async def failed(
    incoming: Incoming, coding: bytes, plan: Plan, dialect: Dialect, attempt: Attempt, clock: Clock
) -> UpstreamError:
    """The error that an answer of 300 or above stands for."""
    try:
        body = await read_all(incoming, MAX_ERROR_BYTES, plan, clock)
    except UpstreamError:
        body = b""  # the status and the headers still say what happened
    incoming.close()
    said = dialect.read_error(legible(body, coding, MAX_ERROR_BYTES))
    return failure(
        incoming.status,
        incoming.headers,
        body,
        type_=said.type,
        code=said.code,
        message=said.message,
        request_id=attempt.request_id or said.request_id,
        provider=attempt.route.provider,
        now=clock.now(),
    )


def outside_stream(raw: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """An error event's JSON and the headers it would have come with outside a stream: what an SDK can read."""
    said = (line[5:].strip() for line in reversed(raw.splitlines()) if line.startswith(b"data:") and b'"error"' in line)
    kept = [(n, v) for n, v in headers if n != b"content-type"]
    return lenient.error_alone(next(said, raw)), [(b"content-type", b"application/json"), *kept]


def truncated(attempt: Attempt) -> UpstreamError:
    """A stream that ended before its answer began."""
    return UpstreamBroken(
        f"{attempt.route.provider} ended a stream before any content and without its terminal event",
        kind="truncated",
        retryable=True,
        elsewhere=True,
        maybe_billed=True,
        request_id=attempt.request_id,
    )


def failed_inside(
    said: ProviderError, body: bytes, headers: Headers, attempt: Attempt, *, billed: bool
) -> UpstreamError:
    """The error that a body, or an event, under a 200 stands for; `billed`: generation may have begun."""
    return failure_inside(
        body,
        headers,
        type_=said.type,
        code=said.code,
        message=said.message,
        request_id=attempt.request_id or said.request_id,
        provider=attempt.route.provider,
        billed=billed,
    )
