"""Real SDKs, both ways in, to a provider that accounts its prompt cache: same answers, a smaller bill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_world import Gateway  # it lies beside this file

from headgate import Gate
from headgate.testing.server import SimulatorServer

SYSTEM = "All of our terms and conditions, word by word. " * 400


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer() as running:
        yield running


def ask(client: anthropic.Anthropic, n: int, **more: Any) -> anthropic.types.Message:
    return client.messages.create(
        model="claude-sonnet-5",
        max_tokens=5,
        system=SYSTEM,
        messages=[{"role": "user", "content": f"What is term number {n}?"}],
        **more,
    )


def test_through_the_gateway_the_third_call_reads_what_the_second_has_written(
    tmp_path: Path, simulator: SimulatorServer
) -> None:
    with Gateway(tmp_path, simulator.url, simulator.openai_url) as gateway:
        client = anthropic.Anthropic(api_key="any", base_url=gateway.url, max_retries=0)
        usages = [ask(client, n).usage for n in range(3)]
        assert [(u.cache_creation_input_tokens or 0) > 4000 for u in usages] == [False, True, False]
        assert [(u.cache_read_input_tokens or 0) > 4000 for u in usages] == [False, False, True]
        lines = [line for line in gateway.lines() if line["event"] == "exchange"]
        assert len({line["prompt_prefix"] for line in lines}) == 1
        assert [line.get("prompt_cache_saved_usd", 0) > 0 for line in lines] == [False, False, True]
        assert lines[1]["prompt_cache_saved_usd"] < 0
        rows = gateway.rows("exchanges")
        billed = sum(line["cost_nano"] for line in simulator.invoice()["lines"])
        assert sum(row["cost_nano"] for row in rows) == billed


def test_in_process_it_is_told_by_prefix_and_in_the_stats(tmp_path: Path, simulator: SimulatorServer) -> None:
    env = {"ANTHROPIC_BASE_URL": simulator.url}
    storage = f"sqlite:///{tmp_path / 'own.db'}"
    with Gate.load(env=env, storage=storage) as gate, gate.client() as http:
        client = anthropic.Anthropic(api_key="k" * 9, base_url=simulator.url, http_client=http)
        for n in range(4):
            ask(client, n)
        (found,) = gate.prompts()
        assert (found.calls, found.model) == (4, "claude-sonnet-5")
        assert found.hits >= 2
        assert found.saved_nano > 0
        assert gate.stats.prompt_cache_saved_usd * 10**9 == found.saved_nano


def test_a_run_over_many_items_writes_their_prefix_once(tmp_path: Path, simulator: SimulatorServer) -> None:
    simulator.reset()
    env = {"ANTHROPIC_BASE_URL": simulator.url}
    storage = f"sqlite:///{tmp_path / 'many.db'}"
    with Gate.load(env=env, storage=storage) as gate, gate.client() as http:
        client = anthropic.Anthropic(api_key="k" * 9, base_url=simulator.url, http_client=http)
        gate.map(lambda n: ask(client, n), list(range(24)), limit=8).all()
    lines = [line["usage"] for line in simulator.invoice()["lines"]]
    assert len(lines) == 24
    assert sum(line["cache_write_tokens"] > 0 for line in lines) == 1
    # The first is no repetition, and those that begin while the second is on its way to the provider are too late.
    assert sum(line["cache_read_tokens"] > 0 for line in lines) >= 24 - 8


def test_off_leaves_everything_as_it_is(tmp_path: Path, simulator: SimulatorServer) -> None:
    overrides: dict[str, object] = {"prompt_caching": "off"}
    with Gateway(tmp_path, simulator.url, simulator.openai_url, overrides=overrides) as gateway:
        client = anthropic.Anthropic(api_key="any", base_url=gateway.url, max_retries=0)
        assert not any(ask(client, n).usage.cache_creation_input_tokens for n in range(3))
        assert all("prompt_prefix" not in line for line in gateway.lines())


def test_a_chat_with_a_long_beginning_is_answered_and_its_cached_tokens_are_priced(
    tmp_path: Path, simulator: SimulatorServer
) -> None:
    simulator.reset()
    with Gateway(tmp_path, simulator.url, simulator.openai_url) as gateway:
        client = openai.OpenAI(api_key="any", base_url=f"{gateway.url}/v1", max_retries=0)
        for n in range(3):
            said: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": f"q {n}"}]
            answer = client.chat.completions.create(model="gpt-6-luna", max_completion_tokens=5, messages=said)
            assert answer.choices
        lines = [line for line in gateway.lines() if line["event"] == "exchange"]
        assert lines[2]["prompt_cache_saved_usd"] > 0
        billed = sum(line["cost_nano"] for line in simulator.invoice()["lines"])
        assert sum(row["cost_nano"] for row in gateway.rows("exchanges")) == billed
