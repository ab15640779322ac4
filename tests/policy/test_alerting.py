"""Alerts without a store: windows, readings, and which alerts are open."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nextafter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.alert_readings import readings
from headgate.policy.alert_rules import CLEAR_SECONDS, MOST_SCOPES, RULES, value_text
from headgate.policy.alert_states import OTHERS, Change, Reading, States
from headgate.policy.alert_windows import (
    COARSE_SECONDS,
    FINE_SECONDS,
    LONGEST_SECONDS,
    Counted,
    Windows,
    between,
    percentile,
)

NOW = 1_000_000.0
BOUNDS = {"latency": (1.0, 10.0, 100.0), "ttft": (1.0, 10.0)}
ERRORS = RULES["exchange_errors"]


def wrong(value: float = 0.5, calls: int = 100, scope: str = "anthropic") -> Reading:
    return Reading("exchange_errors", scope, value, calls)


def what(changes: list[Change]) -> list[str]:
    return [change.what for change in changes]


def run(states: States, *steps: tuple[float, list[Reading]]) -> list[tuple[float, str]]:
    """(when, what) of what is news."""
    found = []
    for at, seen in steps:
        found += [(at, change.what) for change in states.step(seen, NOW + at) if change.what != "seen"]
    return found


def test_an_alert_opens_once_it_has_lasted_and_ends_once_it_has_been_well_for_a_while() -> None:
    states = States(RULES)
    steps = [(at, [wrong()]) for at in range(0, 100, 10)] + [(at, []) for at in range(100, 400, 10)]
    assert run(states, *steps) == [(60, "opened"), (100 + CLEAR_SECONDS, "resolved")]
    assert len(states) == 0


def test_what_does_not_last_is_no_alert() -> None:
    assert run(States(RULES), (0, [wrong()]), (50, [wrong()]), (55, []), (65, [wrong()]), (120, [wrong()])) == []


def test_one_of_two_calls_is_not_half_of_them() -> None:
    assert run(States(RULES), *[(at, [wrong(0.5, 2)]) for at in range(0, 600, 10)]) == []


def test_a_value_around_the_threshold_neither_ends_nor_begins_it_again_and_again() -> None:
    states = States(RULES)
    steps = [(at, [wrong(ERRORS.over * (1.1 if at % 20 else 0.95))]) for at in range(0, 3_000, 10)]
    assert run(states, *[(at, [wrong()]) for at in range(-100, 0, 10)]) == [(-40, "opened")]
    assert run(states, *steps) == []
    assert run(states, *[(at, [wrong(ERRORS.over * 0.5)]) for at in range(3_000, 3_300, 10)]) == [(3_120, "resolved")]


def test_a_storm_is_one_alert_and_many_places_are_some_and_one_that_counts_the_rest() -> None:
    states = States({**RULES, "exchange_errors": replace(ERRORS, lasts=0.0)})
    storm = [wrong(scope=f"p{number:05}", value=0.1 + number / 1e6) for number in range(10_000)]
    opened = states.step(storm, NOW)
    assert what(opened) == ["opened"] * (MOST_SCOPES + 1)
    rest = opened[-1].reading
    assert (rest.scope, rest.summary.split()[0]) == (OTHERS, str(10_000 - MOST_SCOPES))
    assert set(what(states.step(storm, NOW + 5))) == {"seen"}
    assert len(states) == MOST_SCOPES + 1


def test_a_rule_that_is_off_says_nothing() -> None:
    assert States({"exchange_errors": replace(ERRORS, on=False)}).step([wrong()], NOW) == []


def test_what_has_happened_counts_as_often_as_it_did_and_a_model_by_the_days_it_has_left() -> None:
    states = States(RULES)
    event = Reading("budget_near", "user/day", 0.8, 7, until=NOW + 50)
    (opened,) = states.step([event], NOW)
    assert (opened.what, opened.times) == ("opened", 7)
    days = [Reading("model_retires", name, left) for name, left in (("a", 31.0), ("b", 30.0), ("c", -4.0))]
    found = States(RULES).step([*days[:2], days[2]._replace(critical=True)], NOW)
    assert [(each.reading.scope, each.rule.severity) for each in found] == [("b", "warning"), ("c", "critical")]


@given(
    steps=st.lists(st.tuples(st.floats(0.1, 300), st.floats(0, 0.05), st.integers(0, 100), st.booleans()), max_size=60)
)
@settings(max_examples=80, deadline=None)
def test_openings_and_endings_alternate_and_each_has_lasted(steps: list[tuple[float, float, int, bool]]) -> None:
    states, now, opened_at, bad_since = States(RULES), NOW, None, None
    for pause, value, calls, there in steps:
        now += pause
        bad = there and calls >= ERRORS.minimum and value > ERRORS.over
        bad_since = (now if bad_since is None else bad_since) if bad else None
        for change in states.step([wrong(value, calls)] if there else [], now):
            if change.what == "opened":
                assert opened_at is None
                assert bad_since is not None
                assert now - bad_since >= ERRORS.lasts
                opened_at = now
            elif change.what == "resolved":
                assert opened_at is not None
                assert not bad
                opened_at = None
            else:
                assert opened_at is not None
    assert len(states) <= 1


def counted(**more: Any) -> Counted:
    return Counted(**more)


def test_windows_see_what_came_within_them_and_forget_what_is_older() -> None:
    windows = Windows()
    for at in range(0, 7_200, 10):
        windows.add(NOW + at, counted(exchanges={("p",): float(at)}))
    newest = counted(exchanges={("p",): 7_190.0})
    assert windows.over(300, NOW + 7_190, newest).exchanges[("p",)] == 300
    for window in (1_800, LONGEST_SECONDS):
        assert window <= windows.over(window, NOW + 7_190, newest).exchanges[("p",)] <= window + COARSE_SECONDS + 10
    assert len(windows) <= FINE_SECONDS / 10 + LONGEST_SECONDS / COARSE_SECONDS + 2


def test_what_a_snapshot_has_comes_back_as_it_was() -> None:
    windows, places = Windows(), {("p", "m"): (1, 2**40, 3)}
    whole = Counted({("p",): 1.5}, {}, {("p",): 2}, {}, {}, places, {}, 7.0, 8.0, 9.0)
    windows.add(NOW, Counted())
    windows.add(NOW + 10, whole)
    assert windows.over(5, NOW + 20, whole) == between(whole, whole)
    assert windows.over(60, NOW + 20, whole) == between(Counted(), whole)


@given(
    counts=st.lists(st.integers(0, 50), min_size=4, max_size=4),
    share=st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_a_percentile_is_in_the_bucket_that_holds_it(counts: list[int], share: float) -> None:
    bounds = (1.0, 10.0, 100.0)
    value = percentile(counts, bounds, share)
    below = sum(count for count, bound in zip(counts, bounds, strict=False) if bound <= value)
    assert 0.0 <= value <= 100.0 or (counts[-1] and value == nextafter(100.0, inf))
    if sum(counts) and value < 100.0:
        within = sum(counts[: [value <= bound for bound in bounds].index(True) + 1])
        assert below <= share * sum(counts) + 1e-9 or within == below
        assert within >= share * sum(counts) - 1e-9


def test_counts_that_begin_anew_are_taken_as_they_are_and_never_negative() -> None:
    since = between(counted(exchanges={("p",): 9.0}, calls=5), counted(exchanges={("p",): 2.0}, calls=1))
    assert (since.exchanges[("p",)], since.calls) == (0.0, 0.0)
    latency = between(counted(latency={("p",): (1, 2)}), counted(latency={("p",): (3, 2), ("q",): (1, 0)})).latency
    assert {place: list(counts) for place, counts in latency.items()} == {("p",): [2, 0], ("q",): [1, 0]}


def test_each_counted_rule_reads_its_own_counts_with_a_link_to_the_evidence() -> None:
    windows = Windows()
    windows.add(NOW, counted())
    windows.add(NOW + 900, counted(calls=1_000, tokens=100_000))
    now = NOW + 3_600
    windows.add(now - 600, counted(calls=1_000, tokens=100_000))
    newest = counted(
        exchanges={("p",): 100.0},
        failed={("p",): 5.0},
        attempts={("p",): 200.0},
        errors={("p",): 20.0},
        down={("p",): 10.0},
        latency={("p", "m"): (0, 0, 0, 100)},
        ttft={("p", "m"): (0, 100, 0)},
        calls=1_100,
        tokens=160_000,
        dropped=3,
    )
    found = {each.rule: each for each in readings(RULES, windows, newest, now, BOUNDS)}
    assert {name: round(each.value, 3) for name, each in found.items()} == {
        "exchange_errors": 0.05,
        "attempt_errors": 0.1,
        "provider_errors": 0.05,
        "latency_p95": 100.0,
        "latency_p99": 100.0,
        "ttft_p95": 9.55,
        "ttft_p99": 9.91,
        "tokens_per_call": 6.0,
        "log_dropped": 3.0,
    }
    assert found["latency_p95"].scope == "p/m"
    assert found["exchange_errors"].evidence == "/ui/exchanges?q=provider%3Ap&errors=1&from=1970-01-12T14%3A41%3A40Z"
    for rule, asked in (
        ("attempt_errors", "q=attempt_failed%3Atrue&from="),
        ("ttft_p95", "q=provider%3Ap+model%3Am+min_ttft_ms%3A5000&from="),
    ):
        assert f"/ui/exchanges?{asked}" in found[rule].evidence
    assert "5.0% of 100 calls at p failed within 5 minutes; told above 1%" in found["exchange_errors"].summary


def test_values_are_written_for_people() -> None:
    told = [
        ("share", 0.05),
        ("share", 0.052),
        ("seconds", 31.25),
        ("ratio", 2.44),
        ("days", 9),
        ("count", 1200),
        ("", 1),
    ]
    said = [value_text(unit, value) for unit, value in told]  # type: ignore[arg-type]
    assert said == ["5%", "5.2%", "31.2 s", "2.4x", "9 days", "1,200", ""]


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_every_rule_has_a_threshold_that_makes_sense(rule: Any) -> None:
    assert rule.window <= LONGEST_SECONDS or not rule.unit
    assert (rule.over > 0) or rule.unit in ("", "count")
    assert rule.said
