"""Incident mode: what is stopped, slowed or degraded now (docs/incidents.md). Asked only while an incident is on.

A tenant, a task and a model's own name are looked at once, at admission; providers and their models at each attempt,
so that other routes serve where there are any, and a retry does not go where its first attempt was let.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from headgate.core.errors import HeadgateError, IncidentStopped, NoTurn, RateExceeded, Refusal
from headgate.core.exchange import Attempt, Exchange, Request, Route
from headgate.core.incidents import Incident
from headgate.core.ports import Clock, Ports
from headgate.engine.choosing import ANSWERS, at_liberty
from headgate.engine.plan import Plan, Policies, cheaper_plan
from headgate.policy.incidents import UNREAD, Live, Slowing

STOPPED, SLOWED = "stopped", "slowed"
"""Causes of `NoTurn`."""


class InIncident:
    """Asks what is on. Shared by all exchanges of an engine."""

    __slots__ = ("_clock", "_incidents", "_policies", "_ports")

    def __init__(self, ports: Ports, policies: Policies) -> None:
        self._ports = ports
        self._clock = ports.clock
        self._policies = policies
        self._incidents = policies.incidents

    async def admit(self, exchange: Exchange, plan: Plan) -> None:
        """Let the call in, at once or after its wait.

        Raises:
            IncidentStopped: its tenant, its task or the model that it names is stopped.
            RateExceeded: one of them is slowed, and its turn would come after the deadline.
        """
        live = await self._live()
        if live is None:
            return
        now, caller = self._clock.now(), exchange.request.caller
        found = [*live.of_caller(caller, now), *live.of_names(self._names(plan.asked), now)]
        for each in found:
            if each.kind == "stop":
                raise stopped(each)
        for each in found:
            if each.kind == "slow" and not (exchange.request.of_guard or exchange.request.on_our_own):
                exchange.waited += await self._wait(each, live, plan.first_content_by)

    def degrade(self, exchange: Exchange, plan: Plan) -> None:
        """Put the routes of the model to degrade to in place of the plan's, where an incident says so of the call or of
        its first route. A call that no other model can serve stays as it is."""
        live = self._incidents.live
        if live is None or exchange.request.endpoint not in ANSWERS or exchange.request.facts.state:
            return
        now, route = self._clock.now(), plan.routes[0]
        names = self._names(plan.asked)
        of_call = (*live.of_caller(exchange.request.caller, now), *live.of_names(names, now))
        for each in (*of_call, *live.of_route(route.provider, route.model or plan.asked.facts.model, now)):
            if each.kind == "degrade" and self._led(exchange, plan, each, now):
                return

    def passes(self, plan: Plan, attempt: Attempt, until: float) -> Awaitable[float] | None:
        """What has to be awaited before an attempt may go to its route; None = nothing. It gives the seconds waited.

        Raises:
            NoTurn: the route's provider or model is stopped; or slowed, and its turn would come after `until`.
        """
        live, route = self._incidents.live, attempt.route
        if live is None:
            return None
        now = self._clock.now()
        slow = None
        for each in live.of_route(route.provider, route.model or plan.asked.facts.model, now):
            if each.kind == "stop":
                raise NoTurn(sentence(each), kind="open", cause=STOPPED, retry_after=each.expires - now)
            if each.kind == "slow":
                slow = each
        if slow is None:
            return None
        pace = live.pace(slow)
        seconds = pace.take(now, until)
        if seconds is None:
            after = pace.wait(now)
            raise NoTurn(_busy(slow, after), kind="paced", cause=SLOWED, retry_after=after)
        return _held(self._clock, pace, seconds) if seconds > 0 else None

    async def _live(self) -> Live | None:
        incidents = self._incidents
        if incidents.live is UNREAD:
            if self._ports.incidents is None:
                incidents.live = None
            else:
                await self._ports.incidents.known()
        live = incidents.live
        if live is not None and live is not UNREAD and self._clock.now() >= live.until:
            incidents.live = None  # the last has expired: later calls look at one attribute again
        return incidents.live

    def _names(self, asked: Request) -> Sequence[str]:
        """The virtual models that a request is led through. What is no virtual model is its route's."""
        router = self._policies.router
        return [name for name in router.led(asked) if name in router.models or name in router.virtual]

    async def _wait(self, incident: Incident, live: Live, until: float) -> float:
        pace, now = live.pace(incident), self._clock.now()
        seconds = pace.take(now, until)
        if seconds is None:
            after = pace.wait(now)
            raise RateExceeded(_busy(incident, after), retry_after=after, unit="requests")
        return await _held(self._clock, pace, seconds) if seconds > 0 else 0.0

    def _led(self, exchange: Exchange, plan: Plan, incident: Incident, now: float) -> bool:
        asked = replace(plan.asked, facts=replace(plan.asked.facts, model=incident.to), provider="")
        pinned = exchange.request.provider
        try:
            found = cheaper_plan(asked, self._policies, now)
        except Refusal:
            return False
        routes = [route for route in found if not pinned or route.provider == pinned]
        routes = at_liberty(exchange, plan, self._policies, routes, plan.routes[0])
        if not routes or _models(routes) == _models(plan.routes):
            return False
        plan.routes, plan.asked = routes, asked
        exchange.degraded = f"incident: {incident.to}"
        return True


async def _held(clock: Clock, pace: Slowing, seconds: float) -> float:
    """Wait for a place that was taken; whoever leaves before gives it back."""
    try:
        await clock.sleep(seconds)
    except BaseException:
        pace.left()
        raise
    return seconds


def said(error: HeadgateError) -> HeadgateError:
    """What a caller is told in place of the last route's error, where that is an incident's."""
    if isinstance(error, NoTurn) and error.cause == STOPPED:
        return IncidentStopped(error.message)
    if isinstance(error, NoTurn) and error.cause == SLOWED:
        return RateExceeded(error.message, retry_after=error.retry_after, unit="requests")
    return error


def stopped(incident: Incident) -> IncidentStopped:
    """The refusal of a call that an incident stops."""
    return IncidentStopped(sentence(incident))


def sentence(incident: Incident) -> str:
    """For whoever uses the application: nothing of why, and of whom."""
    until = datetime.fromtimestamp(incident.expires, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"This service is paused on purpose for the moment, until {until} at the latest. Please try again later. "
        f"(Reference: {incident.id})"
    )


def _busy(incident: Incident, after: float) -> str:
    return (
        f"This service is slowed down on purpose for the moment. Please try again in {max(1, round(after))} s. "
        f"(Reference: {incident.id})"
    )


def _models(routes: Sequence[Route]) -> set[tuple[str, str]]:
    return {(route.provider, route.model) for route in routes}
