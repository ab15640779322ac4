"""Callers' limits: never more than burst + rate * time, all limits or none, bounded memory."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.caller import Caller
from headgate.policy import gcra
from headgate.policy.gcra import Exceeded, Figure, Limit, Limits, Taken, duration, ratelimit_headers

ADA, BOB = Caller(user="ada", tenant="acme"), Caller(user="bob", tenant="acme")
T0 = 1_795_000_000.0  # the engine's clock tells seconds since the epoch

GAPS = st.one_of(st.just(0), st.integers(0, 2_000), st.integers(0, 200_000))  # milliseconds


def requests(per_minute: int, *per: str, **more: Any) -> Limit:
    return Limit(per, requests_per_minute=per_minute, **more)


def tokens(per_minute: int, *per: str, **more: Any) -> Limit:
    return Limit(per, tokens_per_minute=per_minute, **more)


class Reference:
    """A bucket in exact arithmetic, filled continuously, asked with what is really used."""

    def __init__(self, per_minute: int) -> None:
        self.size = Fraction(per_minute)
        self.level, self.at = self.size, Fraction(0)

    def fits(self, cost: int, milliseconds: int) -> bool:
        now = Fraction(milliseconds, 1000)
        self.level = min(self.size, self.level + (now - self.at) * self.size / 60)
        self.at = now
        if cost > self.level:
            return False
        self.level -= cost
        return True


def let_through(history: list[tuple[float, int]], per_minute: int) -> None:
    """The sliding model: over any window between two calls at most a burst and what has come in since."""
    for i, (start, _) in enumerate(history):
        used = 0
        for at, cost in history[i:]:
            used += cost
            assert used <= per_minute + (at - start) * per_minute / 60 + 1e-3


@given(st.integers(1, 300), st.lists(st.tuples(GAPS, st.integers(0, 40)), max_size=60))
def test_it_lets_in_what_a_bucket_in_exact_arithmetic_lets_in(per_minute: int, calls: list[tuple[int, int]]) -> None:
    limits, reference, now = Limits([requests(per_minute)]), Reference(per_minute), 0
    for gap, cost in calls:
        now += gap
        before = reference.level + Fraction(gap, 1000) * reference.size / 60
        said = limits.ask(ADA, T0 + now / 1000, requests=cost)
        if abs(before - cost) * 60 > Fraction(per_minute, 100_000):  # not on the very edge, where floats may differ
            assert bool(said) == reference.fits(cost, now)
        elif said:
            reference.fits(0, now)
            reference.level -= cost
        else:
            reference.fits(0, now)


@given(st.integers(1, 300), st.lists(st.tuples(GAPS, st.integers(1, 40)), max_size=60))
def test_no_window_ever_holds_more_than_the_burst_and_the_rate(per_minute: int, calls: list[tuple[int, int]]) -> None:
    limits, now, history = Limits([requests(per_minute)]), T0, []
    for gap, cost in calls:
        now += gap / 1000
        if limits.ask(ADA, now, requests=cost):
            history.append((now, cost))
    let_through(history, per_minute)


TIMES = st.one_of(st.sampled_from([0, 5, 20, 60]), st.integers(0, 130))  # seconds
CALLS = st.lists(
    st.tuples(TIMES, st.sampled_from([10, 20, 30, 60]) | st.integers(1, 60), st.sampled_from([0, 0.5, 1]), TIMES),
    min_size=1,
    max_size=30,
)


@given(CALLS)
def test_what_is_given_back_never_leaves_more_than_if_each_call_had_been_known_beforehand(
    calls: list[tuple[int, int, float, int]],
) -> None:
    """Calls use less than their estimates and are corrected in any order, long after the bucket has filled up, too."""
    limits, known, now, history = Limits([tokens(60)]), Reference(60), T0, []
    open_: list[tuple[float, int, Taken]] = []
    for gap, estimate, share, lasts in calls:
        now += gap
        for end, used, taken in sorted(open_, key=lambda each: each[0]):
            if end <= now:
                limits.correct(taken, used, end)
        open_ = [each for each in open_ if each[0] > now]
        said = limits.ask(ADA, now, tokens=estimate)
        if isinstance(said, Taken):
            used = int(estimate * share)
            assert known.fits(used, int(now - T0) * 1000)
            history.append((now, used))
            open_.append((now + lasts, used, said))
        known.fits(0, int(now - T0) * 1000)
        assert limits.ask(ADA, now).figures[0].remaining <= known.level
    let_through(history, 60)


def test_what_has_filled_up_meanwhile_is_not_given_back_as_well() -> None:
    limits = Limits([tokens(60)])
    unused, used = limits.ask(ADA, T0, tokens=60), limits.ask(ADA, T0 + 60, tokens=60)
    assert isinstance(unused, Taken)
    assert used
    limits.correct(unused, 0, T0 + 60)
    assert not limits.ask(ADA, T0 + 60, tokens=1)


def test_several_calls_are_not_given_back_the_same_room() -> None:
    limits = Limits([tokens(60)])
    first, second, third = (limits.ask(ADA, T0, tokens=10) for _ in range(3))
    assert isinstance(first, Taken)
    assert isinstance(second, Taken)
    assert isinstance(third, Taken)
    limits.correct(third, 0, T0 + 5)
    limits.correct(first, 0, T0 + 5)
    assert limits.ask(ADA, T0 + 12, tokens=1)
    limits.correct(second, 0, T0 + 12)
    assert limits.ask(ADA, T0 + 12).figures[0].remaining <= 59


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 60)), min_size=1, max_size=40))
def test_what_is_given_back_at_once_is_as_if_it_had_never_been_taken(calls: list[tuple[int, int]]) -> None:
    limits, plain, now = Limits([tokens(60)]), Limits([tokens(60)]), T0
    for estimate, unused in calls:
        now += 0.25
        used = max(0, estimate - unused)
        said = limits.ask(ADA, now, tokens=estimate)
        if isinstance(said, Taken):
            limits.correct(said, used, now)
            assert plain.ask(ADA, now, tokens=used)
        ours, theirs = limits.ask(ADA, now, requests=0), plain.ask(ADA, now, requests=0)
        assert ours.figures[0].reset == pytest.approx(theirs.figures[0].reset, abs=1e-6)


def test_a_busy_caller_whose_calls_use_half_their_estimates_gets_its_whole_limit() -> None:
    limits, now, used, running = Limits([tokens(60_000)]), T0, 0, []
    for _ in range(6_000):  # ten minutes, ten calls a second, answered after 10 s
        now += 0.1
        while running and running[0][0] <= now:
            limits.correct(running.pop(0)[1], 1_500, now)
            used += 1_500
        said = limits.ask(ADA, now, tokens=3_000)
        if isinstance(said, Taken):
            running.append((now + 10, said))
    assert 0.95 * 600_000 <= used <= 600_000 + 60_000


def test_a_call_that_used_more_than_its_estimate_delays_the_next() -> None:
    limits = Limits([tokens(600)])
    taken = limits.ask(ADA, T0, tokens=100)
    assert isinstance(taken, Taken)
    limits.correct(taken, 600, T0)
    said = limits.ask(ADA, T0, tokens=60)
    assert isinstance(said, Exceeded)
    assert said.retry_after == pytest.approx(6.0)


def test_one_wrong_estimate_shuts_nobody_out_for_more_than_two_minutes() -> None:
    limits = Limits([tokens(100)])
    taken = limits.ask(ADA, T0, tokens=1)
    assert isinstance(taken, Taken)
    limits.correct(taken, 1_000_000, T0)
    said = limits.ask(ADA, T0, tokens=100)
    assert isinstance(said, Exceeded)
    assert said.retry_after == pytest.approx(120.0)


def test_a_call_whose_estimate_was_0_is_charged_afterwards() -> None:
    limits = Limits([tokens(100)])
    taken = limits.ask(ADA, T0)
    assert isinstance(taken, Taken)
    limits.correct(taken, 60, T0)
    assert limits.ask(ADA, T0, tokens=0).figures[0].remaining == 40


def test_a_correction_counts_once() -> None:
    limits = Limits([tokens(100)])
    first, second = limits.ask(ADA, T0, tokens=50), limits.ask(ADA, T0, tokens=50)
    assert isinstance(first, Taken)
    assert isinstance(second, Taken)
    limits.correct(first, 0, T0)
    limits.correct(first, 0, T0)
    assert limits.ask(ADA, T0, requests=0).figures[0].remaining == 50


def test_each_scope_has_its_own_bucket() -> None:
    limits = Limits([requests(1, "user")])
    assert limits.ask(ADA, T0)
    assert not limits.ask(ADA, T0)
    assert limits.ask(BOB, T0)


def test_a_call_without_the_limits_dimension_is_not_limited_by_it() -> None:
    limits = Limits([requests(1, "user")])
    assert all(limits.ask(Caller(), T0) for _ in range(5))


@pytest.mark.parametrize(
    ("limit", "yes", "no"),
    [
        (requests(1, "model"), {"model": "a"}, {"model": "b"}),
        (requests(1, "provider"), {"provider": "a"}, {"provider": "b"}),
        (requests(1, "address"), {"address": "192.0.2.1"}, {"address": "192.0.2.2"}),
        (requests(1, "tenant", "model"), {"model": "a"}, {"model": "b"}),
        (requests(1, "model", only=(("user", "ada"),)), {"model": "a"}, {"model": "b"}),
    ],
)
def test_what_is_not_the_callers_own_can_be_limited_too(limit: Limit, yes: Any, no: Any) -> None:
    limits = Limits([limit])
    assert limits.ask(ADA, T0, **yes)
    assert not limits.ask(ADA, T0, **yes)
    assert limits.ask(ADA, T0, **no)


def test_a_limit_with_a_filter_is_for_those_calls_only() -> None:
    limits = Limits([requests(1, only=(("user", "ada"),))])
    assert limits.ask(ADA, T0)
    assert not limits.ask(ADA, T0)
    assert all(limits.ask(BOB, T0) for _ in range(5))


def test_a_tag_is_a_dimension() -> None:
    limits = Limits([requests(1, "tag:team")])
    red, blue = Caller(tags={"team": "red"}), Caller(tags={"team": "blue"})
    assert limits.ask(red, T0)
    assert not limits.ask(red, T0)
    assert limits.ask(blue, T0)


def test_a_call_that_one_limit_refuses_takes_nothing_from_the_others() -> None:
    limits = Limits([requests(10, "tenant"), requests(1, "user")])
    assert limits.ask(ADA, T0)
    for _ in range(20):
        assert not limits.ask(ADA, T0)
    assert [bool(limits.ask(Caller(user=f"u{n}", tenant="acme"), T0)) for n in range(10)] == [True] * 9 + [False]


def test_of_several_limits_the_one_that_takes_longest_is_named() -> None:
    short, long = requests(60), tokens(60, "user")
    limits = Limits([short, long])
    assert limits.ask(ADA, T0, requests=60, tokens=60)
    said = limits.ask(ADA, T0, requests=1, tokens=30)
    assert isinstance(said, Exceeded)
    assert (said.limit, said.unit, said.scope) == (long, "tokens", "ada")
    assert said.retry_after == pytest.approx(30.0)


@given(st.integers(1, 100), st.lists(st.tuples(GAPS, st.integers(1, 100), st.integers(1, 100)), max_size=30))
def test_after_the_time_told_the_call_is_let_in(per_minute: int, calls: list[tuple[int, int, int]]) -> None:
    limits, now = Limits([requests(per_minute), tokens(50, "user")]), T0
    for gap, count, size in calls:
        now += gap / 1000
        said = limits.ask(ADA, now, requests=count, tokens=size)
        if isinstance(said, Exceeded) and said.retry_after is not None:
            assert said.retry_after > 0
            now += said.retry_after
            assert limits.ask(ADA, now, requests=count, tokens=size)


def test_a_call_larger_than_the_limit_is_told_no_time_to_wait() -> None:
    said = Limits([tokens(100)]).ask(ADA, T0, tokens=101)
    assert isinstance(said, Exceeded)
    assert said.retry_after is None


@pytest.mark.parametrize("per_minute", [1, 3, 7, 49, 60, 333, 10**9])
def test_a_full_minutes_worth_goes_at_once_and_not_one_more(per_minute: int) -> None:
    limits = Limits([requests(per_minute)])
    assert limits.ask(ADA, T0, requests=per_minute)
    assert not limits.ask(ADA, T0, requests=max(1, per_minute // 1000))


def test_a_call_that_costs_nothing_is_let_in_by_an_empty_bucket() -> None:
    limits = Limits([requests(1)])
    assert limits.ask(ADA, T0)
    assert limits.ask(ADA, T0, requests=0)


def test_only_looking_takes_nothing_and_remembers_nothing() -> None:
    limits = Limits([requests(10, "user"), tokens(10, "user")])
    for _ in range(5):
        assert limits.ask(ADA, T0, requests=0).figures == (
            Figure("requests", 10, 10, 0.0),
            Figure("tokens", 10, 10, 0.0),
        )
    assert len(limits) == 0


@given(st.lists(st.tuples(st.floats(-100_000, 5), st.integers(1, 5)), max_size=40))
def test_a_clock_that_goes_back_lets_nobody_in_earlier(steps: list[tuple[float, int]]) -> None:
    limits, now, most, used = Limits([requests(10)]), T0, 0.0, 0
    for step, cost in steps:
        now += step
        most += max(0.0, step)
        if limits.ask(ADA, now, requests=cost):
            used += cost
        assert used <= 10 + most * 10 / 60 + 1e-6


def test_a_clock_that_was_set_back_shuts_nobody_out_until_it_has_caught_up() -> None:
    limits = Limits([requests(1)])
    assert limits.ask(ADA, T0)
    assert not limits.ask(ADA, T0 - 86_400)
    assert limits.ask(ADA, T0 - 86_400 + 60)


def test_the_figures_are_those_of_the_tightest_limit() -> None:
    limits = Limits([requests(100, "tenant"), requests(60, "user"), tokens(6_000, "user")])
    said = limits.ask(ADA, T0, tokens=600)
    assert said.figures == (Figure("requests", 60, 59, 1.0), Figure("tokens", 6_000, 5_400, 6.0))
    assert ratelimit_headers(said.figures) == [
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1s"),
        (b"x-ratelimit-limit-tokens", b"6000"),
        (b"x-ratelimit-remaining-tokens", b"5400"),
        (b"x-ratelimit-reset-tokens", b"6s"),
    ]


def test_a_refusal_shows_the_figures_too() -> None:
    limits = Limits([requests(1)])
    limits.ask(ADA, T0)
    assert limits.ask(ADA, T0 + 30).figures == (Figure("requests", 1, 0, 30.0),)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0002, "1ms"), (0.12, "120ms"), (1, "1s"), (90.5, "1m30.5s"), (360, "6m0s"), (3661, "1h1m1s")],
)
def test_durations_are_written_as_the_vendors_write_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text.encode()


def test_full_buckets_are_forgotten() -> None:
    limits = Limits([requests(10, "user"), tokens(10, "user")])
    for number in range(1000):
        limits.ask(Caller(user=f"u{number}"), T0 + number, tokens=1)
    assert len(limits) < 2 * 2 * 130
    limits.ask(ADA, T0 + 10_000)
    assert len(limits) <= 2


def test_limits_of_single_keys_are_asked_for_their_own_calls_in_the_order_of_all() -> None:
    own = [requests(number, only=(("key", f"k{number}"),)) for number in (1, 2)]
    limits = Limits([own[0], requests(10), tokens(5, "user", only=(("key", "k2"), ("task", "sum"))), own[1]])
    asked = [Caller(key=key, user="ada", task="sum") for key in ("k1", "k2", "k3", "")]
    assert [limits.ask(caller, T0, 5).figures[0].limit for caller in asked] == [1, 2, 10, 10]
    refused = [limits.ask(caller, T0, 1) for caller in asked]
    assert [bool(said) for said in refused] == [False, False, True, True]
    assert [(said.limit, said.unit) for said in refused[:2] if isinstance(said, Exceeded)] == [
        (own[0], "requests"),
        (limits.all[2], "tokens"),
    ]
    assert limits.ask(asked[2], T0).figures[0].remaining == 10 - 7


def test_a_bucket_is_not_forgotten_before_it_is_full() -> None:
    limits = Limits([tokens(60, "user")])
    taken = limits.ask(ADA, T0, tokens=60)
    assert isinstance(taken, Taken)
    limits.correct(taken, 120, T0)
    for second in range(119):
        limits.ask(BOB, T0 + second, tokens=1)
    assert not limits.ask(ADA, T0 + 119, tokens=60)
    assert limits.ask(ADA, T0 + 120, tokens=60)


def test_any_number_of_names_takes_a_bounded_amount_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gcra, "MOST_SCOPES", 100)
    limits = Limits([requests(10, "user")])
    for number in range(1000):
        assert limits.ask(Caller(user=f"u{number}"), T0)
        assert len(limits) <= 200


def test_no_limits_are_falsy_and_let_everything_in() -> None:
    limits = Limits()
    assert not limits
    said = limits.ask(ADA, T0, tokens=10**12)
    assert said
    assert said.figures == ()


def test_a_limit_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Limit(requests_per_minute=0)


@given(
    st.lists(st.tuples(st.sampled_from(["requests", "tokens"]), st.integers(1, 10**9)), min_size=1, max_size=4),
    st.lists(st.tuples(GAPS, st.integers(0, 50)), min_size=1, max_size=12),
)
def test_the_headers_of_a_call_say_what_its_figures_say(
    rates: list[tuple[str, int]], calls: list[tuple[int, int]]
) -> None:
    limits = Limits([requests(rate) if unit == "requests" else tokens(rate) for unit, rate in rates])
    now = 0
    for gap, cost in calls:
        now += gap
        said = limits.ask(ADA, T0 + now / 1000, tokens=cost)
        if isinstance(said, Taken):
            assert sorted(said.headers()) == sorted(ratelimit_headers(said.figures))
            assert said.lines() == b"".join([b"%b: %b\r\n" % field for field in said.headers()])
