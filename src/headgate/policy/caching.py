"""Which answers may be given again, to whom, and under which key. No I/O, no clock.

The key holds everything that changes an answer, unknown parameters too: what is left out is a closed list. Nobody
shares with another tenant, or, where no tenant is told, with another key (decisions 19).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from headgate.core.caller import Caller
from headgate.core.exchange import Ending, Exchange, Headers, Request, Route

KEPT = frozenset({"messages", "chat", "responses", "embeddings"})
"""Endpoints whose answers can be kept."""

LARGEST_REQUEST = 1024 * 1024
"""Bytes of a request that is looked up: a larger one would be read for too long beside everybody else."""

BY_DEFAULT_SECONDS = 3600.0
"""How long what is cached without being told to is kept: answers at `temperature: 0`."""

COMPLETE_STOPS = frozenset(
    {"end_turn", "stop_sequence", "tool_use", "stop", "tool_calls", "function_call", "completed"}
)
"""Why a model stops that has said all it had to say, in all dialects (wire-formats 1.4, 2.2)."""

# Who asks, what the answer is filed under, and what only changes its price or its form of delivery.
_LEFT_OUT = frozenset({"model", "stream", "stream_options"})  # routes and the kind of answer stand in the key for them
_LEFT_OUT_OPENAI = _LEFT_OUT | {
    *("user", "safety_identifier", "metadata", "store"),
    *("prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"),
}
_CHANGING_HEADERS = frozenset({b"anthropic-beta", b"anthropic-version", b"openai-beta"})
_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key"})
_SCHEME = 1  # of the key: another number, and nothing that was kept is found


@dataclass(frozen=True, slots=True)
class Wanted:
    """An exchange whose answer may be a kept one, or may be kept.

    Attributes:
        key: of the cache; "" where `why` says that neither is so.
        seconds: how long an answer is kept, > 0.
        why: a word: "off" (`x-headgate-cache`), "state" (the provider keeps something of it), "choices" (several
            answers at once), "user" (`per: user`, and none is told), "size", "body" (not readable in one way only),
            "restart" (its stream may begin anew), "flagged" (a guard had something to say of the request).
    """

    key: str
    seconds: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class CacheRules:
    """What is kept, and for how long. Seconds; 0 = nothing.

    Attributes:
        default: what is not told below; None: only answers at `temperature: 0`.
        tasks, keys: by name, those that say something; a task wins.
        version: part of every key.
        per_user: part of every key is the user; who tells none gets nothing from the cache.
    """

    default: float | None = None
    tasks: Mapping[str, float] = field(default_factory=dict)
    keys: Mapping[str, float] = field(default_factory=dict)
    version: str = ""
    per_user: bool = False
    _read: dict[tuple[str, bytes], Read] = field(default_factory=dict, repr=False, compare=False)
    _keys: dict[tuple[object, ...], str] = field(default_factory=dict, repr=False, compare=False)

    def seconds(self, caller: Caller) -> float | None:
        """How long answers for a caller are kept; None: nobody has said anything."""
        found = self.tasks.get(caller.task) if caller.task else None
        if found is None:
            found = self.keys.get(caller.key)
        return self.default if found is None else found

    def wanted(
        self,
        request: Request,
        body: bytes,
        routes: Sequence[Route],
        *,
        output_cap: int = 0,
        answer: object = None,
        shape: object = None,
        restarts: bool = False,
    ) -> Wanted | None:
        """What is to be done about a request; None: no answer of its kind is kept.

        Args:
            body: as the caller sent it.
            routes: that may serve it.
            output_cap: put into the body in place of its own; 0 = none is.
            answer: the rules that answers have to meet; None = none.
            shape: what is taken out of it before it is sent; None = nothing.
            restarts: its stream may begin anew in the middle.
        """
        if request.endpoint not in KEPT:
            return None
        seconds = self.seconds(request.caller)
        if seconds == 0 or (seconds is None and b'"temperature"' not in body):
            return None
        if len(body) > LARGEST_REQUEST:
            return None if seconds is None else Wanted("", seconds, "size")
        read = self._remembered(request.dialect, body)
        if seconds is None:
            if not read.settled:
                return None
            seconds = BY_DEFAULT_SECONDS
        why = _obstacle(request, read, per_user=self.per_user) or ("restart" if restarts else "")
        if why:
            return Wanted("", seconds, why)
        return Wanted(self._key(request, read, routes, output_cap, answer, shape), seconds)

    def _remembered(self, dialect: str, body: bytes) -> Read:
        """Those who ask the same again send the same bytes: reading them takes longer than all the rest."""
        found = self._read.get((dialect, body))
        if found is None:
            found = read_body(dialect, body)
            if len(body) <= _REMEMBERED_BYTES:
                if len(self._read) >= _REMEMBERED:
                    self._read.clear()
                self._read[dialect, body] = found
        return found

    def _key(
        self, request: Request, read: Read, routes: Sequence[Route], output_cap: int, answer: object, shape: object
    ) -> str:
        whose = partition_of(request)
        facts = request.facts
        if len(routes) == 1:
            route = routes[0]
            served: tuple[tuple[str, ...], ...] = ((route.provider, route.base_url, route.model or facts.model),)
        else:
            served = tuple(sorted({(each.provider, each.base_url, each.model or facts.model) for each in routes}))
        told = (
            _SCHEME,
            whose,
            request.caller.user if self.per_user else "",
            self.version,
            request.dialect,
            request.endpoint,
            request.path,  # an endpoint can have several: a conversation that is only compacted is no answer
            _changing(request.headers),
            served,
            (facts.stream, facts.stream and facts.include_usage),
            output_cap,
            "" if answer is None else repr(answer),
            "" if shape is None else repr(shape),
            read.digest,
        )
        found = self._keys.get(told)
        if found is None:
            found = f"{whose}:{sha256(repr(told).encode('utf-8', 'surrogatepass')).hexdigest()}"
            if len(self._keys) >= _REMEMBERED:
                self._keys.clear()
            self._keys[told] = found
        return found


_REMEMBERED = 512
_REMEMBERED_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Read:
    """What a body says, whatever the order of its keys and the spaces between them.

    Attributes:
        digest: of all that changes the answer; b"" where it cannot be told.
        settled: `temperature` is 0.
        keeps: the provider is asked to keep the answer (`store: true` of Chat Completions).
    """

    digest: bytes
    settled: bool = False
    keeps: bool = False


_UNREADABLE = Read(b"")


def read_body(dialect: str, body: bytes) -> Read:
    """Read a JSON body. One with a key twice in an object is none that can be told: readers differ in which they take,
    and what one user sends would be kept as the answer to what another does."""
    try:
        found = json.loads(body.decode(), object_pairs_hook=_once, parse_float=_finite, parse_constant=_never)
        if not isinstance(found, dict):
            return _UNREADABLE
        temperature = found.get("temperature")
        settled = type(temperature) in (int, float) and temperature == 0
        told = _changing_members(dialect, found)
        text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return _UNREADABLE
    return Read(sha256(text.encode()).digest(), settled, bool(found.get("store")))


def _changing_members(dialect: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if dialect != "anthropic":
        return {name: value for name, value in body.items() if name not in _LEFT_OUT_OPENAI}
    told = {name: value for name, value in body.items() if name not in _LEFT_OUT}
    metadata = told.pop("metadata", None)
    if isinstance(metadata, dict):
        rest = {name: value for name, value in metadata.items() if name != "user_id"}
        if rest:
            told["metadata"] = rest
    elif metadata is not None:
        told["metadata"] = metadata
    return told


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("no number that everybody reads alike")
    return value


def _never(text: str) -> float:
    raise ValueError(text)


def _obstacle(request: Request, read: Read, *, per_user: bool) -> str:
    facts = request.facts
    if request.cache == "off":
        return "off"
    if facts.keeps or facts.state or facts.server_side or facts.background or read.keeps:
        return "state"
    if facts.choices > 1:
        return "choices"
    if per_user and not request.caller.user:
        return "user"
    return "" if read.digest else "body"


def _changing(headers: Headers) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
    """The headers that change answers; what they list has no order."""
    told = [header for header in headers if header[0] in _CHANGING_HEADERS]
    if len(told) == 1 and b"," not in told[0][1]:
        return ((told[0][0], (told[0][1].strip(),)),)
    found: dict[bytes, set[bytes]] = {}
    for name, value in told:
        found.setdefault(name, set()).update(each.strip() for each in value.split(b","))
    return tuple(sorted((name, tuple(sorted(values))) for name, values in found.items()))


def partition(*, tenant: str = "", key: str = "", credential: bytes = b"") -> str:
    """How keys of the cache begin, by whose answers they are: 16 hex digits. A tenant's are all its keys'.

    Args:
        credential: of an SDK in process, where neither of the others is told.
    """
    if tenant:
        whose = b"tenant\0" + tenant.encode("utf-8", "surrogatepass")
    elif key:
        whose = b"key\0" + key.encode("utf-8", "surrogatepass")
    else:
        whose = b"credential\0" + credential if credential else b""
    return sha256(whose).hexdigest()[:16]


def partition_of(request: Request) -> str:
    """Whose answers a request's are."""
    caller = request.caller
    if caller.tenant or caller.key or request.direct is None:
        return partition(tenant=caller.tenant, key=caller.key)
    return partition(credential=b"\0".join(value for name, value in request.headers if name in _CREDENTIALS))


def unfit(exchange: Exchange, stop_reasons: Iterable[str] = ()) -> str:
    """Why an exchange's answer is not kept, in a word; "" where it may be. It has ended.

    Args:
        stop_reasons: of the answer, where there is more to say than the attempt does.
    """
    last = exchange.last
    if exchange.ending is not Ending.COMPLETE or exchange.status != 200 or last is None:
        return "ending"
    if exchange.stood_in or exchange.degradation:
        return "degraded"
    if exchange.findings or exchange.parked:
        return "flagged"
    if exchange.kept:
        return "state"
    if exchange.upstream_gateway:
        return "gateway"
    if exchange.request.endpoint == "embeddings":
        return ""
    stops = (last.stop_reason, *stop_reasons)
    return "" if all(stop in COMPLETE_STOPS for stop in stops) else "stop"
