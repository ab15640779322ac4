"""What one line of the log says, and how it is made safe to read in a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hmac import digest as hmac_digest
from typing import Any

import msgspec

from headgate.core.exchange import Attempt, Exchange
from headgate.core.money import usd_text

MAX_TEXT_BYTES = 64 * 1024
"""UTF-8 bytes kept of a text field; what is longer ends in an ellipsis."""

# Beyond what JSON escapes: DEL, the C1 controls (U+009B starts a terminal escape), line separators, and the marks that
# turn the reading direction around.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_encode = msgspec.json.Encoder().encode


def exchange_fields(exchange: Exchange, *, hmac_key: bytes, with_bodies: bool) -> dict[str, Any]:
    """The named fields of one exchange. Tokens and cost are sums over its attempts; unknown times are null."""
    request = exchange.request
    caller = request.caller
    error = exchange.error
    attempts = exchange.attempts
    last = attempts[-1] if attempts else None
    uncached, output, read, written, cost, estimated, simulated = _sums(attempts)
    found: dict[str, Any] = {
        "exchange_id": exchange.id,
        "request_id": last.request_id if last is not None else "",
        "correlation_id": request.correlation_id,
        "session_id": caller.session,
        "user_id": caller.user,
        "key": caller.key,
        "tenant": caller.tenant,
        "task": caller.task,
        "feature": caller.feature,
        "environment": caller.environment,
        "way_in": request.way_in,
        "dialect": request.dialect,
        "endpoint": request.endpoint,
        "stream": request.facts.stream,
        "provider": last.route.provider if last is not None else "",
        "model_asked": request.facts.model,
        "model_served": (last.model_served or last.route.model) if last is not None else "",
        "system_prompt_hash": system_prompt_hash(hmac_key, request.facts.system),
        "ending": exchange.ending.value if exchange.ending is not None else "",
        "stop_reason": last.stop_reason if last is not None else "",
        "input_tokens": uncached,
        "output_tokens": output,
        "cache_read_tokens": read,
        "cache_write_tokens": written,  # both kinds
        "attempts": len(attempts),
        "client_retries": request.client_retries,
        "latency_ms": _ms(None if exchange.ended is None else exchange.ended - exchange.started),
        "ttft_ms": _ms(exchange.ttft),
        # A number written out exactly, which a float would not be.
        "cost_usd": msgspec.Raw(usd_text(cost).encode()),
        "estimated": estimated,
        "price_version": last.price_version if last is not None else "",
        "status_code": exchange.status,
        "error_type": error.code if error is not None else "",
        "error_kind": getattr(error, "kind", ""),
        "simulated": simulated,
    }
    if caller.tags:
        found["tags"] = dict(caller.tags)
    if exchange.upstream_gateway:
        found["upstream_gateway"] = exchange.upstream_gateway
    if with_bodies:
        found["user_message"] = request.facts.user_message
        found["response_text"] = exchange.response_text
    return found


def system_prompt_hash(key: bytes, system: bytes) -> str:
    """HMAC-SHA-256 of the raw system prompt in hex, "" without one.

    Keyed, because prompts can be guessed: with a plain hash anybody who reads the log could confirm a guess, or see
    that two installations use the same prompt.
    """
    return hmac_digest(key, system, "sha256").hex() if system else ""


def timestamp(moment: float) -> str:
    """ISO 8601 in UTC with milliseconds, from seconds since the epoch."""
    second, part = divmod(int(moment * 1000.0), 1000)
    return f"{_second(second)}.{part:03d}Z"


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def render(logger: object, method: str, event: MutableMapping[str, Any]) -> bytes:
    """The last structlog processor: one line of JSON, bounded, without anything a terminal would act on.

    The fields come as one mapping named `record`: handing over thirty keywords costs more than the JSON does.
    """
    record = event.pop("record")
    whole = {"timestamp": event.pop("timestamp"), "event": event.pop("event"), **record, **event}
    line = to_line(whole)
    if len(line) <= MAX_TEXT_BYTES:
        return line
    return to_line({name: _bounded(value) for name, value in whole.items()})


def to_line(event: Mapping[str, Any]) -> bytes:
    """JSON without a newline in it. Lone surrogates, which UTF-8 cannot hold, are escaped."""
    try:
        line = _encode(event)
    except UnicodeEncodeError:
        return json.dumps(event, default=_plain).encode()
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNSAFE.sub(_escape, line.decode()).encode()


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"


def _plain(value: object) -> object:
    return float(bytes(value)) if isinstance(value, msgspec.Raw) else str(value)


def _bounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {_bounded(name): _bounded(each) for name, each in value.items()}
    if not isinstance(value, str):
        return value
    raw = value.encode("utf-8", "surrogatepass")
    if len(raw) <= MAX_TEXT_BYTES:
        return value
    return raw[:MAX_TEXT_BYTES].decode("utf-8", "ignore") + "…"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000.0, 3)


def _sums(attempts: Sequence[Attempt]) -> tuple[int, int, int, int, int, bool, bool]:
    """Uncached input, output, cache read and cache written tokens, cost, estimated, simulated."""
    uncached = output = read = written = cost = 0
    estimated = simulated = False
    for attempt in attempts:
        usage = attempt.usage
        if usage is not None:
            uncached += usage.input_tokens
            output += usage.output_tokens
            read += usage.cache_read_tokens
            written += usage.cache_write_tokens + usage.cache_write_long_tokens
        cost += attempt.cost_nano
        estimated = estimated or attempt.estimated
        simulated = simulated or attempt.simulated
    return uncached, output, read, written, cost, estimated, simulated
