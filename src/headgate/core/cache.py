"""Answers that are kept: what is kept of one, and how it is known to be what it was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from headgate.core.exchange import Attempt, Exchange, Headers, Route
from headgate.core.usage import Usage

Kind = Literal["whole", "stream"]


@dataclass(frozen=True, slots=True)
class Stored:
    """A complete answer, as its caller got it. Times are seconds since the epoch, money is nano-dollars.

    Attributes:
        kind: "whole": a JSON answer; "stream": server-sent events.
        status: of HTTP, 200..299.
        headers: those that say what the body is: no hop-by-hop fields, no `x-headgate-*`, no rate limits, no length.
        body: all of it, in no coding; of a stream without our trailing comment.
        made: when the answer was.
        expires: from then on it is not there any more.
        model: that served, as its provider names it.
        provider: of the route that answered.
        stop_reason: the provider's.
        usage: what it had reported; None where it had not.
        cost_nano: what the answer had cost: what a hit saves, about.
        price_version: of that cost.
        exchange_id: of the call that made it.
        digest: see `sealed`; b"" = not sealed yet.
    """

    kind: Kind
    status: int
    headers: Headers
    body: bytes
    made: float
    expires: float
    model: str = ""
    provider: str = ""
    stop_reason: str = ""
    usage: Usage | None = None
    cost_nano: int = 0
    price_version: str = ""
    exchange_id: str = ""
    digest: bytes = b""

    @property
    def size(self) -> int:
        """Bytes that it takes up in memory, about."""
        return len(self.body) + sum(len(name) + len(value) + _FIELD for name, value in self.headers) + _ENTRY


_ENTRY = 1024  # of objects: the entry, its usage, its place in a table
_FIELD = 120  # of the objects of a header field


class CacheStats(NamedTuple):
    """Of one cache in one process, since it began. All are >= 0.

    Attributes:
        entries: that are there; -1 = not known.
        size: their bytes; -1 = not known.
        hits, misses: of `get`.
        stored: by `put`.
        evicted: for room, before they expired.
        corrupt: that were there, and could not be believed or read.
    """

    entries: int = 0
    size: int = 0
    hits: int = 0
    misses: int = 0
    stored: int = 0
    evicted: int = 0
    corrupt: int = 0


_NO_ATTEMPT = Attempt(0, Route("", "", "", ""), started=0.0)


def not_attempted(exchange: Exchange) -> Attempt:
    """What stands in records for the last attempt of an exchange that had none: who had given the kept answer, if its
    caller got one. It costs nothing, and has counted nothing."""
    kept = exchange.recalled
    if kept is None:
        return _NO_ATTEMPT
    return _given(kept.provider, kept.model, kept.stop_reason)


@lru_cache(maxsize=256)
def _given(provider: str, model: str, stop_reason: str) -> Attempt:
    return Attempt(0, Route(provider, "", "", ""), 0.0, model_served=model, stop_reason=stop_reason)


def sealed(key: str, stored: Stored) -> Stored:
    """With the digest that belongs to it under this key."""
    return replace(stored, digest=_digest(key, stored))


def intact(key: str, stored: Stored) -> bool:
    """It is what was sealed under this very key. It is no proof against whoever can write to the store."""
    return stored.digest == _digest(key, stored)


def _digest(key: str, stored: Stored) -> bytes:
    told = (
        key,
        stored.kind,
        stored.status,
        [tuple(field) for field in stored.headers],
        stored.made,
        stored.expires,
        stored.model,
        stored.provider,
        stored.stop_reason,
        stored.usage,
        stored.cost_nano,
        stored.price_version,
        stored.exchange_id,
    )
    digest = hashlib.sha256(repr(told).encode("utf-8", "surrogatepass"))
    digest.update(stored.body)
    return digest.digest()
