"""Breakers of routes, accounts and credentials together."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import UpstreamError, UpstreamTimeout
from headgate.core.exchange import Route
from headgate.core.secret import Secret
from headgate.policy import breakers as module
from headgate.policy.breaker import CLOSED, OPEN, BreakerRules
from headgate.policy.breakers import Blocked, Breakers, Change, Permit
from headgate.policy.failures import failure

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC).timestamp()
KEY = Secret("first" + "-key")
A = Route("anthropic", "claude-haiku-4-5", "anthropic", "http://a", KEY)
B = replace(A, model="claude-opus-5-5")
OTHER_KEY = replace(A, credential=Secret("second" + "-key"))
PASSED = replace(A, credential=None)
OPENAI = Route("openai", "gpt-6-luna", "openai", "http://o", KEY)

BROKEN = failure(500, (), b"", type_="api_error")
MONEY = failure(429, (), b"", code="insufficient_quota")
TIER = failure(429, (), b"", type_="rate_limit_error", code="enforced_spend_limit_reached")
AUTH = failure(401, (), b"", type_="authentication_error")
FORBIDDEN = failure(403, (), b"", type_="permission_error")
UNREACHABLE = UpstreamTimeout("no connection", kind="connect")
RULES_OF_FEW = BreakerRules(minimum_calls=2, window_calls=5, window_seconds=40.0, open_seconds=1.0)


class Changing(Secret):
    """A credential that is renewed where it is kept."""

    __slots__ = ()

    def put(self, value: str) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def admit(breakers: Breakers, route: Route, now: float) -> Permit:
    permit = breakers.admit(route, now)
    assert isinstance(permit, Permit)
    return permit


def call(breakers: Breakers, route: Route, error: UpstreamError | None, now: float, **more: Any) -> list[Change]:
    return breakers.note(admit(breakers, route, now), error, now, **more)


def blocked(breakers: Breakers, route: Route, now: float) -> Blocked:
    said = breakers.admit(route, now)
    assert isinstance(said, Blocked)
    return said


def test_a_route_that_fails_is_left_alone_and_no_other() -> None:
    breakers = Breakers()
    told = [change for _ in range(10) for change in call(breakers, A, BROKEN, NOW)]
    assert told == [Change("route", OPEN, "failures", 5.0)]
    assert blocked(breakers, A, NOW + 1) == Blocked("route", "failures", 4.0)
    assert all(breakers.admit(route, NOW + 1) for route in (B, OTHER_KEY, PASSED, OPENAI))


def test_a_probe_that_is_answered_is_told_as_closed() -> None:
    breakers = Breakers()
    for _ in range(10):
        call(breakers, A, BROKEN, NOW)
    probe = admit(breakers, A, NOW + 5)
    assert not breakers.admit(A, NOW + 5)
    assert breakers.note(probe, None, NOW + 6) == [Change("route", CLOSED, "", 0.0)]
    assert breakers.state(A, NOW + 6) is None


def test_slow_answers_open_a_route_where_slowness_is_defined_and_only_there() -> None:
    strict, plain = Breakers(BreakerRules(slow_seconds=10)), Breakers()
    for _ in range(10):
        call(strict, A, None, NOW, seconds=11.0)
        call(plain, A, None, NOW, seconds=1000.0)
    assert blocked(strict, A, NOW).cause == "slow"
    assert plain.admit(A, NOW)


def test_an_account_without_money_is_left_alone_for_all_its_models() -> None:
    breakers = Breakers()
    assert call(breakers, A, MONEY, NOW) == [Change("account", OPEN, "money", 300.0)]
    assert blocked(breakers, B, NOW) == Blocked("account", "money", 300.0)
    assert all(breakers.admit(route, NOW) for route in (OTHER_KEY, PASSED, OPENAI))


def test_an_account_is_probed_ever_more_rarely_and_comes_back_when_somebody_has_paid() -> None:
    breakers, now, waits = Breakers(), NOW, []
    call(breakers, A, MONEY, now)
    for _ in range(6):
        waits.append(blocked(breakers, A, now).retry_after)
        now += waits[-1]
        call(breakers, B, MONEY, now)
    assert waits == [300, 600, 1200, 2400, 3600, 3600]
    now += 3600
    assert call(breakers, A, None, now) == [Change("account", CLOSED, "", 0.0)]
    assert breakers.admit(B, now)


def test_calls_that_were_on_their_way_do_not_keep_the_account_closed_for_longer() -> None:
    breakers = Breakers()
    first, second = admit(breakers, A, NOW), admit(breakers, B, NOW)
    assert breakers.note(first, MONEY, NOW)
    assert breakers.note(second, MONEY, NOW + 1) == []
    assert blocked(breakers, A, NOW + 1).retry_after == 299.0


def test_a_tier_cap_lifts_on_the_first_at_midnight() -> None:
    breakers = Breakers(BreakerRules(money_seconds=1e9, account_longest_seconds=1e9))
    call(breakers, A, TIER, NOW)
    first = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    assert blocked(breakers, A, first - 1).retry_after == 1.0
    assert all(breakers.admit(A, first) for _ in range(3))


def test_an_account_is_open_until_told_otherwise() -> None:
    breakers = Breakers()
    call(breakers, A, MONEY, NOW)
    call(breakers, OTHER_KEY, MONEY, NOW)
    assert breakers.lift("openai") == 0
    assert breakers.lift("anthropic", KEY) == 1
    assert breakers.admit(B, NOW)
    assert not breakers.admit(OTHER_KEY, NOW)
    assert breakers.lift("anthropic") == 1
    assert breakers.admit(OTHER_KEY, NOW)


def test_lifting_closes_routes_and_credentials_too() -> None:
    breakers = Breakers()
    call(breakers, OPENAI, AUTH, NOW)
    for _ in range(10):
        call(breakers, A, BROKEN, NOW)
    assert (breakers.lift("openai"), breakers.lift("anthropic")) == (1, 1)
    assert breakers.admit(OPENAI, NOW)
    assert breakers.admit(A, NOW)


def test_a_refused_credential_is_left_alone_until_its_value_is_another_one() -> None:
    secret = Changing("old" + "-value")
    route, breakers = replace(A, credential=secret), Breakers()
    early = admit(breakers, route, NOW)
    assert call(breakers, route, AUTH, NOW) == [Change("credential", OPEN, "auth", 60.0)]
    assert blocked(breakers, replace(route, model="another"), NOW).what == "credential"
    secret.put("new" + "-value")
    assert breakers.admit(route, NOW)
    assert breakers.note(early, AUTH, NOW) == []  # it was the old value that was refused
    assert breakers.admit(route, NOW)


def test_a_refused_credential_is_tried_again_now_and_then() -> None:
    breakers = Breakers()
    call(breakers, A, AUTH, NOW)
    assert call(breakers, A, AUTH, NOW + 60) == [Change("credential", OPEN, "auth", 120.0)]
    assert call(breakers, A, None, NOW + 180) == [Change("credential", CLOSED, "", 0.0)]


def test_a_model_that_a_credential_must_not_use_does_not_disable_the_credential() -> None:
    breakers = Breakers()
    assert call(breakers, A, FORBIDDEN, NOW) == [Change("route", OPEN, "forbidden", 5.0)]
    assert blocked(breakers, A, NOW).cause == "forbidden"
    assert breakers.admit(B, NOW)


@pytest.mark.parametrize("error", [MONEY, AUTH, FORBIDDEN])
def test_a_callers_own_credential_opens_nothing_for_others(error: UpstreamError) -> None:
    breakers = Breakers()
    assert call(breakers, PASSED, error, NOW) == []
    assert breakers.admit(PASSED, NOW)


def test_a_call_that_an_account_blocks_does_not_use_up_the_routes_probe() -> None:
    breakers = Breakers()
    for _ in range(10):
        call(breakers, A, BROKEN, NOW)
    call(breakers, B, MONEY, NOW)
    assert blocked(breakers, A, NOW + 10).what == "account"
    breakers.lift("anthropic", KEY)
    for _ in range(10):
        call(breakers, A, BROKEN, NOW + 10)
    assert breakers.admit(A, NOW + 20)


def test_a_probe_that_was_given_up_leaves_the_next_call_to_be_the_probe() -> None:
    breakers = Breakers()
    for _ in range(10):
        call(breakers, A, BROKEN, NOW)
    breakers.release(admit(breakers, A, NOW + 5), NOW + 6)
    assert breakers.admit(A, NOW + 6)


def test_looking_is_no_probe() -> None:
    breakers = Breakers()
    for _ in range(10):
        call(breakers, A, BROKEN, NOW)
    for _ in range(3):
        assert breakers.state(A, NOW + 5) == Blocked("route", "failures", 0.0)
    assert breakers.admit(A, NOW + 5)


def test_any_number_of_models_takes_a_bounded_amount_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROUTES", 10)
    monkeypatch.setattr(module, "MOST_ACCOUNTS", 10)
    breakers = Breakers()
    for number in range(100):
        call(breakers, replace(A, model=f"m{number}"), None, NOW)
        call(breakers, replace(A, provider=f"p{number}"), MONEY, NOW)
        call(breakers, replace(A, provider=f"q{number}"), AUTH, NOW)
    assert len(breakers._routes) + len(breakers._accounts) + len(breakers._credentials) == 30


STEPS = st.lists(
    st.tuples(
        st.sampled_from([A, B, OTHER_KEY, PASSED]),
        st.sampled_from([None, BROKEN, BROKEN, MONEY, TIER, AUTH, FORBIDDEN]),
        st.sampled_from([0.0, 1.0, 10.0, 100.0, 1000.0]),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_in_any_order_of_events_probes_go_one_by_one_and_everything_recovers(steps: list[Any]) -> None:
    breakers, now = Breakers(BreakerRules(minimum_calls=2, probe_seconds=1e9)), NOW
    flying: list[tuple[Permit, UpstreamError | None, bool]] = []
    for route, error, seconds, ends in steps:
        now += seconds
        before = breakers.state(route, now)
        said = breakers.admit(route, now)
        if isinstance(said, Permit):
            assert before is None or before.retry_after == 0.0
            if before is not None:
                assert not breakers.admit(route, now)  # it was the probe
            flying.append((said, error, before is not None))
        else:
            assert before is not None
        for permit, end, _ in flying[:ends]:
            breakers.note(permit, end, now, jitter=0.5)
        del flying[:ends]
    for permit, _, _ in flying:
        breakers.release(permit, now)
    for route in (A, B, OTHER_KEY, PASSED):
        for _ in range(3):  # a credential, an account and a route may stand in the way one after the other
            waits = breakers.state(route, now)
            now += waits.retry_after if waits is not None else 0.0
            said = breakers.admit(route, now)
            if isinstance(said, Permit):
                breakers.note(said, None, now)
        assert breakers.state(route, now) is None


def test_what_is_forbidden_to_one_call_does_not_close_the_route_to_others_that_are_answered() -> None:
    breakers = Breakers()
    call(breakers, A, None, NOW)
    assert call(breakers, A, FORBIDDEN, NOW + 1) == []
    assert breakers.admit(A, NOW + 1)
    assert call(breakers, A, FORBIDDEN, NOW + 62) == [Change("route", OPEN, "forbidden", 5.0)]


@pytest.mark.parametrize("code", ["mismatched_organization", "mismatched_project"])
def test_a_header_of_the_callers_that_does_not_fit_our_credential_does_not_disable_it(code: str) -> None:
    breakers = Breakers()
    assert call(breakers, OPENAI, failure(401, (), b"", type_="invalid_request_error", code=code), NOW) == []
    assert breakers.admit(OPENAI, NOW)


def test_while_a_probe_is_under_way_others_are_told_to_come_back_soon_and_not_when_it_is_given_up() -> None:
    breakers = Breakers()
    for _ in range(10):
        call(breakers, A, BROKEN, NOW)
    admit(breakers, A, NOW + 10)
    assert blocked(breakers, A, NOW + 11).retry_after == 5.0
    assert blocked(breakers, A, NOW + 10 + 658).retry_after == 2.0


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([RULES_OF_FEW, replace(RULES_OF_FEW, slow_seconds=2.0)]),
    st.lists(st.tuples(st.sampled_from("ooooofsum"), st.sampled_from([0.0, 0.5, 30.0])), max_size=60),
)
def test_an_answer_noted_in_one_step_leaves_what_any_other_noting_leaves(
    rules: BreakerRules, steps: list[tuple[str, float]]
) -> None:
    errors = {"f": BROKEN, "u": UNREACHABLE, "m": MONEY}
    short, long = Breakers(rules), Breakers(rules)
    now = NOW
    for outcome, seconds in steps:
        now += seconds
        mine, theirs = short.admit(A, now), long.admit(A, now)
        assert mine[1:6] == theirs[1:6]
        if isinstance(mine, Blocked) or isinstance(theirs, Blocked):
            continue
        error = errors.get(outcome)
        took = 3.0 if outcome == "s" else 0.1
        told = short.answered(mine, now, took) if error is None else short.note(mine, error, now)
        assert list(told) == long.note(theirs, error, now, seconds=took)
        assert [b.rates() for b in short._routes.values()] == [b.rates() for b in long._routes.values()]
        assert short.state(A, now) == long.state(A, now)


def test_a_permit_is_given_again_until_something_opens_or_a_breaker_is_made() -> None:
    breakers = Breakers(RULES_OF_FEW)
    assert breakers.gives_again(admit(breakers, A, NOW))
    before = breakers.openings
    call(breakers, A, None, NOW)
    made = breakers.openings
    assert made > before
    for _ in range(3):
        call(breakers, A, None, NOW)
    assert breakers.openings == made
    while not isinstance(breakers.admit(A, NOW), Blocked):
        call(breakers, A, BROKEN, NOW)
    assert breakers.openings > made
    call(breakers, OTHER_KEY, MONEY, NOW)
    assert not breakers.gives_again(admit(breakers, OPENAI, NOW))
