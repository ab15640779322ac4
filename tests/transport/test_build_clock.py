"""Time in a built Headgate: the ledger's is the engine's."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from headgate.build import build
from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded
from headgate.core.exchange import Attempt, Exchange, Facts, Request, Route
from headgate.engine.blocking import run_blocking
from headgate.policy.budgets import Budgets
from headgate.settings import load

ROUTE = Route("anthropic", "claude-haiku-4-5", "anthropic", "https://a.example")
REQUEST = Request("anthropic", "messages", "POST", "/v1/messages", (), b"{}", Facts(), Caller(), way_in="in-process")


def test_a_waiters_time_is_up_by_the_engines_clock_though_the_systems_was_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = time.time
    with monkeypatch.context() as before:
        before.setattr("time.time", lambda: real() + 3_600)
        built = build(replace(load(env={}), storage="memory"), env={})
    now = built.engine.ports.clock.now()
    assert now > real() + 3_000
    budgets = Budgets([Budget("all/total", cap_nano=10)])
    port = built.blocking_engine.ports.ledger
    told: list[str] = []

    def ask(number: int) -> None:
        exchange = Exchange(f"ex_{number}", REQUEST, now)
        attempt = Attempt(1, ROUTE, now, 8, claims=budgets.claims(REQUEST.caller, ROUTE, "", now))
        exchange.attempts.append(attempt)
        try:
            run_blocking(port.intend(exchange, attempt, until=now - 1))
        except BudgetExceeded as refused:
            told.append(refused.why)

    try:
        ask(1)
        waiter = threading.Thread(target=ask, args=(2,), daemon=True)
        waiter.start()
        waiter.join(20)
        assert told == ["waited"]
    finally:
        built.close()
