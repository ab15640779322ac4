"""An exchange as rows: tuples in the order of the columns named beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from headgate.core.cache import not_attempted
from headgate.core.exchange import Attempt, Exchange
from headgate.core.money import MOST_CHARGE, MOST_SUM
from headgate.core.text import storable
from headgate.core.usage import Usage
from headgate.policy.holding import Changed
from headgate.stores.asked import asked_text
from headgate.stores.schema import SHAPE_COLUMNS, TOKEN_CLASSES, accounts, attempt_rows, exchange_rows, shapes
from headgate.stores.shape import PLAIN, service_of, shape_of
from headgate.stores.statements import Insert, Row

ATTEMPT_COLUMNS = tuple(column.name for column in attempt_rows.columns)
EXCHANGE_COLUMNS = tuple(column.name for column in exchange_rows.columns)

SHAPES = Insert(shapes, ("id", *SHAPE_COLUMNS))
ATTEMPTS = Insert(attempt_rows, ATTEMPT_COLUMNS, replace=True)
EXCHANGES = Insert(exchange_rows, EXCHANGE_COLUMNS, replace=True)
_SPENT = ("spent_nano", "spent_tokens", "alerted", "alerted_tokens")
ACCOUNTS = Insert(accounts, ("id", "budget", "scope", "period_start", "period_end", *_SPENT), update=_SPENT)

_NO_USAGE = Usage()
_NO_TOKENS = (0,) * len(TOKEN_CLASSES)
_encode_fast: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def encode(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON text. A string with a lone surrogate, which UTF-8 cannot hold, is escaped instead of refused."""
    try:
        return _encode_fast(value).decode()
    except (UnicodeEncodeError, OverflowError, TypeError):
        return json.dumps(value, default=repr)


def intent_row(exchange: Exchange, attempt: Attempt) -> Row:
    """What must be durable before an attempt is sent, with all that a sweep needs should we die (`intents.Intent`)."""
    request = exchange.request
    caller = request.caller
    asked = request.facts.model
    route = attempt.route
    return (
        exchange.id,
        attempt.number,
        route.provider,
        route.model or asked,
        attempt.started,
        attempt.bound_nano,
        (
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
        ),
    )


def account_row(account: Changed) -> Row:
    """An account of a budget, but for what is set aside on it."""
    # Taken apart and looked at in place: this is on the way of every call that a budget applies to.
    key, number, end, nano, tokens, _, _, alerted, alerted_tokens = account
    return (
        number,
        *key,
        end,
        nano if 0 <= nano <= MOST_SUM else summed(nano),
        tokens if 0 <= tokens <= MOST_SUM else summed(tokens),
        alerted,
        alerted_tokens,
    )


def summed(figure: int) -> int:
    """A figure of an account as its column takes it, whatever was charged: else nobody's could be written any more."""
    return 0 if figure < 0 else min(figure, MOST_SUM)


def exchange_row(exchange: Exchange) -> Row:
    """The exchange's own row, summed over its attempts, and what is known of an only attempt.

    In place of the shape's number is the shape itself, which the session numbers.
    """
    # Inlined, without properties and helpers: this runs once per call, and each Python function costs 50 ns or more.
    shape: Any = exchange.shape or shape_of(exchange)
    request = exchange.request
    caller = request.caller
    tried = exchange.attempts
    if len(tried) == 1:
        last = tried[0]
        plain = shape[PLAIN]
        cost = last.cost_nano
        usage = last.usage or _NO_USAGE
        return (
            exchange.id,
            shape,
            exchange.started,
            exchange.ended,
            caller.user,
            caller.session,
            "" if plain or not caller.tags else encode(dict(caller.tags)),
            request.correlation_id,
            last.request_id,
            exchange.upstream_gateway,
            usage.input_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
            usage.cache_write_long_tokens,
            usage.output_tokens,
            usage.reasoning_tokens,
            usage.web_searches,
            cost,
            cost if last.estimated else 0,
            0.0 if plain else (last.waited + exchange.waited) * 1000.0,
            last.first_byte,
            last.first_content,
            last.started,
            last.ended,
            last.bound_nano,
            asked_text(request),
        )
    last = tried[-1] if tried else not_attempted(exchange)
    return (
        exchange.id,
        shape,
        exchange.started,
        exchange.ended,
        caller.user,
        caller.session,
        encode(dict(caller.tags)) if caller.tags else "",
        request.correlation_id,
        last.request_id,
        exchange.upstream_gateway,
        *(_summed(tried) if tried else _NO_TOKENS),
        sum(a.cost_nano for a in tried),
        sum(a.cost_nano for a in tried if a.estimated),
        (sum(a.waited for a in tried) + exchange.waited) * 1000.0,
        last.first_byte,
        last.first_content,
        None,
        None,
        None,
        asked_text(request) if tried else "",
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
        service_of(attempt.usage or _NO_USAGE),
    )


def clean(row: Row, most: int = 2**63 - 1) -> Row:
    """A row that any database takes: lone surrogates (no UTF-8 has them) and NULs (no text of PostgreSQL's does)
    replaced, whole numbers at most `most` and what its column holds, anything else as text."""
    return tuple(_clean(value, most) for value in row)


def fitting(row: Row) -> Row:
    """A settled row that any database takes: as `clean`, and sums over its figures fit, too."""
    return clean(row, MOST_CHARGE)


def _clean(value: Any, most: int) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int):
        return max(-most, min(most, int(value)))
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, tuple):
        return clean(value, most)
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
    return tuple(sum(column) for column in zip(*(_tokens(a.usage or _NO_USAGE) for a in tried), strict=True))
