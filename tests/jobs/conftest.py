"""A gate on a ledger of its own in front of the simulator, and files of requests."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate import Gate
from headgate.testing.server import SimulatorServer

sys.path.insert(0, str(Path(__file__).parent))

MakeGate = Callable[..., Gate]


@pytest.fixture
def make_gate(tmp_path: Path, headgate_simulator: SimulatorServer) -> Iterator[MakeGate]:
    """Makes gates on one ledger; what they need not be told is the simulator's."""
    made: list[Gate] = []

    def make(**overrides: Any) -> Gate:
        told: dict[str, Any] = {
            "storage": f"sqlite:///{tmp_path / 'ledger.db'}",
            "providers": providers(headgate_simulator),
            **overrides,
        }
        gate = Gate.load(env={"KEY": "fake"}, wait=lambda state: 0.0, **told)
        made.append(gate)
        return gate

    yield make
    for gate in made:
        gate.close()


@pytest.fixture
def gate(make_gate: MakeGate) -> Gate:
    return make_gate()


def providers(simulator: SimulatorServer) -> dict[str, Any]:
    return {
        "anthropic": {"base_url": simulator.url, "api_key": "env:KEY"},
        "openai": {"base_url": simulator.openai_url, "api_key": "env:KEY"},
    }


def claude(name: str, text: str, **params: Any) -> dict[str, Any]:
    """A line of Anthropic's."""
    told = {"model": "claude-haiku-4-5", "max_tokens": 20, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": name, "params": {**told, **params}}


def gpt(name: str, text: str, **body: Any) -> dict[str, Any]:
    """A line of OpenAI's."""
    told = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": {**told, **body}}


def write_lines(path: Path, lines: list[dict[str, Any] | str]) -> Path:
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines))
    return path
