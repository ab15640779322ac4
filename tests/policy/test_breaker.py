"""One breaker: a probe is never two, open lets nothing through but the probe, and it recovers."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headgate.core.errors import UpstreamBroken, UpstreamError, UpstreamTimeout
from headgate.policy.breaker import (
    AUTH,
    CLOSED,
    FAILED,
    FORBIDDEN,
    HALF_OPEN,
    MONEY,
    NEUTRAL,
    OK,
    OPEN,
    SLOW,
    UNREACHABLE,
    Breaker,
    BreakerRules,
    next_month,
    outcome_of,
)
from headgate.policy.failures import failure

RULES = BreakerRules(minimum_calls=4, window_calls=10, window_seconds=60, open_seconds=5, longest_seconds=40)


def feed(breaker: Breaker, outcomes: str, now: float, step: float = 0.1, **more: Any) -> float:
    """o = answered, f = failed, s = slow, n = says nothing, u = no connection in time."""
    words = {"o": OK, "f": FAILED, "s": SLOW, "n": NEUTRAL, "u": UNREACHABLE}
    for letter in outcomes:
        breaker.note(breaker.admit(now), words[letter], now, **more)
        now += step
    return now


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ("fff", CLOSED),  # too few to say
        ("ffff", OPEN),
        ("ooff", OPEN),
        ("ooof", CLOSED),
        ("ooofooof", CLOSED),
        ("oooooooooo" + "ffff", CLOSED),
        ("oooooooooo" + "fffff", OPEN),  # of the newest ten
        ("nnnnnnnnnnfff", CLOSED),
        ("ssss", OPEN),
        ("ssso", CLOSED),
        ("u", OPEN),  # nobody else has got through
        ("fu", OPEN),
        ("ou", CLOSED),
        ("ouou", OPEN),  # as any two failures of four
        ("oooooou" + "u", OPEN),  # two in a row
        ("oooooou" + "f" + "u", CLOSED),
        ("oooooou" + "o" + "u", CLOSED),
    ],
)
def test_it_opens_at_its_rates_over_the_newest_calls(outcomes: str, state: str) -> None:
    breaker = Breaker(RULES)
    feed(breaker, outcomes, 1000.0)
    assert breaker.state == state


def test_failures_older_than_the_window_do_not_count() -> None:
    breaker = Breaker(RULES)
    feed(breaker, "fff", 1000.0)
    feed(breaker, "ooof", 1061.0)
    assert breaker.state == CLOSED
    assert breaker.rates() == (0.25, 0.0, 4)


def test_calls_that_began_before_it_opened_do_not_close_it() -> None:
    breaker = Breaker(RULES)
    early = breaker.admit(1000.0)
    feed(breaker, "ffff", 1000.0)
    assert not breaker.note(early, OK, 1001.0)
    assert breaker.state == OPEN
    probe = breaker.admit(1010.0)
    assert probe
    breaker.note(early, OK, 1010.5)
    assert breaker.state == HALF_OPEN


def test_a_probe_that_is_answered_closes_it_and_one_that_fails_keeps_it_open_for_longer() -> None:
    breaker = Breaker(RULES)
    now = feed(breaker, "ffff", 1000.0) - 0.1
    waits = []
    for _ in range(5):
        waits.append(breaker.waits(now))
        now = breaker.retry_at
        assert breaker.note(breaker.admit(now), FAILED, now)
    assert waits == pytest.approx([5, 10, 20, 40, 40])
    now = breaker.retry_at
    assert breaker.note(breaker.admit(now), OK, now)
    assert breaker.state == CLOSED


def test_a_probe_that_says_nothing_leaves_the_next_call_to_be_the_probe() -> None:
    breaker = Breaker(RULES)
    feed(breaker, "ffff", 1000.0)
    now = breaker.retry_at
    assert not breaker.note(breaker.admit(now), NEUTRAL, now)
    assert breaker.state == HALF_OPEN
    second = breaker.admit(now)
    assert second
    assert not breaker.admit(now)


def test_a_lost_probe_does_not_keep_it_open_for_good() -> None:
    breaker = Breaker(RULES)
    feed(breaker, "ffff", 1000.0)
    lost = breaker.admit(breaker.retry_at)
    later = breaker.retry_at + RULES.probe_seconds
    assert not breaker.admit(later - 0.1)
    assert breaker.admit(later)
    assert not breaker.note(lost, OK, later)


def test_the_open_time_is_jittered_upwards_only() -> None:
    times = []
    for jitter in (0.0, 0.5, 0.999):
        breaker = Breaker(RULES)
        feed(breaker, "ffff", 1000.0, step=0, jitter=jitter)
        times.append(breaker.retry_at - 1000.0)
    assert times == pytest.approx([5.0, 5.625, 6.24875])


def test_what_the_provider_tells_to_wait_is_waited_up_to_the_longest() -> None:
    for told, waits in ((2.0, 5.0), (30.0, 30.0), (86_400.0, 40.0)):
        breaker = Breaker(RULES)
        feed(breaker, "ffff", 1000.0, step=0, told=told)
        assert breaker.waits(1000.0) == waits


def test_after_a_while_of_being_well_it_begins_with_the_short_time_again() -> None:
    breaker = Breaker(RULES)
    now = feed(breaker, "ffff", 1000.0)
    breaker.note(breaker.admit(breaker.retry_at), OK, breaker.retry_at)
    now = feed(breaker, "ffff", breaker.retry_at + 1, step=0)
    assert breaker.waits(now) == 10
    now = breaker.retry_at
    breaker.note(breaker.admit(now), OK, now)
    now = feed(breaker, "ffff", now + 21, step=0)
    assert breaker.waits(now) == 5


def test_one_that_has_an_end_closes_then_without_a_probe() -> None:
    breaker = Breaker(RULES)
    breaker.open(1000.0, "money", ends=1003.0)
    assert breaker.waits(1000.0) == 3.0
    assert not breaker.admit(1002.9)
    permits = [breaker.admit(1003.0) for _ in range(3)]
    assert all(permits)
    assert breaker.state == CLOSED


class Machine(RuleBasedStateMachine):
    """Any order of calls, ends and time: probes one at a time, and nothing else while it is not closed."""

    @initialize()
    def begin(self) -> None:
        self.breaker = Breaker(RULES)
        self.now = 1000.0
        self.flying: list[tuple[int, str, float]] = []  # permit, the state it was given in, until when it is a probe

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 50.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def admit(self) -> None:
        before, retry_at = self.breaker.state, self.breaker.retry_at
        ready = self.breaker.ready(self.now)
        permit = self.breaker.admit(self.now)
        assert bool(permit) == ready
        if not permit:
            assert before != CLOSED
            return
        if before == OPEN:
            assert self.now >= retry_at
        probe = before != CLOSED
        self.flying.append((permit, "probe" if probe else "call", self.now + RULES.probe_seconds if probe else 0.0))

    @rule(which=st.integers(0), outcome=st.sampled_from([OK, FAILED, SLOW, NEUTRAL]), jitter=st.floats(0, 0.99))
    def end(self, which: int, outcome: str, jitter: float) -> None:
        if self.flying:
            permit, kind, _ = self.flying.pop(which % len(self.flying))
            before = self.breaker.state
            changed = self.breaker.note(permit, outcome, self.now, jitter=jitter)
            assert changed == (before != self.breaker.state)
            if before == OPEN:
                assert not changed
            if before == HALF_OPEN and changed:
                assert kind == "probe"

    @rule()
    def all_is_well_again(self) -> None:
        """Whatever has happened: calls that are answered close it within its longest time and a lost probe's."""
        deadline = self.now + RULES.longest_seconds * 1.25 + RULES.probe_seconds + 1
        while self.breaker.state != CLOSED and self.now <= deadline:
            permit = self.breaker.admit(self.now)
            if permit:
                self.breaker.note(permit, OK, self.now)
            else:
                self.now += 1.0
        assert self.breaker.state == CLOSED

    @invariant()
    def a_probe_is_never_two(self) -> None:
        probes = [p for p in self.flying if p[1] == "probe" and p[2] > self.now and self.breaker.is_current(p[0])]
        assert len(probes) <= 1
        assert self.breaker.state == HALF_OPEN or not probes

    @invariant()
    def it_remembers_no_more_than_its_window(self) -> None:
        assert self.breaker.rates()[2] <= RULES.window_calls


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.sampled_from("ofsn"), st.floats(0, 30)), max_size=80))
def test_the_counts_are_those_of_the_window(calls: list[tuple[str, float]]) -> None:
    rules = BreakerRules(minimum_calls=10, window_calls=10, failure_rate=1.0, slow_rate=1.0)
    breaker, now, seen = Breaker(rules), 0.0, []
    for letter, gap in calls:
        now += gap
        feed(breaker, letter, now)
        if breaker.state != CLOSED:
            break
        if letter != "n":
            seen.append((now, letter))
            last = [each for at, each in seen[-10:] if at >= now - 60]
            assert breaker.rates() == (last.count("f") / len(last), last.count("s") / len(last), len(last))


ANSWERS = {
    (500, "api_error"): FAILED,
    (502, ""): FAILED,
    (503, "service_unavailable_error"): FAILED,
    (504, "timeout_error"): FAILED,
    (529, "overloaded_error"): FAILED,
    (408, ""): FAILED,
    (409, "conflict_error"): NEUTRAL,
    (429, "rate_limit_error"): NEUTRAL,
    (400, "invalid_request_error"): NEUTRAL,
    (404, "not_found_error"): NEUTRAL,
    (413, "request_too_large"): NEUTRAL,
    (501, ""): NEUTRAL,
    (402, "billing_error"): MONEY,
    (429, "insufficient_quota"): MONEY,
    (401, "authentication_error"): AUTH,
    (403, "permission_error"): FORBIDDEN,
}


@pytest.mark.parametrize(("answer", "outcome"), ANSWERS.items())
def test_what_an_answer_says_about_its_route(answer: tuple[int, str], outcome: str) -> None:
    assert outcome_of(failure(answer[0], (), b"", type_=answer[1])) == outcome


@pytest.mark.parametrize("kind", ["timeout", "connect", "broken", "truncated"])
def test_a_connection_that_fails_counts(kind: str) -> None:
    assert outcome_of(UpstreamError("it failed", kind=kind)) == FAILED


@pytest.mark.parametrize("kind", ["saturated", "config", "too_long", "caller"])
def test_what_is_ours_or_the_callers_does_not_count(kind: str) -> None:
    assert outcome_of(UpstreamError("it failed", kind=kind)) == NEUTRAL


def test_a_callers_own_short_timeout_does_not_count_and_a_reset_does() -> None:
    assert outcome_of(UpstreamError("too late", kind="timeout"), by_caller=True) == NEUTRAL
    assert outcome_of(UpstreamError("reset", kind="broken"), by_caller=True) == FAILED


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_the_next_month_begins_on_its_first_at_midnight(moment: datetime) -> None:
    now = moment.replace(tzinfo=UTC)
    first = datetime.fromtimestamp(next_month(now.timestamp()), UTC)
    assert first > now
    assert (first.day, first.hour, first.minute, first.second) == (1, 0, 0, 0)
    assert (first - now).days <= 31


@pytest.mark.parametrize(
    "wrong",
    [{"failure_rate": 0.0}, {"slow_rate": 1.1}, {"minimum_calls": 101}, {"minimum_calls": 0}, {"open_seconds": 0.0}],
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"breaker|minimum_calls"):
        BreakerRules(**wrong)


def test_a_new_breaker_is_closed_and_waits_for_nothing() -> None:
    breaker = Breaker(RULES)
    assert (breaker.state, breaker.waits(0.0), breaker.rates()) == (CLOSED, 0.0, (0.0, 0.0, 0))
    assert breaker.ends == math.inf


def test_only_a_connection_that_does_not_come_in_time_counts_as_unreachable() -> None:
    assert outcome_of(UpstreamTimeout("", kind="connect", retryable=True)) == UNREACHABLE
    assert outcome_of(UpstreamBroken("", kind="connect", retryable=True)) == FAILED  # refused: it costs nothing to ask
    assert outcome_of(UpstreamTimeout("", kind="timeout", retryable=True)) == FAILED


def test_a_probe_that_gets_no_connection_opens_it_again_for_longer() -> None:
    breaker = Breaker(RULES)
    feed(breaker, "u", 0.0)
    feed(breaker, "u", 6.0)
    assert breaker.state == OPEN
    assert breaker.waits(6.0) == 10.0
