"""Alerts of budgets: that refuse without ever being spent, that degrade or queue, and whose caps are raised."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from ledger_maker import Maker

import headgate
from headgate import Gate
from headgate.alerting.budgets import REFUSALS
from headgate.alerting.watching import Alerting
from headgate.core.budget import FULL, BudgetAlert
from headgate.core.errors import BudgetExceeded
from headgate.core.exchange import Ending
from headgate.policy import alert_states
from headgate.policy.budget_scopes import claim_on
from headgate.testing.server import SimulatorServer

Ask = Callable[..., None]
World = Callable[..., tuple[Gate, Ask]]


@pytest.fixture
def world(headgate_simulator: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Makes a gate on one ledger, whose alerts nobody looks at but the test, and what asks through it."""
    monkeypatch.setattr(Alerting, "_run", lambda self: None)
    monkeypatch.setattr(alert_states, "CLEAR_SECONDS", 0.0)
    opened: list[Gate] = []

    def make(*budgets: dict[str, Any], **more: Any) -> tuple[Gate, Ask]:
        gate = Gate.load(
            env={"ANTHROPIC_BASE_URL": headgate_simulator.url},
            storage=f"sqlite:///{tmp_path / 'headgate.db'}",
            budgets=list(budgets),
            alert_rules={"disk_full": "off"},
            **more,
        )
        opened.append(gate)
        gate.built.alerting.start()
        sdk = anthropic.Anthropic(
            http_client=gate.client(), base_url=headgate_simulator.url, api_key="k", max_retries=0
        )

        def ask(*, fails: bool = False, tenant: str = "") -> None:
            said: Any = {"messages": [{"role": "user", "content": "hello"}], "model": "claude-opus-4-8"}
            refused = pytest.raises(anthropic.RateLimitError) if fails else contextlib.nullcontext()
            with headgate.caller(tenant=tenant), refused:
                sdk.messages.create(max_tokens=100, **said)
            gate.built.log.flush()

        return gate, ask

    yield make
    for gate in opened:
        gate.close()


def on(gate: Gate) -> dict[str, str]:
    """Scopes and summaries of the alerts of budgets that are on, after a look."""
    gate.built.alerting.look()
    return {f"{each.rule} {each.scope}": each.summary for each in gate.built.alerting.board.active()}


def test_a_budget_smaller_than_every_call_is_told_as_spent_though_nothing_is_ever_spent_and_ends_with_a_raised_cap(
    world: World,
) -> None:
    gate, ask = world({"usd": "0.000001", "every": "day"})
    (budget,) = gate.built.engine.policies.budgets.all
    ask(fails=True)
    assert list(on(gate)) == [f"budget_near {budget.id} refusals"]
    for _ in range(REFUSALS - 1):
        ask(fails=True)
    found = on(gate)
    assert set(found) == {f"budget_near {budget.id} refusals", f"budget_spent {budget.id}"}
    assert found[f"budget_spent {budget.id}"].startswith(
        f"the budget {budget.id} refuses calls that can cost more than all of it"
    )
    gate.built.ledger.set_cap(budget.id, "", (10**9, None))
    assert on(gate) == {}
    assert {each.state for each in gate.built.alerting.board.history()} == {"resolved"}
    ask()
    assert on(gate) == {}


def spent(gate: Gate, scope: str, share: float) -> None:
    """The cap of the one budget's account is such that it is spent to this share, and that was told."""
    (budget,) = gate.built.engine.policies.budgets.all
    claim = claim_on(budget, scope, gate.built.engine.ports.clock.now())
    (balance,) = gate.built.ledger.balances([claim])
    cap = int(balance.spent_nano / share)
    gate.built.ledger.set_cap(budget.id, scope, (cap, None))
    for alert in (each for each in budget.alerts if each <= share * FULL):
        gate.built.alerting._budgets.reached(BudgetAlert(claim, alert, "usd", balance.spent_nano, cap))


def test_a_share_that_is_no_longer_reached_under_a_raised_cap_ends_and_the_other_stays(world: World) -> None:
    gate, ask = world({"usd": 1, "every": "day"})
    (budget,) = gate.built.engine.policies.budgets.all
    ask()
    spent(gate, "", 1.0)
    assert set(on(gate)) == {f"budget_near {budget.id}", f"budget_spent {budget.id}"}
    spent(gate, "", 0.9)
    assert set(on(gate)) == {f"budget_near {budget.id}"}
    spent(gate, "", 0.5)
    assert on(gate) == {}


def test_what_an_earlier_process_told_ends_where_the_configuration_has_raised_the_cap_and_stays_where_not(
    world: World,
) -> None:
    gate, ask = world({"per": "tenant", "usd": 1, "every": "month"})
    (budget,) = gate.built.engine.policies.budgets.all
    for tenant in ("acme", "beta"):
        ask(tenant=tenant)
        spent(gate, tenant, 0.85)
    assert set(on(gate)) == {f"budget_near {budget.id} acme", f"budget_near {budget.id} beta"}
    gate.built.ledger.set_cap(budget.id, "acme", None)  # as if it had never been other than the configuration's
    gate.close()
    gate, _ = world({"per": "tenant", "usd": 1, "every": "month"})
    assert set(on(gate)) == {f"budget_near {budget.id} beta"}


def test_a_budget_that_degrades_is_told_of_though_nobody_is_refused_and_is_spent_once_nearly_nothing_is_left(
    world: World,
) -> None:
    budgets = [{"usd": "0.002", "every": "day", "then": "degrade cheap"}]
    gate, ask = world(*budgets, models={"cheap": ["anthropic/claude-haiku-4-5"]})
    (budget,) = gate.built.engine.policies.budgets.all
    for _ in range(REFUSALS):
        ask()
    found = on(gate)
    assert list(found) == [f"budget_near {budget.id} refusals"]
    assert "degrades calls that can cost more than all of it" in found[f"budget_near {budget.id} refusals"]
    claim = claim_on(budget, "", gate.built.engine.ports.clock.now())
    call = Maker().exchange()
    call.no_room = BudgetExceeded("no", claim=claim, why="spent", room_nano=100)
    gate.built.log.write(call)
    gate.built.log.flush()
    assert on(gate)[f"budget_spent {budget.id}"].endswith("degrades calls: what is left has no room for them")


def test_a_call_that_a_budget_queues_or_says_a_sentence_for_counts_as_refused(world: World) -> None:
    gate, _ = world({"usd": 1, "every": "day", "then": "queue"})
    (budget,) = gate.built.engine.policies.budgets.all
    claim = claim_on(budget, "", gate.built.engine.ports.clock.now())
    for why in ("held", "unpriced", "waited"):
        assert f"budget_spent {budget.id}" not in on(gate)
        for _ in range(REFUSALS):
            call = Maker().exchange()
            call.ending, call.degraded, call.stood_in = Ending.REFUSED, "budget: defer", True
            call.error = BudgetExceeded("no", claim=claim, why=why, room_nano=9 * 10**8)
            gate.built.alerting._budgets.settled([call])
    assert f"budget_spent {budget.id}" in on(gate)
    (alert,) = [each for each in gate.alerts.active() if each.rule == "budget_spent"]
    gate.alerts.acknowledge(alert.id, "ada")
    series = next(each for each in gate.metrics.families() if each.name == "headgate_alerts").values
    states = [series["budget_spent", state] for state in ("firing", "acknowledged")]
    assert (states, series["log_dropped", "firing"]) == ([0, 1], 0)
    assert ("disk_full", "firing") not in series  # that rule is off
