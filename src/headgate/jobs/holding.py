"""Money for a whole batch: set aside before its first line goes, and settled as its lines are (decisions 1 to 4).

A batch's holds are exchanges of the ledger's own that send nothing: each stands for up to `ITEMS` lines that claim the
same budgets. Lines that fit into what is set aside for them make no hold of their own (`Request.prepaid_nano`); what
they have cost is on their own rows, and settles the hold they belong to. Nobody waits for a batch's holds.

A process that dies leaves them to the sweep, which charges them in full. Whoever goes on corrects that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from headgate.core.budget import Claim
from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded, HeadgateError, Unavailable
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
from headgate.core.money import usd_text
from headgate.core.usage import Usage
from headgate.engine.books import FREE
from headgate.jobs.requests import WAY_IN, Cost, caller_of
from headgate.policy.batching import at_share, batch_share
from headgate.stores.batch_items import Batch, BatchStore, Drawn, Hold
from headgate.stores.usage_sums import HOLDS

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.policy.charging import Charging
    from headgate.wire.batch_lines import Line

ITEMS = 500
"""Lines of one hold. Fewer settle sooner; more are fewer rows."""

WAIT_SECONDS = 60.0
"""How long a batch waits for other calls to settle, where that would make room for it."""

NEW, OPEN, CLOSED = "new", "open", "closed"


class Grouping:
    """Which hold each line belongs to, while a file is read."""

    def __init__(self, built: Built, store: BatchStore, batch: Batch) -> None:
        self._built = built
        self._store = store
        self._batch = batch
        self._open: dict[tuple[str, str, str], tuple[int, int]] = {}  # the hold that is being filled, and how far
        self._new: list[Hold] = []
        self._next = 0

    def add(self, line: Line, caller: Caller, cost: Cost | None) -> int | None:
        """The hold's number; None where the line cannot be bounded: it goes to the engine as any other call."""
        if cost is None or cost.nano is None:
            return None
        key = (caller.user, cost.route.provider, cost.route.model)
        number, filled = self._open.get(key, (-1, ITEMS))
        if filled >= ITEMS:
            number, filled = self._next, 0
            self._next += 1
            self._new.append(Hold(number, cost.route.provider, cost.route.model, caller.user))
        self._open[key] = (number, filled + 1)
        return number

    def write(self) -> None:
        """Put the holds on record; nothing is set aside yet."""
        self._store.add_holds(self._batch.id, self._new)


class BatchHolds:
    """The holds of one batch, in the process that works at it. Its store is asked in place: a few queries each."""

    def __init__(self, built: Built, store: BatchStore, batch: Batch) -> None:
        self._built = built
        self._store = store
        self._batch = batch
        # Opened in this process, by whichever run: of what is at a provider, they outlive it.
        self._mine: dict[int, tuple[Exchange, Attempt]] = store.place.held.setdefault(batch.id, {})
        self.open: set[int] = set(self._mine)
        """Numbers of the holds that lines can be sent on."""

    def end_old(self) -> None:
        """Those of an earlier process: what their lines have come to by now is settled, and no more."""
        for hold in self._store.holds(self._batch.id):
            if hold.state == OPEN and hold.number not in self._mine:
                self._close(hold, self._store.drawn(self._batch.id, hold.number).get(hold.number, Drawn()))

    def adopt_old(self) -> None:
        """Those of an earlier process stay charged as they are until their lines are over: these are at a provider."""
        self.open |= {hold.number for hold in self._store.holds(self._batch.id) if hold.state == OPEN}

    async def take(self, *, always: bool, numbers: set[int] | None = None) -> int:
        """Set aside what the lines that are left can cost: all of it, or nothing. Returns that, in nano-dollars.

        Args:
            always: be on record even where no budget applies: what is sent is out of our hands.
            numbers: of these holds only.

        Raises:
            BudgetExceeded: it does not fit.
            Unavailable: the ledger cannot be written.
        """
        drawn = self._store.drawn(self._batch.id)
        taken: list[Hold] = []
        total = 0
        try:
            for hold in self._store.holds(self._batch.id):
                left = drawn.get(hold.number, Drawn())
                if not left.left or hold.state == OPEN or (numbers is not None and hold.number not in numbers):
                    continue
                route = self._route(hold)
                if not always and not self._claims(hold, route, self._now()):
                    continue
                hold.bound_nano = self._bound(hold, drawn)
                hold.bound_tokens = left.bound_tokens
                total += hold.bound_nano
                taken.append(hold)
                await self._open_one(hold, route)
        except HeadgateError as error:
            for hold in taken:
                self._close(hold, drawn.get(hold.number, Drawn()))
            if isinstance(error, BudgetExceeded):
                every = sum(self._bound(each, drawn) for each in self._store.holds(self._batch.id))
                raise BudgetExceeded(
                    f"the batch can cost up to ${usd_text(every)}, and that much is set aside before it begins: "
                    f"{error.message}",
                    status_hint=error.status_hint,
                    claim=error.claim,
                    why=error.why,
                    room_nano=error.room_nano,
                    room_tokens=error.room_tokens,
                ) from error
            raise
        return total

    async def _open_one(self, hold: Hold, route: Route) -> None:
        now = self._now()
        ports = self._built.engine.ports
        hold.exchange, hold.started, hold.state = ports.new_id(now), now, OPEN
        self._store.set_hold(self._batch.id, hold)  # before the ledger has it: what may be charged is known of
        exchange, attempt = self._exchange(hold, route)
        self._mine[hold.number] = (exchange, attempt)
        await ports.ledger.intend(exchange, attempt, until=now + WAIT_SECONDS, may_wait=True)
        attempt.sent = True
        self.open.add(hold.number)

    def settle(self, number: int) -> None:
        """All lines of a hold are over, or it is to be given back for now: what they have drawn settles it."""
        hold = next((each for each in self._store.holds(self._batch.id) if each.number == number), None)
        if hold is not None and hold.state == OPEN:
            self._close(hold, self._store.drawn(self._batch.id, number).get(number, Drawn()))

    def give_back(self) -> None:
        """Nobody works at the batch for now: what is not used is given back."""
        for number in sorted(self.open):
            self.settle(number)

    def settle_over(self) -> None:
        """Settle those of which no line is left."""
        drawn = self._store.drawn(self._batch.id)
        for number in sorted(self.open):
            if not drawn.get(number, Drawn()).left:
                self.settle(number)

    def _close(self, hold: Hold, drawn: Drawn) -> None:
        mine = self._mine.pop(hold.number, None)
        self.open.discard(hold.number)
        exchange, attempt = mine or self._exchange(hold, self._route(hold))
        now = self._now()
        attempt.elsewhere_nano = drawn.drawn_nano - hold.settled_nano
        attempt.elsewhere_tokens = drawn.drawn_tokens - hold.settled_tokens
        attempt.usage, attempt.usage_final = Usage(), True
        attempt.ended = exchange.ended = now
        attempt.price_version = FREE
        exchange.ending, exchange.status = Ending.COMPLETE, 200
        if mine is not None:
            self._built.engine.ports.ledger.settle(exchange)
            with contextlib.suppress(Unavailable):  # then it stays queued
                self._built.ledger.flush()  # before it says "closed": nobody would correct what a sweep has charged
        elif hold.exchange:
            self._built.ledger.correct(exchange)
        hold.state = CLOSED
        hold.settled_nano, hold.settled_tokens = drawn.drawn_nano, drawn.drawn_tokens
        self._store.set_hold(self._batch.id, hold)

    def _exchange(self, hold: Hold, route: Route) -> tuple[Exchange, Attempt]:
        batch = self._batch
        caller = caller_of(batch.caller, batch.id, hold.user)
        request = Request(
            dialect=batch.dialect,
            endpoint=HOLDS,
            method="POST",
            path="",
            headers=[],
            body=b"",
            facts=Facts(model=hold.model),
            caller=caller,
            way_in=WAY_IN,
            correlation_id=batch.id,
        )
        exchange = Exchange(hold.exchange, request, hold.started)
        claims = self._claims(hold, route, hold.started)
        attempt = Attempt(
            1, route, hold.started, hold.bound_nano, claims=claims, bound_tokens=hold.bound_tokens, lasting=True
        )
        exchange.attempts.append(attempt)
        return exchange, attempt

    def _claims(self, hold: Hold, route: Route, at: float) -> tuple[Claim, ...]:
        caller = caller_of(self._batch.caller, self._batch.id, hold.user)
        return self._built.engine.policies.budgets.claims(caller, route, hold.model, at)

    def _route(self, hold: Hold) -> Route:
        known = self._built.router.providers.get(hold.provider)
        return Route(hold.provider, hold.model, "", "") if known is None else replace(known, model=hold.model)

    def _bound(self, hold: Hold, drawn: Mapping[int, Drawn]) -> int:
        left = drawn.get(hold.number, Drawn())
        return at_share(left.bound_nano, self._share(self._route(hold)))

    def _share(self, route: Route) -> tuple[int, int]:
        if self._batch.via == "paced":
            return 1, 1
        try:
            book = cast("Charging", self._built.engine.policies.charges).book
            return batch_share(book.price_for(route.provider, route.model, self._now()))
        except HeadgateError:
            return 1, 1

    def _now(self) -> float:
        return self._built.engine.ports.clock.now()
