"""Many calls at once with the real SDKs over a gate, in front of the simulator, in both colours."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import pytest

import headgate
from headgate import Gate
from headgate.core.money import nano
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario
from headgate.transport import context

ROWS = [f"row {n}" for n in range(40)]
MIXED = ["good 0", "bad 1", "good 2", "good 3", "bad 4", "good 5"]
MakeAsk = Callable[[], Callable[[str], Awaitable[str]]]


def billed(gate: Gate, sim: SimulatorServer) -> Decimal:
    """What the provider bills, which is what the ledger has."""
    total = gate.usage().total.cost_nano
    assert total == sim.invoice()["total"]["cost_nano"] > 0
    return Decimal(total) / 10**9


# In threads


def test_many_synchronous_calls_keep_their_order_and_cost_what_the_provider_bills(
    gate: Gate, ask: Callable[[str], str], headgate_simulator: SimulatorServer
) -> None:
    results = gate.map(ask, ROWS).all()
    assert [each.value for each in results] == ROWS
    assert [each.item for each in results] == ROWS
    assert results.cost_usd == billed(gate, headgate_simulator)
    assert results.attempts == len({each.exchange_id for each in results}) == len(ROWS)
    assert not results.failed


@pytest.mark.usefixtures("bad_rows_fail")
def test_failures_of_threads_are_kept_and_only_they_are_called_again(
    gate: Gate, ask: Callable[[str], str], headgate_simulator: SimulatorServer
) -> None:
    results = gate.map(ask, MIXED).all()
    assert [each.index for each in results.failed] == [1, 4]
    assert [each.error.status_code for each in results.failed] == [422, 422]
    assert [each.value for each in results.ok] == ["good 0", "good 2", "good 3", "good 5"]
    again = results.retry_failed()
    assert [each.value for each in again] == MIXED
    assert [each.attempts for each in again] == [1, 2, 1, 1, 2, 1]
    assert again.cost_usd == billed(gate, headgate_simulator)
    assert len(headgate_simulator.requests()) == len(MIXED) + 2


def test_workers_carry_the_caller_and_go_behind_interactive_calls(
    gate: Gate, ask: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = seen_by(gate.built.blocking_engine, monkeypatch)
    with headgate.caller(user="ada", task="classify"):
        run = gate.map(ask, ROWS[:5])
    assert not [each.error for each in run if each.error]
    gate.map(ask, ROWS[:1], priority="interactive").all()
    ask("alone")
    assert [each.batch for each in requests] == [True] * 5 + [False] * 2
    assert {row.by["user"]: row.amounts.exchanges for row in gate.usage(by=("user",)).rows} == {"ada": 5, "": 2}


def test_a_runs_deadline_bounds_the_calls_themselves(
    gate: Gate, ask: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = seen_by(gate.built.blocking_engine, monkeypatch)
    assert gate.map(ask, ROWS[:2], deadline=50).all().ok
    assert all(0 < each.timeout <= 50 for each in requests)


def seen_by(engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that come to an engine."""
    requests: list[Any] = []
    begin = engine.begin
    monkeypatch.setattr(engine, "begin", lambda request: requests.append(request) or begin(request))
    return requests


# In tasks


def test_many_asynchronous_calls_keep_their_order_and_cost_what_the_provider_bills(
    gate: Gate, aask: MakeAsk, headgate_simulator: SimulatorServer
) -> None:
    async def main() -> headgate.Outcomes[str]:
        ask = aask()
        return await headgate.gather(*(ask(row) for row in ROWS))

    results = asyncio.run(main())
    assert [each.value for each in results] == ROWS
    assert results.cost_usd == billed(gate, headgate_simulator)
    assert results.attempts == len({each.exchange_id for each in results}) == len(ROWS)


@pytest.mark.usefixtures("bad_rows_fail")
def test_failures_of_tasks_are_kept_and_only_they_are_called_again(
    gate: Gate, aask: MakeAsk, headgate_simulator: SimulatorServer
) -> None:
    async def main() -> tuple[headgate.Outcomes[str], headgate.Outcomes[str]]:
        results = await gate.amap(aask(), MIXED)
        return results, await results.retry_failed()

    results, again = asyncio.run(main())
    assert [each.error.status_code for each in results.failed] == [422, 422]
    assert [each.value for each in again] == MIXED
    assert [each.attempts for each in again] == [1, 2, 1, 1, 2, 1]
    assert again.cost_usd == billed(gate, headgate_simulator)


def test_tasks_carry_the_caller_and_gather_leaves_the_priority_as_it_is(
    gate: Gate, aask: MakeAsk, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = seen_by(gate.built.engine, monkeypatch)

    async def main() -> None:
        ask = aask()
        with headgate.caller(user="ada"):
            run = headgate.gather(*(ask(row) for row in ROWS[:3]))
        await run
        await headgate.gather(ask("x"), priority="batch")
        await gate.amap(ask, ["y"])

    asyncio.run(main())
    assert [(each.caller.user, each.batch) for each in requests] == [("ada", False)] * 3 + [("", True)] * 2


def test_a_cancelled_gather_cancels_what_is_under_way_and_keeps_what_is_done(
    gate: Gate, headgate_simulator: SimulatorServer, tmp_path: Path
) -> None:
    slow = Rule(Fault("slow_first_token", seconds=60), Match(prompt_contains="slow"))
    headgate_simulator.load(Scenario(rules=(slow,)))

    async def main() -> headgate.Outcomes[str]:
        client = anthropic.AsyncAnthropic(
            base_url=headgate_simulator.url, api_key="fake", http_client=gate.async_client()
        )

        async def ask(text: str) -> str:
            question = {"role": "user", "content": f"say: {text}"}
            return (
                (await client.messages.create(model="claude-haiku-4-5", max_tokens=30, messages=[question]))
                .content[0]
                .text
            )

        both = asyncio.Event()
        run = headgate.gather(
            ask("one"), ask("slow"), ask("three"), on_progress=lambda done, *_: done == 2 and both.set()
        )
        waiting = asyncio.ensure_future(_awaited(run))
        await both.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return run.outcomes

    kept = asyncio.run(main())
    assert {each.index: each.value for each in kept} == {0: "one", 2: "three"}
    gate.flush()
    ledger = sqlite3.connect(tmp_path / "ledger.db")
    rows = ledger.execute("SELECT ending, count(*) FROM exchanges GROUP BY ending").fetchall()
    ledger.close()
    assert dict(rows) == {"complete": 2, "cancelled": 1}


async def _awaited(run: Any) -> Any:
    return await run


def test_a_call_of_several_exchanges_costs_their_sum_and_the_outer_run_has_it_too(
    gate: Gate, headgate_simulator: SimulatorServer, ask: Callable[[str], str]
) -> None:
    def twice(text: str) -> int:
        return len(gate.map(ask, [text, text]).all())

    results = gate.map(twice, ROWS[:3]).all()
    assert [len(each.exchanges) for each in results] == [2, 2, 2]
    assert results.cost_usd == billed(gate, headgate_simulator)


def test_nothing_collects_exchanges_outside_of_a_run(ask: Callable[[str], str]) -> None:
    ask("alone")
    assert context._seen.get() is None


def test_a_refusal_of_headgates_is_told_by_its_code(gate: Gate, headgate_simulator: SimulatorServer) -> None:
    client = anthropic.Anthropic(base_url=headgate_simulator.url, api_key="fake", http_client=gate.client())

    def ask(model: str) -> Any:
        question = {"role": "user", "content": "say: hello"}
        return client.messages.create(model=model, max_tokens=30, messages=[question])

    results = gate.map(ask, ["no-such-model", "claude-haiku-4-5"]).all()
    assert results.errors == {"unknown_price": 1}
    assert results.summary.startswith("1 of 2 ok, failed: 1 unknown_price; 0.0")
    assert nano(results.cost_usd) == headgate_simulator.invoice()["total"]["cost_nano"]
