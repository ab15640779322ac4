"""Leave to send, before money is set aside: which route may go, and whether a retry may (docs/traffic.md)."""

from __future__ import annotations

from collections.abc import Awaitable

from headgate.core.errors import NoTurn
from headgate.core.exchange import Attempt, Exchange, Route
from headgate.core.ports import Ports
from headgate.engine.books import Books
from headgate.engine.choosing import go_around
from headgate.engine.crossing import Crossings
from headgate.engine.incidents import InIncident
from headgate.engine.plan import Plan, Policies
from headgate.policy.recovery import GiveUp, Retry

PATIENCE_SECONDS = 10.0
"""The longest wait for a turn at a route while another one, or a step of the ladder, follows it: what is further down
is there to be used. Where only the key differs, nobody waits at all."""

_PACED = NoTurn("paced", kind="paced", retry_after=0.0)
COME_AGAIN_SECONDS = 10.0
"""What a caller's retry is told to wait: the window of a retry budget."""

_PASSES = frozenset({"failures", "slow"})
"""Causes of an open breaker that may be gone within an exchange's deadline."""

_ANSWERED = frozenset({"too_long", "refusal"})
"""Failures that say nothing of load: another model is asked another question, so to say, and no retry."""


class Turning:
    """Asks for turns. Shared by all exchanges of an engine."""

    __slots__ = ("_books", "_clock", "_crossings", "_incident", "_incidents", "_policies", "_turns")

    def __init__(
        self, ports: Ports, policies: Policies, books: Books, crossings: Crossings, incident: InIncident
    ) -> None:
        self._policies = policies
        self._incidents = policies.incidents
        self._incident = incident
        self._turns = ports.turns
        self._clock = ports.clock
        self._books = books
        self._crossings = crossings

    def come_again(self, exchange: Exchange, plan: Plan) -> None:
        """A caller sends again what it has sent before: that is a retry as well, whoever sends it.

        Raises:
            NoTurn: the provider fails, and its retry budget is spent.
        """
        turns, route = self._turns, plan.routes[0]
        if turns is not None and not turns.may_come_again(route):
            raise NoTurn(
                f"{route.provider} fails, its retry budget is spent, and this call is its caller's retry "
                f"{exchange.request.client_retries}",
                kind="retries",
                retry_after=COME_AGAIN_SECONDS,
                provider=route.provider,
            )

    def begin(
        self, exchange: Exchange, plan: Plan, place: int, waited: float
    ) -> tuple[Attempt, Awaitable[object] | None]:
        """The next attempt, at the route at `place`; and what has to be awaited until it has leave to be sent, None =
        it may go at once. Where either raises `NoTurn`, `elsewhere` follows.

        Why no coroutine: tens of thousands may wait, and a frame between each and its turn is 400 bytes.

        Raises:
            NoTurn: the route does not let it go in time.
            UnknownPrice: see `Books.begin`.
        """
        attempt = self._books.begin(exchange, plan, plan.routes[place], waited)
        turns = self._turns
        if self._incidents.live is not None:
            until = self._until(plan, place)
            wait = self._incident.passes(plan, attempt, until)
            if wait is not None:
                return attempt, self._after(exchange, attempt, wait, until)
        if turns is None:
            return attempt, None
        # As `_until` says where there is one route and nothing below it, as mostly.
        alone = len(plan.routes) == 1 and plan.descent is None and not plan.impatient
        until = plan.first_content_by if alone else self._until(plan, place)
        return attempt, turns.turn(exchange, attempt, until=until)

    async def _after(self, exchange: Exchange, attempt: Attempt, wait: Awaitable[float], until: float) -> None:
        """A turn behind the wait that an incident has set."""
        attempt.waited += await wait
        attempt.started = self._clock.now()
        turn = None if self._turns is None else self._turns.turn(exchange, attempt, until=until)
        if turn is not None:
            await turn

    async def elsewhere(self, exchange: Exchange, plan: Plan, place: int, waited: float, error: NoTurn) -> Attempt:
        """The next attempt, with leave to be sent, where the route at `place` has not let it go: at the first behind it
        that lets it go in time.

        A route with an open breaker is passed over; where all are, the models follow that are named for such a failure
        (`fallback`). Without any, the first that may close in time is waited for, but where the ladder has a step for
        that.

        Raises:
            NoTurn: none of them does.
            UnknownPrice: see `Books.begin`.
        """
        soonest: NoTurn | None = _passed_over(exchange, waited, error, None)
        start, around = place + 1, False
        while True:
            here = start
            while here < len(plan.routes):
                if here != place and not self._crossings.passes(exchange, plan, here):
                    continue  # it was taken out of the plan, and the next one is at its place
                try:
                    attempt, wait = self.begin(exchange, plan, here, waited)
                    if wait is not None:
                        await wait
                except NoTurn as again:
                    soonest = _passed_over(exchange, waited, again, soonest)
                else:
                    return attempt
                here += 1
            assert soonest is not None  # there is a route at `place`, and it can be told the request
            start = len(plan.routes)
            if not around and go_around(exchange, plan, self._policies, soonest, self._clock.now()):
                around = True
                continue
            after = _after(soonest)
            descends = plan.descent is not None and plan.descent.goes_on(soonest)
            if descends or soonest.cause not in _PASSES or self._clock.now() + after >= plan.first_content_by:
                exchange.waited += waited
                raise soonest
            await self._clock.sleep(after)
            waited += after
            start, soonest = place, None

    def _until(self, plan: Plan, place: int) -> float:
        """How long a route is worth waiting for."""
        routes, by = plan.routes, plan.first_content_by
        if place + 1 >= len(routes):
            if plan.impatient or (plan.descent is not None and plan.descent.goes_on(_PACED)):
                return min(by, self._clock.now() + PATIENCE_SECONDS)
            return by
        here, following = routes[place], routes[place + 1]
        if (here.provider, here.model) == (following.provider, following.model):
            return min(by, self._clock.now())
        return min(by, self._clock.now() + PATIENCE_SECONDS)

    def afford(self, plan: Plan, attempt: Attempt, step: Retry) -> Retry | GiveUp:
        """A retry, if its provider's retry budget has room for it; else another provider, or none.

        Where the provider was busy its pace knows when to go on, and keeps the order: nothing is slept beside it.
        """
        turns, error = self._turns, attempt.error
        if turns is None or error is None:
            return step
        here = attempt.route
        same = plan.routes[step.route].provider == here.provider
        if same and error.kind not in _ANSWERED and not turns.may_retry(here):
            elsewhere = _elsewhere(plan, here, step.route)
            if elsewhere is None or not (error.retryable or error.elsewhere):
                return GiveUp(error)
            return Retry(elsewhere, 0.0, step.stretch)
        if error.kind == "busy" and step.after > 0 and turns.paces(attempt):
            return Retry(step.route, 0.0, step.stretch)
        return step


def _passed_over(exchange: Exchange, waited: float, error: NoTurn, soonest: NoTurn | None) -> NoTurn:
    """The latest attempt had no turn: nothing of it is on record, but that it was waited for. Returns the error of the
    route that may be tried again first."""
    exchange.waited += exchange.attempts.pop().waited - waited
    return error if soonest is None or _after(error) < _after(soonest) else soonest


def _elsewhere(plan: Plan, here: Route, place: int) -> int | None:
    return next((i for i in range(place, len(plan.routes)) if plan.routes[i].provider != here.provider), None)


def _after(error: NoTurn) -> float:
    return error.retry_after or 0.0
