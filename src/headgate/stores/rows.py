"""An exchange as rows: tuples in the order of the columns named beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from headgate.core.exchange import Attempt, Ending, Exchange, Route
from headgate.core.usage import Usage
from headgate.stores.schema import TOKEN_CLASSES, attempts, exchanges
from headgate.stores.statements import EVERY_SIZE, Insert, Row

INTENT_COLUMNS = ("exchange_id", "number", "owner", "provider", "model", "started", "bound_nano", "facts")
ATTEMPT_COLUMNS = tuple(column.name for column in attempts.columns if column.name != "facts")
EXCHANGE_COLUMNS = tuple(column.name for column in exchanges.columns)
FACTS = (
    "started",
    "way_in",
    "dialect",
    "endpoint",
    "key",
    "tenant",
    "user",
    "session",
    "task",
    "feature",
    "environment",
    "tags",
    "model_asked",
    "stream",
    "correlation_id",
    "client_retries",
)
"""What the `facts` of an open intent hold, in this order, as a JSON array: half the bytes of an object, and every page
that a commit writes costs about 3 us. Older ledgers are read with it: add at the end only."""

INTENTS = Insert(attempts, INTENT_COLUMNS, sizes=EVERY_SIZE)
ATTEMPTS = Insert(attempts, ATTEMPT_COLUMNS, replace=True)  # the facts, which are not among them, become NULL
EXCHANGES = Insert(exchanges, EXCHANGE_COLUMNS, update=EXCHANGE_COLUMNS[1:])

_NO_USAGE = Usage()
_NO_ATTEMPT = Attempt(0, Route("", "", "", ""), started=0.0)
_FAILED = Ending.FAILED.value
_encode_fast: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def encode(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON text. A string with a lone surrogate, which UTF-8 cannot hold, is escaped instead of refused."""
    try:
        return _encode_fast(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value)


def intent_row(exchange: Exchange, attempt: Attempt, owner: str) -> Row:
    """What must be durable before an attempt is sent, with all that a sweep needs should we die."""
    request = exchange.request
    caller = request.caller
    asked = request.facts.model
    route = attempt.route
    facts = (
        exchange.started,
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
        dict(caller.tags) if caller.tags else "",
        asked,
        request.facts.stream,
        request.correlation_id,
        request.client_retries,
    )
    return (
        exchange.id,
        attempt.number,
        owner,
        route.provider,
        route.model or asked,
        attempt.started,
        attempt.bound_nano,
        encode(facts),
    )


def read_facts(text: str) -> dict[str, Any]:
    """The facts of an intent row by name."""
    return dict(zip(FACTS, json.loads(text), strict=False))


def exchange_row(exchange: Exchange) -> Row:
    """The exchange's own row, summed over its attempts."""
    # Inlined, without properties and helpers: this runs once per call, and each Python function costs 50 ns or more.
    request = exchange.request
    caller = request.caller
    facts = request.facts
    error = exchange.error
    tried = exchange.attempts
    ended, started = exchange.ended, exchange.started
    last = tried[-1] if tried else _NO_ATTEMPT
    first = last.first_content
    if len(tried) == 1:
        usage = last.usage or _NO_USAGE
        tokens = _tokens(usage)
        cost, version, waited = last.cost_nano, last.price_version, last.waited * 1000.0
        estimated_nano = cost if last.estimated else 0
        estimated, simulated = last.estimated, last.simulated
    else:
        tokens = _summed(tried)
        cost = sum(a.cost_nano for a in tried)
        version = next((a.price_version for a in reversed(tried) if a.price_version), "")
        waited = sum(a.waited for a in tried) * 1000.0
        estimated_nano = sum(a.cost_nano for a in tried if a.estimated)
        estimated, simulated = exchange.estimated, any(a.simulated for a in tried)
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
        facts.model,
        last.model_served or last.route.model,
        last.route.provider,
        1 if facts.stream else 0,
        # `.value` goes through a descriptor written in Python.
        (exchange.ending or Ending.FAILED)._value_,
        exchange.status,
        "" if error is None else error.code,
        "" if error is None else getattr(error, "kind", ""),
        len(tried),
        *tokens,
        cost,
        1 if estimated else 0,
        estimated_nano,
        version,
        None if ended is None else (ended - started) * 1000.0,
        None if first is None else (first - started) * 1000.0,
        waited,
        last.stop_reason,
        request.correlation_id,
        last.request_id,
        request.client_retries,
        1 if simulated else 0,
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
        "" if error is None else error.kind,
        "" if error is None else error.provider_code,
        attempt.model_served,
        *_tokens(attempt.usage or _NO_USAGE),
        attempt.cost_nano,
        1 if attempt.estimated else 0,
        attempt.price_version,
        attempt.waited * 1000.0,
        attempt.first_byte,
        attempt.first_content,
        attempt.stop_reason,
        attempt.request_id,
    )


def outcome(exchange: Exchange, attempt: Attempt) -> str:
    """How an attempt of a settled exchange ended, in the words of :class:`Ending`."""
    ending = exchange.ending
    if ending is None or attempt is not exchange.attempts[-1]:
        return _FAILED
    # Endings that come from our side: an attempt that had already failed by then keeps saying so.
    if attempt.error is not None and (ending is Ending.REFUSED or ending is Ending.CANCELLED):
        return _FAILED
    return ending._value_


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
