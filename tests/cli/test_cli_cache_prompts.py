"""`headgate cache prompts`: per prefix what providers' caches have saved or lost, from the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from click.testing import CliRunner

import headgate
from headgate import Gate
from headgate.cli.cache import cache
from headgate.cli.usage import usage
from headgate.testing.server import SimulatorServer

SYSTEM = "You answer questions about canals and gates. " * 700


@pytest.fixture
def gate(tmp_path: Path, headgate_simulator: SimulatorServer) -> Iterator[Gate]:
    made = Gate.load(
        env={"KEY": "fake"},
        storage=f"sqlite:///{tmp_path / 'headgate.db'}",
        providers={"anthropic": {"base_url": headgate_simulator.url, "api_key": "env:KEY"}},
    )
    client = anthropic.Anthropic(http_client=made.client(), base_url=headgate_simulator.url, api_key="fake")
    with headgate.caller(tenant="acme", task="canals"):
        for number in range(5):
            client.messages.create(
                model="claude-haiku-4-5",
                max_tokens=20,
                system=SYSTEM,
                messages=[{"role": "user", "content": f"question {number}"}],
            )
    made.flush()
    yield made
    made.close()


def run(gate: Gate, *arguments: str, store: str = "on") -> Any:
    env = {"HEADGATE_STORAGE": gate.built.settings.storage, "HEADGATE_CONFIG": "", "HEADGATE_LOG__STORE": store}
    return CliRunner().invoke(cache, ["prompts", *arguments], env=env, standalone_mode=False)


def test_a_prefix_that_came_again_has_what_the_gate_itself_has_counted(gate: Gate) -> None:
    (counted,) = gate.prompts()
    assert counted.saved_nano > 0
    for store in ("off", "on"):
        found = json.loads(run(gate, "--json", store=store).stdout)
        (row,) = found["prefixes"]
        assert (row["prefix"], row["tenant"], row["tasks"]) == (counted.name, "acme", ["canals"])
        assert (row["calls"], row["hits"]) == (counted.calls, counted.hits)
        assert (row["read_tokens"], row["written_tokens"]) == (counted.read_tokens, counted.written_tokens)
        assert round(float(row["saved_usd"]) * 10**9) == counted.saved_nano == round(float(found["saved_usd"]) * 10**9)
    shown = run(gate, "--tenant", "acme")
    assert (shown.return_value, counted.name in shown.stdout) == (0, True)
    assert "No prompt prefix" in run(gate, "--tenant", "other").stdout
    env = {"HEADGATE_STORAGE": gate.built.settings.storage, "HEADGATE_CONFIG": ""}
    assert "came from providers' caches" in CliRunner().invoke(usage, [], env=env, standalone_mode=False).stdout


def test_what_was_lost_is_an_exit_code(gate: Gate, tmp_path: Path) -> None:
    log = tmp_path / "headgate.db.log.jsonl"
    line = next(json.loads(each) for each in log.read_text().splitlines() if "prompt_prefix" in each)
    lost = {**line, "prompt_cache_saved_usd": -1.5, "prompt_prefix": "p"}
    log.write_text(json.dumps(lost) + "\n" + '{"cut short "prompt_prefix":')
    shown = run(gate, store="off")
    assert (shown.return_value, "-$1.5" in shown.stdout) == (1, True)
