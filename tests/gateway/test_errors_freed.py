"""What a call that failed has held is freed when it is answered, and not when the collector comes."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx2
import pytest

from headgate import Gate
from headgate.core.caller import Caller
from headgate.core.errors import BudgetExceeded
from headgate.core.exchange import Attempt, Exchange, Facts, Request, Route
from headgate.core.secret import Secret
from headgate.engine.blocking import run_blocking
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer
from headgate.stores.commands import Intent
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario, When

CALLS = 20
_VERSION = {"anthropic-version": "2023-06-01"}


def test_calls_that_are_refused_or_fail_leave_nothing_for_the_collector(
    tmp_path: Path, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=[Rule(Fault("server_error", status=500), Match(), When(first=10**6))]))
    told = {
        "providers": {"anthropic": {"base_url": headgate_simulator.url, "api_key": "env:KEY", "breaker": "off"}},
        "storage": f"sqlite:///{tmp_path / 'headgate.db'}",
        "retry": {"attempts": 1},
        "budgets": [{"per": "user", "usd": "0.0000001", "every": "day"}],
        "anomalies": "off",  # it keeps the first exchanges until it has read what was before
    }
    with Gate.load(env={"KEY": "k"}, **told) as gate:
        app = create(gate.built, ring=KeyRing(loopback=True), admin_token=Secret("t" * 40))
        with BackgroundServer(app) as server, httpx2.Client(trust_env=False, timeout=30) as client:

            def ask(model: str, user: str) -> int:
                body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
                headers = {"anthropic-version": "2023-06-01", **({"x-headgate-user": user} if user else {})}
                return client.post(f"{server.url}/v1/messages", json=body, headers=headers).status_code

            for model, user, status in (
                ("claude-haiku-4-5", "", 500),
                ("no-such-model", "", 400),
                ("claude-haiku-4-5", "ada", 429),
            ):
                assert ask(model, user) == status
                _leaves_nothing(gate, partial(ask, model, user))


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_streams_that_break_off_leave_nothing_for_the_collector(
    how: str, tmp_path: Path, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=[Rule(Fault("cut", after_events=12, how=how), Match(), When(first=10**6))]))
    told = {
        "providers": {"anthropic": {"base_url": headgate_simulator.url, "api_key": "env:KEY", "breaker": "off"}},
        "storage": f"sqlite:///{tmp_path / 'headgate.db'}",
        "anomalies": "off",
    }
    with Gate.load(env={"KEY": "k"}, **told) as gate:
        app = create(gate.built, ring=KeyRing(loopback=True), admin_token=Secret("t" * 40))
        with BackgroundServer(app) as server, httpx2.Client(trust_env=False, timeout=30) as client:

            def ask() -> str:
                words = [{"role": "user", "content": "tokens: 100"}]
                body = {"model": "claude-haiku-4-5", "max_tokens": 200, "messages": words, "stream": True}
                return client.post(f"{server.url}/v1/messages", json=body, headers=_VERSION).text

            assert "broke off" in ask()
            _leaves_nothing(gate, ask)


def test_an_intent_that_found_no_room_is_freed_with_its_error(tmp_path: Path) -> None:
    budget = {"usd": "0.000001", "every": "day"}
    with Gate.load(env={}, storage=f"sqlite:///{tmp_path / 'headgate.db'}", budgets=[budget]) as gate:
        ledger, now = gate.built.ledger.blocking(), gate.built.engine.ports.clock.now()
        budgets = gate.built.engine.policies.budgets
        route = Route("anthropic", "", "anthropic", "https://api.anthropic.example")
        request = Request("anthropic", "messages", "POST", "/v1/messages", (), b"{}", Facts(model="m"), Caller(), "sdk")
        gc.collect()
        gc.disable()
        try:
            for n in range(3):
                attempt = Attempt(1, route, now, bound_nano=900, claims=budgets.claims(Caller(), route, "m", now))
                exchange = Exchange(f"ex_{n}", request, now, [attempt])
                with contextlib.nullcontext() if n == 0 else pytest.raises(BudgetExceeded):
                    run_blocking(ledger.intend(exchange, attempt, may_wait=False))
                del attempt, exchange
            assert _objects(Intent) <= 1  # whose money is set aside
        finally:
            gc.enable()


def _objects(kind: type) -> int:
    return sum(isinstance(each, kind) for each in gc.get_objects())


def _leaves_nothing(gate: Gate, ask: Callable[[], object]) -> None:
    """Calls of which hardly an exchange is left, though the collector never comes."""
    gate.flush()
    gc.collect()
    gc.disable()
    try:
        before = _objects(Exchange)
        for _ in range(CALLS):
            ask()
        gate.flush()
        assert _objects(Exchange) - before < CALLS / 2
    finally:
        gc.enable()
