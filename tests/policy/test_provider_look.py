"""How a provider's traffic stands: what is open, what is left, who waits, and what its headers told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from headgate.core.errors import UpstreamBroken, UpstreamError, UpstreamRejected
from headgate.core.exchange import Attempt
from headgate.core.secret import Secret
from headgate.policy.breakers import Breakers, Permit, value_of
from headgate.policy.pace_need import Ceilings
from headgate.policy.provider_look import MOST_LANES, ProviderLook
from headgate.policy.rate_facts import PAST, SILENT_ANSWERS, HeaderCounts, Seen
from headgate.policy.retry_budget import RetryBudget
from headgate.policy.turn import Turn, TurnRules
from headgate.policy.turns import Turns
from headgate.testing.fakes import World, route

HERE = route("anthropic", "claude-haiku-4-5")
T0 = 1_000.0
MONEY = UpstreamRejected("no money", kind="money", status=402, elsewhere=True)
BROKEN = UpstreamBroken("reset", kind="server", status=500, retryable=True, elsewhere=True)


def seen(*faults: str, told: bool = True, skew: float | None = None) -> Seen:
    made = Seen()
    made.faults.update(faults)
    made.told, made.skew = told, skew
    return made


def end(turns: Turns, turn: Turn, error: UpstreamError | None = None, now: float = T0) -> None:
    attempt = Attempt(1, HERE, now, sent=True, error=error)
    attempt.first_content = None if error is not None else now
    turns.end(turn, attempt, now, jitter=0.0)


def took(turns: Turns, **more: Any) -> Turn:
    found = turns.ask(World().request(**more), HERE, T0 + 60, T0)
    assert isinstance(found, Turn)
    return found


def only(turns: Turns, now: float = T0) -> ProviderLook:
    (found,) = turns.providers(now)
    return found


def test_a_provider_that_nothing_was_sent_to_is_not_there_and_looking_makes_no_lane() -> None:
    turns = Turns()
    assert turns.providers(T0) == []
    took(turns)
    assert [look.name for look in turns.providers(T0)] == ["anthropic"]
    assert turns.providers(T0, "openai") == []
    assert len(only(turns).lanes) == 1


def test_what_is_in_flight_waits_and_is_left_is_told() -> None:
    turns = Turns(default=TurnRules(ceilings=Ceilings(requests_per_minute=60)))
    took(turns)
    took(turns)
    turns.ask(World().request(), HERE, T0 + 60, T0)
    look = only(turns)
    assert (look.in_flight, look.waiting, look.cap, look.adapts) == (2, 1, 64, True)
    (lane,) = look.lanes
    assert (lane.family, lane.waiting) == ("claude-haiku-4", 1)
    assert lane.pace is not None
    assert [(level.name, level.limit, level.left) for level in lane.pace.levels] == [("requests_ceiling", 60, 8.0)]


def test_without_a_cap_and_without_a_retry_budget_there_is_still_something_to_tell() -> None:
    turns = Turns(default=TurnRules(concurrency=0, retry_share=None))
    first, second = took(turns), took(turns)
    assert (only(turns).cap, only(turns).in_flight, only(turns).retries_left) == (None, 2, None)
    end(turns, first)
    end(turns, second, BROKEN)
    assert only(turns).rates.attempt_errors == 0.5
    assert turns.rates(T0) == only(turns).rates


def test_rates_of_all_providers_are_weighted_by_their_attempts() -> None:
    turns = Turns()
    for provider, failed, count in (("anthropic", 1, 10), ("openai", 30, 30)):
        for number in range(count):
            turns.budget(provider).note_attempt(BROKEN if number < failed else None, T0)
    assert turns.rates(T0).attempts == 40
    assert turns.rates(T0).attempt_errors == 31 / 40


def test_a_family_of_models_can_be_asked_for_alone() -> None:
    turns = Turns()
    took(turns)
    turns.ask(World().request(), route("anthropic", "claude-opus-4-8"), T0 + 60, T0)
    assert {lane.family for lane in only(turns).lanes} == {"claude-haiku-4", "claude-opus-4"}
    (look,) = turns.providers(T0, pooled="claude-opus-4")
    assert [lane.family for lane in look.lanes] == ["claude-opus-4"]


def test_of_many_models_those_with_something_to_do_are_shown_and_the_rest_is_counted() -> None:
    turns = Turns()
    for number in range(MOST_LANES + 7):
        turns.unsent(took_at(turns, f"model-{number}"), T0)
    took_at(turns, "busy-model")
    look = only(turns)
    assert (len(look.lanes), look.more_lanes) == (MOST_LANES, 8)
    assert look.lanes[0].family == "busy-model"


def took_at(turns: Turns, model: str) -> Turn:
    found = turns.ask(World().request(), route("anthropic", model), T0 + 60, T0)
    assert isinstance(found, Turn)
    return found


def test_breakers_that_are_open_are_listed_the_longest_first_with_what_tells_their_credential() -> None:
    breakers = Breakers()
    key = Secret("obviously-not-a-real-key")
    here = replace(HERE, credential=key)
    permit = breakers.admit(here, T0)
    assert isinstance(permit, Permit)
    breakers.note(permit, MONEY, T0)
    for _ in range(10):
        other = breakers.admit(route("anthropic", "claude-opus-4-8"), T0)
        assert isinstance(other, Permit)
        breakers.note(other, BROKEN, T0)
    money, failing = breakers.opened("anthropic", T0)
    assert (money.what, money.cause, money.credential, money.retry_after) == ("account", "money", value_of(key), 300.0)
    assert (failing.what, failing.model, failing.cause) == ("route", "claude-opus-4-8", "failures")
    assert breakers.opened("openai", T0) == []
    assert breakers.lift("anthropic") == 2
    assert breakers.opened("anthropic", T0) == []


def test_a_refused_credential_is_listed_until_its_value_is_another_one() -> None:
    breakers = Breakers()
    key = Secret("obviously-not-a-real-key")
    permit = breakers.admit(replace(HERE, credential=key), T0)
    assert isinstance(permit, Permit)
    breakers.note(permit, UpstreamRejected("no", kind="auth", status=401, elsewhere=True), T0)
    assert [each.what for each in breakers.opened("anthropic", T0)] == ["credential"]
    key._value = "obviously-another-key"
    assert breakers.opened("anthropic", T0) == []


def test_headers_are_counted_by_what_was_wrong_with_them_and_the_last_clock_is_told() -> None:
    counts = HeaderCounts()
    counts.note(seen(skew=-42.0), good=True)
    counts.note(seen(PAST, skew=-41.0), good=True)
    counts.note(seen(PAST), good=False)
    look = counts.look()
    assert (look.answers, look.told, dict(look.faults), look.skew) == (3, 3, {PAST: 2}, -41.0)


def test_that_a_provider_tells_no_limits_becomes_clear_once() -> None:
    counts = HeaderCounts()
    found = [counts.note(seen(told=False), good=True) for _ in range(SILENT_ANSWERS + 5)]
    assert found.index(True) == SILENT_ANSWERS - 1
    assert sum(found) == 1


def test_errors_without_such_headers_say_nothing_about_a_provider() -> None:
    counts = HeaderCounts()
    assert not any(counts.note(seen(told=False), good=False) for _ in range(SILENT_ANSWERS + 5))
    assert counts.look().answers == 0
    counts.note(seen(), good=True)
    assert not any(counts.note(seen(told=False), good=True) for _ in range(SILENT_ANSWERS + 5))


def test_a_retry_budget_without_a_share_allows_all_and_counts_all_the_same() -> None:
    budget = RetryBudget(None)
    for _ in range(100):
        assert budget.may_retry(T0)
        budget.note_attempt(BROKEN, T0)
    assert budget.balance(T0) is None
    assert budget.rates(T0).attempt_errors == 1.0
