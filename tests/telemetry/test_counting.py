"""Counting: every exchange and attempt once, whatever it was, and labels that cannot run away."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_maker import Maker
from prometheus_client.parser import text_string_to_metric_families

from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded
from headgate.core.exchange import Ending, Exchange, Route
from headgate.core.guards import Finding, Verdict
from headgate.telemetry.counting import Counts, LabelRules
from headgate.telemetry.families import OTHER, Bounded, Distribution, Family
from headgate.telemetry.prometheus import exposition

SERVED = "claude-haiku-4-5-20251001"


def samples(families: list[Family]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus's own parser makes of the page."""
    page, _ = exposition(families, "")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(counts: Counts, name: str, **labels: str) -> float:
    """The sum over the series that have these labels."""
    wanted = set(labels.items())
    return sum(v for (found, has), v in samples(counts.families()).items() if found == name and wanted <= set(has))


@pytest.fixture
def make() -> Maker:
    return Maker()


def answered(make: Maker, **facts: object) -> Exchange:
    exchange = make.exchange(**facts)  # type: ignore[arg-type]
    make.attempt(exchange)
    return make.answered(exchange)


def test_an_exchange_is_counted_with_its_tokens_cost_and_times(make: Maker) -> None:
    counts = Counts()
    counts.look([answered(make, stream=True)])
    place = {"provider": "anthropic", "model": SERVED}
    assert value(counts, "headgate_exchanges_total", **place, task="summarise", outcome="complete") == 1
    assert value(counts, "headgate_attempts_total", **place, outcome="complete") == 1
    classes = {"input": 10, "cache_read": 20, "cache_write": 30, "cache_write_1h": 40, "output": 50}
    for kind, tokens in classes.items():
        assert value(counts, "headgate_tokens_total", **place, **{"class": kind}) == tokens
    assert value(counts, "headgate_reasoning_tokens_total", **place) == 5
    assert value(counts, "headgate_cost_usd_total", **place) == pytest.approx(1_234e-9)
    assert value(counts, "headgate_exchange_duration_seconds_sum", **place) == pytest.approx(0.75)
    assert value(counts, "headgate_exchange_duration_seconds_bucket", **place, le="0.5") == 0
    assert value(counts, "headgate_exchange_duration_seconds_bucket", **place, le="1.0") == 1
    assert value(counts, "headgate_time_to_first_content_seconds_sum", **place) == pytest.approx(0.35)
    assert value(counts, "headgate_overhead_seconds_sum", way_in="gateway") == pytest.approx(0.25)


def test_an_attempt_that_retries_hide_is_counted_by_its_kind_of_failure(make: Maker) -> None:
    counts = Counts()
    exchange = make.exchange()
    make.failed(make.attempt(exchange))
    make.attempt(exchange).waited = 2.0
    make.answered(exchange)
    counts.look([exchange])
    assert value(counts, "headgate_attempts_total", outcome="overloaded") == 1
    assert value(counts, "headgate_attempts_total", outcome="complete") == 1
    assert value(counts, "headgate_exchanges_total", outcome="complete") == 1
    assert value(counts, "headgate_exchanges_total") == 1
    assert value(counts, "headgate_wait_seconds_sum", **{"for": "retry"}) == 2.0


def test_waits_are_told_by_what_they_were_for(make: Maker) -> None:
    counts = Counts()
    exchange = make.exchange()
    attempt = make.attempt(exchange)
    attempt.waited, attempt.waited_turn, attempt.waited_money = 6.0, 3.0, 2.0
    make.answered(exchange)
    exchange.waited = 0.5
    counts.look([exchange])
    found = {kind: value(counts, "headgate_wait_seconds_sum", **{"for": kind}) for kind in ("turn", "money", "retry")}
    assert found == {"turn": 3.5, "money": 2.0, "retry": 1.0}


def test_estimated_money_is_told_apart(make: Maker) -> None:
    counts = Counts()
    exchange = make.exchange()
    make.attempt(exchange)
    counts.look([make.answered(exchange, cost=500, estimated=True), answered(make)])
    assert value(counts, "headgate_cost_usd_total", estimated="true") == pytest.approx(500e-9)
    assert value(counts, "headgate_cost_usd_total", estimated="false") == pytest.approx(1_234e-9)


def test_a_refusal_without_an_attempt_is_counted_by_its_code(make: Maker) -> None:
    counts = Counts()
    counts.look([make.ended(make.exchange(), Ending.REFUSED, status=429, error=BudgetExceeded("no"))])
    assert value(counts, "headgate_refusals_total", code="budget_exceeded") == 1
    assert value(counts, "headgate_exchanges_total", outcome="refused", provider="", model="") == 1
    assert value(counts, "headgate_attempts_total") == 0


def test_verdicts_are_counted_by_guard(make: Maker) -> None:
    counts = Counts()
    exchange = answered(make)
    exchange.findings = (
        Finding("injection", Verdict.FLAG),
        Finding("injection", Verdict.FLAG),
        Finding("pii", Verdict.REDACT),
    )
    counts.look([exchange])
    assert value(counts, "headgate_verdicts_total", guard="injection", verdict="flag") == 2
    assert value(counts, "headgate_verdicts_total", guard="pii", verdict="redact") == 1


def test_models_that_callers_make_up_take_no_place_among_the_labels(make: Maker) -> None:
    counts = Counts(LabelRules(models=3))
    for n in range(50):
        exchange = make.exchange(model=f"made-up-{n}")
        make.failed(make.attempt(exchange, bound=None))
        counts.look([make.ended(exchange, Ending.FAILED, status=404)])
    counts.look([answered(make)])
    assert value(counts, "headgate_exchanges_total", model=OTHER) == 50
    assert value(counts, "headgate_exchanges_total", model=SERVED) == 1


def test_no_label_tells_of_a_user_a_session_or_a_key(make: Maker) -> None:
    counts = Counts(LabelRules(tenants=5))
    caller = Caller(key="canary-key", tenant="acme", user="canary-user", session="canary-session")
    exchange = make.exchange(caller=caller)
    make.attempt(exchange)
    counts.look([make.answered(exchange)])
    page, _ = exposition(counts.families(), "")
    assert b"canary" not in page
    assert b'tenant="acme"' in page


def test_tenants_are_told_only_where_wanted_and_only_so_many(make: Maker) -> None:
    without, few = Counts(), Counts(LabelRules(tenants=2))
    for n in range(10):
        exchange = make.exchange(caller=Caller(tenant=f"t{n}"))
        make.attempt(exchange)
        made = [make.answered(exchange)]
        without.look(made)
        few.look(made)
    assert b"tenant" not in exposition(without.families(), "")[0]
    assert value(few, "headgate_exchanges_total", tenant=OTHER) == 8
    assert value(few, "headgate_exchanges_total") == value(without, "headgate_exchanges_total") == 10


def test_the_number_of_series_is_bounded_whatever_comes(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.telemetry.counting.MOST_CELLS", 20)
    monkeypatch.setattr("headgate.telemetry.counting.MOST_LOOKUPS", 30)
    counts = Counts(LabelRules(models=1000, tasks=1000))
    for n in range(200):
        exchange = make.exchange(caller=Caller(task=f"task-{n}"))
        attempt = make.attempt(exchange, route=Route("p", f"m{n}", "openai", "http://p"))
        if n % 3 == 0:
            make.failed(attempt)
            attempt = make.attempt(exchange)
        counts.look([make.answered(exchange)])
    assert value(counts, "headgate_exchanges_total") == 200
    assert value(counts, "headgate_attempts_total") == 267
    assert len(counts.families()[0].values) <= 22


def test_a_mistake_in_counting_is_told_and_stops_nothing(make: Maker) -> None:
    counts = Counts()
    broken = answered(make)
    broken.attempts[0].route = None  # type: ignore[assignment]
    counts.look([broken, answered(make)])
    assert value(counts, "headgate_uncounted_exchanges_total") == 1
    assert value(counts, "headgate_exchanges_total") == 1


def test_threads_lose_no_count(make: Maker) -> None:
    counts = Counts()
    exchange = answered(make)
    threads = [threading.Thread(target=lambda: [counts.one(exchange) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(counts, "headgate_exchanges_total") == 800


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=200), max_size=40))
def test_a_label_has_so_many_values_and_no_more_and_every_text_can_be_read_back(texts: list[str]) -> None:
    label = Bounded(5, ("known",))
    family = Family("f", "counter", "f", labels=("text",))
    for text in texts:
        family.add((label.of(text),), 1)
    assert len(family.values) <= 5 + 3
    assert label.of("known") == "known"
    clean = {place: count for place, count in family.values.items() if _plain(place[0])}
    read = samples([Family("f", "counter", "f", labels=("text",), values=clean)])
    assert {labels[0][1]: count for (_, labels), count in read.items()} == {p[0]: c for p, c in clean.items()}


def _plain(text: str) -> bool:
    return not any("\ud800" <= ch <= "\udfff" for ch in text)


def test_a_distribution_has_every_value_in_one_bucket_and_its_bounds_are_inclusive() -> None:
    found = Distribution((1.0, 2.0))
    for each in (0.0, 1.0, 1.5, 2.0, 3.0):
        found.note(each)
    assert found.counts == [2, 2, 1]
    assert found.sum == 7.5


def test_a_model_that_nobody_served_is_told_as_it_was_asked_for_by_each_caller(make: Maker) -> None:
    counts = Counts(LabelRules(known_models=("first", "second")))
    exchanges = [answered(make, model=model) for model in ("first", "second", "second")]
    for exchange in exchanges:
        exchange.attempts[-1].model_served = ""
    counts.look(exchanges)
    assert value(counts, "headgate_exchanges_total", model="first") == 1
    assert value(counts, "headgate_exchanges_total", model="second") == 2
