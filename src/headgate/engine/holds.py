"""Money before an attempt: which budgets it has to fit, what is set aside, and what is tried where it does not fit.

Decisions 1 to 4 and 8 to 10. Nothing is sent here but a free count of the prompt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace

from headgate.core.budget import Claim
from headgate.core.errors import BudgetExceeded, HeadgateError, Refusal
from headgate.core.exchange import Attempt, Exchange, Request, Route
from headgate.core.money import usd_text
from headgate.core.ports import Ports
from headgate.engine.books import may_cost
from headgate.engine.counting import CountPauses, Place, count_prompt, countable
from headgate.engine.plan import PRICED, Plan, Policies, cheaper_plan
from headgate.policy.budget_words import name_of
from headgate.policy.budgets import FOR_EVER, Applying
from headgate.policy.estimate import Bound

PROMISING = 8
"""Bytes per token that a prompt would need to have for a count to be worth asking for: few are above it."""
_WAITED_SECONDS = 0.002
_CAPPED = frozenset({"chat", "responses"})
"""Endpoints whose output cap may be left out; Anthropic's is required."""
_NONE = Applying((), None, False, -FOR_EVER, FOR_EVER)
"""Of what costs nothing."""


class Holds:
    """Sets money aside, with the intent row. Shared by all exchanges of an engine.

    Attributes:
        some: there are budgets. Else only a plan with a ceiling has anything to hold.
    """

    __slots__ = ("_pauses", "_policies", "_ports", "some")

    def __init__(self, ports: Ports, policies: Policies) -> None:
        self._ports = ports
        self._policies = policies
        self.some = bool(policies.budgets.all)
        self._pauses = CountPauses()

    async def take(self, exchange: Exchange, plan: Plan, attempt: Attempt) -> None:
        """Return when the intent of `attempt` is durable, and its bound set aside on every budget that applies.

        Raises:
            BudgetExceeded: it does not fit, or cannot be bounded; the attempt is not one of the exchange's any more.
            Unavailable: see `core.ports.Ledger.intend`.
        """
        policies, most = self._policies, plan.most_nano
        prepaid = exchange.request.prepaid_nano
        try:
            if prepaid and attempt.bound_nano is not None and exchange.cost_nano + attempt.bound_nano <= prepaid:
                self._check(exchange, attempt, None)
                if most is not None:
                    self._check_ceiling(exchange, most, attempt)
                await self._ports.ledger.intend(exchange, attempt)
                return
            applying = self._claim(exchange, attempt, attempt.started)
            if most is not None or applying.hard is not None:
                self._check(exchange, attempt, applying.hard)
            # A model to degrade to is tried in place of waiting for money for this one.
            may_wait = not applying.degrades or bool(exchange.degraded)
            try:
                # `_ask`, written out: this is on the way of every call.
                if most is not None:
                    self._check_ceiling(exchange, most, attempt)
                at_once = not may_wait or attempt.turn is not None
                until = plan.first_content_by
                await self._ports.ledger.intend(exchange, attempt, until=until, may_wait=not at_once)
            except BudgetExceeded as error:
                await self._insist(exchange, plan, attempt, error, may_wait=may_wait)
        except BudgetExceeded as error:
            exchange.attempts.pop()
            if error.code == BudgetExceeded.code:
                error.status_hint = policies.budget_status
            raise
        now = self._ports.clock.now()
        if now - attempt.started > _WAITED_SECONDS:
            attempt.waited += now - attempt.started
            attempt.waited_money += now - attempt.started
            attempt.started = now

    async def _ask(self, exchange: Exchange, plan: Plan, attempt: Attempt, *, may_wait: bool) -> None:
        """Ask the ledger; with a turn in hand, only for what is there."""
        try:
            await self._intend(exchange, plan, attempt, may_wait=may_wait and attempt.turn is None)
        except BudgetExceeded as error:
            if not (may_wait and _in_turn(attempt, error)):
                raise
            await self._wait(exchange, plan, attempt)

    async def _wait(self, exchange: Exchange, plan: Plan, attempt: Attempt) -> None:
        """Nobody waits for money with a turn in hand, nor for a turn with money (decisions 1): a wait begins by giving
        the turn back, and money that comes without one goes back while its old place is waited for."""
        turns = self._ports.turns
        assert turns is not None  # whose turn it is
        while True:
            turns.unsent(attempt)
            await self._intend(exchange, plan, attempt, may_wait=True)
            if await turns.again(exchange, attempt, until=plan.first_content_by, wait=False):
                return
            self._ports.ledger.close(exchange, attempt)
            exchange.unsent += 1
            attempt.number += 1
            await turns.again(exchange, attempt, until=plan.first_content_by, wait=True)
            try:
                await self._intend(exchange, plan, attempt, may_wait=False)
            except BudgetExceeded as error:
                if error.why != "held":
                    raise
            else:
                return

    def _intend(self, exchange: Exchange, plan: Plan, attempt: Attempt, *, may_wait: bool) -> Awaitable[None]:
        if plan.most_nano is not None:
            self._check_ceiling(exchange, plan.most_nano, attempt)
        return self._ports.ledger.intend(exchange, attempt, until=plan.first_content_by, may_wait=may_wait)

    async def _insist(
        self, exchange: Exchange, plan: Plan, attempt: Attempt, error: BudgetExceeded, *, may_wait: bool
    ) -> None:
        """It was refused at once: wait, or ask again, where that may help. Raises what is left of the refusal."""
        if may_wait and _in_turn(attempt, error):
            try:
                await self._wait(exchange, plan, attempt)
            except BudgetExceeded as later:
                error = later
            else:
                return
        helped: Place | None = None  # who said no, and would have let in what was counted
        while True:
            if error.why == "period" and self._ports.clock.now() < plan.first_content_by:
                # The next period has room of its own. That this one is over the ledger has said, by its own clock.
                over = max(min(claim.end for claim in attempt.claims), error.not_before)
                self._claim(exchange, attempt, max(self._ports.clock.now(), over))
            elif helped is None and (place := await self._tighten(exchange, plan, attempt, error)) is not None:
                helped = place
            elif error.why == "held" and not may_wait and not self._cheaper(exchange, plan, error):
                may_wait = True  # nothing is tried in its place: it lacks money of another budget than that
            else:
                if helped is not None:
                    self._pauses.note(helped, self._pauses.place(exchange, attempt, error), self._ports.clock.now())
                raise error
            try:
                await self._ask(exchange, plan, attempt, may_wait=may_wait)
            except BudgetExceeded as again:
                error = again
            else:
                return

    def _claim(self, exchange: Exchange, attempt: Attempt, at: float) -> Applying:
        request = exchange.request
        if not may_cost(request):
            return _NONE
        found = self._policies.budgets.applying(request.caller, attempt.route, request.facts.model, at)
        attempt.claims = found.claims
        return found

    def _check(self, exchange: Exchange, attempt: Attempt, hard: Claim | None) -> None:
        """Refuse what no budget can hold. Why before the store: nothing about it can change by waiting."""
        request = attempt.sent_as or exchange.request
        if request.facts.max_output_tokens is None and request.endpoint in _CAPPED:
            attempt.output_cap = self._output_cap(request, attempt)
        if hard is None:
            return
        if request.endpoint not in PRICED:
            raise BudgetExceeded(
                f"{request.method} {request.path.partition('?')[0][:200]} may cost money that Headgate cannot work "
                f"out, and the budget {name_of(hard)} applies to it: it is not sent",
                code="unpriced",
                status_hint=400,
                claim=hard,
                why="unpriced",
            )
        if attempt.bound_nano is None:
            raise self._unbounded(f"the budget {name_of(hard)} applies to it")

    def _output_cap(self, request: Request, attempt: Attempt) -> int:
        """What money is held for has to be said to the provider, where the caller has not (decisions 2)."""
        bound = self._policies.charges.bound(attempt.route, request.facts, len(request.body), attempt.started)
        return 0 if bound is None else bound.output_cap

    @staticmethod
    def _unbounded(why: str) -> BudgetExceeded:
        return BudgetExceeded(
            "what this call can cost cannot be bounded before it is sent (server tools, state that the provider "
            f"keeps, media without a size, or no output cap for a model whose largest is not known), and {why}. "
            "Set an output cap, or `unbounded: ceiling` to hold such calls at the model's whole context window",
            code="unbounded",
            status_hint=400,
            why="unbounded",
        )

    def _check_ceiling(self, exchange: Exchange, most: int, attempt: Attempt) -> None:
        if exchange.request.endpoint not in PRICED:
            return
        if attempt.bound_nano is None:
            raise self._unbounded("max_usd_per_call is set")
        before = exchange.cost_nano
        if before + attempt.bound_nano > most:
            spent = f" ${usd_text(before)} was spent on earlier attempts." if before else ""
            raise BudgetExceeded(
                f"this call can cost up to ${usd_text(attempt.bound_nano)}, and one call may cost ${usd_text(most)} "
                f"at most (max_usd_per_call).{spent} Send less, or lower its output cap",
                code="call_too_expensive",
                status_hint=400,
                why="ceiling",
                room_nano=max(0, most - before),
            )

    async def _tighten(self, exchange: Exchange, plan: Plan, attempt: Attempt, error: BudgetExceeded) -> Place | None:
        """Near a cap, where the byte bound does not fit but the truth might: have the provider count the prompt.

        Returns who said no, where what was counted fits there.
        """
        if attempt.bound_nano is None or error.why not in ("spent", "too_large", "ceiling", "held"):
            return None
        request, route = attempt.sent_as or exchange.request, attempt.route
        charges, body_bytes, now = self._policies.charges, len(request.body), attempt.started
        hoped = charges.bound(route, request.facts, body_bytes, now, prompt_tokens=body_bytes // PROMISING)
        if not _fits(hoped, error) or not countable(request, route):
            return None
        place, pauses = self._pauses.place(exchange, attempt, error), self._pauses
        if pauses.on(place, exchange, attempt, now):
            return None
        try:
            tokens = await count_prompt(self._ports, plan, request, route)
        except HeadgateError:
            tokens = None
        found = None
        if tokens is not None:
            found = charges.bound(route, request.facts, body_bytes, now, prompt_tokens=tokens)
        if found is None or found.tokens >= attempt.bound_tokens or not _fits(found, error):
            pauses.note(place, place, now)
            return None
        attempt.bound_nano, attempt.bound_tokens = found.nano, found.tokens
        return place

    def instead(self, exchange: Exchange, plan: Plan, error: BudgetExceeded) -> Sequence[Route]:
        """The routes of the model that a budget degrades to (decisions 8). They become the plan's.

        Raises:
            BudgetExceeded: `error`, where there is nothing to degrade to.
        """
        routes = [] if error.why == "waited" else self._cheaper(exchange, plan, error)
        claim = error.claim
        if claim is None or not routes:
            raise error
        exchange.degraded, exchange.no_room = f"budget {claim.budget.id}: {claim.budget.degrade_to}", error
        plan.routes = routes
        plan.asked = replace(plan.asked, facts=replace(plan.asked.facts, model=claim.budget.degrade_to))
        return routes

    def _cheaper(self, exchange: Exchange, plan: Plan, error: BudgetExceeded) -> Sequence[Route]:
        """The routes of the model that the budget which said no degrades to; empty where it does not, or is there."""
        claim, request = error.claim, exchange.request
        model = claim.budget.degrade_to if claim is not None else ""
        facts = request.facts
        if not model or exchange.degraded or facts.state or request.endpoint not in PRICED:
            return []
        try:
            asked = replace(request, facts=replace(facts, model=model), provider="")
            now, policies = self._ports.clock.now(), self._policies
            if policies.incidents.live is not None and policies.incidents.stops(policies.router.led(asked), now):
                return []
            routes = cheaper_plan(asked, policies, now)
        except Refusal:
            return []
        return [] if _models(routes) == _models(plan.routes) else routes


def _fits(bound: Bound | None, error: BudgetExceeded) -> bool:
    """Whether an attempt with that bound has room where it was refused. False where that has told no room."""
    nano, tokens = error.room_nano, error.room_tokens
    if bound is None or (nano is None and tokens is None):
        return False
    return (nano is None or bound.nano <= nano) and (tokens is None or bound.tokens <= tokens)


def _models(routes: Sequence[Route]) -> set[tuple[str, str]]:
    return {(route.provider, route.model) for route in routes}


def _in_turn(attempt: Attempt, error: BudgetExceeded) -> bool:
    """It was only refused because it has a turn, and others hold the money."""
    return attempt.turn is not None and error.why == "held"
