"""Retry budgets: a storm is not multiplied, a quiet provider's hiccup is retried, and hidden errors are told."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import UpstreamError
from headgate.core.exchange import Attempt, Route
from headgate.policy.failures import failure
from headgate.policy.recovery import Recovery, Retry
from headgate.policy.retry_budget import RetryBudget

T0 = 1_795_000_000.0
BUSY = failure(429, (), b"", type_="rate_limit_error")
BROKEN = failure(500, (), b"", type_="api_error")
CALLERS = failure(400, (), b"", type_="invalid_request_error")
ROUTE = Route("anthropic", "claude-haiku-4-5", "anthropic", "http://a")


class Storm:
    """Logical calls through the engine's own recovery to a provider that fails some of them. Time is simulated.

    Args:
        fails: the error of an attempt at a moment, or None.
        insist: the callers' SDKs try twice more, as by default (wire-formats 1.9), although they are told not to.
    """

    def __init__(
        self,
        per_second: float,
        seconds: float,
        fails: Callable[[float, random.Random], UpstreamError | None],
        insist: bool,
    ) -> None:
        self.budget = RetryBudget()
        self.recovery = Recovery()
        self.random = random.Random(11)
        self.fails = fails
        self.insist = insist
        self.logical = self.upstream = self.answered = 0
        self.turn = 0
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        at = T0
        while at < T0 + seconds:
            at += self.random.expovariate(per_second)
            self.at(at, self.call)
        while self.events:
            now, _, what = heapq.heappop(self.events)
            what(now)

    @property
    def amplification(self) -> float:
        return self.upstream / self.logical

    def at(self, when: float, what: Callable[[float], None]) -> None:
        self.turn += 1
        heapq.heappush(self.events, (when, self.turn, what))

    def call(self, now: float) -> None:
        self.logical += 1
        self.exchange(now, 0)

    def exchange(self, now: float, client_retries: int) -> None:
        if client_retries and not self.budget.client_retry(now):
            self.lost(now, client_retries)
            return
        self.attempt(now, [], client_retries)

    def attempt(self, now: float, attempts: list[Attempt], client_retries: int) -> None:
        self.upstream += 1
        error = self.fails(now, self.random)
        attempts.append(Attempt(len(attempts) + 1, ROUTE, now, error=error))
        self.budget.note_attempt(error, now)
        if error is None:
            self.answered += 1
            self.budget.note_exchange(None, now)
            return
        left = attempts[0].started + 120 - now
        step = self.recovery.next(attempts, [ROUTE], left=left, jitter=self.random.random())
        if isinstance(step, Retry) and self.budget.may_retry(now):
            self.at(now + step.after, lambda then: self.attempt(then, attempts, client_retries))
            return
        self.budget.note_exchange(error, now)
        self.lost(now, client_retries)

    def lost(self, now: float, client_retries: int) -> None:
        if self.insist and client_retries < 2:
            wait = min(0.5 * 2**client_retries, 8) * self.random.uniform(0.75, 1)
            self.at(now + wait, lambda then: self.exchange(then, client_retries + 1))


@pytest.mark.parametrize("insist", [False, True], ids=["sdks that obey", "sdks that insist"])
@pytest.mark.parametrize("error", [BUSY, BROKEN], ids=["429", "500"])
@pytest.mark.parametrize("share", [1.0, 0.9, 0.6, 0.3, 0.1])
def test_a_storm_costs_at_most_1_3_upstream_calls_per_logical_call(
    share: float, error: UpstreamError, insist: bool
) -> None:
    storm = Storm(20, 60, lambda _, r: error if r.random() < share else None, insist)
    assert storm.amplification <= 1.3


def test_a_storm_in_the_midst_of_good_times_is_not_multiplied_and_callers_get_their_answers_again_after_it() -> None:
    def fails(now: float, _: random.Random) -> UpstreamError | None:
        return BUSY if T0 + 30 <= now < T0 + 60 else None

    storm = Storm(20, 90, fails, insist=True)
    assert storm.amplification <= 1.3
    assert storm.answered >= 0.6 * storm.logical


def test_a_tenth_of_failures_is_retried_to_nearly_none() -> None:
    storm = Storm(20, 60, lambda _, r: BROKEN if r.random() < 0.1 else None, insist=False)
    assert storm.answered >= 0.99 * storm.logical
    rates = storm.budget.rates(T0 + 61)
    assert 0.05 < rates.attempt_errors < 0.15
    assert rates.exchange_errors < 0.01


def test_a_caller_with_few_calls_has_its_retries_too() -> None:
    budget = RetryBudget()
    assert [budget.may_retry(T0 + n) for n in range(6)] == [True] * 5 + [False]
    assert budget.may_retry(T0 + 30)


def test_successes_earn_retries_and_lose_them_with_the_window() -> None:
    budget = RetryBudget(share=0.2, floor_per_second=0)
    for _ in range(10):
        budget.note_attempt(None, T0)
    assert budget.balance(T0) == pytest.approx(2)
    assert [budget.may_retry(T0) for _ in range(3)] == [True, True, False]
    assert budget.balance(T0 + 11) == 0
    assert not budget.may_retry(T0 + 11)


def test_a_retry_of_the_callers_own_counts() -> None:
    budget = RetryBudget(share=0, floor_per_second=0.1)
    assert budget.client_retry(T0)
    assert not budget.may_retry(T0)
    assert not budget.client_retry(T0)


def test_failures_earn_nothing() -> None:
    budget = RetryBudget(share=10, floor_per_second=0)
    for error in (BUSY, BROKEN, CALLERS):
        budget.note_attempt(error, T0)
    assert not budget.may_retry(T0)


@given(
    st.floats(0, 1),
    st.floats(0, 5),
    st.lists(st.tuples(st.sampled_from(["success", "retry", "client"]), st.floats(0, 3)), max_size=120),
)
def test_in_no_window_are_there_more_retries_than_its_successes_and_the_floor_allow(
    share: float, floor: float, events: list[tuple[str, float]]
) -> None:
    budget, now = RetryBudget(share, floor), T0
    successes: list[float] = []
    retries: list[float] = []
    for what, gap in events:
        now += gap
        if what == "success":
            budget.note_attempt(None, now)
            successes.append(now)
        elif budget.may_retry(now) if what == "retry" else budget.client_retry(now):
            retries.append(now)
            lately = sum(at > now - 10 for at in retries)
            earned = share * sum(at > now - 11 for at in successes)  # kept to a slot of a second exactly
            assert lately <= earned + floor * 10 + 1e-6


@given(st.lists(st.tuples(st.sampled_from([None, BUSY, CALLERS]), st.floats(0, 60)), max_size=100))
def test_the_rates_are_those_of_the_last_five_minutes(events: list[tuple[UpstreamError | None, float]]) -> None:
    budget, now, seen = RetryBudget(), T0, []
    for error, gap in events:
        now += gap
        budget.note_attempt(error, now)
        budget.note_exchange(error, now)
        if error is not CALLERS:
            seen.append((now, error))
    rates = budget.rates(now)
    surely = [error for at, error in seen if at > now - 300]
    perhaps = [error for at, error in seen if at > now - 330]
    assert len(surely) <= rates.attempts <= len(perhaps)
    assert rates.attempts == rates.exchanges
    assert surely.count(BUSY) <= round(rates.attempt_errors * rates.attempts) <= perhaps.count(BUSY)


def test_a_tenth_of_failures_that_retries_hide_is_told() -> None:
    budget = RetryBudget()
    for number in range(100):
        if number % 9 == 0:
            budget.note_attempt(BROKEN, T0 + number)
        budget.note_attempt(None, T0 + number)
        budget.note_exchange(None, T0 + number)
    rates = budget.rates(T0 + 100)
    assert rates.attempt_errors == pytest.approx(12 / 112)
    assert rates.exchange_errors == 0
    assert rates.hidden
    assert not budget.rates(T0 + 500).hidden


def test_failures_that_callers_see_are_not_hidden_and_few_attempts_are_no_rate() -> None:
    seen, few = RetryBudget(), RetryBudget()
    for _ in range(50):
        seen.note_attempt(BROKEN, T0)
        seen.note_exchange(BROKEN, T0)
    for error in (BROKEN, None) * 5:
        few.note_attempt(error, T0)
        few.note_exchange(None, T0)
    assert not seen.rates(T0).hidden
    assert not few.rates(T0).hidden


def test_what_is_wrong_with_a_request_is_in_neither_rate() -> None:
    budget = RetryBudget()
    budget.note_attempt(CALLERS, T0)
    budget.note_exchange(CALLERS, T0)
    assert budget.rates(T0) == (0, 0.0, 0, 0.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(-1000, 1000)), max_size=60))
def test_a_clock_that_jumps_leaves_counts_that_are_counts(steps: list[tuple[bool, float]]) -> None:
    budget, now = RetryBudget(), T0
    for success, gap in steps:
        now += gap
        if success:
            budget.note_attempt(None, now)
        else:
            budget.may_retry(now)
        assert min(budget._recent.sums + budget._rates.sums) >= 0
        assert budget.balance(now) >= 0


@pytest.mark.parametrize("wrong", [(-0.1, 1, 10), (0.1, -1, 10), (0.1, 1, 0), (0.1, 1, 61)])
def test_a_budget_that_makes_no_sense_is_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="retry budget"):
        RetryBudget(*wrong)
