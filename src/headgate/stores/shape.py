"""What thousands of exchanges have in common, gathered once per exchange for all who keep records of it: the ledger's
row, the line of the log, the counters of metrics."""

from __future__ import annotations

from typing import Any

from headgate.core.cache import not_attempted
from headgate.core.errors import HeadgateError, NoTurn
from headgate.core.exchange import Attempt, Ending, Exchange
from headgate.core.usage import Usage

MOST_SHAPES = 4096
"""About 3 MB. One that was forgotten is made anew when it comes again: whoever keeps something by it has it twice."""

MOST_TEXT = 4096
"""Characters of a shape that is remembered: callers make up the names of models. A longer one is a mere tuple, which
compares by what it says: else each of its exchanges would be of a shape of its own."""

PLAIN = -1

_NO_USAGE = Usage()
_FAILED = Ending.FAILED._value_


class Shape(tuple[Any, ...]):
    """Shapes that say the same are one object, and looked up as such: nothing is compared, nor hashed, but an address.

    In the order of `schema.SHAPE_COLUMNS` behind the owner; then of the log's `ending`, `price_version`, `error_kind`
    and `verdict`; then whether the last attempt has failed; last, at `PLAIN`, whether its exchanges are plain: one
    attempt, no error, no wait, nothing that few exchanges have.
    """

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__


_shapes: dict[tuple[Any, ...], tuple[Any, ...]] = {}
_plain: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # by less, of plain exchanges


def shape_of(exchange: Exchange) -> tuple[Any, ...]:
    """The shape of a settled exchange. From any thread; what is worked out stays with the exchange."""
    # Inlined, without properties and helpers: this runs once per call, and each Python function costs 50 ns or more.
    tried = exchange.attempts
    last = tried[0] if len(tried) == 1 else None
    request = exchange.request
    caller = request.caller
    if (
        last is None
        or exchange.ending is None
        or exchange.error is not None
        or exchange.guarded
        or exchange.findings
        or exchange.waited
        or exchange.recalled is not None
        or exchange.degraded
        or exchange.pruned
        or exchange.compacted
        or exchange.upstream_gateway
        or last.error is not None
        or last.waited
        or last.lost
        or last.prefix
        or last.saved_nano
        or caller.tags
    ):
        shape = _same(_told(exchange, plain=False))
        exchange.shape = shape
        return shape
    facts = request.facts
    route = last.route
    usage = last.usage or _NO_USAGE
    key = (
        request.way_in,
        request.dialect,
        request.endpoint,
        request.client_retries,
        caller.key,
        caller.tenant,
        caller.task,
        caller.feature,
        caller.environment,
        facts.model,
        facts.stream,
        route.model,
        route.provider,
        last.model_served,
        last.price_version,
        last.stop_reason,
        last.status,
        last.estimated,
        last.simulated,
        usage.service_tier,
        usage.speed,
        usage.inference_geo,
        exchange.ending._value_,  # `.value` goes through a descriptor written in Python
        exchange.status,
        exchange.cache,
    )
    shape = _plain.get(key) or _remembered(_plain, key, _same(_told(exchange, plain=True)))
    exchange.shape = shape
    return shape


def _same(told: tuple[Any, ...]) -> tuple[Any, ...]:
    return _shapes.get(told) or _remembered(_shapes, told, Shape(told))


def _remembered(
    shapes: dict[tuple[Any, ...], tuple[Any, ...]], key: tuple[Any, ...], shape: tuple[Any, ...]
) -> tuple[Any, ...]:
    if sum(len(value) for value in key if isinstance(value, str)) > MOST_TEXT:
        return tuple(shape)
    if len(shapes) >= MOST_SHAPES:
        shapes.clear()
    return shapes.setdefault(key, shape)  # two threads may meet it at once: both get what was there first


def _told(exchange: Exchange, *, plain: bool) -> tuple[Any, ...]:
    """What a shape says."""
    request, error, tried = exchange.request, exchange.error, exchange.attempts
    caller, facts = request.caller, request.facts
    ending = _FAILED if exchange.ending is None else exchange.ending._value_
    count = len(tried)
    last = tried[-1] if count else not_attempted(exchange)
    failure = last.error
    version = last.price_version
    of_only = ("", "", "", "")  # what is known of an only attempt
    if count == 1:
        service = service_of(last.usage or _NO_USAGE)
        if failure is None:
            of_only = (ending, "", "", service)
        else:
            of_only = (outcome(exchange, last), failure.kind, failure.provider_code, service)
    elif count:
        version = next((a.price_version for a in reversed(tried) if a.price_version), "")
    return (
        request.way_in,
        request.dialect,
        request.endpoint,
        caller.key,
        caller.tenant,
        caller.task,
        caller.feature,
        caller.environment,
        facts.model,
        last.route.model,
        last.model_served,
        last.route.provider,
        ending,
        "" if error is None else error.code,
        "" if error is None else _kind(error),
        version,
        last.stop_reason,
        *of_only,
        1 if facts.stream else 0,
        exchange.status,
        count,
        1 if exchange.estimated else 0,
        request.client_retries,
        1 if any(a.simulated for a in tried) else 0,
        last.status,
        exchange.cache,
        "" if exchange.ending is None else ending,
        last.price_version,
        "" if error is None else getattr(error, "kind", ""),
        exchange.verdict,
        failure is not None,
        plain,
    )


def service_of(usage: Usage) -> str:
    """What decides about a price besides the counts: "tier/speed/geography" as reported, "" where nothing was."""
    tier, speed, geography = usage.service_tier, usage.speed, usage.inference_geo
    return f"{tier}/{speed}/{geography}" if tier or speed or geography else ""


def _kind(error: HeadgateError) -> str:
    """One word; of an open breaker with its cause: ``open:money``."""
    kind: str = getattr(error, "kind", "")
    return f"{kind}:{error.cause}" if isinstance(error, NoTurn) and error.cause else kind


def outcome(exchange: Exchange, attempt: Attempt) -> str:
    """How an attempt of a settled exchange ended, in the words of :class:`Ending`."""
    ending = exchange.ending
    if ending is None or attempt is not exchange.attempts[-1]:
        return _FAILED
    # Endings that come from our side: an attempt that had already failed by then keeps saying so.
    if attempt.error is not None and (ending is Ending.REFUSED or ending is Ending.CANCELLED):
        return _FAILED
    return ending._value_
