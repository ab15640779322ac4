"""Batches that callers submit through the gateway: bounded, held, and settled at half the price."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest
from batch_files import MakeGate, claude, gpt, hour_later

from headgate import Gate
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer
from headgate.jobs import provider
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Batching, Scenario

Serve = Callable[[Gate], str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "poll_wait", lambda asked: 0.05)
    monkeypatch.setattr(provider, "_STEP", 0.05)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(gate: Gate) -> str:
            ring = KeyRing(loopback=True)
            app = create(gate.built, ring=ring, admin_token=Secret("t" * 40))
            return stack.enter_context(BackgroundServer(app)).url

        yield start


def eventually(seen: Callable[[], bool]) -> None:
    """What a watcher does in the background has happened."""
    end = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.05)


def submit(dialect: str, url: str, lines: list[dict[str, Any]]) -> str:
    if dialect == "anthropic":
        client = anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0)
        return client.messages.batches.create(requests=lines).id
    gpt_client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    file = gpt_client.files.create(file=("in.jsonl", content), purpose="batch")
    return gpt_client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h").id


@pytest.mark.parametrize(("dialect", "make"), [("anthropic", claude), ("openai", gpt)])
def test_a_batch_of_the_callers_own_is_held_while_it_runs_and_settled_at_what_the_provider_bills(
    dialect: str, make: Any, make_gate: MakeGate, serve: Serve, headgate_simulator: SimulatorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    headgate_simulator.load(Scenario(batches=Batching(start_seconds=3600)))
    gate = make_gate(budgets=[{"usd": 1, "every": "day"}])
    assert submit(dialect, serve(gate), [make(f"name {n}".replace(" ", "-"), f"say {n}") for n in range(6)])
    assert gate.budget()[0].held_usd > 0
    hour_later(headgate_simulator, monkeypatch)
    eventually(lambda: not gate.batches.batches() and gate.budget()[0].held_usd == 0)
    gate.flush()
    cost = headgate_simulator.invoice()["total"]["cost_nano"]
    assert cost > 0
    assert gate.usage().total.cost_nano == cost
    assert gate.budget()[0].spent_usd == Decimal(cost).scaleb(-9)


@pytest.mark.parametrize(
    ("dialect", "make", "error"),
    [("anthropic", claude, anthropic.RateLimitError), ("openai", gpt, openai.RateLimitError)],
)
def test_a_batch_that_does_not_fit_the_budget_is_refused_and_never_reaches_the_provider(
    dialect: str, make: Any, error: type[Exception], make_gate: MakeGate, serve: Serve,
    headgate_simulator: SimulatorServer,
) -> None:  # fmt: skip
    gate = make_gate(budgets=[{"usd": "0.0001", "every": "day"}])
    with pytest.raises(error, match="the batch can cost up to"):
        submit(dialect, serve(gate), [make(f"name-{n}", f"say {n}") for n in range(50)])
    paths = [each["path"] for each in headgate_simulator.requests() if each["method"] == "POST"]
    assert not any(path.endswith("/batches") for path in paths)
    assert gate.budget()[0].held_usd == 0
    assert gate.batches.batches() == []


def test_a_line_that_cannot_be_bounded_is_refused_under_a_budget_with_its_number(
    make_gate: MakeGate, serve: Serve
) -> None:
    gate = make_gate(budgets=[{"usd": 1, "every": "day"}], unknown_price="refuse")
    with pytest.raises(anthropic.BadRequestError, match="line 2"):
        submit("anthropic", serve(gate), [claude("1", "one"), claude("2", "two", model="no-such-model-at-all")])


def test_a_gateway_that_is_started_anew_settles_what_the_one_before_has_passed_on(
    make_gate: MakeGate, serve: Serve, headgate_simulator: SimulatorServer
) -> None:
    headgate_simulator.load(Scenario(batches=Batching(start_seconds=3.0)))
    gate = make_gate(budgets=[{"usd": 1, "every": "day"}])
    with ExitStack() as first:
        app = create(gate.built, ring=KeyRing(loopback=True), admin_token=Secret("t" * 40))
        url = first.enter_context(BackgroundServer(app)).url
        submit("anthropic", url, [claude(f"name-{n}", f"say {n}") for n in range(4)])
    gate.close()
    again = make_gate(budgets=[{"usd": 1, "every": "day"}])
    serve(again)
    eventually(lambda: not again.batches.batches())
    again.flush()
    cost = headgate_simulator.invoice()["total"]["cost_nano"]
    assert cost == again.usage().total.cost_nano
    assert (again.budget()[0].spent_usd, again.budget()[0].held_usd) == (Decimal(cost).scaleb(-9), 0)


def test_without_a_budget_it_is_priced_all_the_same(
    gate: Gate, serve: Serve, headgate_simulator: SimulatorServer
) -> None:
    submit("anthropic", serve(gate), [claude("1", "one")])
    eventually(lambda: not gate.batches.batches())
    gate.flush()
    assert gate.usage().total.cost_nano == headgate_simulator.invoice()["total"]["cost_nano"] > 0
