"""Turns by the real rules, in fake time: a wait is a sleep of the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.errors import NoTurn
from headgate.core.exchange import Attempt, Exchange, Headers, Route
from headgate.policy.retry_budget import HIDDEN_RATE
from headgate.policy.turn import Turn, TurnRules, Waiting, no_turn
from headgate.policy.turns import Turns
from headgate.wire.ratelimits import read_limits

if TYPE_CHECKING:
    from headgate.testing.fakes import FakeClock

NEVER = float("inf")


class FakeTurns:
    """`core.ports.Turns`. Nobody else makes room: whoever waits for others waits in vain, and fails the test.

    Attributes:
        desk: the turns themselves.
        happened: "turn", "unsent" and "ended", among what else the world has seen.
    """

    def __init__(self, rules: TurnRules, clock: FakeClock, happened: list[str]) -> None:
        self.desk = Turns(default=rules)
        self.happened = happened
        self._clock = clock

    def blocked(self, route: Route) -> NoTurn | None:
        """See the port."""
        found = self.desk.blocked(route, self._clock.now())
        return None if found is None else no_turn(route, found)

    async def turn(self, exchange: Exchange, attempt: Attempt, *, until: float) -> None:
        """See the port."""
        request = attempt.sent_as or exchange.request
        await self._wait(self.desk.ask(request, attempt.route, until, self._clock.now()), attempt)
        self.happened.append("turn")

    async def again(self, exchange: Exchange, attempt: Attempt, *, until: float, wait: bool) -> bool:
        """See the port."""
        last, request = attempt.turn, attempt.sent_as or exchange.request
        assert isinstance(last, Turn)
        found = self.desk.ask(request, attempt.route, until, self._clock.now(), last=last)
        if isinstance(found, Waiting) and not wait:
            self.desk.leave(found, self._clock.now())
            return False
        await self._wait(found, attempt)
        self.happened.append("turn")
        return True

    async def _wait(self, found: Turn | Waiting, attempt: Attempt) -> None:
        began = self._clock.now()
        while isinstance(found, Waiting):
            if found.error is not None:
                raise found.error
            if found.turn is not None:
                found = found.turn
                break
            due = self.desk.due()
            if due == NEVER:
                raise AssertionError("a turn is waited for that nobody makes room for")
            await self._clock.sleep(max(0.001, due - self._clock.now()))
            self.desk.tick(self._clock.now())
        attempt.waited += self._clock.now() - began
        attempt.started = self._clock.now()
        attempt.turn = found

    def answered(self, attempt: Attempt, status: int, headers: Headers, code: str = "") -> None:
        """See the port."""
        if isinstance(attempt.turn, Turn):
            now = self._clock.now()
            facts = read_limits(attempt.route.dialect, headers, now)
            self.desk.answered(attempt.turn, facts, status, code, now)

    def unsent(self, attempt: Attempt) -> None:
        """See the port."""
        if isinstance(attempt.turn, Turn) and attempt.turn.open:
            self.happened.append("unsent")
            self.desk.unsent(attempt.turn, self._clock.now())

    def ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """See the port."""
        if isinstance(attempt.turn, Turn) and attempt.turn.open:
            self.happened.append("ended")
            self.desk.end(attempt.turn, attempt, self._clock.now(), jitter=0.5)

    def closed(self, exchange: Exchange) -> None:
        """See the port."""
        if exchange.last is not None:
            self.ended(exchange, exchange.last)
        budget = self.desk.budget(exchange.last.route.provider) if exchange.last is not None else None
        if budget is not None and exchange.last is not None and exchange.last.sent:
            budget.note_exchange(exchange.last.error, self._clock.now())

    def paces(self, attempt: Attempt) -> bool:
        """See the port."""
        turn = attempt.turn
        return isinstance(turn, Turn) and turn.lane is not None and turn.lane.pace is not None

    def may_come_again(self, route: Route) -> bool:
        """See the port."""
        budget, now = self.desk.budget(route.provider), self._clock.now()
        return budget is None or budget.rates(now).attempt_errors < HIDDEN_RATE or budget.client_retry(now)

    def may_retry(self, route: Route) -> bool:
        """See the port."""
        budget = self.desk.budget(route.provider)
        return budget is None or budget.may_retry(self._clock.now())
