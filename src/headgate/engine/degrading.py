"""What is done when an answer cannot be had: the steps of the ladder, in order (docs/degradation.md).

A step is another model, whose routes become the plan's and are attempted as the first ones were; or an answer that no
provider gives: a sentence of ours, or a substitute.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from headgate.core.errors import BadRequest, BudgetExceeded, HeadgateError, Refusal, Unavailable, UpstreamError
from headgate.core.exchange import Ending, Exchange, Route
from headgate.core.ports import Ports, Substitute
from headgate.engine.answer import SIMULATED, exchange_headers, trailing_comment
from headgate.engine.books import Books
from headgate.engine.choosing import at_liberty
from headgate.engine.plan import PRICED, Plan, Policies
from headgate.engine.relay import Reply
from headgate.policy.ladder import Descent, Step, queued_for
from headgate.wire.sentence import can_say, say

Attempts = Callable[[Exchange, Plan], Awaitable[Reply]]


class Degrading:
    """Goes down ladders. Shared by all exchanges of an engine."""

    __slots__ = ("_books", "_policies", "_ports")

    def __init__(self, ports: Ports, policies: Policies, books: Books) -> None:
        self._ports = ports
        self._policies = policies
        self._books = books

    async def answer(self, exchange: Exchange, plan: Plan, descent: Descent, attempts: Attempts) -> Reply:
        """The answer of the plan's routes, or else of the first step that has one.

        Raises:
            UpstreamError, BudgetExceeded: what went wrong first, where no step has an answer.
            Refusal: any other of ours, as it is: it never degrades.
        """
        while True:
            try:
                return await attempts(exchange, plan)
            except (UpstreamError, BudgetExceeded, BadRequest) as error:
                if isinstance(error, BadRequest) and descent.cause is None:
                    raise  # else it is a route of another step that cannot be told this request
                reply = await self._step(exchange, plan, descent, error)
                if reply is not None:
                    return reply

    async def _step(self, exchange: Exchange, plan: Plan, descent: Descent, error: HeadgateError) -> Reply | None:
        """The stand-in of the next step that has one; None: the plan has the routes of another model now."""
        if isinstance(error, BudgetExceeded):
            exchange.no_room = error
        while (step := descent.next(error)) is not None:
            words = f"{descent.why}: {step.word}"
            if step.model:
                routes = self._routes(exchange, plan, step.model)
                if routes:
                    # At least one attempt for each step, however many the first model has used up: the ladder's
                    # length bounds them.
                    most = max(plan.recovery.attempts, len(exchange.attempts) + 1)
                    plan.routes, plan.recovery = routes, replace(plan.recovery, attempts=most)
                    exchange.degraded = descent.told = words
                    return None
                continue
            found = await self._substitute(exchange, step, descent.why)
            if found is not None:
                exchange.degraded = words
                return await self._stand_in(exchange, found, descent.cause or error)
        if exchange.degraded == descent.told:
            exchange.degraded = ""  # another model was tried, and has not answered either
        cause = descent.cause or error
        if cause is error:
            raise error
        raise cause from error

    async def queue(self, exchange: Exchange, error: BaseException) -> Reply | None:
        """A promise in place of a refusal, where what has refused says `then: queue` and the call may be deferred: its
        caller prefers that, or its task has `use: defer`. None where the refusal stands."""
        why = queued_for(error)
        deferring = self._ports.substitutes.get("defer")
        if not why or deferring is None or not isinstance(error, HeadgateError):
            return None
        if not exchange.request.may_defer:
            ladder = self._policies.tasks(exchange.request.caller.task).ladder
            if not any(step.use == "defer" for step in ladder):
                return None
        found = await deferring.find(exchange, why)
        if found is None:
            return None
        exchange.degraded = f"{why}: defer"
        return await self._stand_in(exchange, found, error)

    def _routes(self, exchange: Exchange, plan: Plan, model: str) -> Sequence[Route]:
        """The routes of another model: with a price, of the provider that the path names, and not tried yet."""
        request, now = exchange.request, self._ports.clock.now()
        # State is kept by one provider for one model; and after the deadline no attempt may begin.
        if request.endpoint not in PRICED or request.facts.state or now >= plan.first_content_by:
            return []
        asked = replace(request, facts=replace(request.facts, model=model), provider="")
        router, incidents = self._policies.router, self._policies.incidents
        if incidents.live is not None and incidents.stops(router.led(asked), now):
            return []
        try:
            found = router.routes(asked, now)
        except Refusal:
            return []
        tried = {(each.route.provider, each.route.model) for each in exchange.attempts}
        left = [
            route
            for route in found
            if (route.provider, route.model) not in tried
            and (not request.provider or route.provider == request.provider)
            and self._has_price(route, now)
        ]
        left = at_liberty(exchange, plan, self._policies, left, plan.routes[-1])
        if left:
            plan.asked = asked
        return left

    def _has_price(self, route: Route, now: float) -> bool:
        try:
            self._policies.charges.check(route, now)
        except Refusal:
            return False
        return True

    async def _substitute(self, exchange: Exchange, step: Step, why: str) -> Substitute | None:
        request = exchange.request
        if step.use:
            known = self._ports.substitutes.get(step.use)
            return None if known is None else await known.find(exchange, why)
        if not can_say(request.endpoint, request.path, request.facts, request.body, step.say):
            return None
        now = self._ports.clock.now()
        kind, body = say(request.endpoint, request.facts, step.say, exchange_id=exchange.id, now=now)
        return Substitute(200, [(b"content-type", kind)], body)

    async def _stand_in(self, exchange: Exchange, found: Substitute, cause: HeadgateError) -> Reply:
        """Close the books with what happened, not with what is shown: no provider has answered (or none was asked)."""
        exchange.status, exchange.stood_in = found.status, True
        self._books.settle(exchange, Ending.REFUSED if isinstance(cause, Refusal) else Ending.FAILED, cause)
        if not exchange.attempts:
            # No intent row stands for it, so its own row must be durable before we answer (as `Engine.open`).
            with contextlib.suppress(Unavailable):
                await self._ports.ledger.flush()
        return StandIn(exchange, found, self._ports.clock.now())


class StandIn:
    """A `Reply` that is here already and settled."""

    __slots__ = ("_body", "exchange", "headers", "length", "status")

    def __init__(self, exchange: Exchange, found: Substitute, now: float) -> None:
        self._body = found.body + (trailing_comment(exchange) if exchange.request.facts.stream else b"")
        self.exchange = exchange
        self.status = found.status
        self.length: int | None = len(self._body)
        self.headers = [*found.headers, *exchange_headers(exchange, now, final=True)]
        last = exchange.last
        if last is not None and last.simulated:
            self.headers.append((SIMULATED, b"true"))

    async def read(self) -> bytes:
        """The whole body, then b""."""
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """Nothing is left to settle."""

    drains = False
    drain_seconds = 0.0

    def leave(self) -> None:
        """Nothing is left to drain."""

    def stop(self) -> None:
        """Nothing is being read."""
