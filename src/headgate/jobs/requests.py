"""A line of a batch as the engine's request, and what it can cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headgate.core.caller import Caller
from headgate.core.errors import HeadgateError
from headgate.core.exchange import Facts, Headers, Request, Route
from headgate.engine.plan import as_asked
from headgate.policy.attribution import with_user
from headgate.wire import DIALECTS
from headgate.wire.batch_lines import ENDPOINTS

if TYPE_CHECKING:
    from headgate.build import Built

WAY_IN = "batch"
TAG = "batch"
HEADERS: Mapping[str, Headers] = {
    "anthropic": [(b"content-type", b"application/json"), (b"anthropic-version", b"2023-06-01")],
    "openai": [(b"content-type", b"application/json")],
}


def caller_facts(caller: Caller) -> dict[str, Any]:
    """A caller as plain values, for a row."""
    names = ("key", "tenant", "user", "session", "task", "feature", "environment")
    return {**{name: getattr(caller, name) for name in names if getattr(caller, name)}, "tags": dict(caller.tags)}


def caller_of(told: Mapping[str, Any], batch_id: str, user: str = "") -> Caller:
    """The caller of one line: the batch's, with the end user that the line names, and the batch as a tag."""
    tags = {**told.get("tags", {}), TAG: batch_id}
    plain = {name: value for name, value in told.items() if name != "tags"}
    return with_user(Caller(**plain, tags=tags), user)


def request_of(
    batch_id: str, dialect: str, line: int, url: str, body: bytes, caller: Caller, facts: Facts, prepaid_nano: int = 0
) -> Request:
    """The request of one line."""
    endpoint, path = ENDPOINTS[url]
    return Request(
        dialect=dialect,
        endpoint=endpoint,
        method="POST",
        path=path,
        headers=HEADERS[dialect],
        body=body,
        facts=facts,
        caller=caller,
        way_in=WAY_IN,
        correlation_id=correlation(batch_id, line),
        batch=True,
        prepaid_nano=prepaid_nano,
    )


def correlation(batch_id: str, line: int) -> str:
    """What a line's exchanges bear in the ledger: one, and another for each time that it was sent again."""
    return f"{batch_id}:{line}"


def facts_of(dialect: str, url: str, body: bytes, *, keep_text: bool) -> Facts:
    """Facts of a body that was read before."""
    return DIALECTS[dialect].read_request(ENDPOINTS[url][0], body, keep_text=keep_text)


@dataclass(frozen=True, slots=True)
class Cost:
    """Where a line goes first, and the most that it can cost there, at standard prices.

    Attributes:
        nano: nano-dollars; None where it is not known.
        tokens: prompt and output together.
        output_cap: that the body has to be given for the bound to hold; 0 = its own, or none.
    """

    route: Route
    nano: int | None
    tokens: int
    output_cap: int = 0


def cost_of(built: Built, request: Request, now: float) -> Cost | None:
    """None where nobody serves it: why shows when its turn comes."""
    policies = built.engine.policies
    asked = as_asked(request, policies.tasks(request.caller.task))
    facts = asked.facts
    try:
        route = policies.router.routes(asked, now)[0]
    except HeadgateError:
        return None
    route = route if route.model else replace(route, model=facts.model)
    try:
        bound = policies.charges.bound(route, facts, len(request.body), now, ceiling=policies.unbounded_ceiling)
    except HeadgateError:  # no price
        return Cost(route, None, 0)
    if bound is None:
        return Cost(route, None, 0)
    told = request.facts.max_output_tokens
    cap = bound.output_cap or (facts.max_output_tokens or 0 if facts.max_output_tokens != told else 0)
    return Cost(route, bound.nano, bound.tokens, cap)
