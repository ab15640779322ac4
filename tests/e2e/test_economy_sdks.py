"""Real SDKs through a real gateway that sends less: what reaches the provider, and what its answers say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from e2e_world import Gateway  # it lies beside this file

from headgate.testing.server import SimulatorServer

OVERRIDES: dict[str, object] = {"caps": "defaults"}


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    with SimulatorServer() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("economy")
    with Gateway(folder, simulator.url, simulator.openai_url, overrides=OVERRIDES) as running:
        yield running


def test_a_task_of_a_well_known_name_is_capped_and_its_truncation_is_counted(gateway: Gateway) -> None:
    client = openai.OpenAI(api_key="any", base_url=f"{gateway.url}/v1", max_retries=0)
    said: list[Any] = [{"role": "user", "content": "Tell me everything about it."}]
    headers = {"x-headgate-task": "sentiment"}
    answer = client.chat.completions.create(model="gpt-4.1-mini", messages=said, extra_headers=headers)
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 50
    truncated = answer.choices[0].finish_reason == "length"
    gateway.built.ledger.flush()
    assert gateway.built.tally.stats().truncation_rates == {"sentiment": float(truncated)}
