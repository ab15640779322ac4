"""Who may send now, and who waits: paces, queues, breakers, caps on concurrency and retry budgets, together.

Pure: no clock, no lock, no waiting of its own; the owner has all three (`stores/turns.py`, or a test). One `Lane` is
the queue of one pace: provider account and model family. A call that finds nobody waiting and room everywhere goes at
once, and costs no entry. Everything here is decisions 1's first step: whoever holds a turn holds no money yet.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import count

from headgate.core.errors import NoTurn
from headgate.core.exchange import Attempt, Request, Route
from headgate.policy.breakers import Blocked, Change, Permit
from headgate.policy.concurrency import ANSWERED, IGNORED, outcome_of
from headgate.policy.fair_queue import BATCH_FLOOR, WAITING, FairQueue
from headgate.policy.families import cache_reads_count, family
from headgate.policy.pace import Pace
from headgate.policy.provider_look import ProviderLook, look_at
from headgate.policy.rate_facts import RateFacts
from headgate.policy.retry_budget import Rates, RetryBudget
from headgate.policy.turn import (
    MOST_NAME,
    NEVER,
    PACED,
    Lane,
    RouteLook,
    Shared,
    Turn,
    TurnRules,
    Waiting,
    Way,
    account_of,
    asked_of,
    callers_own,
    cost_of,
    no_turn,
    too_late,
)

FAST = "/fast"

_NOBODY: Sequence[Waiting] = ()
_NO_CHANGE: Sequence[Change] = ()
_QUIET = (_NOBODY, _NO_CHANGE)

MOST_LANES = 4096
"""Of accounts and families: models are named by callers."""
MOST_WAYS = 1024
"""Routes whose lane and permit are found by the route itself."""


class Turns:
    """All of one process. Not thread-safe: the owner's lock is around every call.

    Args:
        rules: by provider; others have `default`.
        weights: of tenants, see `FairQueue`.
        batch_floor: see `FairQueue`.
    """

    def __init__(
        self,
        rules: Mapping[str, TurnRules] | None = None,
        *,
        default: TurnRules | None = None,
        weights: Mapping[str, float] | None = None,
        batch_floor: float = BATCH_FLOOR,
    ) -> None:
        self._rules = rules or {}
        self._default = default or TurnRules()
        self._weights = weights or {}
        self._batch_floor = batch_floor
        self._providers: dict[str, Shared] = {}
        self._lanes: dict[tuple[str, str, int, str], Lane] = {}
        self._ways: dict[int, Way] = {}  # by the route's identity
        self._timed: list[Waiting] = []  # a heap of deadlines of those waiting, and of some that do not
        # Tickets in front of all that the queues give: of those that went at once, when nobody was waiting.
        self._early = count(-(1 << 62))
        self.waiting = 0  # in all lanes

    # ---- before an attempt

    def blocked(self, route: Route, now: float, asked: str = "") -> Blocked | None:
        """What stands in a route's way, without being a probe; None = nothing. `asked`: see `asked_of`."""
        breakers = self._provider(route.provider).breakers
        return None if breakers is None else breakers.state(route, now, asked)

    def ask(
        self, request: Request, route: Route, until: float, now: float, *, last: Turn | None = None
    ) -> Turn | Waiting:
        """A turn where one is to be had at once; else a place in the queue: give it to `Turns.leave` to leave it.

        Args:
            until: the last moment to go, seconds by the owner's clock.
            last: an ended turn, which was given back to wait for money: its place is taken again.

        Raises:
            NoTurn: a breaker is open, or the call could not go before `until`.
        """
        way = self._ways.get(id(route))
        if way is not None and last is None and way.is_of(request):
            lane = way.lane
            provider = lane.provider
            breakers, permit = way.breakers, way.permit
            if breakers is not None and breakers.openings != way.openings:
                permit = self._admit(provider, request, route, now)
        else:
            provider = self._provider(route.provider)
            permit = self._admit(provider, request, route, now)
            if request.endpoint not in PACED:
                return Turn(provider, None, request, permit)
            lane = self._lane(provider, request, route, now) if last is None or last.lane is None else last.lane
            way = self._keep_way(request, route, lane) if last is None else None
        if way is not None and permit is not None and permit is not way.permit:
            way.keep(permit)
        turn = Turn(provider, lane, request, permit)
        if not (provider.waiting and lane.queue) and self._goes(turn, lane, now):
            return turn
        if permit is not None and provider.breakers is not None:
            provider.breakers.release(permit, now)
        return self._wait(self._entry(lane, turn, request, route, until, last), now)

    def at_once(self, request: Request, route: Route, now: float) -> Turn | None:
        """What `ask` finds in the usual case, in fewer steps: a way that is known, nobody waiting, room everywhere.
        None: ask."""
        way = self._ways.get(id(route))
        if way is None or request.facts.fast or request.endpoint not in PACED:
            return None
        if way.live and way.credential.reveal() is not way.secret:
            return None
        lane, breakers, cap = way.lane, way.breakers, way.cap
        provider = lane.provider
        if breakers is not None and breakers.openings != way.openings:
            return None
        if provider.waiting or lane.not_before > now:
            return None
        in_flight = 0
        if cap is not None:
            in_flight = cap.in_flight
            if in_flight >= cap.cap:
                return None
        turn = Turn(provider, lane, request, way.permit, now)
        pace = lane.pace
        if pace is not None:
            flying = pace.flying
            if 0 < len(flying) < pace.free:
                flying[turn] = None  # all that `Pace.ask` does then
                pace.last = now
            elif pace.ask(turn, now) > 0:
                return None
        if cap is not None:  # as `Concurrency.try_acquire`: there is room, for nobody else is at the desk
            in_flight = cap.in_flight = in_flight + 1
            cap.let_in += 1
            if in_flight > cap.most:
                cap.most = in_flight
        return turn

    def postpone(
        self, turn: Turn, request: Request, route: Route, seconds: float, until: float, now: float
    ) -> tuple[Waiting | NoTurn, list[Waiting]]:
        """Other replicas have used what there is: a turn is given back, and its place waited in; nobody goes for so
        long.

        Returns:
            The place, or why there is none: it cannot go before `until`. And those that wait no longer, in both cases:
            they have to be told.
        """
        lane = turn.lane
        assert lane is not None  # only a pace is shared
        lane.not_before = now + seconds
        entry = self._entry(lane, Turn(turn.provider, lane, request, None), request, route, until, turn)
        told = self.unsent(turn, now)
        if lane.not_before >= until:
            return too_late(route, lane.not_before - until), told
        lane.next_at = min(lane.next_at, lane.not_before)
        try:
            return self._wait(entry, now), told
        except NoTurn as error:
            return error, told

    def leave(self, entry: Waiting, now: float) -> list[Waiting]:
        """A caller has left the queue, or leaves with a turn in hand that it has not seen. Returns as `end`."""
        if entry.turn is not None:
            return self.unsent(entry.turn, now)
        if entry.lane.queue.remove(entry):
            self._gone(entry)
            return self._pump(entry.lane, now)
        return []

    # ---- of an attempt

    def answered(self, turn: Turn, facts: RateFacts, status: int, code: str, now: float) -> list[Waiting]:
        """An answer's head has come. Returns those that wait no longer: to be told."""
        lane = turn.lane
        if lane is None or lane.pace is None:
            return []
        lane.pace.observe(facts, status, now, need=turn, code=code)
        return self._pump(lane, now) if turn.provider.waiting and lane.queue else []

    def unsent(self, turn: Turn, now: float) -> list[Waiting]:
        """It was not sent: everything is given back. Returns as `end`."""
        if not turn.open:
            return []
        turn.open = False
        provider, lane = turn.provider, turn.lane
        if turn.permit is not None and provider.breakers is not None:
            provider.breakers.release(turn.permit, now)
        if lane is None:
            return []
        if provider.cap is not None:
            provider.cap.release(None, IGNORED, now)
        if lane.pace is not None:
            lane.pace.give_back(turn, now)
        return self._pump_all(provider, now) if provider.waiting else []

    def end(
        self,
        turn: Turn,
        attempt: Attempt,
        now: float,
        jitter: float,
        by_caller: bool = False,
        closes: bool = False,
    ) -> tuple[Sequence[Waiting], Sequence[Change]]:
        """An attempt that was sent has ended, however it has. Idempotent.

        Args:
            jitter: drawn uniformly from [0, 1).
            by_caller: as for `policy.breaker.outcome_of`.
            closes: its exchange was answered by it, and that counts as well.

        Returns:
            Those that wait no longer, and breakers that have opened or closed.
        """
        if not turn.open:
            return _QUIET
        if not attempt.sent:
            return self.unsent(turn, now), []
        turn.open = False
        provider, lane, first = turn.provider, turn.lane, attempt.first_content
        changes = _NO_CHANGE
        if attempt.error is None and first is not None and not by_caller:  # as nearly always
            seconds = first - attempt.started
            breakers, budget, permit = provider.breakers, provider.budget, turn.permit
            if breakers is not None and permit is not None:
                changes = breakers.answered(permit, now, seconds)
            if closes and now < budget.until:
                budget.well += 1
            else:
                budget.note_answered(now, closed=closes)
            if lane is not None and provider.cap is not None:
                provider.cap.answered(seconds, now)
        else:
            changes = self._end_otherwise(turn, attempt, now, jitter=jitter, by_caller=by_caller)
        if lane is not None and lane.pace is not None:
            # Other models, whose hops a nested usage has in it, have limits of their own.
            lane.pace.correct(turn, None if attempt.estimated or attempt.nested else attempt.usage, now)
        if provider.waiting:
            return self._pump_all(provider, now), changes
        return (_NOBODY, changes) if changes else _QUIET

    def _end_otherwise(
        self, turn: Turn, attempt: Attempt, now: float, *, jitter: float, by_caller: bool
    ) -> Sequence[Change]:
        """It has failed, or its caller left before anything was known, or had less patience than we: the latter says
        nothing of load."""
        provider, lane, error = turn.provider, turn.lane, attempt.error
        seconds = None if attempt.first_content is None else attempt.first_content - attempt.started
        changes: Sequence[Change] = _NO_CHANGE
        spoke = error is not None or seconds is not None
        load = spoke and not by_caller
        if turn.permit is not None and provider.breakers is not None:
            if spoke:
                changes = provider.breakers.note(
                    turn.permit, error, now, jitter=jitter, seconds=seconds, by_caller=by_caller
                )
            else:
                provider.breakers.release(turn.permit, now)
        if load:
            provider.budget.note_attempt(error, now)
        if lane is not None:
            if provider.cap is not None:
                outcome = IGNORED if not load else ANSWERED if error is None else outcome_of(error)
                took = seconds if seconds is not None else now - attempt.started
                provider.cap.release(took if load else None, outcome, now)
            said_no = error is not None and error.kind == "busy" and attempt.status != 429
            if said_no and error is not None and lane.pace is not None:
                # Said inside an answer that began as a 200, or with a status of the provider's own.
                facts = RateFacts(retry_after=error.retry_after)
                lane.pace.observe(facts, 429, now, need=turn, code=error.provider_code)
        return changes

    def budget(self, provider: str) -> RetryBudget:
        """A provider's retry budget, which has a lock of its own."""
        return self._provider(provider).budget

    # ---- time

    def due(self) -> float:
        """When `tick` is worth calling; infinity = only after something has happened."""
        soonest = self._timed[0].deadline if self._timed else NEVER
        for provider in self._providers.values():
            for lane in provider.waiting:
                if lane.next_at < soonest:
                    soonest = lane.next_at
        return soonest

    def tick(self, now: float) -> list[Waiting]:
        """Time has passed. Returns as `end`."""
        told: list[Waiting] = []
        timed = self._timed
        while timed and timed[0].deadline <= now:
            entry = heapq.heappop(timed)
            if entry.state == WAITING and entry.lane.queue.remove(entry):
                told.append(self._late(entry, now))
                if entry.lane.queue:
                    entry.lane.next_at = now  # it may have been the head, and a smaller one behind it fits
        for provider in list(self._providers.values()):
            for lane in list(provider.waiting):
                if lane.next_at <= now:
                    told += self._pump(lane, now)
        return told

    def forget(self) -> list[Waiting]:
        """Let everybody go who waits: the process is a fork, or ends. Returns them, without turn or error."""
        left: list[Waiting] = []
        for provider in self._providers.values():
            for lane in provider.waiting:
                while (entry := lane.queue.peek(-NEVER)) is not None:
                    lane.queue.remove(entry)
                    left.append(entry)
            provider.waiting.clear()
        self._timed.clear()
        self.waiting = 0
        return left

    # ---- looking

    def look(self, request: Request, route: Route, now: float) -> RouteLook:
        """How things stand with a route for such a request. Changes nothing, but may make an empty lane."""
        provider = self._provider(route.provider)
        lane = self._lane(provider, request, route, now)
        rates = provider.budget.rates(now)
        return RouteLook(
            lane.pace.look(now) if lane.pace is not None else None,
            len(lane.queue),
            None if provider.cap is None else provider.cap.cap,
            None if provider.cap is None else provider.cap.in_flight,
            self.blocked(route, now, asked_of(request, route)),
            provider.budget.balance(now),
            rates.attempt_errors,
            rates.exchange_errors,
            rates.hidden,
        )

    def providers(self, now: float, provider: str = "", pooled: str | None = None) -> list[ProviderLook]:
        """How things stand with every provider that something was sent to. Changes nothing.

        Args:
            provider: only this one.
            pooled: only lanes of this family of models, fast mode's too.
        """
        lanes: dict[str, dict[Lane, None]] = {}
        for (name, *_), lane in self._lanes.items():
            if pooled is None or lane.name[1].removesuffix(FAST) == pooled:
                lanes.setdefault(name, {})[lane] = None
        names = [name for name in self._providers if not provider or name == provider]
        return [look_at(name, self._providers[name], lanes.get(name, ()), now) for name in names]

    def rates(self, now: float) -> Rates:
        """The error rates of attempts and of exchanges at all providers together."""
        found = [provider.budget.rates(now) for provider in self._providers.values()]
        attempts, exchanges = sum(r.attempts for r in found), sum(r.exchanges for r in found)
        failed = sum(r.attempt_errors * r.attempts for r in found)
        lost = sum(r.exchange_errors * r.exchanges for r in found)
        return Rates(attempts, failed / max(1, attempts), exchanges, lost / max(1, exchanges))

    def lift(self, provider: str) -> int:
        """Somebody says that all is well again at a provider. Returns how many breakers were open."""
        breakers = self._provider(provider).breakers
        return 0 if breakers is None else breakers.lift(provider)

    # ---- inside

    def _provider(self, name: str) -> Shared:
        found = self._providers.get(name)
        if found is None:
            found = self._providers[name] = Shared(self._rules.get(name, self._default), self)
        return found

    def _lane(self, provider: Shared, request: Request, route: Route, now: float) -> Lane:
        credential = route.credential
        secret = hash(credential.reveal() if credential is not None else callers_own(request))
        model = (route.model or request.facts.model)[:MOST_NAME]
        if request.facts.fast:
            model += FAST
        key = (route.provider, route.base_url, secret, model)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._make_lane(provider, request, route, model, key, now)
        return lane

    def _make_lane(
        self,
        provider: Shared,
        request: Request,
        route: Route,
        model: str,
        key: tuple[str, str, int, str],
        now: float,
    ) -> Lane:
        pooled = family(route.dialect, model.removesuffix(FAST), fast=model.endswith(FAST))
        shared = (*key[:3], "family " + pooled)
        lane = self._lanes.get(shared)
        if lane is None:
            pace = None
            if provider.rules.pacing:
                reads = cache_reads_count(route.dialect, model)
                pace = Pace(route.dialect, now, ceilings=provider.rules.ceilings, reads_count=reads)
            queue: FairQueue[Waiting] = FairQueue(weights=self._weights, batch_floor=self._batch_floor)
            lane = Lane((account_of(route, request), pooled), provider, pace, queue)
            self._keep_lane(shared, lane)
        self._keep_lane(key, lane)
        return lane

    def _keep_way(self, request: Request, route: Route, lane: Lane) -> Way | None:
        """Where nothing of it is the request's own."""
        credential = route.credential
        if credential is None or not route.model or request.facts.fast:
            return None
        if len(self._ways) >= MOST_WAYS:
            self._ways.clear()
        way = self._ways[id(route)] = Way(route, credential, lane)
        return way

    def _keep_lane(self, key: tuple[str, str, int, str], lane: Lane) -> None:
        lanes = self._lanes
        if len(lanes) >= 2 * MOST_LANES:
            idle = [k for k, each in lanes.items() if not len(each.queue) and not (each.pace and each.pace.in_flight)]
            for old in idle[: MOST_LANES // 2]:
                del lanes[old]
            self._ways.clear()  # they lead to lanes
        lanes[key] = lane

    def _admit(self, provider: Shared, request: Request, route: Route, now: float) -> Permit | None:
        breakers = provider.breakers
        if breakers is None:
            return None
        permit = breakers.admit(route, now, asked_of(request, route))
        if isinstance(permit, Blocked):
            raise no_turn(route, permit)
        return permit

    @staticmethod
    def _goes(turn: Turn, lane: Lane, now: float) -> bool:
        """Whether there is room for a turn everywhere; it has it then. Else the lane is told when to look again."""
        cap = lane.provider.cap
        if cap is not None and not cap.try_acquire(now):
            lane.next_at = NEVER  # whoever ends makes room
            return False
        pace = lane.pace
        if pace is not None:
            wait = lane.not_before - now
            if wait <= 0:
                wait = pace.ask(turn, now)
            if wait > 0:
                lane.next_at = now + wait
                if cap is not None:
                    cap.cancel()
                return False
        return True

    def _entry(
        self, lane: Lane, need: Turn, request: Request, route: Route, until: float, last: Turn | None
    ) -> Waiting:
        """A place in a lane's queue; the one that `last` had, where there was a turn."""
        entry = Waiting(lane, route, need, request, until, cost_of(lane, need))
        if last is not None:
            entry.ticket = last.ticket or next(self._early)
        return entry

    def _wait(self, entry: Waiting, now: float) -> Waiting:
        lane = entry.lane
        rate, ahead, blocked = (0.0, 0.0, 0.0) if lane.pace is None else lane.pace.flow(now)
        if blocked > 0 and now + blocked >= entry.deadline:
            raise too_late(entry.route, now + blocked - entry.deadline)
        late = lane.queue.push(entry, now, rate=rate, ahead=ahead)
        if late is not None:
            raise too_late(entry.route, late.retry_after)
        self.waiting += 1
        lane.provider.waiting[lane] = None
        if entry.deadline < NEVER:
            heapq.heappush(self._timed, entry)
            if len(self._timed) > 2 * self.waiting + 1000:
                self._timed = [each for each in self._timed if each.state == WAITING]
                heapq.heapify(self._timed)
        return entry

    def _gone(self, entry: Waiting) -> None:
        self.waiting -= 1
        lane = entry.lane
        if not lane.queue:
            lane.provider.waiting.pop(lane, None)
            lane.next_at = NEVER

    def _late(self, entry: Waiting, now: float) -> Waiting:
        self._gone(entry)
        entry.error = too_late(entry.route, max(0.0, now - entry.deadline))
        return entry

    def _pump_all(self, provider: Shared, now: float) -> list[Waiting]:
        """Room at a provider: its lanes in turn, whoever went last at the end."""
        told: list[Waiting] = []
        waiting = provider.waiting
        for lane in list(waiting):
            found = self._pump(lane, now)
            if found and lane in waiting:
                del waiting[lane]
                waiting[lane] = None
            told += found
        return told

    def _pump(self, lane: Lane, now: float) -> list[Waiting]:
        """Let go whoever may, in the queue's order. Returns them, and whoever is too late or has no route any more."""
        told: list[Waiting] = []
        queue, provider = lane.queue, lane.provider
        breakers = provider.breakers
        lane.next_at = NEVER
        while (entry := queue.peek(now)) is not None:
            permit = None
            if breakers is not None:
                admitted = breakers.admit(entry.route, now, entry.asked)
                if isinstance(admitted, Blocked):
                    queue.remove(entry)
                    self._gone(entry)
                    entry.error = no_turn(entry.route, admitted)
                    told.append(entry)
                    continue
                permit = admitted
            turn = entry.need
            if not self._goes(turn, lane, now):
                if permit is not None and breakers is not None:
                    breakers.release(permit, now)
                break
            queue.pop(now)
            turn.permit = permit
            turn.ticket = entry.ticket
            entry.turn = turn
            self._gone(entry)
            told.append(entry)
        told += [self._late(entry, now) for entry in queue.take_late()]
        return told
