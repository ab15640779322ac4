"""What one line of the log says, and how it is made safe to read in a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, MutableMapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hmac import digest as hmac_digest
from typing import Any

import msgspec
from msgspec import Raw

from headgate.core.cache import not_attempted
from headgate.core.errors import NoTurn, RateExceeded
from headgate.core.exchange import Attempt, Exchange
from headgate.core.money import usd_bytes, usd_text
from headgate.core.usage import Usage
from headgate.stores.schema import SHAPE_COLUMNS
from headgate.stores.shape import PLAIN, shape_of

MAX_TEXT_BYTES = 64 * 1024
"""UTF-8 bytes kept of a text field; what is longer ends in an ellipsis."""

# Beyond what JSON escapes: DEL, the C1 controls (U+009B starts a terminal escape), line separators, and the marks that
# turn the reading direction around.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


class _Own(msgspec.Struct, gc=False):
    """What each exchange has to itself. A struct, because its names are known to the encoder."""

    timestamp: str
    event: str
    exchange_id: str
    request_id: str
    correlation_id: str
    session_id: str
    user_id: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int  # both kinds
    latency_ms: float | None
    ttft_ms: float | None
    cost_usd: Raw  # a number written out exactly, which a float would not be


class _Plain(_Own, gc=False):
    key: Raw  # and, behind its value, all that thousands of exchanges have in common: see `_SHARED`


class _More(_Own, gc=False):
    """With what few have."""

    guards: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    tags: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    upstream_gateway: str | msgspec.UnsetType = msgspec.UNSET
    degraded: str | msgspec.UnsetType = msgspec.UNSET
    limit: str | msgspec.UnsetType = msgspec.UNSET
    pruned: str | msgspec.UnsetType = msgspec.UNSET
    compacted_characters: int | msgspec.UnsetType = msgspec.UNSET
    prompt_prefix: str | msgspec.UnsetType = msgspec.UNSET
    prompt_cache_saved_usd: Raw | msgspec.UnsetType = msgspec.UNSET
    cache_saved_usd: Raw | msgspec.UnsetType = msgspec.UNSET
    waited_ms: float | msgspec.UnsetType = msgspec.UNSET
    error_cause: str | msgspec.UnsetType = msgspec.UNSET
    user_message: str | msgspec.UnsetType = msgspec.UNSET
    response_text: str | msgspec.UnsetType = msgspec.UNSET
    discarded_texts: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    key: Raw = Raw(b'""')


_SHARED = (
    *("key", "tenant", "task", "feature", "environment", "way_in", "dialect", "endpoint", "stream", "provider"),
    *("model_asked", "model_served", "system_prompt_hash", "ending", "stop_reason", "attempts", "client_retries"),
    *("estimated", "price_version", "status_code", "error_type", "error_kind", "simulated", "verdict", "cache"),
)
"""What thousands of exchanges have in common: encoded and escaped once."""


class LineMaker:
    """Turns exchanges into lines. One thread at a time."""

    __slots__ = ("_clean", "_hashes", "_key", "_request_bytes", "_shared", "_with_bodies")

    def __init__(
        self,
        hmac_key: bytes,
        *,
        with_bodies: bool,
        clean: Callable[[str], str] | None = None,
        request_bytes: int = 0,
    ) -> None:
        """
        Args:
            hmac_key: see :func:`system_prompt_hash`.
            with_bodies: add `user_message` and `response_text`.
            clean: takes out of them what must not be kept; None: nothing.
            request_bytes: add `request_body`, the whole request, if it is no longer; 0 = never.
        """
        self._request_bytes = request_bytes
        self._key = hmac_key
        self._with_bodies = with_bodies
        self._clean = clean or _as_it_is
        self._hashes: dict[bytes, str] = {}
        self._shared: dict[tuple[Any, ...], Raw] = {}

    def lines(self, exchanges: Sequence[Exchange], now: float, spoiled: Callable[[Exception], None]) -> bytes:
        """The lines of exchanges, in order, with newlines between them.

        Args:
            now: as for `line`.
            spoiled: is told why there is no line of one.
        """
        # All at once, and looked at once: hardly any line is too long, or has what a terminal would act on.
        own = self._own
        try:
            found = b"" if self._request_bytes else _encode_lines([own(exchange, now) for exchange in exchanges])[:-1]
        except Exception:
            found = b""
        if found:
            found = _safe(found)
            if len(found) <= MAX_TEXT_BYTES or max(map(len, found.split(b"\n"))) <= MAX_TEXT_BYTES:
                return found
        lines: list[bytes] = []
        for exchange in exchanges:
            try:
                lines.append(self.line(exchange, now))
            except Exception as error:
                spoiled(error)
        return b"\n".join(lines)

    def line(self, exchange: Exchange, now: float) -> bytes:
        """The line of one exchange, without its newline. Tokens and cost are sums over its attempts.

        Args:
            now: seconds since the epoch; stands for the end of an exchange that has none.
        """
        line, body = _bounded_line(self._own(exchange, now)), exchange.request.body
        if self._request_bytes and 0 < len(body) <= self._request_bytes:
            return self._with_request(line, body)
        return line

    def _own(self, exchange: Exchange, now: float) -> _Plain | _More:
        # Inlined, without properties and helpers, as `rows.exchange_row`.
        request = exchange.request
        caller = request.caller
        system = request.facts.system
        started, ended = exchange.started, exchange.ended
        shape: Any = exchange.shape or shape_of(exchange)
        shared = self._shared.get((shape, self._hash(system)) if system else shape) or self._share(shape, system)
        plain = shape[PLAIN]
        if plain:
            last = exchange.attempts[0]
            usage = last.usage or _NO_USAGE
            cost = last.cost_nano
            written = usage.cache_write_tokens + usage.cache_write_long_tokens
        else:
            last = exchange.last or not_attempted(exchange)
            usage, cost = _sums(exchange.attempts)
            written = usage.cache_write_tokens
        first = last.first_content
        milliseconds = int((ended or now) * 1000.0)
        # Milliseconds to the microsecond: `round` would print the number and read it back.
        own = _Plain(
            _second(milliseconds // 1000) + _FRACTION[milliseconds % 1000],
            "exchange",
            exchange.id,
            last.request_id,
            request.correlation_id,
            caller.session,
            caller.user,
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            written,
            None if ended is None else int((ended - started) * 1_000_000.0 + 0.5) / 1000.0,
            None if first is None else int((first - started) * 1_000_000.0 + 0.5) / 1000.0,
            Raw(usd_bytes(cost)) if cost > 0 else _negative(cost),
            shared,
        )
        if plain and not self._with_bodies:
            return own
        return self._more(exchange, last, own)

    def _more(self, exchange: Exchange, last: Attempt, plain: _Plain) -> _More:
        """With what few exchanges have."""
        *told, shared = msgspec.structs.astuple(plain)
        own = _More(*told)
        own.key = shared
        request, error, attempts = exchange.request, exchange.error, exchange.attempts
        if exchange.findings:
            own.guards = tuple(dict.fromkeys(word for each in exchange.findings for word in each.words))
        if request.caller.tags:
            own.tags = dict(request.caller.tags)
        if exchange.upstream_gateway:
            own.upstream_gateway = exchange.upstream_gateway
        degraded = exchange.degradation
        if degraded:
            own.degraded = degraded
        if exchange.pruned:
            own.pruned = exchange.pruned
        if exchange.compacted:
            own.compacted_characters = exchange.compacted
        if last.prefix:
            own.prompt_prefix = last.prefix
            saved = sum(attempt.saved_nano for attempt in attempts)
            if saved:
                own.prompt_cache_saved_usd = Raw(_usd(saved))
        if exchange.recalled is not None and exchange.recalled.cost_nano:
            own.cache_saved_usd = Raw(_usd(exchange.recalled.cost_nano))
        if isinstance(error, RateExceeded):
            own.limit = error.source
        waited = exchange.waited
        for attempt in attempts:
            waited += attempt.waited
        if waited:
            own.waited_ms = int(waited * 1_000_000.0 + 0.5) / 1000.0
        if isinstance(error, NoTurn) and error.cause:
            own.error_cause = error.cause
        if self._with_bodies:
            own.user_message = self._kept(request.facts.user_message)
            own.response_text = self._kept(exchange.response_text)
            if exchange.discarded_texts:
                own.discarded_texts = tuple(map(self._kept, exchange.discarded_texts))
        return own

    def _kept(self, text: str) -> str:
        """What the log keeps of a text. A cut may go through a number or a key, whose half nobody would know: so the
        last characters before a cut go, too."""
        if len(text) <= MAX_TEXT_BYTES or self._clean is _as_it_is:
            return self._clean(text[:MAX_TEXT_BYTES])
        return self._clean(text[:MAX_TEXT_BYTES])[:-_MARGIN]

    def _with_request(self, line: bytes, body: bytes) -> bytes:
        """With the whole request, cleaned text by text: in the JSON as it is, what is looked for is escaped."""
        try:
            told = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return line
        text = to_line({"request_body": to_line(_each_text(told, self._clean)).decode()})
        cut = line.rfind(_SHARED_BEGINS)
        if cut < 0:  # it was written whole, because something in it is no Unicode
            cut = len(line) - 1
        return line[:cut] + b"," + text[1:-1] + line[cut:]

    def _share(self, shape: tuple[Any, ...], system: bytes) -> Raw:
        """How a line ends: `_SHARED`, from the first one's value on."""
        digest = self._hash(system) if system else ""
        line = to_line(dict(zip(_SHARED, _shared_values(shape, digest), strict=True)))
        found = Raw(line[len(b'{"key":') : -1])
        if len(line) <= _SHARED_BYTES:
            if len(self._shared) >= _SHARED_ENDS:
                self._shared.clear()
            self._shared[(shape, digest) if system else shape] = found
        return found

    def _hash(self, system: bytes) -> str:
        found = self._hashes.get(system)
        if found is None:
            found = system_prompt_hash(self._key, system)
            if len(system) <= _REMEMBERED_BYTES:
                if len(self._hashes) >= _REMEMBERED:
                    self._hashes.clear()
                self._hashes[system] = found
        return found


_REMEMBERED = 128
_REMEMBERED_BYTES = 32 * 1024
"""Applications send the same system prompt again and again; 4 MB at most are kept for not hashing it each time."""

_MARGIN = 128
"""Characters: longer than numbers and most keys."""
LONG_NUMBER = 10**11
"""From here on a number may be a card's."""

_SHARED_BEGINS = b',"key":"'
_SHARED_ENDS = 512
_SHARED_BYTES = 4096

_ZERO = Raw(b"0")
_NO_USAGE = Usage()


def system_prompt_hash(key: bytes, system: bytes) -> str:
    """HMAC-SHA-256 of the raw system prompt in hex, "" without one.

    Keyed, because prompts can be guessed: with a plain hash anybody who reads the log could confirm a guess, or see
    that two installations use the same prompt.
    """
    return hmac_digest(key, system, "sha256").hex() if system else ""


def timestamp(moment: float) -> str:
    """ISO 8601 in UTC with milliseconds, from seconds since the epoch."""
    milliseconds = int(moment * 1000.0)
    return _second(milliseconds // 1000) + _FRACTION[milliseconds % 1000]


_FRACTION = tuple(f".{part:03d}Z" for part in range(1000))


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return f"{_minute(second // 60)}:{second % 60:02d}"


@lru_cache(maxsize=16)
def _minute(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M")


def render(logger: object, method: str, event: MutableMapping[str, Any]) -> bytes:
    """The last structlog processor. Exchanges come as `lines`, made already: one call for a whole batch.

    Anything else is one line of JSON, bounded, without anything a terminal would act on.
    """
    lines: list[bytes] | None = event.get("lines")
    if lines is not None:
        return b"\n".join(lines)
    record = event.pop("record")
    return _bounded_line({"timestamp": event.pop("timestamp"), "event": event.pop("event"), **record})


def _each_text(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(name): _each_text(each, clean) for name, each in value.items()}
    if isinstance(value, int) and abs(value) >= LONG_NUMBER:
        told = str(value)
        cleaned = clean(told)
        return value if cleaned == told else cleaned
    return [_each_text(each, clean) for each in value] if isinstance(value, list) else value


def _as_it_is(text: str) -> str:
    return text


def _bounded_line(event: Any) -> bytes:
    line = to_line(event)
    return line if len(line) <= MAX_TEXT_BYTES else to_line(_bounded(_as_dict(event)))


def _as_dict(event: Any) -> Any:
    if not isinstance(event, msgspec.Struct):
        return event
    found = {name: value for name, value in msgspec.structs.asdict(event).items() if value is not msgspec.UNSET}
    return {**found, **json.loads(b'{"key":%b}' % bytes(found.pop("key")))}


def to_line(event: Any) -> bytes:
    """JSON without a newline in it. Lone surrogates, which UTF-8 cannot hold, are escaped."""
    try:
        line = _encode(event)
    except UnicodeEncodeError:
        return json.dumps(_as_dict(event), default=_plain).encode()
    return _safe(line)


def _safe(line: bytes) -> bytes:
    """Without what a terminal would act on."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSAFE.sub(_escape, line.decode()).encode()


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def _plain(value: object) -> object:
    return float(bytes(value)) if isinstance(value, Raw) else str(value)


def _bounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {_bounded(name): _bounded(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_bounded, value))
    if not isinstance(value, str):
        return value
    raw = value.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_TEXT_BYTES:
        return value
    return raw[:MAX_TEXT_BYTES].decode("utf-8", "ignore") + "…"


def _usd(nano: int) -> bytes:
    return usd_bytes(nano) if nano >= 0 else usd_text(nano).encode()


def _negative(nano: int) -> Raw:
    """What costs nothing, or less."""
    return Raw(_usd(nano)) if nano else _ZERO


def _shared_values(shape: tuple[Any, ...], system: str) -> tuple[Any, ...]:
    """Of `_SHARED`, in order."""
    way_in, dialect, endpoint, key, tenant, task, feature, environment, asked, route, served, provider = shape[:12]
    told = dict(zip(SHAPE_COLUMNS[1:], shape, strict=False))
    ending, version, kind, verdict, *_ = shape[len(SHAPE_COLUMNS) - 1 :]
    return (
        *(key, tenant, task, feature, environment, way_in, dialect, endpoint, bool(told["stream"]), provider),
        *(asked, served or route, system, ending, told["stop_reason"], told["attempts"], told["client_retries"]),
        *(bool(told["estimated"]), version, told["status"], told["error_code"], kind, bool(told["simulated"])),
        *(verdict, told["cache"]),
    )


def _sums(attempts: Sequence[Attempt]) -> tuple[Usage, int]:
    """What several attempts have used (written to caches: both kinds, as the short one), and what they have cost."""
    uncached = output = read = written = cost = 0
    for attempt in attempts:
        usage = attempt.usage or _NO_USAGE
        uncached += usage.input_tokens
        output += usage.output_tokens
        read += usage.cache_read_tokens
        written += usage.cache_write_tokens + usage.cache_write_long_tokens
        cost += attempt.cost_nano
    return Usage(uncached, read, written, 0, output), cost
