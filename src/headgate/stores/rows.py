"""An exchange as rows: tuples in the order of the columns named beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headgate.core.exchange import Attempt, Ending, Exchange
from headgate.core.usage import Usage
from headgate.stores.schema import TOKEN_CLASSES, attempts, exchanges
from headgate.stores.statements import Insert, Row

INTENT_COLUMNS = ("exchange_id", "number", "owner", "provider", "model", "started", "bound_nano", "facts")
ATTEMPT_COLUMNS = tuple(column.name for column in attempts.columns if column.name != "facts")
EXCHANGE_COLUMNS = tuple(column.name for column in exchanges.columns)
_INTENDED = frozenset({"exchange_id", "number", "owner", "provider", "model", "started", "bound_nano"})

INTENTS = Insert(attempts, INTENT_COLUMNS)
ATTEMPTS = Insert(
    attempts,
    ATTEMPT_COLUMNS,
    update=[name for name in ATTEMPT_COLUMNS if name not in _INTENDED],
    clear=("facts",),
)
EXCHANGES = Insert(exchanges, EXCHANGE_COLUMNS, update=EXCHANGE_COLUMNS[1:])

_NO_USAGE = Usage()
_NOT_THE_ATTEMPTS_FAULT = frozenset({Ending.REFUSED, Ending.CANCELLED})
"""Endings that come from our side: an attempt that had already failed by then keeps saying so."""

_encode_fast: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def encode(value: Mapping[str, Any]) -> str:
    """JSON text. A string with a lone surrogate, which UTF-8 cannot hold, is escaped instead of refused."""
    try:
        return _encode_fast(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value)


def intent_row(exchange: Exchange, attempt: Attempt, owner: str) -> Row:
    """What must be durable before an attempt is sent, with all that a sweep needs should we die."""
    request = exchange.request
    caller = request.caller
    route = attempt.route
    facts = {
        "started": exchange.started,
        "way_in": request.way_in,
        "dialect": request.dialect,
        "endpoint": request.endpoint,
        "key": caller.key,
        "tenant": caller.tenant,
        "user": caller.user,
        "session": caller.session,
        "task": caller.task,
        "feature": caller.feature,
        "environment": caller.environment,
        "tags": dict(caller.tags) if caller.tags else "",
        "model_asked": request.facts.model,
        "stream": request.facts.stream,
        "correlation_id": request.correlation_id,
        "client_retries": request.client_retries,
    }
    return (
        exchange.id,
        attempt.number,
        owner,
        route.provider,
        route.model or request.facts.model,
        attempt.started,
        attempt.bound_nano,
        encode(facts),
    )


def exchange_row(exchange: Exchange) -> Row:
    """The exchange's own row, summed over its attempts."""
    request = exchange.request
    caller = request.caller
    error = exchange.error
    tried = exchange.attempts
    last = tried[-1] if tried else None
    if last is not None and len(tried) == 1:
        usage = last.usage or _NO_USAGE
        tokens = _tokens(usage)
        cost, version, waited = last.cost_nano, last.price_version, last.waited * 1000.0
        estimated_nano = cost if last.estimated else 0
        estimated, simulated = int(last.estimated), int(last.simulated)
    else:
        tokens = _summed(tried)
        cost = sum(a.cost_nano for a in tried)
        version = next((a.price_version for a in reversed(tried) if a.price_version), "")
        waited = sum(a.waited for a in tried) * 1000.0
        estimated_nano = sum(a.cost_nano for a in tried if a.estimated)
        estimated, simulated = int(exchange.estimated), int(any(a.simulated for a in tried))
    ended, started = exchange.ended, exchange.started
    ttft = exchange.ttft
    return (
        exchange.id,
        started,
        ended,
        request.way_in,
        request.dialect,
        request.endpoint,
        caller.key,
        caller.tenant,
        caller.user,
        caller.session,
        caller.task,
        caller.feature,
        caller.environment,
        encode(dict(caller.tags)) if caller.tags else "",
        request.facts.model,
        (last.model_served or last.route.model) if last is not None else "",
        last.route.provider if last is not None else "",
        int(request.facts.stream),
        (exchange.ending or Ending.FAILED).value,
        exchange.status,
        error.code if error is not None else "",
        getattr(error, "kind", ""),
        len(tried),
        *tokens,
        cost,
        estimated,
        estimated_nano,
        version,
        (ended - started) * 1000.0 if ended is not None else None,
        ttft * 1000.0 if ttft is not None else None,
        waited,
        last.stop_reason if last is not None else "",
        request.correlation_id,
        last.request_id if last is not None else "",
        request.client_retries,
        simulated,
        exchange.upstream_gateway,
    )


def attempt_row(exchange: Exchange, attempt: Attempt, outcome: str, owner: str) -> Row:
    """One settled attempt."""
    route = attempt.route
    error = attempt.error
    return (
        exchange.id,
        attempt.number,
        owner,
        route.provider,
        route.model or exchange.request.facts.model,
        attempt.started,
        attempt.bound_nano,
        outcome,
        attempt.ended,
        attempt.status,
        error.kind if error is not None else "",
        error.provider_code if error is not None else "",
        attempt.model_served,
        *_tokens(attempt.usage or _NO_USAGE),
        attempt.cost_nano,
        int(attempt.estimated),
        attempt.price_version,
        attempt.waited * 1000.0,
        attempt.first_byte,
        attempt.first_content,
        attempt.stop_reason,
        attempt.request_id,
    )


def outcome(exchange: Exchange, attempt: Attempt) -> str:
    """How an attempt of a settled exchange ended, in the words of :class:`Ending`."""
    ending = exchange.ending or Ending.FAILED
    if attempt is not exchange.attempts[-1]:
        return Ending.FAILED.value
    if attempt.error is not None and ending in _NOT_THE_ATTEMPTS_FAULT:
        return Ending.FAILED.value
    return ending.value


def clean(row: Row) -> Row:
    """A row that SQLite will take: lone surrogates replaced, whole numbers within 63 bits, anything else as text."""
    return tuple(_clean(value) for value in row)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return max(-(2**63), min(2**63 - 1, int(value)))
    if value is None or isinstance(value, float):
        return value
    return repr(type(value))


def _tokens(usage: Usage) -> tuple[int, ...]:
    return (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.cache_write_long_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.web_searches,
    )


def _summed(tried: list[Attempt]) -> tuple[int, ...]:
    if not tried:
        return (0,) * len(TOKEN_CLASSES)
    return tuple(sum(column) for column in zip(*(_tokens(a.usage or _NO_USAGE) for a in tried), strict=True))
