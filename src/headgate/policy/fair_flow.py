"""Start-time fair queueing on two levels, tenants and their users, for `fair_queue`.

Heaps hold what was there when it was pushed; what has left is skipped when it comes to the top, and a heap with more of
it than of the living is made anew. So removal costs nothing at once, and memory stays in proportion to what waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Any

MOST_IDLE = 4096
"""Tenants or users without anything waiting whose debt is remembered; beyond it the oldest debts, of one call each, are
forgiven."""

CREDIT = 8.0
"""Calls by which who has had less than its share of late may be ahead. Without it a tenant that stays below its share,
but whose calls come at random, gets one of a handful per round, as the flood beside it does: at 0.8 of its share a p95
of 2.7 rounds in place of 1.0. Beyond 8 little is gained. Who is new, or back after a longer pause, has left nothing to
anybody that is remembered, and has none."""

_SLACK = 16  # entries that a heap may hold beyond twice the living

# What waits is any object with tenant, user, cost, deadline, ticket and flow: `fair_queue.Entry`.
Waiting = Any


class _Flow:
    """One share of a level: `start` is its virtual start, in cost / weight."""

    __slots__ = ("cost", "known", "live", "queued", "start", "weight")

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.known = False  # something of its has gone, so `start` tells what it has had of late
        self.start = 0.0
        self.cost = 0.0  # of what waits in it
        self.live = 0
        self.queued = 0  # the number of its place in the level's heap; 0 = in none

    def credit(self, cost: float) -> float:
        """By how much its start may be behind the others', where its calls have this cost."""
        return CREDIT * cost / self.weight if self.known else 0.0


class User(_Flow):
    """One user's waiting entries, earliest deadline first, then first come."""

    __slots__ = ("_entries", "latest", "tenant")

    def __init__(self, tenant: Tenant) -> None:
        super().__init__(1.0)
        self.tenant = tenant
        self.latest = 0.0  # deadline among those waiting
        self._entries: list[tuple[float, int, Waiting]] = []

    def push(self, entry: Waiting) -> None:
        """Let it wait here."""
        self.latest = entry.deadline if not self.live else max(self.latest, entry.deadline)
        self.live += 1
        self.cost += entry.cost
        entry.flow = self
        heappush(self._entries, (entry.deadline, entry.ticket, entry))

    def head(self) -> Waiting:
        """The first that waits; there is one."""
        entries = self._entries
        while entries[0][2].flow is not self:
            heappop(entries)
        return entries[0][2]

    def discard(self, entry: Waiting) -> None:
        """It waits no longer."""
        entry.flow = None
        self.live -= 1
        self.cost -= entry.cost
        if not self.live:
            self._entries.clear()
            self.cost = 0.0
        elif len(self._entries) > 2 * self.live + _SLACK:
            self._entries = [place for place in self._entries if place[2].flow is self]
            heapify(self._entries)

    def work_before(self, deadline: float) -> float:
        """About the cost of what goes before an entry with this deadline, were it to come now."""
        if not self.live:
            return 0.0
        if deadline >= self.latest:
            return self.cost
        first: float = self.head().deadline
        if deadline < first:
            return 0.0
        if self.latest == float("inf"):
            return self.cost / 2  # deadlines and none: nothing to measure by
        return self.cost * (deadline - first) / (self.latest - first)


class Level:
    """Flows that share by weight."""

    __slots__ = ("_active", "_heap", "_places", "_refunds", "flows", "virtual", "weights")

    def __init__(self) -> None:
        self.flows: dict[str, Any] = {}
        self.virtual = 0.0  # start of what went last
        self.weights = 0.0  # of those with anything waiting
        self._active = 0
        self._heap: list[tuple[float, int, Any]] = []
        self._places = self._refunds = 0

    def wake(self, flow: _Flow, cost: float) -> None:
        """It had nothing waiting, and now has something of this cost."""
        self._active += 1
        self.weights += flow.weight
        flow.start = max(flow.start, self.virtual - flow.credit(cost))
        self._place(flow)

    def first(self) -> Any:
        """The flow whose turn it is; there is one."""
        heap = self._heap
        while heap[0][2].queued != heap[0][1]:
            heappop(heap)
        return heap[0][2]

    def charge(self, flow: _Flow, cost: float) -> None:
        """Something of its went: it was the first."""
        self.virtual = max(self.virtual, flow.start)
        flow.start += cost / flow.weight
        flow.known = True
        self._place(flow)

    def refund(self, flow: _Flow, cost: float) -> None:
        """What went has come back; it waits again."""
        flow.start = max(self.virtual, flow.start - cost / flow.weight)
        self._refunds -= 1
        self._put(flow, self._refunds)  # before those with the same start: it had its turn

    def rest(self, name: str, flow: _Flow, cost: float) -> None:
        """It has nothing waiting any more; `cost` is of what was its last. While others wait its debt is kept, and
        what it has left to them, up to its credit."""
        self._active -= 1
        self.weights -= flow.weight
        flow.queued = 0
        flows = self.flows
        if not self._active:
            flows.clear()
            self._heap.clear()
            self.virtual = self.weights = 0.0
        elif flow.start <= self.virtual - flow.credit(cost):
            del flows[name]
        elif len(flows) - self._active > MOST_IDLE:
            self._forgive()

    def debt(self, flow: _Flow | None) -> float:
        """Cost that it is ahead of the others, and has to let them go for."""
        return 0.0 if flow is None else max(0.0, flow.start - self.virtual) * flow.weight

    def _place(self, flow: _Flow) -> None:
        self._places += 1
        self._put(flow, self._places)

    def _put(self, flow: _Flow, place: int) -> None:
        """Where its start says, and `place` among equals; its old place is void."""
        flow.queued = place
        heappush(self._heap, (flow.start, place, flow))
        if len(self._heap) > 2 * self._active + _SLACK:
            self._heap = [kept for kept in self._heap if kept[2].queued == kept[1]]
            heapify(self._heap)

    def _forgive(self) -> None:
        idle = [name for name, flow in self.flows.items() if not flow.live]
        paid = [name for name in idle if self.flows[name].start <= self.virtual]
        for name in {*paid, *idle[: len(idle) // 2]}:
            del self.flows[name]


class Tenant(_Flow):
    """One tenant, and its users."""

    __slots__ = ("name", "users")

    def __init__(self, name: str, weight: float) -> None:
        super().__init__(weight)
        self.name = name
        self.users = Level()


class Flows:
    """All tenants of one class, interactive or batch.

    Args:
        weights: of tenants; 1.0 where none is told. Taken as 0.001 to 1,000.
    """

    __slots__ = ("_tenants", "_weights", "cost", "live")

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights
        self._tenants = Level()
        self.cost = 0.0
        self.live = 0

    def push(self, entry: Waiting) -> None:
        """Let it wait."""
        tenants = self._tenants
        tenant: Tenant | None = tenants.flows.get(entry.tenant)
        if tenant is None:
            weight = min(1000.0, max(0.001, self._weights.get(entry.tenant, 1.0)))
            tenant = tenants.flows[entry.tenant] = Tenant(entry.tenant, weight)
        user: User | None = tenant.users.flows.get(entry.user)
        if user is None:
            user = tenant.users.flows[entry.user] = User(tenant)
        user.push(entry)
        self.live += 1
        self.cost += entry.cost
        tenant.live += 1
        tenant.cost += entry.cost
        if user.live == 1:
            tenant.users.wake(user, entry.cost)
        if tenant.live == 1:
            tenants.wake(tenant, entry.cost)

    def head(self) -> Waiting:
        """What goes next; something waits."""
        return self._tenants.first().users.first().head()

    def pop(self) -> Waiting:
        """Take what goes next, and charge it."""
        entry = self.head()
        user: User = entry.flow
        user.tenant.users.charge(user, entry.cost)
        self._tenants.charge(user.tenant, entry.cost)
        self.discard(entry)
        return entry

    def discard(self, entry: Waiting) -> None:
        """It waits no longer; nothing is charged."""
        user: User = entry.flow
        tenant = user.tenant
        user.discard(entry)
        self.live -= 1
        self.cost = self.cost - entry.cost if self.live else 0.0
        tenant.live -= 1
        tenant.cost = tenant.cost - entry.cost if tenant.live else 0.0
        if not user.live:
            tenant.users.rest(entry.user, user, entry.cost)
        if not tenant.live:
            self._tenants.rest(tenant.name, tenant, entry.cost)

    def refund(self, entry: Waiting) -> None:
        """It waits again, and is not charged for having gone."""
        user: User = entry.flow
        user.tenant.users.refund(user, entry.cost)
        self._tenants.refund(user.tenant, entry.cost)

    def work_before(self, tenant_name: str, user_name: str, deadline: float) -> float:
        """About the cost of what goes before an entry that came now."""
        tenants = self._tenants
        tenant: Tenant | None = tenants.flows.get(tenant_name)
        if tenant is None:
            return 0.0
        user: User | None = tenant.users.flows.get(user_name)
        work, own, own_weight = 0.0, 0.0, 0.0
        if user is not None and user.live:
            work, own, own_weight = user.work_before(deadline), user.cost, user.weight
        others = tenant.users.weights - own_weight
        work += min(tenant.cost - own, (work + tenant.users.debt(user)) * others)
        weight = tenant.weight if tenant.live else 0.0
        others = (tenants.weights - weight) / tenant.weight
        return work + min(self.cost - tenant.cost, (work + tenants.debt(tenant)) * others)
