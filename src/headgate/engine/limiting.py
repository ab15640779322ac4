"""Callers' limits, asked once per exchange at admission, and told at its end what it really used."""

from __future__ import annotations

from collections.abc import Awaitable

from headgate.core.errors import IncidentStopped, RateExceeded
from headgate.core.exchange import Exchange
from headgate.core.limits import Taken
from headgate.core.ports import CallerLimits
from headgate.engine.plan import PRICED, Plan, Policies
from headgate.policy.limit_words import refusal


def admit(
    limits: CallerLimits, policies: Policies, exchange: Exchange, plan: Plan, now: float
) -> Awaitable[None] | None:
    """Let the exchange in by its caller's limits, and note what that took. Returns what has to be awaited for that, if
    anything has.

    Limits per model or provider are those of the route that comes first.

    Args:
        now: seconds since the epoch, just read, and not when the exchange began: what is long past would set the
            limits' own clock back.

    Raises:
        RateExceeded: one of them has no room for it. Nothing was taken, nothing is written. Awaiting raises it, too.
    """
    request, route = exchange.request, plan.routes[0]
    tokens = 0
    if policies.counts_tokens and request.endpoint in PRICED:
        tokens = policies.charges.likely(route, request.facts, request.body)
    model, at_once = route.model or request.facts.model, limits.at_once
    if at_once is None:
        return _ask(limits, exchange, tokens, model, route.provider)
    answer = at_once(request.caller, now, tokens, model, route.provider, request.address)
    if not answer:
        raise refusal(answer, tokens)
    exchange.taken, exchange.limit_headers = answer, answer.headers()
    return None


async def _ask(limits: CallerLimits, exchange: Exchange, tokens: int, model: str, provider: str) -> None:
    request = exchange.request
    answer = await limits.ask(request.caller, tokens=tokens, model=model, provider=provider, address=request.address)
    if not answer:
        raise refusal(answer, tokens)
    exchange.taken, exchange.limit_headers = answer, answer.headers()


def correct(limits: CallerLimits, exchange: Exchange, taken: Taken) -> None:
    """The exchange has just ended: what all of its attempts have used counts, in place of the estimate."""
    tokens = 0
    for attempt in exchange.attempts:
        tokens += attempt.used_tokens
    assert exchange.ended is not None
    limits.correct(taken, tokens, exchange.ended)


def recorded_later(error: BaseException) -> bool:
    """Its row need not be durable before it is answered: a flood of calls over a limit, or that an incident stops, must
    not cost a commit each."""
    return isinstance(error, RateExceeded | IncidentStopped)
