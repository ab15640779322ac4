"""The cap on calls at once: it finds a provider's capacity and follows it, within its bounds and honest about slots."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import UpstreamError
from headgate.policy.concurrency import ANSWERED, IGNORED, OVERLOADED, Concurrency, outcome_of

UNBOUNDED = 10**9


class Provider:
    """A modelled provider in simulated time, under callers who always have one more call.

    Attributes:
        capacity: calls it works on at once.
        seconds: what each takes on average, log-normally spread.
        queue: how many it lets wait; it turns others away within 50 ms.
        demand: calls that callers want at once, at most.
        faults: the share of calls that it turns away for reasons of its own.
    """

    def __init__(
        self, cap: Concurrency, capacity: int, *, queue: int = UNBOUNDED, spread: float = 0.3, seed: int = 1
    ) -> None:
        self.cap, self.capacity, self.queue, self.spread = cap, capacity, queue, spread
        self.seconds, self.demand, self.faults = 1.0, UNBOUNDED, 0.0
        self.random = random.Random(seed)
        self.now = 1_795_000_000.0
        self.busy = self.answered = self.turn = 0
        self.waiting: list[float] = []
        self.events: list[tuple[float, int, Callable[[], None]]] = []

    def run(self, seconds: float) -> tuple[float, float]:
        """(the average cap, the average share of the capacity that was used), in this time."""
        end, area, last = self.now + seconds, 0.0, self.now
        self.answered = 0
        self.send()
        while self.events[0][0] <= end:
            at, _, what = heapq.heappop(self.events)
            area += self.cap.cap * (at - last)
            self.now = last = at
            what()
            self.send()
        area += self.cap.cap * (end - last)
        self.now = end
        return area / seconds, self.answered / seconds * self.seconds / self.capacity

    def at(self, when: float, what: Callable[[], None]) -> None:
        self.turn += 1
        heapq.heappush(self.events, (when, self.turn, what))

    def send(self) -> None:
        while self.cap.in_flight < self.demand and self.cap.try_acquire(self.now):
            since = self.now
            full = self.busy >= self.capacity
            if (full and len(self.waiting) >= self.queue) or self.random.random() < self.faults:
                self.at(since + 0.05, lambda since=since: self.end(since, OVERLOADED))
            elif full:
                self.waiting.append(since)
            else:
                self.work(since)

    def work(self, since: float) -> None:
        self.busy += 1
        lasts = self.seconds * self.random.lognormvariate(-(self.spread**2) / 2, self.spread)
        self.at(self.now + lasts, lambda: self.done(since))

    def done(self, since: float) -> None:
        self.busy -= 1
        self.answered += 1
        if self.waiting and self.busy < self.capacity:
            self.work(self.waiting.pop(0))
        self.end(since, ANSWERED)

    def end(self, since: float, outcome: str) -> None:
        self.cap.release(self.now - since, outcome, self.now)


KINDS = pytest.mark.parametrize("queue", [UNBOUNDED, 0], ids=["a provider that queues", "one that turns away"])


@KINDS
@pytest.mark.parametrize("spread", [0.1, 0.3, 0.8])
@pytest.mark.parametrize(("capacity", "seed"), [(20, 1), (20, 2), (20, 3), (100, 1)])  # five times as many, at once
def test_it_finds_the_capacity_within_a_fifth(queue: int, spread: float, capacity: int, seed: int) -> None:
    provider = Provider(Concurrency(), capacity, queue=queue, spread=spread, seed=seed)
    provider.run(60)
    cap, used = provider.run(120)
    assert 0.8 * capacity <= cap <= 1.2 * capacity
    assert used >= 0.8


@KINDS
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_follows_a_halving_and_a_doubling(queue: int, seed: int) -> None:
    provider = Provider(Concurrency(), 40, queue=queue, seed=seed)
    provider.run(60)
    for capacity in (20, 40, 80):
        provider.capacity = capacity
        provider.run(60)
        cap, used = provider.run(120)
        assert 0.8 * capacity <= cap <= 1.2 * capacity
        assert used >= 0.8


def test_answers_that_take_longer_at_any_load_do_not_lower_the_cap_for_good() -> None:
    provider = Provider(Concurrency(), 40)
    provider.run(60)
    provider.seconds = 3.0
    provider.run(200)
    cap, used = provider.run(200)
    assert 0.8 * 40 <= cap <= 1.25 * 40
    assert used >= 0.8


def test_a_cap_at_its_floor_comes_up_again_though_answers_take_longer_than_before() -> None:
    cap, now = Concurrency(initial=4, floor=4), 0.0

    def full_round(latency: float, outcome: str = ANSWERED) -> None:
        nonlocal now
        inside = 0
        while cap.try_acquire(now + 0.001):
            inside += 1
        now += 0.001 + latency
        for _ in range(inside):
            cap.release(latency, outcome, now)

    for _ in range(15):
        full_round(1.0)
    for _ in range(5):
        full_round(0.1, OVERLOADED)
    assert (cap.cap, cap.usual_latency) == (4, 1.0)
    for _ in range(60):
        full_round(3.0)
    assert cap.cap > 4
    assert cap.usual_latency == 3.0


def test_hours_at_the_limit_do_not_make_a_queue_usual() -> None:
    provider = Provider(Concurrency(), 10)
    provider.run(3600)
    cap, _ = provider.run(600)
    assert cap <= 1.25 * 10
    usual = provider.cap.usual_latency
    assert usual is not None
    assert usual <= 1.15


def test_a_provider_that_fails_one_call_in_fifty_for_reasons_of_its_own_is_not_taken_for_overloaded() -> None:
    provider = Provider(Concurrency(), 100)
    provider.faults = 0.02
    provider.run(60)
    cap, _ = provider.run(120)
    assert cap >= 80


def test_a_beginning_that_is_far_too_high_is_seen_by_itself() -> None:
    provider = Provider(Concurrency(initial=100), 20)
    provider.run(120)
    cap, _ = provider.run(120)
    assert cap <= 1.35 * 20


def test_callers_who_want_little_do_not_raise_the_cap() -> None:
    provider = Provider(Concurrency(), 1000)
    provider.demand = 8
    provider.run(120)
    assert provider.cap.cap == 16


def test_it_stays_within_floor_and_ceiling() -> None:
    high = Provider(Concurrency(ceiling=30), 1000)
    high.run(60)
    assert high.cap.cap == 30
    low = Provider(Concurrency(floor=4), 1, queue=0)
    low.run(60)
    assert 4 <= low.cap.cap <= 6


def test_a_fixed_cap_does_not_move() -> None:
    provider = Provider(Concurrency(fixed=7), 2, queue=0)
    assert provider.run(60)[0] == 7


def test_no_more_are_let_in_than_the_cap_and_a_release_makes_room() -> None:
    cap = Concurrency(fixed=2)
    assert [cap.try_acquire(0.0) for _ in range(3)] == [True, True, False]
    cap.release(1.0, ANSWERED, 1.0)
    assert cap.try_acquire(1.0)
    assert not cap.try_acquire(1.0)


def test_calls_on_their_way_when_it_was_lowered_do_not_lower_it_again() -> None:
    cap = Concurrency(initial=16)
    assert all(cap.try_acquire(0.0) for _ in range(16))
    for _ in range(16):
        cap.release(1.0, OVERLOADED, 1.0)
    assert cap.cap == 8


def test_what_says_nothing_about_load_changes_nothing() -> None:
    cap = Concurrency(initial=16)
    for number in range(1000):
        assert cap.try_acquire(float(number))
        cap.release(50.0 if number % 2 else None, IGNORED if number % 2 else ANSWERED, float(number))
    assert (cap.cap, cap.in_flight, cap.usual_latency) == (16, 0, None)


def test_a_lowered_cap_lets_nobody_in_until_enough_have_ended() -> None:
    cap = Concurrency(initial=10, floor=2)
    assert all(cap.try_acquire(0.0) for _ in range(10))
    for _ in range(4):
        cap.release(0.5, OVERLOADED, 0.5)
    assert (cap.cap, cap.in_flight) == (5, 6)
    assert not cap.try_acquire(1.0)
    cap.release(1.0, ANSWERED, 1.0)
    assert not cap.try_acquire(1.0)
    cap.release(1.0, ANSWERED, 1.0)
    assert cap.try_acquire(1.0)


@given(
    st.integers(1, 5),
    st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from([None, 0.0, 0.1, 1.0, 100.0]),
            st.sampled_from([ANSWERED, ANSWERED, OVERLOADED, IGNORED]),
            st.floats(-1, 10),
        ),
        max_size=300,
    ),
)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_slots_are_counted_and_the_cap_stays_in_its_bounds(
    floor: int, steps: list[tuple[bool, float | None, str, float]]
) -> None:
    cap, inside, now = Concurrency(initial=5, floor=floor, ceiling=20), 0, 0.0
    for acquire, latency, outcome, gap in steps:
        now += gap
        if acquire:
            had_room = inside < cap.cap
            assert cap.try_acquire(now) == had_room
            inside += had_room
        elif inside:
            cap.release(latency, outcome, now)
            inside -= 1
        assert cap.in_flight == inside
        assert floor <= cap.cap <= 20


def test_a_release_too_many_leaves_no_slot_behind() -> None:
    cap = Concurrency(fixed=1)
    cap.release(1.0, ANSWERED, 0.0)
    assert cap.in_flight == 0
    assert [cap.try_acquire(0.0), cap.try_acquire(0.0)] == [True, False]


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("overloaded", OVERLOADED),
        ("timeout", OVERLOADED),
        ("busy", IGNORED),
        ("server", IGNORED),
        ("caller", IGNORED),
        ("saturated", IGNORED),
        ("connect", IGNORED),
    ],
)
def test_what_an_error_says_about_load(kind: str, outcome: str) -> None:
    assert outcome_of(UpstreamError("it failed", kind=kind)) == outcome
    assert outcome_of(None) == ANSWERED


@pytest.mark.parametrize("wrong", [{"fixed": 0}, {"floor": 0}, {"initial": 1}, {"ceiling": 3}])
def test_a_cap_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="cap"):
        Concurrency(**wrong)
