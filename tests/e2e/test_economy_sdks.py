"""Real SDKs through a real gateway that sends less: what reaches the provider, and what its answers say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from e2e_world import Gateway  # it lies beside this file

from headgate.testing.server import SimulatorServer

OVERRIDES: dict[str, object] = {
    "caps": "defaults",
    "tasks": {"chat": {"history": {"turns": 4, "block": 2}}, "small": {"guards": {"limits": {"tokens": 50}}}},
}


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


def test_a_growing_conversation_costs_no_more_than_its_last_turns(gateway: Gateway) -> None:
    client = anthropic.Anthropic(api_key="any", base_url=gateway.url, max_retries=0)
    said: list[Any] = []
    prompts, told = [], []
    for n in range(9):
        said.append({"role": "user", "content": f"question {n} " * 40})
        raw = client.messages.with_raw_response.create(
            model="claude-haiku-4-5", max_tokens=9, messages=said, extra_headers={"x-headgate-task": "chat"}
        )
        answer = raw.parse()
        prompts.append(answer.usage.input_tokens)
        told.append(raw.headers.get("x-headgate-pruned", ""))
        text = "".join(each.text for each in answer.content if each.type == "text")
        said.append({"role": "assistant", "content": text})
    assert max(prompts[4:]) <= prompts[3] * 1.1
    gone = ["2 of 5 turns", "2 of 6 turns", "4 of 7 turns", "4 of 8 turns", "6 of 9 turns"]
    assert [each.partition(",")[0] for each in told] == ["", "", "", "", *gone]
    lines = [line["pruned"] for line in gateway.lines() if "pruned" in line]
    assert lines == [each for each in told if each]


def test_what_is_longer_than_its_task_allows_is_refused_with_a_sentence_and_costs_nothing(
    gateway: Gateway, simulator: SimulatorServer
) -> None:
    before = len(simulator.invoice()["lines"])
    client = openai.OpenAI(api_key="any", base_url=f"{gateway.url}/v1", max_retries=0)
    said: list[Any] = [{"role": "user", "content": "word " * 500}]
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="gpt-4.1-mini", messages=said, extra_headers={"x-headgate-task": "small"})
    assert "tokens" in str(refused.value)
    assert "50" in str(refused.value)
    assert len(simulator.invoice()["lines"]) == before
