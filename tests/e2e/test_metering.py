"""Every ending is charged: the ledger beside the simulator's invoice, with the real SDKs."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from e2e_world import Gateway, lines, rows  # it lies beside this file

from headgate import Gate
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Match, Pace, Rule, Scenario, When
from headgate.testing.simulator.wrongusage import STYLES

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import metering

KEY = "obviously-not-a-real-key"
MODEL = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}
QUICK = {"idle": "0.4s", "first_byte": "0.4s"}
PATIENT = {"idle": "60s", "first_byte": "60s"}
PACE = Pace(first_token_seconds=0.01, seconds_per_event=0.01)
ASKED = [{"role": "user", "content": "tokens: 120"}]


# The promise, small; `python -m benchmarks.metering` makes it at full size


def test_over_a_run_the_ledger_is_never_below_the_invoice_and_at_most_five_percent_above(tmp_path: Path) -> None:
    calls = metering.draw(2, 420, whole=120, plain=True)
    made = metering.run(calls, tmp_path, metering.scenario(2, fast=True), at_once=60)
    assert made.estimated.count > 70
    assert made.exact_but_wrong == 0
    assert made.total.invoice <= made.total.ledger <= made.total.invoice * metering.MOST_ABOVE
    assert made.below <= made.estimated.count // 10


# Every ending


@dataclass
class World:
    """A simulator and a gate in process."""

    sim: SimulatorServer
    gate: Gate
    folder: Path

    def day(self, fault: Fault | None, *, times: int = 0, **match: Any) -> None:
        """What the provider does from here on."""
        rules = () if fault is None else (Rule(fault, Match(**match), When(times=times)),)
        self.sim.reset()
        self.sim.load(Scenario(name="a day", pace=PACE, rules=rules))

    def attempts(self, since: float = 0.0) -> list[dict[str, Any]]:
        """Those that began since then, in order."""
        self.gate.flush()
        found = [row for row in rows(self.folder / "own.db", "attempts") if row["started"] >= since]
        return sorted(found, key=lambda row: (row["started"], row["number"]))

    def since(self, before: float) -> tuple[int, int, list[dict[str, Any]]]:
        """(ledger, invoice, attempts) of what was asked since then; each attempt held to its bound."""
        invoice = self.sim.invoice()
        found = self.attempts(before)
        for row in found:
            billed = sum(x["cost_nano"] for x in invoice["lines"] if x["request_id"] == row["request_id"])
            assert row["cost_nano"] >= billed, row
            assert row["cost_nano"] <= row["bound_nano"], row
            if not row["estimated"]:
                assert row["cost_nano"] == billed, row
        return sum(row["cost_nano"] for row in found), invoice["total"]["cost_nano"], found

    def ask(self, dialect: str, *, stream: bool, stop_after: int = 10**9, model: str = "") -> None:
        """One call; however it ends, for its caller."""
        with (
            self.gate.client() as http,
            suppress(anthropic.AnthropicError, openai.OpenAIError, httpx2.HTTPError, ValueError),
        ):
            if dialect == "anthropic":
                claude = anthropic.Anthropic(api_key=KEY, base_url=self.sim.url, http_client=http, max_retries=0)
                answer: Any = claude.messages.create(
                    model=model or MODEL[dialect], max_tokens=200, messages=ASKED, stream=stream
                )
            else:
                gpt = openai.OpenAI(api_key=KEY, base_url=self.sim.openai_url, http_client=http, max_retries=0)
                answer = gpt.chat.completions.create(
                    model=model or MODEL[dialect], max_completion_tokens=200, messages=ASKED, stream=stream
                )
            if stream:
                with answer:
                    for count, _ in enumerate(answer):
                        if count >= stop_after:
                            break


@contextmanager
def a_world(folder: Path, **overrides: Any) -> Iterator[World]:
    with SimulatorServer() as sim:
        env = {
            "ANTHROPIC_BASE_URL": sim.url,
            "OPENAI_BASE_URL": sim.openai_url,
            "ANTHROPIC_API_KEY": KEY,
            "OPENAI_API_KEY": KEY,
        }
        told = {"storage": f"sqlite:///{folder / 'own.db'}", "timeouts": PATIENT, **overrides}
        with Gate.load(env=env, wait=lambda state: 0.0, **told) as gate:
            yield World(sim, gate, folder)


# One bad day follows the other: none of them is to hold up the next.
TOLD: dict[str, Any] = {
    "models": {"fast": ["anthropic/claude-sonnet-5-5", "anthropic/claude-haiku-4-5"]},
    "providers": {name: {"breaker": "off", "pacing": "off"} for name in MODEL},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with a_world(tmp_path_factory.mktemp("metering"), **TOLD) as made:
        yield made


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """For a provider that says nothing: on a busy machine, so does one that is well, now and then."""
    with a_world(tmp_path_factory.mktemp("hasty"), timeouts=QUICK, **TOLD) as made:
        yield made


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
@pytest.mark.parametrize(
    ("fault", "stream"),
    [
        (Fault("cut", after_events=6), True),
        (Fault("cut", after_events=6, how="fin"), True),
        (Fault("cut", after_events=1), True),
        (Fault("stall", after_events=6), True),
        (Fault("stall", after_events=1), True),
        (Fault("no_terminal"), True),
        (Fault("no_terminal", keep_usage=True), True),
        (Fault("error_event", after_events=6), True),
        (Fault("error_event", after_events=1), True),
        (Fault("malformed_event", after_events=6), True),
        (Fault("truncate"), True),
        (Fault("refusal"), True),
        (Fault("refusal", after_tokens=8), True),
        (Fault("slow_first_token", seconds=2.0), True),
        (Fault("slow_first_token", seconds=2.0), False),
        (Fault("cut"), False),
        (Fault("truncate"), False),
        (Fault("malformed_event"), False),
        (Fault("refusal"), False),
        (Fault("drop", generated=True), False),
        (Fault("drop", generated=True), True),
        (Fault("overloaded"), True),
    ],
    ids=lambda value: f"{value.kind}-{value.after_events}-{value.how}" if isinstance(value, Fault) else str(value),
)
def test_whatever_happens_at_the_provider_the_ledger_is_not_below_its_invoice(
    request: pytest.FixtureRequest, dialect: str, fault: Fault, stream: bool
) -> None:
    world: World = request.getfixturevalue("hasty" if fault.kind in ("stall", "slow_first_token") else "world")
    world.day(fault, times=1)
    before = world.gate.built.engine.ports.clock.now() - 0.001
    world.ask(dialect, stream=stream)
    ledger, invoice, attempts = world.since(before)
    assert attempts
    assert ledger >= invoice


@pytest.mark.parametrize("stop_after", [0, 1, 5, 20])
@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_whenever_its_caller_leaves_a_stream_is_charged_and_marked(world: World, dialect: str, stop_after: int) -> None:
    world.day(None)
    before = world.gate.built.engine.ports.clock.now() - 0.001
    world.ask(dialect, stream=True, stop_after=stop_after)
    ledger, invoice, [attempt] = world.since(before)
    assert ledger >= invoice > 0
    assert (attempt["outcome"], attempt["estimated"]) == ("abandoned", 1)


def test_a_fallback_charges_both_attempts(world: World) -> None:
    world.day(Fault("error_event", after_events=1), times=1, model="claude-sonnet-5-5")
    before = world.gate.built.engine.ports.clock.now() - 0.001
    world.ask("anthropic", stream=True, model="fast")
    ledger, invoice, attempts = world.since(before)
    assert [row["model"] for row in attempts][-1] == "claude-haiku-4-5" or len(attempts) == 2
    assert ledger >= invoice
    assert (attempts[0]["estimated"], attempts[-1]["estimated"]) == (1, 0)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_usage_that_lies_never_lowers_the_bill(world: World, dialect: str, stream: bool, style: str) -> None:
    world.day(Fault("wrong_usage", usage=style))
    before = world.gate.built.engine.ports.clock.now() - 0.001
    world.ask(dialect, stream=stream)
    invoice = world.sim.invoice()["total"]["cost_nano"]
    [attempt] = world.attempts(before)
    if style == "lower" and not (stream and attempt["estimated"]):
        assert not attempt["estimated"]  # half of the truth, told once, is what the provider said
        return
    assert attempt["estimated"] == 1
    assert invoice <= attempt["cost_nano"] <= attempt["bound_nano"]
    if style not in ("missing", "null"):
        world.gate.built.log.flush()
        told = [line for line in lines(world.folder / "own.db.log.jsonl") if line.get("event") == "bad_usage"]
        assert told[-1]["provider"] == dialect


# Draining


def _drained(world: World, seconds: float = 60.0) -> dict[str, Any]:
    """The last attempt, once it has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = world.attempts()
        if found and found[-1]["outcome"] not in ("", None):
            return found[-1]
        time.sleep(0.02)
    raise AssertionError("nothing has ended")


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
def test_in_process_a_thread_reads_an_abandoned_answer_on_and_its_bill_is_exact(tmp_path: Path, dialect: str) -> None:
    with a_world(tmp_path, providers={dialect: {"on_disconnect": "drain"}}) as world:
        world.day(None)
        world.ask(dialect, stream=True, stop_after=2)
        attempt = _drained(world)
        line = world.sim.invoice()["lines"][-1]
    assert (attempt["outcome"], attempt["estimated"]) == ("abandoned", 0)
    assert (line["ending"], line["cost_nano"]) == ("complete", attempt["cost_nano"])


@pytest.mark.parametrize("leaving", ["closes", "is cancelled"])
def test_in_process_a_task_reads_it_on_where_there_is_a_loop(tmp_path: Path, leaving: str) -> None:
    async def main(world: World) -> None:
        async with world.gate.async_client() as http:
            client = anthropic.AsyncAnthropic(api_key=KEY, base_url=world.sim.url, http_client=http, max_retries=0)

            begun = asyncio.Event()

            async def ask() -> None:
                stream = await client.messages.create(
                    model=MODEL["anthropic"], max_tokens=200, messages=ASKED, stream=True
                )
                async with stream:
                    count = 0
                    async for _ in stream:
                        count += 1
                        begun.set()
                        if count == 3 and leaving == "closes":
                            return

            task = asyncio.ensure_future(ask())
            if leaving == "is cancelled":
                await begun.wait()
                task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled() == (leaving == "is cancelled")
            while world.gate.stats.total_calls == 0:  # the answer is read on while the loop does other things
                await asyncio.sleep(0.01)

    with a_world(tmp_path, providers={"anthropic": {"on_disconnect": "drain"}}) as world:
        world.day(None)
        asyncio.run(main(world))
        attempt = _drained(world)
        line = world.sim.invoice()["lines"][-1]
    assert (attempt["outcome"], attempt["estimated"]) == ("abandoned", 0)
    assert (line["ending"], line["cost_nano"]) == ("complete", attempt["cost_nano"])


def test_a_drain_that_waits_for_nothing_ends_after_its_seconds(tmp_path: Path) -> None:
    drain = {"on_disconnect": "drain", "drain": {"seconds": 0.2}}
    with a_world(tmp_path, providers={"anthropic": drain}, timeouts={"idle": "30s"}) as world:
        world.day(Fault("stall", after_events=8))
        world.ask("anthropic", stream=True, stop_after=2)
        attempt = _drained(world)
        invoice = world.sim.invoice()["total"]["cost_nano"]
    assert (attempt["outcome"], attempt["estimated"]) == ("abandoned", 1)
    assert attempt["cost_nano"] >= invoice


def test_closing_the_gate_ends_what_is_being_drained_and_charges_it(tmp_path: Path) -> None:
    with a_world(tmp_path, providers={"anthropic": {"on_disconnect": "drain"}}, timeouts={"idle": "30s"}) as world:
        world.day(Fault("stall", after_events=8))
        world.ask("anthropic", stream=True, stop_after=2)
        world.gate.close()
        [attempt] = rows(tmp_path / "own.db", "attempts")
        invoice = world.sim.invoice()["total"]["cost_nano"]
    assert (attempt["outcome"], attempt["estimated"]) == ("abandoned", 1)
    assert attempt["cost_nano"] >= invoice


def test_who_bills_to_the_end_is_charged_the_whole_cap(tmp_path: Path) -> None:
    with a_world(tmp_path, providers={"anthropic": {"bills_to_end": True}}) as world:
        world.day(None)
        world.ask("anthropic", stream=True, stop_after=2)
        attempt = _drained(world)
    assert (attempt["estimated"], attempt["output_tokens"]) == (1, 200)


@pytest.mark.parametrize(("fault", "exact"), [(None, 1), (Fault("stall", after_events=8), 0)])
def test_the_gateway_drains_within_its_caps(tmp_path: Path, fault: Fault | None, exact: int) -> None:
    drain = {"on_disconnect": "drain", "drain": {"seconds": 60 if exact else 0.2}}
    rules = () if fault is None else (Rule(fault),)
    with (
        SimulatorServer(Scenario(name="a day", pace=PACE, rules=rules)) as sim,
        Gateway(tmp_path, sim.url, sim.openai_url, overrides={"providers": {"anthropic": drain}}) as gateway,
    ):
        body = {"model": MODEL["anthropic"], "max_tokens": 200, "stream": True, "messages": ASKED}
        headers = {"anthropic-version": "2023-06-01"}
        with (
            httpx2.Client() as client,
            client.stream("POST", f"{gateway.url}/v1/messages", json=body, headers=headers) as answer,
        ):
            assert next(answer.iter_raw())
        until = time.monotonic() + 60
        while not (found := gateway.rows("attempts")) or not found[0]["outcome"]:
            assert time.monotonic() < until
            time.sleep(0.02)
        line = sim.invoice()["lines"][-1]
    [attempt] = found
    assert (attempt["outcome"], attempt["estimated"]) == ("abandoned", 1 - exact)
    assert attempt["cost_nano"] >= line["cost_nano"]
    assert line["ending"] == ("complete" if exact else "abandoned")
    if exact:
        assert attempt["cost_nano"] == line["cost_nano"]
