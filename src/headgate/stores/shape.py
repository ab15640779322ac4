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

_NO_USAGE = Usage()
_FAILED = Ending.FAILED._value_


class Shape(tuple[Any, ...]):
    """Shapes that say the same are one object, and looked up as such: nothing is compared, nor hashed, but an address.

    In the order of `schema.SHAPE_COLUMNS` behind the owner; then of the log's `ending`, `price_version`, `error_kind`
    and `verdict`; then whether the last attempt has failed.
    """

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__


_shapes: dict[tuple[Any, ...], Shape] = {}


def shape_of(exchange: Exchange) -> Shape:
    """The shape of a settled exchange. From any thread; what is worked out stays with the exchange."""
    # Inlined, without properties and helpers: this runs once per call, and each Python function costs 50 ns or more.
    request = exchange.request
    caller = request.caller
    error = exchange.error
    tried = exchange.attempts
    # `.value` goes through a descriptor written in Python.
    ending = _FAILED if exchange.ending is None else exchange.ending._value_
    count = len(tried)
    last = tried[-1] if count else not_attempted(exchange)
    route = last.route
    version = last.price_version
    failure = last.error
    if count == 1:
        estimated, simulated = last.estimated, last.simulated
        usage = last.usage or _NO_USAGE
        service = f"{usage.service_tier}/{usage.speed}/{usage.inference_geo}"
        if service == "//":
            service = ""
        if failure is None:
            outcome_told, failure_kind, provider_code = ending, "", ""
        else:
            outcome_told, failure_kind, provider_code = outcome(exchange, last), failure.kind, failure.provider_code
    else:
        outcome_told = failure_kind = provider_code = service = ""
        estimated = simulated = False
        if count:
            estimated, simulated = exchange.estimated, any(a.simulated for a in tried)
            version = next((a.price_version for a in reversed(tried) if a.price_version), "")
    key = (
        request.way_in,
        request.dialect,
        request.endpoint,
        caller.key,
        caller.tenant,
        caller.task,
        caller.feature,
        caller.environment,
        request.facts.model,
        route.model,
        last.model_served,
        route.provider,
        ending,
        "" if error is None else error.code,
        "" if error is None else _kind(error),
        version,
        last.stop_reason,
        outcome_told,
        failure_kind,
        provider_code,
        service,
        1 if request.facts.stream else 0,
        exchange.status,
        count,
        1 if estimated else 0,
        request.client_retries,
        1 if simulated else 0,
        last.status,
        exchange.cache,
        ending if exchange.ending is not None else "",
        last.price_version,
        "" if error is None else getattr(error, "kind", ""),
        exchange.verdict if exchange.guarded else "",
        failure is not None,
    )
    shape = _shapes.get(key)
    if shape is None:
        if len(_shapes) >= MOST_SHAPES:
            _shapes.clear()
        # Two threads may meet it at once: both get what was there first.
        shape = _shapes.setdefault(key, Shape(key))
    exchange.shape = shape
    return shape


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
