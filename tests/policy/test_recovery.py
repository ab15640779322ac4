"""What follows a failed attempt: again, elsewhere, or nothing."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import UpstreamError, UpstreamTimeout
from headgate.core.exchange import Attempt, Route
from headgate.policy.recovery import BACKOFF_CAP, FAILOVER_SECONDS, GiveUp, Recovery, Retry

ROUTES = [Route(name, "m", "anthropic", f"https://{name}.test") for name in "abc"]


def error(
    kind: str = "busy", *, retryable: bool = True, elsewhere: bool = True, told: float | None = None
) -> UpstreamError:
    return UpstreamError(kind, kind=kind, retryable=retryable, elsewhere=elsewhere, retry_after=told)


def attempts(*said: UpstreamError, on: list[int] | None = None) -> list[Attempt]:
    places = on or [0] * len(said)
    return [
        Attempt(number, ROUTES[place], 0.0, error=problem)
        for number, (problem, place) in enumerate(zip(said, places, strict=True), 1)
    ]


def step(
    made: list[Attempt], routes: int = 1, left: float = 120.0, jitter: float = 0.5, **options: Any
) -> Retry | GiveUp:
    return Recovery(**options).next(made, ROUTES[:routes], left=left, jitter=jitter)


@pytest.mark.parametrize(("failures", "most"), [(1, 2.0), (2, 4.0), (3, 8.0), (6, 60.0), (19, 60.0)])
def test_the_default_wait_is_drawn_from_zero_to_two_to_the_n_and_at_most_a_minute(failures: int, most: float) -> None:
    made = attempts(*[error() for _ in range(failures)])
    assert step(made, left=1e9, jitter=0.5, attempts=20) == Retry(0, most / 2)
    assert step(made, left=1e9, jitter=0.0, attempts=20) == Retry(0, 0.0)
    assert most <= BACKOFF_CAP


def test_the_default_wait_leaves_the_global_random_generator_alone() -> None:
    before = random.getstate()
    step(attempts(error()))
    assert random.getstate() == before


@given(st.floats(0, 1000), st.floats(0, 1, exclude_max=True))
def test_a_wait_we_were_told_is_never_cut_short_and_at_most_a_quarter_longer(told: float, jitter: float) -> None:
    found = step(attempts(error(told=told)), left=1e9, jitter=jitter)
    assert isinstance(found, Retry)
    assert told <= found.after <= told * 1.25


def test_a_wait_we_were_told_wins_over_the_users_strategy() -> None:
    assert step(attempts(error(told=3.0)), jitter=0.0, wait=tenacity.wait_fixed(1)) == Retry(0, 3.0)


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    assert isinstance(step(attempts(error(told=120.0))), GiveUp)
    assert isinstance(step(attempts(error(told=119.0)), jitter=0.0), Retry)


def test_a_wait_beyond_the_deadline_goes_to_the_next_route_at_once() -> None:
    assert step(attempts(error(told=500.0)), routes=2) == Retry(1, 0.0)


def test_the_next_route_follows_after_two_attempts_at_one() -> None:
    assert step(attempts(error()), routes=2) == Retry(0, 1.0)
    assert step(attempts(error(), error()), routes=2) == Retry(1, 0.0)
    assert step(attempts(error(), error(), error(), on=[0, 0, 1]), routes=2) == Retry(1, 4.0)


@given(st.sampled_from(["server", "overloaded", "broken", "connect", "truncated"]), st.floats(0, 1, exclude_max=True))
def test_where_another_route_follows_a_failed_one_is_waited_for_half_a_second_at_most(kind: str, jitter: float) -> None:
    found = step(attempts(error(kind)), routes=2, jitter=jitter)
    assert isinstance(found, Retry)
    assert found.route == 0
    assert found.after <= FAILOVER_SECONDS
    assert step(attempts(error(kind)), routes=1, jitter=jitter) == Retry(0, jitter * 2)


def test_a_route_that_wants_a_longer_pause_is_left_for_the_next_at_once() -> None:
    assert step(attempts(error("overloaded", told=0.4)), routes=2, jitter=0.0) == Retry(0, 0.4)
    assert step(attempts(error("overloaded", told=3.0)), routes=2) == Retry(1, 0.0)
    assert step(attempts(error("overloaded", told=3.0)), routes=1, jitter=0.0) == Retry(0, 3.0)
    assert step(attempts(error("server")), routes=2, wait=tenacity.wait_fixed(5)) == Retry(1, 0.0)


def test_a_black_hole_costs_its_connect_timeout_once() -> None:
    hole = UpstreamTimeout("", kind="connect", retryable=True)
    assert step(attempts(hole), routes=2) == Retry(1, 0.0)
    assert step(attempts(hole), routes=1) == Retry(0, 1.0)  # there is nothing else


def test_the_last_route_uses_up_what_attempts_are_left() -> None:
    assert isinstance(step(attempts(error(), error(), error()), routes=1), Retry)
    assert isinstance(step(attempts(error(), error(), error(), error()), routes=1), GiveUp)


def test_what_is_wrong_at_one_route_only_goes_to_the_next_at_once() -> None:
    assert step(attempts(error("auth", retryable=False)), routes=3) == Retry(1, 0.0)
    assert isinstance(step(attempts(error("auth", retryable=False)), routes=1), GiveUp)


def test_the_callers_mistake_goes_nowhere() -> None:
    assert isinstance(step(attempts(error("caller", retryable=False, elsewhere=False)), routes=3), GiveUp)


def test_a_timeout_is_retried_once_with_a_longer_first_byte_wait() -> None:
    timeout = error("timeout")
    first = step(attempts(timeout))
    assert isinstance(first, Retry)
    assert first.stretch == 2.0
    assert isinstance(step(attempts(timeout, timeout)), GiveUp)


def test_a_provider_that_is_silent_is_left_for_the_next_route() -> None:
    timeout = error("timeout")
    assert step(attempts(timeout), routes=2) == Retry(1, 0.0, 2.0)
    assert isinstance(step(attempts(timeout, timeout, on=[0, 1]), routes=3), GiveUp)


def test_timeouts_are_counted_over_all_routes_and_other_failures_between_them_do_not_matter() -> None:
    timeout = error("timeout")
    assert isinstance(step(attempts(timeout, error(), timeout, on=[0, 0, 1]), routes=3), GiveUp)


def test_giving_up_gives_the_last_error() -> None:
    last = error()
    found = step(attempts(error("server"), last), attempts=2)
    assert isinstance(found, GiveUp)
    assert found.error is last


def test_one_attempt_means_that_the_caller_owns_the_retries() -> None:
    assert isinstance(step(attempts(error()), attempts=1), GiveUp)
    assert not Recovery(attempts=1).owns_retries
    assert Recovery(attempts=2).owns_retries


def test_an_attempt_that_did_not_fail_is_not_recovered_from() -> None:
    with pytest.raises(ValueError, match="did not fail"):
        Recovery().next([Attempt(1, ROUTES[0], 0.0)], ROUTES, left=1, jitter=0)


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [
        (tenacity.wait_none(), [0, 0, 0]),
        (tenacity.wait_fixed(2), [2, 2, 2]),
        (tenacity.wait_incrementing(start=1, increment=2), [1, 3, 5]),
        (tenacity.wait_exponential(multiplier=1, max=3), [1, 2, 3]),
        (tenacity.wait_fixed(1) + tenacity.wait_incrementing(start=0, increment=1), [1, 2, 3]),
        (tenacity.wait_combine(tenacity.wait_fixed(1), tenacity.wait_fixed(2)), [3, 3, 3]),
        (tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(5)), [1, 5, 5]),
        (lambda state: state.attempt_number * 10.0, [10, 20, 30]),
    ],
)
def test_a_users_tenacity_strategy_decides_the_wait(strategy: Any, waits: list[float]) -> None:
    found = [
        step(attempts(*[error() for _ in range(failures)]), left=1e9, wait=strategy, attempts=9)
        for failures in (1, 2, 3)
    ]
    assert found == [Retry(0, wait) for wait in waits]


@pytest.mark.parametrize(
    "strategy",
    [
        tenacity.wait_random(1, 3),
        tenacity.wait_exponential_jitter(initial=1, max=3, jitter=1),
        tenacity.wait_random_exponential(multiplier=1, max=3),
        tenacity.wait_fixed(1) + tenacity.wait_random(0, 2),
    ],
)
def test_a_users_random_strategy_stays_within_its_own_bounds(strategy: Any) -> None:
    for _ in range(20):
        found = step(attempts(error()), wait=strategy)
        assert isinstance(found, Retry)
        assert 0 <= found.after <= 4


def test_a_users_strategy_can_look_at_the_error() -> None:
    strategy = tenacity.wait_exception(lambda problem: 7.0 if getattr(problem, "kind", "") == "overloaded" else 1.0)
    assert step(attempts(error("overloaded")), wait=strategy) == Retry(0, 7.0)
    assert step(attempts(error("busy")), wait=strategy) == Retry(0, 1.0)


@pytest.mark.parametrize("wait", [-5.0, float("nan")])
def test_a_strategy_that_says_nonsense_means_no_wait(wait: float) -> None:
    assert step(attempts(error()), wait=lambda state: wait) == Retry(0, 0.0)


def test_a_strategy_that_says_for_ever_means_no_retry() -> None:
    assert isinstance(step(attempts(error()), wait=lambda state: float("inf")), GiveUp)


_ERRORS = st.builds(
    error,
    st.sampled_from(["busy", "server", "timeout", "connect", "auth", "caller", "money"]),
    retryable=st.booleans(),
    elsewhere=st.booleans(),
    told=st.none() | st.floats(0, 300),
)


@given(
    said=st.lists(_ERRORS, min_size=30, max_size=30),
    routes=st.integers(1, 3),
    most=st.integers(1, 20),
    deadline=st.floats(0.001, 600),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_any_run_of_failures_ends_within_its_attempts_and_its_deadline(
    said: list[UpstreamError], routes: int, most: int, deadline: float, jitter: float
) -> None:
    recovery = Recovery(attempts=most)
    now, place = 0.0, 0
    made: list[Attempt] = []
    for number, problem in enumerate(said, 1):
        assert number <= most
        made.append(Attempt(number, ROUTES[place], now, error=problem))
        found = recovery.next(made, ROUTES[:routes], left=deadline - now, jitter=jitter)
        if isinstance(found, GiveUp):
            assert found.error is problem
            break
        assert problem.retryable or problem.elsewhere
        assert found.route in (place, place + 1)
        assert found.after < deadline - now
        if found.route == place:
            assert problem.retryable
            assert problem.retry_after is None or found.after >= problem.retry_after
        now, place = now + found.after, found.route
    assert sum(a.error is not None and a.error.kind == "timeout" for a in made) <= 2


def test_tenacity_is_not_imported_before_the_first_retry() -> None:
    import subprocess

    code = "import sys, headgate.engine.engine; print('tenacity' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
