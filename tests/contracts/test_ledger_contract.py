"""What every ledger must do, whatever database is behind it."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded, NoTurn, UpstreamTimeout
from headgate.core.exchange import Ending, Route


def test_an_intent_is_on_disk_when_intend_returns(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.attempt(exchange, bound=777))
    (intent,) = store.open_intents()
    assert (intent["exchange_id"], intent["number"], intent["bound_nano"]) == (exchange.id, 1, 777)
    assert store.rows("SELECT * FROM attempts") == []
    assert store.rows("SELECT * FROM exchanges") == []


def test_a_settled_exchange_has_one_row_and_one_per_attempt(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.attempt(exchange))
    make.failed(exchange.attempts[0])
    store.intend(exchange, make.attempt(exchange, route=Route("acme", "m-2", "anthropic", "https://acme.example")))
    store.settle(make.answered(exchange, cost=99))
    store.flush()
    first, second = store.rows("SELECT * FROM attempts ORDER BY number")
    assert (first["outcome"], first["status"], first["error_kind"]) == ("failed", 529, "overloaded")
    assert first["provider_code"] == "overloaded_error"
    assert (second["outcome"], second["provider"], second["model"]) == ("complete", "acme", "m-2")
    assert store.open_intents() == []
    (row,) = store.rows("SELECT * FROM exchanges")
    assert (row["attempts"], row["cost_nano"], row["provider"]) == (2, 99, "acme")


def test_a_row_says_all_that_the_exchange_knew(store: Any, make: Any) -> None:
    caller = Caller("k1", "acme", "ada", "s-17", "summarise", "inbox", "production", {"team": "blue"})
    exchange = make.exchange(caller=caller, stream=True)
    store.intend(exchange, make.attempt(exchange))
    exchange.attempts[0].waited = 0.25
    exchange.upstream_gateway = "ex_other"
    store.settle(make.answered(exchange, cost=1_234, estimated=True))
    store.flush()
    (row,) = store.rows("SELECT * FROM exchanges")
    assert row["latency_ms"] == pytest.approx(750)
    assert row["ttft_ms"] == pytest.approx(350)
    assert row["waited_ms"] == pytest.approx(250)
    expected = {
        "id": exchange.id,
        "started": exchange.started,
        "ended": exchange.ended,
        "way_in": "gateway",
        "dialect": "anthropic",
        "endpoint": "messages",
        "key": "k1",
        "tenant": "acme",
        "user": "ada",
        "session": "s-17",
        "task": "summarise",
        "feature": "inbox",
        "environment": "production",
        "tags": '{"team":"blue"}',
        "model_asked": "claude-haiku-4-5",
        "model_served": "claude-haiku-4-5-20251001",
        "provider": "anthropic",
        "stream": 1,
        "ending": "complete",
        "status": 200,
        "error_code": "",
        "error_kind": "",
        "attempts": 1,
        "input_tokens": 10,
        "cache_read_tokens": 20,
        "cache_write_tokens": 30,
        "cache_write_long_tokens": 40,
        "output_tokens": 50,
        "reasoning_tokens": 5,
        "web_searches": 2,
        "cost_nano": 1_234,
        "estimated": 1,
        "estimated_nano": 1_234,
        "price_version": "2026-11-01",
        "stop_reason": "end_turn",
        "correlation_id": "c-1",
        "request_id": "req_1",
        "client_retries": 1,
        "simulated": 0,
        "upstream_gateway": "ex_other",
    }
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("ending", list(Ending))
def test_every_ending_is_told_apart(store: Any, make: Any, ending: Ending) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.attempt(exchange))
    store.settle(make.ended(exchange, ending))
    store.flush()
    assert [row["ending"] for row in store.rows("SELECT ending FROM exchanges")] == [ending.value]
    (attempt,) = store.rows("SELECT outcome FROM attempts")
    assert attempt["outcome"] == ending.value


def test_an_attempt_that_failed_before_the_caller_left_stays_failed(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.failed(make.attempt(exchange)))
    store.settle(make.ended(exchange, Ending.CANCELLED))
    store.flush()
    assert store.rows("SELECT outcome FROM attempts") == [{"outcome": "failed"}]
    assert store.rows("SELECT ending FROM exchanges") == [{"ending": "cancelled"}]


def test_a_refusal_without_an_attempt_has_a_row_with_its_code(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.settle(make.ended(exchange, Ending.REFUSED, status=429, error=BudgetExceeded("spent")))
    store.flush()
    (row,) = store.rows("SELECT * FROM exchanges")
    assert (row["ending"], row["status"], row["error_code"], row["attempts"]) == ("refused", 429, "budget_exceeded", 0)
    assert (row["cost_nano"], row["provider"], row["error_kind"]) == (0, "", "")


def test_a_provider_failure_keeps_its_kind(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.settle(make.ended(exchange, Ending.FAILED, status=504, error=UpstreamTimeout("slow", kind="timeout")))
    store.flush()
    (row,) = store.rows("SELECT error_code, error_kind FROM exchanges")
    assert row == {"error_code": "provider_timeout", "error_kind": "timeout"}


def test_a_call_that_had_no_turn_keeps_the_cause_and_how_long_it_waited(store: Any, make: Any) -> None:
    exchange = make.exchange()
    exchange.waited = 0.75
    error = NoTurn("left alone", kind="open", cause="money", retry_after=9.0)
    store.settle(make.ended(exchange, Ending.FAILED, status=503, error=error))
    store.flush()
    (row,) = store.rows("SELECT * FROM exchanges")
    assert (row["error_kind"], row["waited_ms"], row["attempts"]) == ("open:money", 750, 0)


def test_settling_twice_leaves_one_row_that_says_the_last_word(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.attempt(exchange))
    store.settle(make.answered(exchange, cost=5))
    store.settle(exchange)
    store.flush()
    store.settle(make.answered(exchange, cost=7))
    store.flush()
    assert store.rows("SELECT cost_nano FROM exchanges") == [{"cost_nano": 7}]
    assert store.rows("SELECT cost_nano FROM attempts") == [{"cost_nano": 7}]


def test_intending_twice_leaves_one_intent(store: Any, make: Any) -> None:
    exchange = make.exchange()
    attempt = make.attempt(exchange)
    store.intend(exchange, attempt)
    store.intend(exchange, attempt)
    assert [intent["number"] for intent in store.open_intents()] == [1]


def test_a_flush_covers_every_settle_before_it(store: Any, make: Any) -> None:
    for _ in range(200):
        exchange = make.exchange()
        make.attempt(exchange)
        store.settle(make.answered(exchange))
    store.flush()
    assert store.rows("SELECT count(*) AS n FROM exchanges") == [{"n": 200}]


@pytest.mark.needs("survives")
def test_a_crash_charges_the_bound_of_an_open_intent_and_marks_it(store: Any, make: Any) -> None:
    exchange = make.exchange(stream=True)
    store.intend(exchange, make.attempt(exchange, bound=4_321))
    store.crash()
    (row,) = store.rows("SELECT * FROM exchanges")
    assert (row["id"], row["ending"], row["cost_nano"], row["estimated"]) == (exchange.id, "killed", 4_321, 1)
    assert (row["estimated_nano"], row["price_version"], row["started"]) == (4_321, "bound", exchange.started)
    assert (row["user"], row["tenant"], row["model_asked"], row["stream"]) == ("ada", "acme", "claude-haiku-4-5", 1)
    (attempt,) = store.rows("SELECT * FROM attempts")
    assert (attempt["outcome"], attempt["cost_nano"], attempt["estimated"]) == ("killed", 4_321, 1)


@pytest.mark.needs("survives")
def test_a_crash_of_an_unbounded_attempt_charges_nothing_and_says_so(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.attempt(exchange, bound=None))
    store.crash()
    (row,) = store.rows("SELECT cost_nano, estimated, price_version FROM exchanges")
    assert row == {"cost_nano": 0, "estimated": 1, "price_version": "unbounded"}


@pytest.mark.needs("survives")
def test_a_crash_does_not_charge_an_attempt_that_is_known_to_have_failed(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.attempt(exchange, bound=1_000))
    make.failed(exchange.attempts[0])
    store.intend(exchange, make.attempt(exchange, bound=30))
    store.crash()
    assert store.rows("SELECT outcome FROM attempts ORDER BY number") == [{"outcome": "failed"}, {"outcome": "killed"}]
    (row,) = store.rows("SELECT cost_nano, attempts, ending FROM exchanges")
    assert row == {"cost_nano": 30, "attempts": 2, "ending": "killed"}


@pytest.mark.needs("survives")
def test_a_settle_after_the_sweep_corrects_the_row(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.attempt(exchange, bound=4_321))
    store.crash()
    store.settle(make.answered(exchange, cost=12))
    store.flush()
    (row,) = store.rows("SELECT ending, cost_nano, estimated, estimated_nano FROM exchanges")
    assert row == {"ending": "complete", "cost_nano": 12, "estimated": 0, "estimated_nano": 0}
    assert store.rows("SELECT outcome, cost_nano FROM attempts") == [{"outcome": "complete", "cost_nano": 12}]


@pytest.mark.needs("survives")
def test_a_sweep_leaves_settled_exchanges_alone_and_runs_once(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.attempt(exchange))
    store.settle(make.answered(exchange))
    store.flush()
    before = store.rows("SELECT * FROM exchanges"), store.rows("SELECT * FROM attempts")
    store.crash()
    store.reopen()
    assert (store.rows("SELECT * FROM exchanges"), store.rows("SELECT * FROM attempts")) == before


@pytest.mark.needs("survives")
def test_a_close_writes_what_is_queued(store: Any, make: Any) -> None:
    exchange = make.exchange()
    store.intend(exchange, make.attempt(exchange))
    store.settle(make.answered(exchange))
    store.reopen()
    assert store.rows("SELECT ending FROM exchanges") == [{"ending": "complete"}]
