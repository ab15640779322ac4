"""What the log keeps of prompts and answers, both ways in, as it comes and as it is configured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from e2e_world import Gateway  # it lies beside this file

from headgate import Gate
from headgate.testing.server import SimulatorServer

MAIL = "ada.lovelace@example.org"


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


def logged(file: Path) -> dict[str, Any]:
    (line,) = (json.loads(line) for line in file.read_text().splitlines() if '"event":"exchange"' in line)
    return line


def ask(client: anthropic.Anthropic) -> None:
    said: Any = [{"role": "user", "content": f"say: write to {MAIL}"}]
    client.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=said)


@pytest.mark.parametrize("bodies", ["", "off", "redacted", "full"])
@pytest.mark.parametrize("way_in", ["gateway", "in-process"])
def test_bodies_are_kept_without_personal_data_unless_told_otherwise(
    sim: SimulatorServer, tmp_path: Path, way_in: str, bodies: str
) -> None:
    overrides: dict[str, Any] = {"log": {"bodies": bodies}} if bodies else {}
    if way_in == "gateway":
        with Gateway(tmp_path, sim.url, sim.openai_url, overrides=overrides) as gateway:
            ask(anthropic.Anthropic(base_url=gateway.url, api_key="x"))
        found = logged(tmp_path / "gateway.db.log.jsonl")
    else:
        with Gate.load(env={}, storage=f"sqlite:///{tmp_path / 'own.db'}", **overrides) as gate:
            ask(anthropic.Anthropic(base_url=sim.url, api_key="x", http_client=gate.client()))
        found = logged(tmp_path / "own.db.log.jsonl")
    if bodies == "off":
        assert "user_message" not in found
    elif bodies == "full":
        assert (found["user_message"], found["response_text"]) == (f"say: write to {MAIL}", f"write to {MAIL}")
    else:
        assert (found["user_message"], found["response_text"]) == ("say: write to [email]", "write to [email]")
