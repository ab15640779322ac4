"""Batches as the provider's own: half the price, settled line by line, looked up before they are submitted again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from batch_files import MakeGate, claude, gpt, hour_later

from headgate import Gate
from headgate.core.errors import BudgetExceeded
from headgate.core.usage import Iteration
from headgate.jobs import provider, settling
from headgate.jobs.batch import BatchJob
from headgate.policy.estimate import credible
from headgate.stores.batch_items import Shard
from headgate.stores.logs.query import LogQuery
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Batching, Fault, Match, Rule, Scenario, When

MAKE = {"anthropic": claude, "openai": gpt}
CREATE = {"anthropic": "/v1/messages/batches", "openai": "/v1/batches"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "poll_wait", lambda asked: 0.02)
    monkeypatch.setattr(provider, "_STEP", 0.02)


def bill(simulator: SimulatorServer) -> int:
    return int(simulator.invoice()["total"]["cost_nano"])


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_providers_batch_costs_half_and_the_ledger_is_the_invoice(
    dialect: str, make_gate: MakeGate, headgate_simulator: SimulatorServer
) -> None:
    gate = make_gate(budgets=[{"usd": 1, "every": "day"}])
    lines = [MAKE[dialect](f"name {n}", f"say {n}") for n in range(25)]
    job = gate.batch(lines, via="provider")
    status = job.run()
    gate.flush()
    assert (status.state, status.succeeded) == ("ended", 25)
    cost = bill(headgate_simulator)
    assert cost == gate.usage().total.cost_nano == int(status.cost_usd.scaleb(9))
    assert {line["batch"] != "" for line in headgate_simulator.invoice()["lines"]} == {True}
    assert gate.usage().total.exchanges == gate.usage().total.attempts == 25  # the batch's holds are no calls
    left = gate.budget()[0]
    assert (left.spent_usd, left.held_usd) == (Decimal(cost).scaleb(-9), 0)
    assert [each["custom_id"] for each in job.results()] == [each["custom_id"] for each in lines]
    paced = gate.batch([MAKE[dialect](f"other {n}", f"say {n}") for n in range(25)], via="paced").run()
    assert paced.cost_usd == 2 * status.cost_usd


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_process_that_forgets_what_it_has_submitted_finds_it_and_pays_once(
    dialect: str, make_gate: MakeGate, headgate_simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    headgate_simulator.load(Scenario(batches=Batching(start_seconds=3600)))
    gate = make_gate()
    job = gate.batch([MAKE[dialect](str(n), f"say {n}") for n in range(5)], via="provider")
    job.run(on_progress=lambda status: job.stop())
    store = gate.batches
    shard = store.shards(job.id)[0]
    assert shard.state == "submitted"
    # As though it had died between the provider's answer and its own record of it.
    store.set_shard(job.id, Shard(0, shard.provider, shard.url, 5, "submitting", "", shard.file_id, shard.begun))
    hour_later(headgate_simulator, monkeypatch)
    status = job.run()
    assert status.succeeded == 5
    sent = [each for each in headgate_simulator.requests() if each["method"] == "POST"]
    assert sum(each["path"] == CREATE[dialect] for each in sent) == 1


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_a_submission_that_breaks_off_is_tried_again_and_paid_once(
    dialect: str, gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    broken = Rule(Fault("server_error", status=500), Match(path=CREATE[dialect]), When(first=2))
    headgate_simulator.load(Scenario(rules=[broken]))
    status = gate.batch([MAKE[dialect](str(n), f"say {n}") for n in range(4)], via="provider").run()
    gate.flush()
    assert status.succeeded == 4
    assert headgate_simulator.invoice()["total"]["lines"] == 4


def test_what_it_can_cost_at_half_the_price_has_to_fit_before_it_is_submitted(
    make_gate: MakeGate, headgate_simulator: SimulatorServer
) -> None:
    gate = make_gate(budgets=[{"usd": "0.001", "every": "day"}])
    with pytest.raises(BudgetExceeded, match="the batch can cost up to"):
        gate.batch([claude(str(n), f"say {n}") for n in range(50)], via="provider").run()
    assert headgate_simulator.requests() == []
    assert gate.budget()[0].held_usd == 0


def test_lines_that_the_provider_calls_wrong_have_failed_and_the_others_are_answered(
    gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    lines: list[dict[str, Any]] = [claude("good", "say it"), claude("bad", "say it", max_tokens=10**9)]
    job = gate.batch(lines, via="provider")
    status = job.run()
    assert (status.succeeded, status.failed) == (1, 1)
    assert [each["result"]["type"] for each in job.results()] == ["succeeded", "errored"]


def test_a_batch_that_is_cancelled_is_cancelled_at_the_provider_and_what_was_answered_stays(
    gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(batches=Batching(start_seconds=3600)))
    job = gate.batch([claude(str(n), f"say {n}") for n in range(3)], via="provider")
    job.run(on_progress=lambda status: job.stop())
    job.cancel()
    status = job.run()
    assert (status.state, status.cancelled) == ("cancelled", 3)
    assert bill(headgate_simulator) == 0


def test_a_line_whose_usage_cannot_be_is_charged_its_bound_and_marked(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "believable", lambda price, usage: False)
    gate = make_gate(budgets=[{"usd": 1, "every": "day"}])
    told = gate.batch([claude("0", "say 0")], via="provider")
    assert told.run().succeeded == 1
    gate.flush()
    total = gate.usage().total
    bound = gate.estimate(model="claude-haiku-4-5", messages=[{"role": "user", "content": "say 0"}], max_tokens=1)
    assert total.estimated_nano == total.cost_nano > bound.bound_usd.scaleb(9) / 2


def test_the_iterations_of_a_line_that_is_not_believed_are_in_its_tokens_too(
    make_gate: MakeGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    hop = Iteration("compaction", "", 5_000, output_tokens=200)
    monkeypatch.setattr(settling, "believable", lambda price, usage: False)
    monkeypatch.setattr(settling, "credible", lambda price, usage: credible(price, replace(usage, iterations=(hop,))))
    gate = make_gate()
    assert gate.batch([claude("0", "say 0")], via="provider").run().succeeded == 1
    gate.flush()
    total = gate.usage().total
    assert total.input_tokens > 5_000
    assert total.output_tokens > 200


def test_a_hold_that_outlives_its_process_is_no_exchange_in_the_log(
    make_gate: MakeGate, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(batches=Batching(start_seconds=1.0)))
    gate = make_gate(budgets=[{"usd": 100, "every": "day"}])
    job = gate.batch([claude(str(n), f"say {n}") for n in range(5)], via="provider")
    job.run(on_progress=lambda status: job.stop())
    gate.close()  # the provider works at it, so what is set aside for it stays so
    again = make_gate(budgets=[{"usd": 100, "every": "day"}])
    again.flush()
    assert BatchJob(again.built, again.batches, job.id).run().succeeded == 5
    again.flush()
    rows = again.built.logs.fresh().search(LogQuery()).rows
    assert [row.ending for row in rows] == ["complete"] * 5
    assert sum(row.cost_nano for row in rows) == again.usage().total.cost_nano == bill(headgate_simulator)
