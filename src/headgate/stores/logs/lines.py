"""Lines of the log read back: fast where `stores.log_line` has made them, right for any JSON.

A line ends with what thousands of exchanges have in common, byte by byte; that part is read once (`Shape`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, NamedTuple

import msgspec

from headgate.core.money import NANO_PER_USD
from headgate.stores.logs.query import SHARED_FIELDS

_SHARED_BEGINS = b',"key":"'
_COST = b',"cost_usd":'
_TRUNCATED = frozenset({"max_tokens", "length", "max_output_tokens", "model_context_window_exceeded"})
_UNSET = msgspec.UNSET
_FRACTION = 9
_SECONDS_REMEMBERED = 4096


Whole = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]
"""What databases take."""


class Own(msgspec.Struct, gc=False):
    """What an exchange has to itself; `stores.log_line` writes it."""

    timestamp: str
    event: str
    exchange_id: str = ""
    request_id: str = ""
    correlation_id: str = ""
    session_id: str = ""
    user_id: str = ""
    input_tokens: Whole = 0
    output_tokens: Whole = 0
    cache_read_tokens: Whole = 0
    cache_write_tokens: Whole = 0
    latency_ms: float | None = None
    ttft_ms: float | None = None
    cost_usd: msgspec.Raw = msgspec.Raw(b"0")
    guards: tuple[str, ...] | msgspec.UnsetType = _UNSET
    tags: dict[str, str] | msgspec.UnsetType = _UNSET
    upstream_gateway: str | msgspec.UnsetType = _UNSET
    degraded: str | msgspec.UnsetType = _UNSET
    limit: str | msgspec.UnsetType = _UNSET
    pruned: str | msgspec.UnsetType = _UNSET
    compacted_characters: Whole | msgspec.UnsetType = _UNSET
    prompt_prefix: str | msgspec.UnsetType = _UNSET
    prompt_cache_saved_usd: msgspec.Raw | msgspec.UnsetType = _UNSET
    cache_saved_usd: msgspec.Raw | msgspec.UnsetType = _UNSET
    waited_ms: float | msgspec.UnsetType = _UNSET
    error_cause: str | msgspec.UnsetType = _UNSET
    user_message: str | msgspec.UnsetType = _UNSET
    response_text: str | msgspec.UnsetType = _UNSET
    discarded_texts: tuple[str, ...] | msgspec.UnsetType = _UNSET
    request_body: str | msgspec.UnsetType = _UNSET


MORE = (
    *("guards", "tags", "upstream_gateway", "degraded", "limit", "pruned", "compacted_characters", "prompt_prefix"),
    *("prompt_cache_saved_usd", "cache_saved_usd", "waited_ms", "error_cause"),
)
"""Fields that few exchanges have; bodies are kept elsewhere."""


class _Shared(msgspec.Struct, gc=False):
    key: str = ""
    tenant: str = ""
    task: str = ""
    feature: str = ""
    environment: str = ""
    way_in: str = ""
    dialect: str = ""
    endpoint: str = ""
    stream: bool = False
    provider: str = ""
    model_asked: str = ""
    model_served: str = ""
    system_prompt_hash: str = ""
    ending: str = ""
    stop_reason: str = ""
    attempts: Whole = 0
    client_retries: Whole = 0
    estimated: bool = False
    price_version: str = ""
    status_code: Whole = 0
    error_type: str = ""
    error_kind: str = ""
    simulated: bool = False
    verdict: str = ""
    cache: str = ""


class Shape:
    """What exchanges have in common, and what it says of each of them.

    Attributes:
        id: in the store.
        tail: how a line with it ends, as `stores.log_line` writes it.
        values: of `SHARED_FIELDS`, in order.
        tenant, verdict: of these.
        attempts: requests sent, >= 0.
        failed, refused, blocked, hit, truncated, estimated: 1 or 0, as `RollupRow` counts them.
        plain: none of these.
        error: it ended with an error.
        minute, sums: what `rollups` is at.
    """

    __slots__ = (
        *("attempts", "blocked", "error", "estimated", "failed", "hit", "id", "minute", "plain", "refused", "sums"),
        *("tail", "tenant", "truncated", "values", "verdict"),
    )

    def __init__(self, shape_id: int, tail: bytes, values: tuple[Any, ...]) -> None:
        self.id = shape_id
        self.tail = tail
        self.values = values
        told = dict(zip(SHARED_FIELDS, values, strict=True))
        self.tenant: str = told["tenant"]
        self.verdict: str = told["verdict"]
        self.attempts: int = told["attempts"]
        self.failed = int(told["ending"] in ("failed", "cut", "killed"))
        self.refused = int(told["ending"] == "refused")
        self.blocked = int(told["verdict"] == "block")
        self.hit = int(told["cache"] in ("hit", "similar"))
        self.truncated = int(told["stop_reason"] in _TRUNCATED)
        self.estimated = int(told["estimated"])
        self.error = bool(told["error_type"]) or self.failed == 1 or told["status_code"] >= 400
        self.minute = -1
        self.sums: Any = None
        counted = (self.failed, self.refused, self.blocked, self.hit, self.truncated, self.estimated)
        self.plain = not any(counted)


class Line(NamedTuple):
    """An exchange's line. Money is nano-dollars; `more` is JSON, "" where there is nothing of it."""

    own: Own
    shape: Shape
    at: float
    cost_nano: int
    saved_nano: int
    more: str


class EventLine(NamedTuple):
    """A line that is not about an exchange; `fields` is JSON."""

    at: float
    name: str
    fields: str


class BadLine(NamedTuple):
    """A line that cannot be read."""

    why: str
    raw: bytes


@dataclass(slots=True)
class Lines:
    """Lines that were read, in their order."""

    exchanges: list[Line] = field(default_factory=list)
    events: list[EventLine] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


_own = msgspec.json.Decoder(Own)
_shared = msgspec.json.Decoder(_Shared)
_any = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode
_shared_fields = SHARED_FIELDS
_new_line = tuple.__new__  # what a named tuple's own `__new__` does, without its call
_TENS = tuple(10 ** (_FRACTION - digits) for digits in range(_FRACTION + 1))

ShapeOf = Callable[[bytes, tuple[Any, ...] | None], Shape]
"""The shape of a tail. Called with None as values first, and again with them where it answers KeyError."""
_NOTHING: Mapping[bytes, Shape] = {}


def read_lines(raw: bytes, shape_of: ShapeOf, known: Mapping[bytes, Shape] = _NOTHING) -> Lines:
    """Whole lines, each ended by a newline. Never raises for what is in them.

    Args:
        known: shapes by their tails, of whom `shape_of` need not be asked.
    """
    found = Lines()
    add, decode, known_shape = found.exchanges.append, _own.decode, known.get
    # All in one loop: it is gone through for every exchange, and a call is a tenth of what it costs.
    for line in raw.split(b"\n"):
        if not line:
            continue
        try:
            # The last place where a field of this name begins: in strings a quote is escaped, and nothing nested comes
            # behind.
            cut = line.rfind(_SHARED_BEGINS)
            if cut < 0:
                raise _NotPlain
            own = decode(line[:cut] + b"}")
            if own.event != "exchange":
                raise _NotPlain
            tail = line[cut:]
            shape = known_shape(tail) or _shape_of(tail, shape_of)
            # Behind the cost comes what few have. In strings there is no such beginning of a field, either.
            if not line.startswith(_COST, line.rfind(b",", 0, cut)):
                add(_line(own, shape))
                continue
            told = own.timestamp
            second, fraction = _seconds.get(told[:19]), _FRACTIONS.get(told[19:])
            at = moment_of(told) if second is None or fraction is None else second + fraction
            cost = bytes(own.cost_usd)
            digits = cost[2:]
            if cost[:2] == b"0." and digits.isdigit() and len(digits) <= _FRACTION:  # less than a dollar, as most are
                nano = int(digits) * _TENS[len(digits)]
            else:
                nano = nano_of(own.cost_usd)
            add(_new_line(Line, (own, shape, at, nano, 0, "")))
        except (_NotPlain, msgspec.MsgspecError, ValueError, ArithmeticError):
            _slowly(line, shape_of, found)
    return found


class _NotPlain(Exception):
    """A line that was not made by `stores.log_line`, or is no exchange's."""


def _shape_of(tail: bytes, shape_of: ShapeOf) -> Shape:
    try:
        return shape_of(tail, None)
    except KeyError:
        return shape_of(tail, shared_values(tail))


def _line(own: Own, shape: Shape) -> Line:
    more, saved = "", 0
    told = {}
    for name in MORE:
        value = getattr(own, name)
        if value is not _UNSET:
            told[name] = value
    if told:
        saved = sum(nano_of(told[name]) for name in ("prompt_cache_saved_usd", "cache_saved_usd") if name in told)
        more = _encode(told).decode()
    return Line(own, shape, moment_of(own.timestamp), nano_of(own.cost_usd), saved, more)


def shared_values(tail: bytes) -> tuple[Any, ...]:
    """Of `SHARED_FIELDS`, from how a line ends.

    Raises:
        msgspec.MsgspecError: it is not such an end.
    """
    told = _shared.decode(b"{" + tail[1:])
    return tuple(getattr(told, name) for name in _shared_fields)


def tail_of(values: tuple[Any, ...]) -> bytes:
    """How `stores.log_line` ends a line with these."""
    return b"," + _encode(dict(zip(_shared_fields, values, strict=True)))[1:]


def _slowly(line: bytes, shape_of: ShapeOf, found: Lines) -> None:
    try:
        text = line.decode("utf-8", "replace").encode()  # what is no UTF-8 is shown as such, and the rest is kept
        if _has_surrogates(text):
            text = _encode(_without_surrogates(text))
        told = _any.decode(text)
        name, at = told.get("event"), moment_of(str(told.get("timestamp")))
        if not isinstance(name, str) or not name:
            raise ValueError("it names no event")
        if name != "exchange":
            del told["event"], told["timestamp"]
            found.events.append(EventLine(at, name, _encode(told).decode()))
            return
        own = _own.decode(text)
        shared = _shared.decode(text)
        values = tuple(getattr(shared, each) for each in _shared_fields)
        tail = tail_of(values)
        found.exchanges.append(_line(own, _shape_of(tail, shape_of)))
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as error:
        found.bad.append(BadLine(f"{type(error).__name__}: {error}"[:200], line))


def _has_surrogates(text: bytes) -> bool:
    return b"\\ud" in text or b"\\uD" in text


def _without_surrogates(text: bytes) -> Any:
    """The decoder takes no lone surrogates, and no database keeps them."""
    import json

    def plain(value: Any) -> Any:
        if isinstance(value, str):
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if isinstance(value, dict):
            return {plain(name): plain(each) for name, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, list) else value

    return plain(json.loads(text))


_seconds: dict[str, int] = {}
_FRACTIONS = {f".{part:03d}Z": part / 1000 for part in range(1000)}


def moment_of(timestamp: str) -> float:
    """Seconds since the epoch, from ISO 8601 in UTC.

    Raises:
        ValueError: it is no such time.
    """
    fraction = _FRACTIONS.get(timestamp[19:])
    if fraction is not None:
        second = timestamp[:19]
        start = _seconds.get(second)
        if start is None:
            start = int(datetime.fromisoformat(second + "+00:00").timestamp())
            if len(_seconds) >= _SECONDS_REMEMBERED:
                _seconds.clear()
            _seconds[second] = start
        return start + fraction
    found = datetime.fromisoformat(timestamp)
    if found.tzinfo is None:
        raise ValueError("its time has no zone")
    return found.timestamp()


def nano_of(raw: msgspec.Raw) -> int:
    """Nano-dollars, from a JSON number of USD.

    Raises:
        ValueError: it is no number.
    """
    text = bytes(raw)
    if text == b"0":
        return 0
    whole, _, fraction = text.partition(b".")
    if (
        len(fraction) <= _FRACTION
        and len(whole) <= _FRACTION
        and whole.isdigit()
        and (not fraction or fraction.isdigit())
    ):
        return int(whole) * NANO_PER_USD + int(fraction.ljust(_FRACTION, b"0"))
    try:
        found = Decimal(text.strip(b'"').decode("ascii"))
        if abs(found) > 1_000_000_000:
            raise ValueError("an amount of money that cannot be")
        return int((found * NANO_PER_USD).to_integral_value())
    except (InvalidOperation, UnicodeDecodeError):
        raise ValueError("an amount of money that is no number") from None
