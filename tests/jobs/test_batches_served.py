"""`headgate batch` beside a gateway that writes the ledger: the gateway runs the batch, through restarts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from batch_files import MakeGate, claude, write_lines
from click.testing import CliRunner, Result

from headgate import Gate
from headgate.cli.batch import batch as command
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario, When

TOKEN = "t" * 40


@contextmanager
def serving(gate: Gate) -> Iterator[str]:
    gate.built.ledger.open()
    app = create(gate.built, ring=KeyRing(loopback=True), admin_token=Secret(TOKEN))
    with BackgroundServer(app) as server:
        gate.built.ledger.publish(server.url, TOKEN)
        yield server.url


@pytest.fixture
def serve(make_gate: MakeGate) -> Iterator[Callable[..., Gate]]:
    with ExitStack() as stack:

        def made(**told: Any) -> Gate:
            gate = make_gate(**told)
            stack.enter_context(serving(gate))
            return gate

        yield made


def run(gate: Gate, *arguments: str) -> Result:
    env = {"HEADGATE_STORAGE": gate.built.settings.storage, "HEADGATE_CONFIG": ""}
    return CliRunner().invoke(command, list(arguments), env=env, standalone_mode=False)


def told(gate: Gate, *arguments: str) -> Any:
    result = run(gate, *arguments, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_a_file_is_submitted_to_the_gateway_run_by_it_and_fetched(
    serve: Callable[..., Gate], tmp_path: Path, headgate_simulator: SimulatorServer
) -> None:
    gate = serve(budgets=[{"usd": 1, "every": "day"}])
    file = write_lines(tmp_path / "in.jsonl", [*(claude(f"line {n}", f"say {n}") for n in range(5)), "not json"])
    submitted = told(gate, "submit", str(file), "--via", "paced")
    assert [each["line"] for each in submitted["broken"]] == [6]
    name = submitted["batch"]["id"]
    assert headgate_simulator.requests() == []  # nothing is sent before it is run
    ran = told(gate, "run", name, "-o", str(tmp_path / "out.jsonl"))
    assert (ran["batch"]["state"], ran["batch"]["succeeded"], ran["results"]) == ("ended", 5, 6)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6
    gate.flush()
    assert headgate_simulator.invoice()["total"]["cost_nano"] == gate.usage().total.cost_nano
    assert gate.budget()[0].held_usd == 0
    told(gate, "status", name)
    assert "is removed" in run(gate, "cancel", name, "--remove").stdout


def test_a_run_of_a_file_shows_what_has_failed_and_sends_that_again(
    serve: Callable[..., Gate], tmp_path: Path, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(
        Scenario(rules=[Rule(Fault("error", status=400, type="invalid_request_error"), Match(), When(first=1))])
    )
    gate = serve()
    file = write_lines(tmp_path / "in.jsonl", [claude(f"line {n}", f"say {n}") for n in range(2)])
    first = run(gate, "run", str(file), "--via", "paced", "--concurrency", "1")
    assert first.return_value == 1
    assert "1 succeeded, 1 failed" in first.stdout
    name = first.stdout.partition(":")[0]
    assert told(gate, "run", name, "--retry-failed")["batch"]["succeeded"] == 2
    assert len(headgate_simulator.requests()) == 3


def test_a_batch_that_was_handed_over_goes_on_with_the_next_gateway(
    make_gate: MakeGate, tmp_path: Path, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(rules=[Rule(Fault("slow_first_token", seconds=1.0), Match())]))
    file = write_lines(tmp_path / "in.jsonl", [claude(f"line {n}", f"say {n}") for n in range(12)])
    gate = make_gate()
    with serving(gate):
        name = told(gate, "submit", str(file), "--via", "paced")["batch"]["id"]
        assert told(gate, "run", name, "--detach", "--concurrency", "2")["batch"]["state"] in ("ready", "running")
        end = time.monotonic() + 30
        while not headgate_simulator.requests() and time.monotonic() < end:
            time.sleep(0.01)
    before = gate.batches.counts(name).states
    gate.close()
    assert before.get("waiting")
    headgate_simulator.load(None)
    again = make_gate()
    with serving(again):
        while told(again, "status", name)["state"] != "ended" and time.monotonic() < end:
            time.sleep(0.05)
        status = told(again, "status", name)
        again.flush()
    assert (status["state"], status["succeeded"], status["maybe_twice"]) == ("ended", 12, 0)
    assert again.usage().total.exchanges == 12


def test_a_batch_that_nobody_has_handed_over_is_not_begun_by_a_gateway(
    make_gate: MakeGate, headgate_simulator: SimulatorServer
) -> None:
    gate = make_gate()
    job = gate.batch([claude("a", "one")], via="paced")
    with serving(gate):
        time.sleep(0.2)
    assert (gate.open_batch(job.id).status.state, headgate_simulator.requests()) == ("ready", [])


def test_a_batch_that_does_not_fit_the_budget_says_so_and_nothing_is_sent(
    serve: Callable[..., Gate], tmp_path: Path, headgate_simulator: SimulatorServer
) -> None:
    gate = serve(budgets=[{"usd": "0.000001", "every": "day"}])
    file = write_lines(tmp_path / "in.jsonl", [claude("a", "one")])
    ran = run(gate, "run", str(file), "--via", "paced")
    assert ran.return_value == 1
    assert "the batch can cost up to" in ran.stdout
    assert headgate_simulator.requests() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "missing.jsonl"), "cannot be read"),
        (("run", "batch_0"), "no batch batch_0"),
        (("cancel", "batch_0"), "no batch batch_0"),
    ],
)
def test_mistakes_are_told_in_the_gateways_words(
    serve: Callable[..., Gate], arguments: tuple[str, ...], said: str
) -> None:
    assert said in str(run(serve(), *arguments).exception)
