"""Routing through a real gateway, with the unmodified SDKs: fallback by class, a task's model and cap, the bill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_world import Gateway  # it lies beside this file

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario

HAIKU, SONNET, LUNA, SOL = "claude-haiku-4-5", "claude-sonnet-5", "gpt-6-luna", "gpt-6.1-sol"
OVERRIDES: dict[str, Any] = {
    "models": {
        "small": {
            "routes": [f"anthropic/{HAIKU}"],
            "fallback": {"context_length": f"anthropic/{SONNET}", "refusal": [f"anthropic/{SONNET}"]},
        },
        "luna": {"routes": [f"openai/{LUNA}"], "fallback": {"refusal": f"openai/{SOL}"}},
        "auto": {"rules": [{"when": {"tools": True}, "use": f"anthropic/{SONNET}"}], "use": "small"},
    },
    "tasks": {"classify": {"model": "small", "max_tokens": 20}},
    # What a test provokes must not shut the routes to those that follow.
    "providers": {name: {"breaker": "off", "concurrency": "off"} for name in ("anthropic", "openai")},
}


class World:
    """A simulator and a gateway before it."""

    def __init__(self, sim: SimulatorServer, gateway: Gateway) -> None:
        self.sim = sim
        self.gateway = gateway
        self.claude = anthropic.Anthropic(base_url=gateway.url, api_key="any")
        self.gpt = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any")

    def asked(self) -> list[str]:
        return [each["model"] for each in self.sim.requests()]

    def paid(self) -> tuple[int, int]:
        """(what the ledger says of all, what the provider bills), in nano-dollars."""
        self.gateway.built.ledger.flush()
        booked = sum(row["cost_nano"] for row in self.gateway.rows("attempts"))
        return booked, sum(line["cost_nano"] for line in self.sim.invoice()["lines"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with SimulatorServer() as sim, Gateway(tmp_path, sim.url, sim.openai_url, overrides=OVERRIDES) as gateway:
        yield World(sim, gateway)


def refuses(world: World, model: str) -> None:
    world.sim.load(Scenario(rules=(Rule(Fault("refusal"), match=Match(model=model)),)))


def test_a_prompt_too_long_for_the_small_model_is_answered_by_the_large_one(world: World) -> None:
    text = "word " * 210_000
    raw = world.claude.messages.with_raw_response.create(
        model="small", max_tokens=20, messages=[{"role": "user", "content": text}]
    )
    assert raw.parse().model.startswith(SONNET)
    assert raw.headers["x-headgate-attempts"] == "2"
    assert world.asked() == [HAIKU, SONNET]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_refusal_is_answered_by_another_model_and_both_are_on_the_bill(world: World, stream: bool) -> None:
    refuses(world, HAIKU)
    turns: Any = [{"role": "user", "content": "hello"}]
    if stream:
        with world.claude.messages.stream(model="small", max_tokens=50, messages=turns) as told:
            found = told.get_final_message()
    else:
        found = world.claude.messages.create(model="small", max_tokens=50, messages=turns)
    assert found.stop_reason != "refusal"
    assert found.model.startswith(SONNET)
    assert world.asked() == [HAIKU, SONNET]
    booked, billed = world.paid()
    assert booked == billed > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_chats_refusal_is_answered_by_another_model_and_both_are_on_the_bill(world: World, stream: bool) -> None:
    refuses(world, LUNA)
    turns: Any = [{"role": "user", "content": "hello"}]
    if stream:
        with world.gpt.chat.completions.stream(model="luna", messages=turns) as told:
            for _ in told:
                pass
            found: Any = told.get_final_completion()
    else:
        found = world.gpt.chat.completions.create(model="luna", messages=turns)
    assert found.choices[0].message.refusal is None
    assert found.choices[0].message.content
    assert world.asked() == [LUNA, SOL]
    booked, billed = world.paid()
    assert booked == billed > 0


def test_a_refusal_of_all_models_is_the_first_ones_complete_answer(world: World) -> None:
    world.sim.load(Scenario(rules=(Rule(Fault("refusal")),)))
    turns: Any = [{"role": "user", "content": "hello"}]
    with world.claude.messages.stream(model="small", max_tokens=50, messages=turns) as told:
        found = told.get_final_message()
    assert found.stop_reason == "refusal"
    assert found.model.startswith(HAIKU)
    assert world.asked() == [HAIKU, SONNET]
    booked, billed = world.paid()
    assert booked == billed


def test_a_task_has_its_model_and_its_cap_whatever_is_asked_for(world: World) -> None:
    found = world.claude.messages.create(
        model="claude-opus-5",
        max_tokens=4_000,
        messages=[{"role": "user", "content": "tokens: 60"}],
        extra_headers={"x-headgate-task": "classify"},
    )
    assert (found.model.startswith(HAIKU), found.usage.output_tokens, found.stop_reason) == (True, 20, "max_tokens")


def test_a_rule_sends_calls_with_tools_elsewhere(world: World) -> None:
    tool: Any = {"name": "look", "description": "looks", "input_schema": {"type": "object", "properties": {}}}
    turns: Any = [{"role": "user", "content": "hello"}]
    world.claude.messages.create(model="auto", max_tokens=20, messages=turns)
    world.claude.messages.create(model="auto", max_tokens=20, messages=turns, tools=[tool])
    assert world.asked() == [HAIKU, SONNET]
