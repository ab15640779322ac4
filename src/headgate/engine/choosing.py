"""Which models serve an exchange beside the first: what its session is tied to, and what follows a failure.

Nothing of this is asked where a call has one model and no fallback is configured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from headgate.core.errors import UnknownPrice, UpstreamError
from headgate.core.exchange import Attempt, Exchange, Request, Route
from headgate.policy.error_classes import class_of
from headgate.policy.preferences import Spot, spot
from headgate.policy.recovery import OF_ONE_KEY, same_but_key
from headgate.policy.sessions import at_model
from headgate.wire.continuing import has_thinking, in_tool_turn

if TYPE_CHECKING:
    from headgate.engine.plan import Plan, Policies, TaskPolicy

ANSWERS = frozenset({"messages", "chat", "responses"})
"""Endpoints at which a model writes: a task's cap is about them, and another model may follow the first. Embeddings of
two models do not go together."""


def choose(plan: Plan, policies: Policies, task: TaskPolicy, now: float) -> None:
    """Settle what depends on there being other models: `plan`'s routes where the call is tied to one of them."""
    router, asked, routes = policies.router, plan.asked, plan.routes
    plan.learns = router.measures or bool(asked.caller.session)
    if router.fallbacks and _may_change(asked):
        plan.impatient = bool(router.fallbacks.after(router.led(asked), "overload"))
    if router.fallbacks and router.fallbacks.of_refusals and asked.facts.choices == 1 and _may_change(asked):
        plan.takes_refusals = bool(router.fallbacks.after(router.led(asked), "refusal"))
    first = routes[0].model
    home = router.sessions.find(asked.caller, asked.facts.model)
    if (home is None or home[1] == first) and all(route.model == first for route in routes):
        return
    if asked.facts.state or not _is_tied(asked):
        return
    if home is None:
        home = _presumed(plan, policies)
    if not task.drops_thinking:
        elsewhere: Sequence[Route] = ()
        if _may_change(asked) and all(route.model != home[1] for route in routes):
            # A fallback, a step of the ladder or a budget's cheaper model has answered it.
            elsewhere = _usable(router.after_failure(asked, "/".join(home), now), policies, now)
        plan.routes = elsewhere or at_model(routes, home)
    # Whose thinking it is: every other route gets the conversation without it (`engine.crossing`).
    known = next((route for route in plan.routes if spot(route) == home), None)
    plan.home = known or replace(routes[0], provider=home[0], model=home[1])
    plan.direct = known if known is not None and known.dialect == asked.dialect else None


def _is_tied(request: Request) -> bool:
    return has_thinking(request.endpoint, request.body) or in_tool_turn(request.endpoint, request.body)


def _presumed(plan: Plan, policies: Policies) -> Spot:
    """Where a session that nothing is known of has been answered: by the route written first."""
    router = policies.router
    name = router.led(plan.asked)[-1]
    virtual = router.virtual.get(name)
    changes = virtual is not None and virtual.prefer not in ("", "quality")
    written = router.models.get(name) if changes else plan.routes
    return spot(written[0]) if written else spot(plan.routes[0])


def _may_change(request: Request) -> bool:
    """Whether another model may serve the call: its path names no provider, and no provider keeps what it is about."""
    return not request.provider and not request.facts.state


def fall_back(exchange: Exchange, plan: Plan, policies: Policies, error: UpstreamError, now: float) -> bool:
    """Put the models that are named for the last attempt's failure in place of the plan's next routes.

    Returns:
        Whether there are any that have not been tried: then they follow at once.
    """
    router, failed = policies.router, exchange.attempts[-1]
    if plan.learns and router.measures and error.kind == "timeout":  # it would have taken at least as long
        router.measured(failed.route, now - failed.started, now, stream=plan.asked.facts.stream)
    if not router.fallbacks:
        return False
    last = failed.route
    more = _named(exchange, plan, policies, error, last, now)
    if not more:
        return False
    place = next((n for n, route in enumerate(plan.routes) if route is last), 0)
    behind = plan.routes[place + 1 :]
    keys = list(takewhile(lambda route: same_but_key(route, last), behind)) if error.kind in OF_ONE_KEY else []
    plan.routes = [*plan.routes[: place + 1], *keys, *more]
    error.elsewhere = True
    return True


def go_around(exchange: Exchange, plan: Plan, policies: Policies, error: UpstreamError, now: float) -> bool:
    """Put the models that are named for it behind the plan's routes, none of which may be used now.

    Returns:
        Whether there are any that are not among these.
    """
    if not policies.router.fallbacks:
        return False
    listed = {spot(route) for route in plan.routes}
    found = _named(exchange, plan, policies, error, plan.routes[-1], now)
    more = [route for route in found if spot(route) not in listed]
    plan.routes = [*plan.routes, *more]
    return bool(more)


def _named(
    exchange: Exchange, plan: Plan, policies: Policies, error: UpstreamError, last: Route, now: float
) -> list[Route]:
    """The routes of the models that are named for a failure: with a price, and not tried yet."""
    router, asked = policies.router, plan.asked
    if asked.endpoint not in ANSWERS or not _may_change(exchange.request):
        return []
    names = router.fallbacks.after(router.led(asked), class_of(error))
    if policies.incidents.live is not None:
        names = tuple(name for name in names if not policies.incidents.stops((name,), now))
    found = [route for name in names for route in _usable(router.after_failure(asked, name, now), policies, now)]
    return at_liberty(exchange, plan, policies, _untried(found, exchange.attempts), last)


def at_liberty(exchange: Exchange, plan: Plan, policies: Policies, routes: Sequence[Route], last: Route) -> list[Route]:
    """Those of the routes that a call which began at `last`'s model may go on at (decisions 14)."""
    if all(route.model == last.model for route in routes) or not _is_tied(plan.asked):
        return list(routes)
    if policies.tasks(exchange.request.caller.task).drops_thinking:
        return list(routes)  # without the thinking (`engine.crossing`)
    return [route for route in routes if route.model == last.model]


def _untried(routes: Sequence[Route], attempts: Sequence[Attempt]) -> list[Route]:
    """Each route once, and none to a model and provider that has been tried."""
    tried = {spot(attempt.route) for attempt in attempts}
    found = {(spot(route), id(route.credential)): route for route in reversed(routes) if spot(route) not in tried}
    return list(reversed(found.values()))


def _usable(routes: Sequence[Route], policies: Policies, now: float) -> list[Route]:
    """Those with a price, or a policy for having none."""
    found = []
    for route in routes:
        try:
            policies.charges.check(route, now)
        except UnknownPrice:
            continue
        found.append(route)
    return found


def answered(exchange: Exchange, plan: Plan, policies: Policies, attempt: Attempt, now: float) -> None:
    """An attempt has begun to answer: remember how soon, and for which session."""
    router, asked = policies.router, plan.asked
    if router.measures:
        at = attempt.first_content if attempt.first_content is not None else now
        router.measured(attempt.route, at - attempt.started, now, stream=asked.facts.stream)
    router.sessions.remember(asked.caller, plan.came.facts.model, attempt.route)
