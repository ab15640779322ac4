"""Anomalies: silence while all is usual, one word when it is not, and a bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.caller import Caller
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
from headgate.core.money import NANO_PER_USD
from headgate.core.usage import Usage
from headgate.policy.anomalies import (
    AGENT_LOOP,
    DAILY_SPEND,
    FLOOR_SPEND_NANO,
    FLOOR_TOKENS,
    LEARNING_CALLS,
    MOST_MODELS,
    NEW_MODEL,
    QUIET_SECONDS,
    SESSION_SPEND,
    TOKENS_JUMP,
    Anomalies,
    Anomaly,
    Past,
    Rules,
)
from headgate.policy.recent import Recent
from headgate.policy.usual import DAY, DAYS_BACK, FEWEST_CALLS, LOOP_CALLS, Days, Run, Window, median

DAY_ONE = 20_800
START = DAY_ONE * DAY
ADA = Caller(tenant="acme", key="k1", user="ada")
unhurried = settings(deadline=None)  # nothing here is about time, and the machine may be busy


def call(
    at: float,
    *,
    prompt: int = 100,
    output: int = 100,
    cost: int = 0,
    caller: Caller = ADA,
    provider: str = "anthropic",
    model: str = "m",
    endpoint: str = "messages",
    estimated: bool = False,
    usage: bool = True,
) -> Exchange:
    """An exchange that ended at a moment."""
    asked = Request("anthropic", endpoint, "POST", "/", (), b"{}", Facts(model="asked"), caller, "gateway")
    attempt = Attempt(1, Route(provider, "", "anthropic", "https://a.test"), at, sent=True, status=200)
    attempt.cost_nano, attempt.estimated = cost, estimated
    if usage:
        attempt.usage, attempt.model_served = Usage(input_tokens=prompt, output_tokens=output), model
    return Exchange(f"ex_{at}", asked, at, [attempt], Ending.COMPLETE, None, at)


def fed(detectors: Anomalies, exchanges: Sequence[Exchange]) -> list[Anomaly]:
    return [found for each in exchanges for found in detectors.look(each)]


def kinds(found: Sequence[Anomaly]) -> list[str]:
    return [each.kind for each in found]


def tokens(*amounts: int, start: float = START, apart: float = 60.0, **more: Any) -> list[Exchange]:
    return [call(start + n * apart, prompt=amount, output=0, **more) for n, amount in enumerate(amounts)]


# Tokens of a call


@unhurried
@given(st.integers(0, 10**9), st.integers(1, 200), st.floats(1.01, 1000))
def test_a_constant_stream_of_calls_is_never_unusual(amount: int, count: int, ratio: float) -> None:
    assert fed(Anomalies(Rules(tokens_ratio=ratio)), tokens(*[amount] * count)) == []


@unhurried
@given(st.integers(0, 10**6), st.integers(FEWEST_CALLS, 100), st.integers(1, 10**6))
def test_a_call_over_twice_a_constant_stream_is_always_told(amount: int, count: int, more: int) -> None:
    jump = max(2 * amount, FLOOR_TOKENS) + more
    found = fed(Anomalies(Rules()), tokens(*[amount] * count, jump))
    assert kinds(found) == [TOKENS_JUMP]
    assert (found[0].seen, found[0].usual, found[0].unit) == (jump, amount, "tokens")


@unhurried
@given(st.lists(st.integers(0, 10**6), min_size=FEWEST_CALLS, max_size=60), st.integers(1, 10**6))
def test_a_call_over_four_times_the_largest_before_is_always_told(before: list[int], more: int) -> None:
    detectors = Anomalies(Rules())
    fed(detectors, tokens(*before))
    jump = max(4 * max(before), FLOOR_TOKENS) + more
    assert kinds(fed(detectors, tokens(jump, start=START + DAY))) == [TOKENS_JUMP]


def test_forty_tokens_after_fifteen_are_no_jump() -> None:
    assert fed(Anomalies(Rules()), tokens(*[15] * 50, 40, FLOOR_TOKENS)) == []


def test_the_first_calls_of_a_caller_are_learnt_from_whatever_they_are() -> None:
    assert fed(Anomalies(Rules()), tokens(*[15] * (FEWEST_CALLS - 1), 10**6)) == []


def test_a_caller_whose_calls_differ_is_not_told_about_at_each_large_one() -> None:
    mixed = [500, 12_000] * 200
    assert fed(Anomalies(Rules()), tokens(*mixed)) == []


def test_a_jump_is_told_once_an_hour_for_each_caller() -> None:
    detectors = Anomalies(Rules())
    bob = Caller(tenant="acme", key="k1", user="bob")
    fed(detectors, tokens(*[500] * 20))
    fed(detectors, tokens(*[500] * 20, caller=bob))
    later = START + DAY
    assert len(fed(detectors, tokens(*[10**7] * 3, start=later, apart=1.0))) == 1
    assert len(fed(detectors, tokens(10**7, start=later, caller=bob))) == 1
    assert fed(detectors, tokens(10**8, start=later + QUIET_SECONDS - 1)) == []
    assert len(fed(detectors, tokens(10**8, start=later + QUIET_SECONDS + 1))) == 1


def test_one_huge_call_hides_no_other() -> None:
    detectors = Anomalies(Rules())
    fed(detectors, tokens(*[1_000] * 50, 10**9))
    assert kinds(fed(detectors, tokens(3_000, start=START + DAY))) == [TOKENS_JUMP]


def test_a_level_that_stays_becomes_usual() -> None:
    detectors = Anomalies(Rules())
    fed(detectors, tokens(*[1_000] * 50))
    assert kinds(fed(detectors, tokens(*[10_000] * 60, start=START + DAY))) == [TOKENS_JUMP]
    assert fed(detectors, tokens(*[10_000] * 50, start=START + 2 * DAY)) == []


def test_an_embedding_of_a_book_is_no_jump_of_a_chat() -> None:
    detectors = Anomalies(Rules())
    fed(detectors, tokens(*[200] * 20))
    assert fed(detectors, tokens(10**6, start=START + DAY, endpoint="embeddings")) == []


@pytest.mark.parametrize("how", [{"estimated": True}, {"usage": False, "cost": 5}])
def test_tokens_that_nobody_told_exactly_are_no_jump(how: dict[str, Any]) -> None:
    detectors = Anomalies(Rules())
    fed(detectors, tokens(*[200] * 20))
    assert fed(detectors, tokens(10**6, start=START + DAY, **how)) == []


def test_a_refused_exchange_is_not_looked_at() -> None:
    detectors = Anomalies(Rules())
    refused = call(START)
    refused.attempts.clear()
    assert fed(detectors, [refused] * 30) == []
    assert len(detectors) == 0


# A day's spending


def spend(day: int, *usd: float, tenant: str = "acme") -> list[Exchange]:
    """Calls on a day, one per hour."""
    caller = Caller(tenant=tenant)
    return [
        call((DAY_ONE + day) * DAY + hour * 3600, cost=int(each * NANO_PER_USD), caller=caller, usage=False)
        for hour, each in enumerate(usd)
    ]


def days(*usd: float, tenant: str = "acme") -> list[Exchange]:
    return [each for day, amount in enumerate(usd) for each in spend(day, amount, tenant=tenant)]


@unhurried
@given(st.integers(1, 10**6), st.integers(1, 40), st.integers(1, 24))
def test_days_of_the_same_spending_are_never_off_their_trend(cents: int, count: int, calls: int) -> None:
    detectors = Anomalies(Rules())
    for day in range(count):
        assert fed(detectors, spend(day, *[cents / 100 / calls] * calls)) == []


@unhurried
@given(
    st.lists(st.integers(1, 100_000), min_size=3, max_size=DAYS_BACK), st.integers(1, 23), st.sampled_from([2.0, 5.0])
)
def test_a_day_far_above_every_day_before_is_told_once_for_the_tenant_and_once_for_all(
    cents: list[int], calls: int, ratio: float
) -> None:
    detectors = Anomalies(Rules(spend_ratio=ratio))
    fed(detectors, days(*[each / 100 for each in cents]))
    usd = max(cents) / 100 * 8 + FLOOR_SPEND_NANO / NANO_PER_USD + 0.02
    found = fed(detectors, spend(len(cents), *[usd / calls] * calls, usd))
    assert kinds(found) == [DAILY_SPEND] * 2
    assert [each.caller for each in found] == [Caller(tenant="acme"), Caller()]
    assert all(each.seen > each.usual * ratio for each in found)


def test_a_day_is_off_its_trend_from_twice_the_usual_on() -> None:
    detectors = Anomalies(Rules())
    fed(detectors, days(10, 10, 10))
    found = fed(detectors, spend(3, 10, 10, 0.01, 100))
    assert [(each.seen, each.usual) for each in found] == [(20_010_000_000, 10_000_000_000)] * 2


def test_two_days_are_not_enough_to_say_what_is_usual() -> None:
    assert fed(Anomalies(Rules()), days(1, 1, 1_000)) == []


def test_cents_are_no_news() -> None:
    assert fed(Anomalies(Rules()), days(0.01, 0.01, 0.01, 0.99)) == []


def test_growth_by_a_fifth_each_day_is_a_trend() -> None:
    assert fed(Anomalies(Rules()), days(*[10 * 1.2**day for day in range(30)])) == []


def test_weekends_without_spending_do_not_make_mondays_unusual() -> None:
    week = [10, 10, 10, 10, 10, 0, 0]
    assert fed(Anomalies(Rules()), days(*week * 5)) == []


def test_one_outlier_does_not_hide_the_next() -> None:
    detectors = Anomalies(Rules())
    assert len(fed(detectors, days(10, 10, 10, 10, 1_000))) == 2
    assert len(fed(detectors, spend(5, 30))) == 2


def test_days_long_past_are_not_compared_with() -> None:
    detectors = Anomalies(Rules())
    fed(detectors, days(10, 10, 10))
    assert fed(detectors, spend(40, 1_000)) == []


def test_without_tenants_only_everybody_together_is_told() -> None:
    detectors = Anomalies(Rules())
    fed(detectors, days(10, 10, 10, tenant=""))
    assert [each.caller for each in fed(detectors, spend(3, 50, tenant=""))] == [Caller()]


def test_a_tenant_is_compared_with_its_own_days() -> None:
    detectors = Anomalies(Rules())
    for day in range(3):
        fed(detectors, spend(day, 1_000, tenant="whale") + spend(day, 10, tenant="minnow"))
    found = fed(detectors, spend(3, 30, tenant="minnow"))
    assert [each.caller.tenant for each in found] == ["minnow"]


def test_what_began_before_midnight_belongs_to_its_day() -> None:
    spending = Days(2.0, 1)
    for day in range(4):
        spending.take(day, 100)
    spending.take(4, 1)
    assert not spending.take(3, 10**6)
    assert spending.spent == 1
    assert spending.past[3] == 100 + 10**6


def test_days_from_the_ledger_count_like_days_seen() -> None:
    detectors = Anomalies(Rules())
    for day in range(3):
        detectors.remember(Past("acme", "anthropic", "m", DAY_ONE + day, 10 * NANO_PER_USD, 5))
    detectors.remember(Past("acme", "anthropic", "m", DAY_ONE + 3, 15 * NANO_PER_USD, 5))
    assert kinds(fed(detectors, spend(3, 4))) == []
    assert kinds(fed(detectors, spend(3, 4))) == [DAILY_SPEND] * 2


# A session that burns

S17 = Caller(tenant="acme", key="k1", user="ada", session="s-17")


@unhurried
@given(st.lists(st.tuples(st.floats(0, 300), st.integers(0, 2_000)), min_size=1, max_size=100))
def test_a_session_is_told_exactly_when_its_window_holds_more_than_the_cap(steps: list[tuple[float, int]]) -> None:
    seconds, cap = 600.0, 5_000
    detectors = Anomalies(Rules(session_nano=cap, session_window_seconds=seconds))
    at, spent = START, list[tuple[float, int]]()
    for after, nano in steps:
        at += after
        spent.append((at, nano))
        found = fed(detectors, [call(at, cost=nano, caller=S17, usage=False)])
        within = sum(nano for when, nano in spent if when > at - seconds)
        nearly = sum(nano for when, nano in spent if when > at - seconds * 14 / 12)
        if SESSION_SPEND in kinds(found):
            assert nearly > cap
            return  # the next is told an hour later
        assert within <= cap


def test_a_sessions_spending_is_told_once_an_hour_and_another_sessions_beside_it() -> None:
    detectors = Anomalies(Rules(session_nano=100))
    calls = [call(START + n, cost=60, caller=S17, usage=False) for n in range(20)]
    found = fed(detectors, calls)
    assert [(each.kind, each.seen, each.usual) for each in found] == [(SESSION_SPEND, 120, 100)]
    other = Caller(tenant="acme", key="k1", user="ada", session="s-18")
    assert len(fed(detectors, [call(START + 30, cost=101, caller=other, usage=False)])) == 1
    assert len(fed(detectors, [call(START + QUIET_SECONDS + 5, cost=101, caller=S17, usage=False)])) == 1


def test_a_session_of_the_same_name_of_another_tenant_is_another() -> None:
    detectors = Anomalies(Rules(session_nano=100))
    calls = [
        call(START, cost=60, caller=Caller(tenant=tenant, session="s-17"), usage=False) for tenant in ("acme", "globex")
    ]
    assert fed(detectors, calls) == []


def test_calls_without_a_session_are_no_session() -> None:
    assert fed(Anomalies(Rules(session_nano=1)), [call(START, cost=10**6, usage=False)]) == []


def prompts(*sizes: int, apart: float = 2.0, caller: Caller = S17) -> list[Exchange]:
    return [call(START + n * apart, prompt=size, output=5, caller=caller) for n, size in enumerate(sizes)]


@pytest.mark.parametrize("caller", [S17, ADA])
@pytest.mark.parametrize("step", [20, 120, 250])
def test_an_agent_that_goes_in_circles_is_told_once(caller: Caller, step: int) -> None:
    found = fed(Anomalies(Rules()), prompts(*range(2_000, 2_000 + 60 * step, step), caller=caller))
    assert [(each.kind, each.seen) for each in found] == [(AGENT_LOOP, LOOP_CALLS)]


@unhurried
@given(
    st.integers(0, 200_000),
    st.integers(1, NEARLY := 256),
    st.lists(st.integers(-20, 20), min_size=LOOP_CALLS, max_size=60),
)
def test_steps_that_are_alike_are_always_a_loop(start: int, step: int, jitter: list[int]) -> None:
    size, sizes = start, [start]
    for each in jitter:
        size += min(max(1, step + each), NEARLY)
        sizes.append(size)
    assert AGENT_LOOP in kinds(fed(Anomalies(Rules(tokens_ratio=1_000)), prompts(*sizes)))


@pytest.mark.parametrize(
    "sizes",
    [
        [500] * 100,  # the same again: a poll
        list(range(50_000, 0, -500)),  # shrinking
        [500 + 700 * n + (n % 5) * 400 for n in range(100)],  # an agent that reads files
        [200 + (n * 37) % 61 for n in range(100)],  # a nightly job over like items
    ],
)
def test_work_that_varies_is_no_loop(sizes: list[int]) -> None:
    assert AGENT_LOOP not in kinds(fed(Anomalies(Rules(tokens_ratio=1_000)), prompts(*sizes)))


def test_a_conversation_at_a_persons_pace_is_no_loop() -> None:
    assert fed(Anomalies(Rules()), prompts(*range(2_000, 8_000, 100), apart=60.0)) == []


# A new model


def used(detectors: Anomalies, *models: str, at: float, tenant: str = "acme", provider: str = "anthropic") -> list[str]:
    calls = [
        call(at + n, model=model, provider=provider, caller=Caller(tenant=tenant)) for n, model in enumerate(models)
    ]
    return [f"{each.provider}/{each.model}" for each in fed(detectors, calls) if each.kind == NEW_MODEL]


def test_a_model_never_seen_before_is_told_once_after_the_tenant_is_known() -> None:
    detectors = Anomalies(Rules())
    assert used(detectors, *["small"] * LEARNING_CALLS, "medium", at=START) == []
    assert used(detectors, "medium", "large", "large", "small", at=START + DAY) == ["anthropic/large"]
    assert used(detectors, "large", at=START + 9 * DAY) == []


def test_the_same_model_of_another_provider_is_new() -> None:
    detectors = Anomalies(Rules())
    used(detectors, *["small"] * LEARNING_CALLS, at=START)
    assert used(detectors, "small", at=START + DAY, provider="elsewhere") == ["elsewhere/small"]


def test_a_model_that_one_tenant_knows_is_new_for_another() -> None:
    detectors = Anomalies(Rules())
    for tenant in ("acme", "globex"):
        used(detectors, *["small"] * LEARNING_CALLS, at=START, tenant=tenant)
    used(detectors, "large", at=START + DAY)
    assert used(detectors, "large", at=START + DAY, tenant="globex") == ["anthropic/large"]


def test_few_calls_teach_nothing_however_long_ago() -> None:
    detectors = Anomalies(Rules())
    used(detectors, *["small"] * (LEARNING_CALLS - 1), at=START)
    assert used(detectors, "large", at=START + 9 * DAY) == []


def test_a_model_that_did_not_answer_is_not_new() -> None:
    detectors = Anomalies(Rules())
    used(detectors, *["small"] * LEARNING_CALLS, at=START)
    failed = call(START + DAY, usage=False, cost=7, caller=Caller(tenant="acme"))
    assert fed(detectors, [failed]) == []


def test_models_in_the_ledger_are_known() -> None:
    detectors = Anomalies(Rules())
    for model in ("small", "large"):
        detectors.remember(Past("acme", "anthropic", model, DAY_ONE - 3, 5, LEARNING_CALLS))
    detectors.remember(Past("acme", "anthropic", "", DAY_ONE - 2, 5, 9))
    assert used(detectors, "large", "huge", at=START) == ["anthropic/huge"]


def test_new_models_can_be_left_alone() -> None:
    detectors = Anomalies(Rules(new_model=False))
    used(detectors, *["small"] * LEARNING_CALLS, at=START)
    assert used(detectors, "large", at=START + DAY) == []


# Memory


@unhurried
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30)), max_size=200), st.integers(2, 20)
)
def test_what_is_remembered_is_bounded_whoever_calls(who: list[tuple[int, int, int]], most: int) -> None:
    detectors = Anomalies(Rules(), most=most)
    for n, (tenant, user, session) in enumerate(who):
        caller = Caller(tenant=str(tenant), user=str(user), session=str(session))
        detectors.look(call(START + n, caller=caller, cost=1))
        assert len(detectors) <= 3 * most


@unhurried
@given(st.lists(st.integers(0, 40), max_size=300), st.integers(2, 20))
def test_the_recent_half_is_never_forgotten(keys: list[int], size: int) -> None:
    recent: Recent[int, int] = Recent(size)
    asked: list[int] = []
    for key in keys:
        if recent.get(key) is None:
            recent.put(key, key)
        asked = [each for each in asked if each != key] + [key]
        assert len(recent) <= size
        assert all(each in recent for each in asked[-(size // 2) :])


def test_a_tenants_models_are_bounded() -> None:
    detectors = Anomalies(Rules())
    used(detectors, *[f"m{n}" for n in range(3 * MOST_MODELS)], at=START)
    tenant = detectors._tenants.get("acme")
    assert tenant is not None
    assert len(tenant.models) == MOST_MODELS


@unhurried
@given(st.lists(st.floats(0, 1_000), max_size=200))
def test_a_window_and_the_days_keep_a_bounded_number_of_sums(steps: list[float]) -> None:
    window, spending, at = Window(600.0), Days(2.0, 1), START
    for after in steps:
        at += after
        window.take(1, at)
        spending.take(int(at / 300), 1)
    assert len(window) <= 13
    assert len(spending.past) <= DAYS_BACK


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1))
def test_half_of_the_values_are_on_each_side_of_the_median(values: list[int]) -> None:
    middle = median(values)
    assert 2 * sum(each <= middle for each in values) >= len(values)
    assert 2 * sum(each >= middle for each in values) >= len(values)


def test_a_run_that_outlasts_the_window_begins_again() -> None:
    run = Run()
    lengths = [run.take(1_000 + 10 * n, START + 100 * n, 600.0) for n in range(20)]
    assert max(lengths) == 7


# What is told


def test_an_anomaly_tells_the_facts_under_the_logs_names() -> None:
    caller = Caller(tenant="acme", key="k1", user="ada", session="s-17", task="summarise")
    jump = Anomaly(TOKENS_JUMP, caller, "ex_1", START, "tokens", 4_000, 1_000, "anthropic", "m")
    assert jump.fields() == {
        "kind": TOKENS_JUMP,
        "message": "one call of 4000 tokens, where this caller's calls take 1000 on average",
        "exchange_id": "ex_1",
        "key": "k1",
        "tenant": "acme",
        "user_id": "ada",
        "session_id": "s-17",
        "task": "summarise",
        "provider": "anthropic",
        "model": "m",
        "seen_tokens": 4_000,
        "usual_tokens": 1_000,
    }
    burnt = Anomaly(SESSION_SPEND, caller, "ex_1", START, "usd", 5_500_000_000, 5_000_000_000).fields()
    assert (burnt["seen_usd"], burnt["usual_usd"]) == ("5.5", "5")
    new = Anomaly(NEW_MODEL, caller, "ex_1", START, provider="anthropic", model="m").fields()
    assert not [name for name in new if name.startswith(("seen", "usual"))]


@pytest.mark.parametrize("kind", [TOKENS_JUMP, DAILY_SPEND, SESSION_SPEND, AGENT_LOOP, NEW_MODEL])
def test_the_sentence_holds_no_name_that_a_caller_chose(kind: str) -> None:
    caller = Caller(tenant="evil", key="evil", user="evil", session="evil", task="evil")
    assert "evil" not in Anomaly(kind, caller, "ex_1", START, "usd", 1, 2, "anthropic", "evil").message


def test_a_session_that_nobody_goes_on_with_is_forgotten_but_not_what_was_told_of_one() -> None:
    detectors, window = Anomalies(Rules(session_nano=100)), Rules().session_window_seconds
    told = fed(detectors, [call(START, cost=101, caller=S17, usage=False)])
    assert kinds(told) == [SESSION_SPEND]
    for n in range(40):
        caller = Caller(tenant="acme", session=f"s-{n}x")
        fed(detectors, [call(START + 1 + n * window / 10, cost=1, caller=caller, usage=False)])
    assert len(detectors._sessions) <= 14
    assert fed(detectors, [call(START + 4 * window + 2, cost=101, caller=S17, usage=False)]) == []
