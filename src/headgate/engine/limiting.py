"""Callers' limits, asked once per exchange at admission, and told at its end what it really used."""

from __future__ import annotations

from headgate.core.errors import IncidentStopped, RateExceeded
from headgate.core.exchange import Exchange
from headgate.core.limits import Taken
from headgate.core.ports import CallerLimits
from headgate.engine.plan import PRICED, Plan, Policies
from headgate.policy.limit_words import refusal


async def admit(limits: CallerLimits, policies: Policies, exchange: Exchange, plan: Plan) -> None:
    """Let the exchange in by its caller's limits, and note what that took.

    Limits per model or provider are those of the route that comes first.

    Raises:
        RateExceeded: one of them has no room for it. Nothing was taken, nothing is written.
    """
    request, route = exchange.request, plan.routes[0]
    tokens = 0
    if policies.counts_tokens and request.endpoint in PRICED:
        tokens = policies.charges.likely(route, request.facts, request.body)
    answer = await limits.ask(
        request.caller,
        tokens=tokens,
        model=route.model or request.facts.model,
        provider=route.provider,
        address=request.address,
    )
    if not answer:
        raise refusal(answer, tokens)
    exchange.taken = answer
    exchange.limit_headers = answer.headers()


def correct(limits: CallerLimits, exchange: Exchange, taken: Taken) -> None:
    """The exchange is over: what all of its attempts have used counts, in place of the estimate."""
    tokens = 0
    for attempt in exchange.attempts:
        tokens += attempt.used_tokens
    limits.correct(taken, tokens)


def recorded_later(error: BaseException) -> bool:
    """Its row need not be durable before it is answered: a flood of calls over a limit, or that an incident stops, must
    not cost a commit each."""
    return isinstance(error, RateExceeded | IncidentStopped)
