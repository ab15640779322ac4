"""The order in which waiting exchanges go. Pure: no clock, no lock, no waiting of its own; the owner has all three.

Interactive before batch, with a floor share for batch; weighted fair between tenants, then between a tenant's users;
earliest deadline first within a user. Fairness is start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996) over
the estimated cost: each tenant and user has a virtual start, the lowest goes next, and going moves it on by cost /
weight. Who comes back after a long pause starts with the others, neither behind nor ahead; after a short one it may
have left them up to `fair_flow.CREDIT` calls. Every operation is O(log n), amortised.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from headgate.policy.fair_flow import Flows, User

BATCH_FLOOR = 0.1
"""Of the cost that goes, batch's share while interactive exchanges wait, too. All of it when none does."""

LEAST_COST = 1e-6
WAITING, GONE, LATE, LEFT = "waiting", "gone", "late", "left"

_NEVER = float("inf")
_EVEN: Mapping[str, float] = MappingProxyType({})


class Entry:
    """One waiting exchange.

    Args:
        tenant, user: whose it is; "" is one tenant, or user, like any other.
        cost: in any one unit, the same for all entries (`Pace.cost` gives seconds of the tightest limit).
        deadline: when it has to go, seconds of the owner's clock; infinity = no deadline.
        batch: background work.
        bearer: the owner's own object.

    Attributes:
        state: "waiting", "gone" (popped), "late" (its deadline came first) or "left" (removed); "" before `push`.
        ticket: its place among equals, kept when it is given back.
    """

    __slots__ = ("batch", "bearer", "cost", "deadline", "flow", "state", "tenant", "ticket", "user")

    def __init__(
        self,
        tenant: str = "",
        user: str = "",
        *,
        cost: float = 1.0,
        deadline: float = _NEVER,
        batch: bool = False,
        bearer: Any = None,
    ) -> None:
        self.tenant = tenant
        self.user = user
        self.cost = max(LEAST_COST, cost)
        self.deadline = deadline
        self.batch = batch
        self.bearer = bearer
        self.state = ""
        self.ticket = 0
        self.flow: User | None = None  # where it waits

    def __lt__(self, other: Entry) -> bool:
        """By deadline. A user's heap asks where deadline and ticket are alike: one that came back, and what is left of
        its last stay."""
        return self.deadline < other.deadline


class TooLate:
    """Why an entry was not taken in.

    Attributes:
        wait: seconds it would have waited.
        retry_after: seconds after which it would just have made it, if nothing else comes: what to tell the caller.
    """

    __slots__ = ("retry_after", "wait")

    def __init__(self, wait: float, retry_after: float) -> None:
        self.wait = wait
        self.retry_after = retry_after


E = TypeVar("E", bound=Entry)


class FairQueue(Generic[E]):
    """Waiting exchanges of one pace (provider account and model family).

    Args:
        weights: of tenants, > 0; 1.0 where none is told. Twice the weight is twice the share while all are waiting.
        batch_floor: 0 to 0.9, see `BATCH_FLOOR`. 0 lets batch starve.
    """

    __slots__ = ("_batch", "_credit", "_floor", "_interactive", "_late", "_tickets")

    def __init__(self, *, weights: Mapping[str, float] = _EVEN, batch_floor: float = BATCH_FLOOR) -> None:
        if not 0 <= batch_floor <= 0.9:
            raise ValueError(f"batch_floor has to be 0 to 0.9, not {batch_floor}")
        self._floor = batch_floor
        self._interactive = Flows(weights)
        self._batch = Flows(weights)
        self._credit = 0.0  # cost that batch is owed
        self._tickets = count(1)
        self._late: list[E] = []

    def __len__(self) -> int:
        return self._interactive.live + self._batch.live

    @property
    def cost(self) -> float:
        """Of everything that waits."""
        return self._interactive.cost + self._batch.cost

    def push(self, entry: E, now: float, *, rate: float = 0.0, ahead: float = 0.0) -> TooLate | None:
        """Let an entry wait; or say at once that it could not go before its deadline. None = it waits.

        Args:
            rate: cost per second that goes, as known (1.0 where costs are seconds of the tightest limit); 0 = unknown,
                and then only a deadline in the past is refused.
            ahead: cost that can go at once, before the rate counts: what is left in the buckets.

        Raises:
            ValueError: it waits already.
        """
        if entry.state == WAITING:
            raise ValueError("this entry waits already")
        if entry.deadline < _NEVER:
            wait = self.wait_estimate(entry, rate=rate, ahead=ahead)
            late = now + wait - entry.deadline
            if late > 0 or entry.deadline <= now:
                entry.state = LATE
                return TooLate(wait, max(0.0, late))
        if not entry.ticket:
            entry.ticket = next(self._tickets)
        self._add(entry)
        return None

    def peek(self, now: float) -> E | None:
        """What `pop` would give. Those whose deadline has come are moved to `take_late` on the way."""
        flows = self._next_flows(now)
        if flows is None:
            return None
        head: E = flows.head()
        return head

    def pop(self, now: float) -> E | None:
        """The entry that goes next, None where nothing waits. It is charged to its tenant and user."""
        flows = self._next_flows(now)
        if flows is None:
            return None
        entry: E = flows.pop()
        entry.state = GONE
        if flows is self._batch:
            if self._interactive.live:
                self._credit -= entry.cost
        elif self._batch.live:
            self._credit += entry.cost * self._floor / (1 - self._floor)
        if not self._batch.live:
            self._credit = 0.0
        return entry

    def give_back(self, entry: E) -> None:
        """An entry that was popped could not go after all: it waits again, in its old place, and is not charged.

        Raises:
            ValueError: it was not popped.
        """
        if entry.state != GONE:
            raise ValueError("only an entry that was popped can be given back")
        flows = self._batch if entry.batch else self._interactive
        if not entry.batch and self._batch.live:
            self._credit -= entry.cost * self._floor / (1 - self._floor)
        elif entry.batch and self._interactive.live:
            self._credit += entry.cost
        self._add(entry)
        flows.refund(entry)

    def remove(self, entry: E) -> bool:
        """Its caller has left. False where it does not wait any more. O(1); the place in the order goes later."""
        if entry.state != WAITING:
            return False
        self._drop(entry, LEFT)
        return True

    def take_late(self) -> list[E]:
        """The entries whose deadline came before their turn, since this was last called."""
        late, self._late = self._late, []
        return late

    def wait_estimate(self, entry: E, *, rate: float, ahead: float = 0.0) -> float:
        """Seconds until `entry` would go if it came now and nothing came after it; 0.0 where the rate is unknown.

        What goes before it: its user's earlier deadlines; of the other users and tenants as much as their shares let go
        meanwhile, at most what they have waiting; and the other class's share. An estimate: costs are.

        Args:
            rate, ahead: as for `push`.
        """
        if rate <= 0:
            return 0.0
        own, other = (self._batch, self._interactive) if entry.batch else (self._interactive, self._batch)
        work = own.work_before(entry.tenant, entry.user, entry.deadline)
        floor = self._floor
        if not entry.batch:
            work += min(other.cost, work * floor / (1 - floor))
        elif floor > 0:
            work += min(other.cost, (work + entry.cost) * (1 - floor) / floor)
        else:
            work += other.cost
        return max(0.0, work + entry.cost - ahead) / rate

    def _add(self, entry: E) -> None:
        entry.state = WAITING
        (self._batch if entry.batch else self._interactive).push(entry)

    def _drop(self, entry: E, state: str) -> None:
        entry.state = state
        (self._batch if entry.batch else self._interactive).discard(entry)
        if not self._batch.live:
            self._credit = 0.0

    def _next_flows(self, now: float) -> Flows | None:
        """The class whose head goes next, with a head that is in time."""
        interactive, batch = self._interactive, self._batch
        while True:
            if interactive.live and batch.live:
                flows = batch if self._credit >= batch.head().cost else interactive
            elif interactive.live or batch.live:
                flows = interactive if interactive.live else batch
            else:
                return None
            head: E = flows.head()
            if head.deadline > now:
                return flows
            self._drop(head, LATE)
            self._late.append(head)
