"""Batches call after call: results in order, each line once, money to the nano-dollar."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from batch_files import MakeGate, claude, gpt, write_lines

from headgate import Gate
from headgate.core.errors import BudgetExceeded, ConfigError
from headgate.jobs import paced
from headgate.jobs.batch import BatchStatus
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario, When

MAKE = {"anthropic": claude, "openai": gpt}


def answer_of(line: dict[str, Any]) -> bool:
    """It is a success in its vendor's own format."""
    if "result" in line:
        return bool(line["result"]["type"] == "succeeded" and line["result"]["message"]["content"])
    return bool(line["response"]["status_code"] == 200 and line["response"]["body"]["choices"])


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_results_come_in_the_order_of_the_input_and_cost_what_the_provider_bills(
    dialect: str, gate: Gate, headgate_simulator: SimulatorServer, tmp_path: Path
) -> None:
    lines = [MAKE[dialect](f"name {n}", f"say {n}") for n in range(60)]
    job = gate.batch(write_lines(tmp_path / "in.jsonl", lines), via="paced")
    status = job.run()
    assert (status.state, status.succeeded, status.failed) == ("ended", 60, 0)
    job.write(tmp_path / "out.jsonl")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["custom_id"] for line in found] == [line["custom_id"] for line in lines]
    assert all(map(answer_of, found))
    gate.flush()
    bill = headgate_simulator.invoice()["total"]
    assert (bill["requests"], bill["cost_nano"]) == (60, gate.usage().total.cost_nano)
    assert status.cost_usd == Decimal(bill["cost_nano"]).scaleb(-9)


def test_broken_lines_and_used_names_are_told_with_their_numbers_and_the_rest_goes_on(
    gate: Gate, tmp_path: Path
) -> None:
    lines: list[dict[str, Any] | str] = [
        claude("a", "one"),
        "{not json",
        "",
        claude("a", "another"),
        {"custom_id": "b", "params": {"model": "claude-haiku-4-5"}},
        claude("c", "streamed", stream=True),
        gpt("d", "of the other dialect"),
        claude("e", "two"),
    ]
    job = gate.batch(write_lines(tmp_path / "in.jsonl", lines), via="paced")
    assert job.submitted is not None
    assert [number for number, _ in job.submitted.broken] == [2, 4, 5, 6, 7]
    assert "line 1 has the same" in dict(job.submitted.broken)[4]
    status = job.run()
    assert (status.succeeded, status.broken, status.failed) == (2, 5, 0)
    results = list(job.results())
    assert [answer_of(each) for each in results] == [True, False, False, False, False, False, True]
    assert "line 2" in results[1]["result"]["error"]["error"]["message"]


def test_a_file_without_a_single_request_is_refused_and_leaves_nothing(gate: Gate, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no line"):
        gate.batch(write_lines(tmp_path / "in.jsonl", ['{"prompt": "hello"}']))
    with pytest.raises(ConfigError, match="cannot be read"):
        gate.batch(tmp_path / "missing.jsonl")
    assert gate.batches.batches() == []


def test_lines_that_ask_the_same_at_temperature_0_are_sent_once_and_all_have_the_answer(
    gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    cold = [claude(f"cold {n}", "the same", temperature=0) for n in range(5)]
    warm = [claude(f"warm {n}", "the same") for n in range(3)]
    job = gate.batch([*cold, *warm], via="paced")
    status = job.run()
    assert headgate_simulator.invoice()["total"]["requests"] == 4
    assert (status.succeeded, status.same) == (4, 4)
    results = list(job.results())
    assert len(results) == 8
    assert len({json.dumps(each["result"]) for each in results[:5]}) == 1


def test_failed_lines_are_kept_apart_with_reasons_and_can_be_sent_again(
    gate: Gate, headgate_simulator: SimulatorServer
) -> None:
    fault = Rule(Fault("error", status=400), Match(prompt_contains="unlucky"), When(times=2))
    headgate_simulator.load(Scenario(rules=[fault]))
    job = gate.batch([claude("1", "lucky"), claude("2", "unlucky"), claude("3", "unlucky, too")], via="paced")
    status = job.run()
    assert (status.succeeded, status.failed) == (1, 2)
    assert [line for line, _, _ in job.failures()] == [2, 3]
    assert [each["result"]["type"] for each in job.results()] == ["succeeded", "errored", "errored"]
    assert job.retry_failed() == 2
    status = job.run()
    assert (status.succeeded, status.failed) == (3, 0)
    assert all(map(answer_of, job.results()))


def test_a_provider_that_is_over_its_limit_for_a_while_costs_no_line(
    make_gate: MakeGate, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=[Rule(Fault("overloaded"), Match(), When(first=2))]))
    gate = make_gate(retry={"attempts": 1})
    status = gate.batch([claude(str(n), f"say {n}") for n in range(20)], via="paced").run()
    assert (status.succeeded, status.failed) == (20, 0)


def test_what_the_batch_can_cost_is_set_aside_before_anything_is_sent_or_nothing_is_sent(
    make_gate: MakeGate, headgate_simulator: SimulatorServer
) -> None:
    gate = make_gate(budgets=[{"usd": "0.01", "every": "day"}])
    job = gate.batch([claude(str(n), f"say {n}", max_tokens=1000) for n in range(20)], via="paced")
    with pytest.raises(BudgetExceeded, match="the batch can cost up to"):
        job.run()
    assert headgate_simulator.invoice()["total"]["requests"] == 0
    assert gate.budget()[0].held_usd == 0
    assert job.status.state == "ready"
    assert "set aside" in job.status.why


def test_its_hold_settles_at_what_the_lines_have_cost(make_gate: MakeGate, headgate_simulator: SimulatorServer) -> None:
    gate = make_gate(budgets=[{"usd": 1, "every": "day"}, {"per": "user", "usd": "0.50"}])
    lines = [claude(str(n), f"say {n}", metadata={"user_id": f"user {n % 3}"}) for n in range(30)]
    status = gate.batch(lines, via="paced").run()
    gate.flush()
    assert status.succeeded == 30
    cost = Decimal(headgate_simulator.invoice()["total"]["cost_nano"]).scaleb(-9)
    assert (gate.budget()[0].spent_usd, gate.budget()[0].held_usd) == (cost, 0)
    each = [gate.budget(user=f"user {n}")[0] for n in range(3)]
    assert sum(left.spent_usd for left in each) == cost
    assert all(left.held_usd == 0 for left in each)
    assert status.cost_usd == cost


def test_without_the_hold_the_lines_that_fit_are_answered_and_the_others_say_why(make_gate: MakeGate) -> None:
    gate = make_gate(budgets=[{"usd": "0.01", "every": "day"}])
    job = gate.batch([claude(str(n), f"say {n}", max_tokens=1000) for n in range(9)], via="paced", hold=False)
    status = job.run()
    assert status.succeeded + status.failed == 9
    assert status.succeeded >= 1
    assert all("budget_exceeded" in why for _, _, why in job.failures())
    assert gate.budget()[0].spent_usd <= Decimal("0.01")


def test_a_batch_that_was_cancelled_sends_nothing_and_says_so(gate: Gate, headgate_simulator: SimulatorServer) -> None:
    job = gate.batch([claude("1", "one"), claude("2", "two")], via="paced")
    job.cancel()
    status = job.run()
    assert (status.state, status.cancelled) == ("cancelled", 2)
    assert [each["result"]["type"] for each in job.results()] == ["canceled", "canceled"]
    assert headgate_simulator.invoice()["total"]["requests"] == 0
    job.remove()
    with pytest.raises(ConfigError, match="there is no batch"):
        gate.open_batch(job.id)


def test_every_line_is_in_the_ledger_once_under_its_batch(gate: Gate) -> None:
    job = gate.batch([claude(str(n), f"say {n}") for n in range(25)], via="paced")
    job.run()
    gate.flush()
    rows = gate.built.ledger.reader().recent(limit=100)
    assert Counter(row["correlation_id"] for row in rows) == Counter(f"{job.id}:{n}" for n in range(1, 26))
    assert {json.loads(row["tags"])["batch"] for row in rows} == {job.id}


def test_a_gate_that_is_opened_anew_knows_its_batches(make_gate: MakeGate) -> None:
    gate = make_gate()
    name = gate.batch([claude("1", "one")], via="paced").id
    gate.close()
    again = make_gate()
    assert again.open_batch(name[:12]).run().succeeded == 1


@pytest.mark.parametrize(
    ("terms", "said"),
    [({"via": "soon"}, "via"), ({"deadline": 0}, "deadline"), ({"dedupe": "maybe"}, "dedupe")],
)
def test_terms_that_are_none_are_refused(gate: Gate, terms: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        gate.batch([claude("1", "one")], **terms)


def test_lines_wait_while_an_incident_stops_them(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paced, "INCIDENT_PAUSE", 0.05)
    incident = gate.incidents.set("stop", "provider", "anthropic")
    lifted: list[str] = []

    def lift(status: BatchStatus) -> None:
        if not lifted:
            lifted.append(gate.incidents.lift(incident.id).id)

    status = gate.batch([claude(str(n), f"say {n}") for n in range(3)], via="paced").run(on_progress=lift)
    assert (status.succeeded, status.failed, lifted) == (3, 0, [incident.id])
