"""A gate on a ledger of its own, in front of the simulator, and both vendors' clients in both colours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from headgate import Gate
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario, When


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    with Gate.load(env={}, wait=lambda state: 0.0, storage=f"sqlite:///{tmp_path / 'ledger.db'}") as made:
        yield made


@pytest.fixture(params=["anthropic", "openai"])
def ask(request: pytest.FixtureRequest, gate: Gate, headgate_simulator: SimulatorServer) -> Callable[[str], str]:
    """Has the model say a text, with a synchronous SDK client."""
    if request.param == "anthropic":
        claude = anthropic.Anthropic(base_url=headgate_simulator.url, api_key="fake", http_client=gate.client())
        return lambda text: claude.messages.create(**_claude(text)).content[0].text
    gpt = openai.OpenAI(base_url=headgate_simulator.openai_url, api_key="fake", http_client=gate.client())
    return lambda text: str(gpt.chat.completions.create(**_gpt(text)).choices[0].message.content)


@pytest.fixture(params=["anthropic", "openai"])
def aask(
    request: pytest.FixtureRequest, gate: Gate, headgate_simulator: SimulatorServer
) -> Callable[[], Callable[[str], Awaitable[str]]]:
    """Makes, inside the running loop, what has the model say a text with an asynchronous SDK client."""

    def make() -> Callable[[str], Awaitable[str]]:
        told: dict[str, Any] = {"api_key": "fake", "http_client": gate.async_client()}
        if request.param == "anthropic":
            claude = anthropic.AsyncAnthropic(base_url=headgate_simulator.url, **told)

            async def say(text: str) -> str:
                return (await claude.messages.create(**_claude(text))).content[0].text
        else:
            gpt = openai.AsyncOpenAI(base_url=headgate_simulator.openai_url, **told)

            async def say(text: str) -> str:
                return str((await gpt.chat.completions.create(**_gpt(text))).choices[0].message.content)

        return say

    return make


def _claude(text: str) -> dict[str, Any]:
    return {"model": "claude-haiku-4-5", "max_tokens": 30, "messages": [{"role": "user", "content": f"say: {text}"}]}


def _gpt(text: str) -> dict[str, Any]:
    return {"model": "gpt-6-luna", "messages": [{"role": "user", "content": f"say: {text}"}]}


@pytest.fixture
def bad_rows_fail(headgate_simulator: SimulatorServer) -> None:
    """Every row with "bad" in it gets a 422 twice, all together; then they go well."""
    fault = Fault("error", status=422, message="theirs")
    headgate_simulator.load(Scenario(rules=(Rule(fault, Match(prompt_contains="bad"), When(times=2)),)))
