"""Files of requests in both vendors' formats, and the simulator as both vendors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headgate import Gate
from headgate.testing.server import SimulatorServer

MakeGate = Callable[..., Gate]


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


def hour_later(simulator: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes the provider an hour is over: by its clock, not by how quick this machine is."""
    clock = simulator.simulator.clock
    before = clock.now
    monkeypatch.setattr(clock, "now", lambda: before() + 3600)
