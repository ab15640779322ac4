"""Turns as the engine asks for them, in one colour; and what it tells other replicas of a provider's pace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, cast

from headgate.core.errors import NoTurn
from headgate.core.exchange import Attempt, Exchange, Headers, Route
from headgate.core.limits import Amount
from headgate.core.ports import SharedPace
from headgate.policy.pace_shared import corrected, taken
from headgate.policy.pace_shared import told as told_by
from headgate.policy.rate_facts import NO_FACTS, RateFacts, Seen
from headgate.policy.retry_budget import HIDDEN_RATE
from headgate.policy.turn import Turn, Waiting
from headgate.policy.turns import FAST
from headgate.stores.turn_wait import TurnWait, Waker
from headgate.wire.ratelimits import read_limits

if TYPE_CHECKING:
    from headgate.stores.turns import LocalTurns

READ_EVERY = 0.02
"""Seconds between two answers of a lane whose headers are read, while nobody waits in it and all goes well: what is
between them, our own account of the bucket knows."""


LOOK_EVERY = 0.1
"""Seconds between two answers of a provider whose headers are looked at for what is wrong with them: for `doctor`."""


class Port:
    """`core.ports.Turns` in one colour."""

    __slots__ = ("_new_waiter", "_now", "_pace", "_shared")

    def __init__(self, shared: LocalTurns, new_waiter: Callable[[], Waker], pace: SharedPace | None) -> None:
        self._shared = shared
        self._pace = pace
        self._now = shared.now
        self._new_waiter = new_waiter

    def blocked(self, route: Route) -> NoTurn | None:
        """See the port."""
        return self._shared.state(route)

    def turn(self, exchange: Exchange, attempt: Attempt, *, until: float) -> Awaitable[object] | None:
        """See the port."""
        shared, pace = self._shared, self._pace
        request = attempt.sent_as or exchange.request
        found: Turn | Waiting | None = shared.at_once(request, attempt.route, attempt.started)
        if found is not None and pace is None:  # as nearly always
            attempt.turn = found
            return None
        if found is None:
            with shared as desk:
                found = desk.ask(request, attempt.route, until, self._now())
                if isinstance(found, Waiting):
                    found.waker = self._new_waiter()
        if isinstance(found, Turn):
            attempt.turn = found
            return None if pace is None else self._with_others(pace, exchange, attempt, until)
        return TurnWait(shared, found, attempt) if pace is None else self._waited(found, pace, exchange, attempt, until)

    async def _waited(
        self, entry: Waiting, pace: SharedPace, exchange: Exchange, attempt: Attempt, until: float
    ) -> None:
        await TurnWait(self._shared, entry, attempt)
        await self._with_others(pace, exchange, attempt, until)

    async def again(self, exchange: Exchange, attempt: Attempt, *, until: float, wait: bool) -> bool:
        """See the port."""
        shared, last = self._shared, cast("Turn", attempt.turn)
        with shared as desk:
            now = self._now()
            found = desk.ask(attempt.sent_as or exchange.request, attempt.route, until, now, last=last)
            told = []
            if isinstance(found, Turn):
                attempt.turn = found
            elif not wait:
                told = desk.leave(found, now)
            else:
                found.waker = self._new_waiter()
        if not isinstance(found, Turn):
            if not wait:
                shared.wake(told)
                return False
            await TurnWait(shared, found, attempt)
        return self._pace is None or await self._with_others(self._pace, exchange, attempt, until, wait=wait)

    async def _with_others(
        self, pace: SharedPace, exchange: Exchange, attempt: Attempt, until: float, *, wait: bool = True
    ) -> bool:
        """What this process would let go has to fit what all replicas together have used. False: it does not, and
        `wait` is not set; the turn is given back."""
        shared = self._shared
        while True:
            turn = attempt.turn
            if not isinstance(turn, Turn) or turn.lane is None or turn.lane.pace is None:
                return True
            seconds = await pace.take(turn.lane.name, taken(turn.lane.pace, turn))
            if seconds <= 0:
                turn.shared = True
                return True
            if not wait:
                self.unsent(attempt)
                return False
            with shared as desk:
                request = attempt.sent_as or exchange.request
                found, told = desk.postpone(turn, request, attempt.route, seconds, until, self._now())
                if isinstance(found, Waiting):
                    found.waker = self._new_waiter()
            shared.wake(told)
            if isinstance(found, NoTurn):
                raise found
            await TurnWait(shared, found, attempt)

    def answered(self, attempt: Attempt, status: int, headers: Headers, code: str = "") -> None:
        """See the port."""
        turn = attempt.turn
        if not isinstance(turn, Turn):
            return
        lane = turn.lane
        if lane is None or lane.pace is None:
            return
        own, now = lane.pace, attempt.first_byte
        if (
            own.calm
            and now is not None
            and now < lane.read_at
            and status < 300
            and not turn.provider.waiting
            and self._pace is None
        ):
            # Nothing else comes of it, and nobody waits for it: no lock. Two threads may be at `newest` at once; what
            # hangs on it is kept to a twentieth of a second anyway.
            turn.counted = True
            own.last = now
            if turn.asked_at > own.newest:
                own.newest = turn.asked_at
            return
        now = self._now()
        facts, seen, silent = NO_FACTS, None, False
        if now >= lane.read_at or status >= 300 or (turn.provider.waiting and lane.queue):
            lane.read_at = now + READ_EVERY
            counts = lane.provider.headers
            if now >= counts.next_at:
                counts.next_at = now + LOOK_EVERY
                seen = Seen()
            fast = lane.name[1].endswith(FAST)
            facts = read_limits(attempt.route.dialect, headers, now, fast=fast, seen=seen)
        shared = self._shared
        pace = self._pace
        amounts = taken(own, turn) if pace is not None and status == 429 else ()
        with shared as desk:
            told = desk.answered(turn, facts, status, code, now)
            if seen is not None:
                silent = lane.provider.headers.note(seen, good=status < 300)
        if silent:
            shared.silent(attempt.route.provider)
        if pace is not None:
            self._tell_others(pace, turn, facts, status, amounts, now)
        if told:
            shared.wake(told)

    def _tell_others(
        self, pace: SharedPace, turn: Turn, facts: RateFacts, status: int, amounts: Sequence[Amount], now: float
    ) -> None:
        lane = turn.lane
        if lane is None or lane.pace is None:
            return
        found = told_by(lane.pace, now)
        if found:
            pace.learn(lane.name, found)
        if status == 429:
            if amounts and turn.shared:
                turn.shared = False
                pace.give_back(lane.name, amounts)
            if facts.retry_after:
                pace.block(lane.name, facts.retry_after)

    def unsent(self, attempt: Attempt) -> None:
        """See the port."""
        turn = attempt.turn
        if not isinstance(turn, Turn) or not turn.open:
            return
        shared, pace, lane = self._shared, self._pace, turn.lane
        if pace is not None and turn.shared and lane is not None and lane.pace is not None:
            turn.shared = False
            pace.give_back(lane.name, taken(lane.pace, turn))
        with shared as desk:
            told = desk.unsent(turn, self._now())
        if told:
            shared.wake(told)

    def ended(self, exchange: Exchange, attempt: Attempt) -> None:
        """See the port."""
        turn = attempt.turn
        if isinstance(turn, Turn) and turn.open:
            if self._pace is not None and turn.shared:
                self._tell_end(self._pace, turn, attempt)
            self._shared.ended(exchange, attempt)

    def closed(self, exchange: Exchange) -> None:
        """See the port."""
        if self._pace is not None and exchange.attempts:
            last = exchange.attempts[-1]
            turn = last.turn
            if isinstance(turn, Turn) and turn.open and turn.shared:
                self._tell_end(self._pace, turn, last)
        shared = self._shared
        told = shared.visit(shared.close_exchange, exchange)
        if told:
            shared.wake(told)

    @staticmethod
    def _tell_end(pace: SharedPace, turn: Turn, attempt: Attempt) -> None:
        """Of an attempt that had taken from what all replicas share."""
        lane = turn.lane
        if lane is None or lane.pace is None:
            return
        turn.shared = False
        error = attempt.error
        if not attempt.sent:
            pace.give_back(lane.name, taken(lane.pace, turn))
        elif error is not None and error.kind == "busy":  # said within an answer that began well: see `Turns.end`
            pace.give_back(lane.name, taken(lane.pace, turn))
            if error.retry_after:
                pace.block(lane.name, error.retry_after)
        elif not (attempt.estimated or attempt.nested) and lane.pace.holds(turn):
            more = corrected(lane.pace, turn, attempt.usage)
            if more:
                pace.correct(lane.name, more)

    def paces(self, attempt: Attempt) -> bool:
        """See the port."""
        turn = attempt.turn
        return isinstance(turn, Turn) and turn.lane is not None and turn.lane.pace is not None

    def may_come_again(self, route: Route) -> bool:
        """See the port."""
        now = self._now()
        with self._shared as desk:
            budget = desk.budget(route.provider)
            return budget.rates(now).attempt_errors < HIDDEN_RATE or budget.client_retry(now)

    def may_retry(self, route: Route) -> bool:
        """See the port."""
        with self._shared as desk:
            budget = desk.budget(route.provider)
            return budget.may_retry(self._now())
