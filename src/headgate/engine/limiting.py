"""Callers' limits, asked once per exchange at admission, and told at its end what it really used."""

from __future__ import annotations

from collections.abc import Awaitable

from headgate.core.errors import IncidentStopped, RateExceeded
from headgate.core.exchange import Exchange
from headgate.core.limits import Exceeded, Taken
from headgate.core.ports import CallerLimits
from headgate.engine.plan import PRICED, Plan, Policies
from headgate.policy.limit_words import refusal


def admit(limits: CallerLimits, policies: Policies, exchange: Exchange, plan: Plan) -> Awaitable[None] | None:
    """Let the exchange in by its caller's limits, and note what that took. Returns what has to be awaited for that, if
    anything has.

    Limits per model or provider are those of the route that comes first.

    Raises:
        RateExceeded: one of them has no room for it. Nothing was taken, nothing is written. Awaiting raises it, too.
    """
    request, route = exchange.request, plan.routes[0]
    tokens = 0
    if policies.counts_tokens and request.endpoint in PRICED:
        tokens = policies.charges.likely(route, request.facts, request.body)
    model, at_once = route.model or request.facts.model, limits.at_once
    if at_once is None:
        asked = limits.ask(request.caller, tokens=tokens, model=model, provider=route.provider, address=request.address)
        return _noted_later(exchange, asked, tokens)
    _note(exchange, at_once(request.caller, tokens, model, route.provider, request.address), tokens)
    return None


async def _noted_later(exchange: Exchange, asked: Awaitable[Taken | Exceeded], tokens: int) -> None:
    _note(exchange, await asked, tokens)


def _note(exchange: Exchange, answer: Taken | Exceeded, tokens: int) -> None:
    if not answer:
        raise refusal(answer, tokens)
    exchange.taken = answer
    exchange.limit_headers = answer.headers()


def correct(limits: CallerLimits, exchange: Exchange, taken: Taken) -> None:
    """The exchange has just ended: what all of its attempts have used counts, in place of the estimate."""
    tokens = 0
    for attempt in exchange.attempts:
        usage = attempt.usage
        if usage is not None:  # `Attempt.used_tokens`, in place
            tokens += (
                usage.input_tokens
                + usage.cache_read_tokens
                + usage.cache_write_tokens
                + usage.cache_write_long_tokens
                + usage.output_tokens
            )
    limits.correct(taken, tokens, exchange.ended)


def recorded_later(error: BaseException) -> bool:
    """Its row need not be durable before it is answered: a flood of calls over a limit, or that an incident stops, must
    not cost a commit each."""
    return isinstance(error, RateExceeded | IncidentStopped)
