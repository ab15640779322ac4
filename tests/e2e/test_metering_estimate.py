"""gate.estimate: the bound and the likely cost, before sending."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import pytest
import tiktoken
from e2e_world import rows  # it lies beside this file

import headgate
from headgate import Gate
from headgate.core.errors import BadRequest, UnknownPrice
from headgate.core.money import nano
from headgate.policy import tokenizing
from headgate.testing.server import SimulatorServer

KEY = "obviously-not-a-real-key"
HELLO = [{"role": "user", "content": "hello " * 40}]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    told: dict[str, Any] = {
        "storage": f"sqlite:///{tmp_path / 'own.db'}",
        "models": {"fast": ["openai/gpt-6-luna"]},
        "tasks": {"classify": {"model": "openai/gpt-6-luna", "max_tokens": 50}},
        "providers": {
            "acme": {"dialect": "anthropic", "base_url": "https://acme.test", "price": {"input": 3, "output": 15}}
        },
    }
    with Gate.load(env={}, **told) as made:
        yield made


def test_before_anything_was_learned_it_is_a_rule_of_thumb_within_the_bound(gate: Gate) -> None:
    found = gate.estimate(model="claude-haiku-4-5", messages=HELLO, max_tokens=300)
    assert found.bound_usd is not None
    assert Decimal(0) < found.expected_usd < found.bound_usd
    assert (found.output_tokens, found.exact) == (300, False)
    assert (found.provider, found.model) == ("anthropic", "claude-haiku-4-5")
    assert found.price_version.startswith("2026-11-20")


def test_it_needs_no_key_and_writes_nothing(gate: Gate, tmp_path: Path) -> None:
    gate.estimate(model="gpt-6-luna", messages=HELLO)
    assert not (tmp_path / "own.db").exists()


@pytest.mark.parametrize(
    ("model", "provider"),
    [("fast", "openai"), ("openai/gpt-6-luna", "openai"), ("gpt-6-luna", "openai"), ("acme/anything", "acme")],
)
def test_the_model_says_where_a_call_would_go(gate: Gate, model: str, provider: str) -> None:
    found = gate.estimate(model=model, messages=HELLO, max_tokens=10)
    assert found.provider == provider


def test_a_call_to_responses_is_told_by_its_input(gate: Gate) -> None:
    found = gate.estimate(model="gpt-6-luna", input="hello", max_tokens=10)
    assert (found.provider, found.output_tokens) == ("openai", 10)


def test_choices_count(gate: Gate) -> None:
    one = gate.estimate(model="gpt-6-luna", messages=HELLO, max_tokens=100)
    three = gate.estimate(model="gpt-6-luna", messages=HELLO, max_tokens=100, n=3)
    assert three.output_tokens == 3 * one.output_tokens


def test_what_nothing_bounds_has_no_bound_and_is_estimated_all_the_same(gate: Gate) -> None:
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    found = gate.estimate(model="claude-haiku-4-5", messages=HELLO, max_tokens=100, tools=tools)
    assert found.bound_usd is None
    assert found.expected_usd > 0


def test_a_call_that_could_not_be_sent_is_refused_in_words(gate: Gate) -> None:
    with pytest.raises(BadRequest, match="max_tokens"):
        gate.estimate(model="claude-haiku-4-5", messages=HELLO, dialect="anthropic")
    with pytest.raises(BadRequest, match="no dialect"):
        gate.estimate(model="m", messages=HELLO, dialect="latin")
    with pytest.raises(UnknownPrice):
        gate.estimate(model="claude-99-none", messages=HELLO, max_tokens=10)
    with pytest.raises(BadRequest, match="cannot be written as JSON"):
        gate.estimate(model="gpt-6-luna", messages=[{"role": "user", "content": object()}], max_tokens=10)


def test_the_likely_cost_comes_close_once_such_calls_were_made(tmp_path: Path) -> None:
    with SimulatorServer() as sim:
        env = {"ANTHROPIC_BASE_URL": sim.url, "HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'own.db'}"}
        with Gate.load(env=env) as gate, gate.client() as http:
            client = anthropic.Anthropic(api_key=KEY, base_url=sim.url, http_client=http)
            for number in range(20):
                asked = [{"role": "user", "content": f"tokens: 90 {number} " + "hello " * 40}]
                client.messages.create(model="claude-haiku-4-5", max_tokens=300, messages=asked)  # type: ignore[arg-type]
            asked = [{"role": "user", "content": "tokens: 90 20 " + "hello " * 40}]
            found = gate.estimate(model="claude-haiku-4-5", messages=asked, max_tokens=300)
            client.messages.create(model="claude-haiku-4-5", max_tokens=300, messages=asked)  # type: ignore[arg-type]
            gate.flush()
        cost = rows(tmp_path / "own.db", "attempts")[-1]["cost_nano"]
    assert found.output_tokens == 90
    assert abs(nano(found.expected_usd) - cost) <= cost // 10


def test_openais_texts_are_counted_exactly_where_a_vocabulary_is_here(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    bytewise = tiktoken.Encoding("bytewise", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens={})
    monkeypatch.setitem(tokenizing._known, "gpt-4o", bytewise)
    text = [{"role": "user", "content": "hello"}]
    found = gate.estimate(model="gpt-4o", messages=text, max_tokens=10)
    assert (found.exact, found.input_tokens) == (True, 3 + 3 + 4 + 5)
    with_tools = gate.estimate(model="gpt-4o", messages=text, max_tokens=10, tools=[{"type": "function"}])
    assert not with_tools.exact


def test_the_bound_is_what_budgets_set_aside_though_the_prompt_was_counted(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [{"role": "user", "content": "hello " * 3_000}]
    uncounted = gate.estimate(model="gpt-4o", messages=long, max_tokens=10)
    monkeypatch.setattr("headgate.estimating.count_messages", lambda *_: 3_000)
    counted = gate.estimate(model="gpt-4o", messages=long, max_tokens=10)
    assert (counted.exact, counted.input_tokens) == (True, 3_000)
    assert counted.bound_usd == uncounted.bound_usd


def test_the_model_and_the_output_cap_of_the_callers_task_count(gate: Gate) -> None:
    plain = gate.estimate(model="gpt-4o", messages=HELLO)
    with headgate.caller(task="classify"):
        found = gate.estimate(model="gpt-4o", messages=HELLO)
    assert (found.model, found.output_tokens) == ("gpt-6-luna", 50)
    assert found.bound_usd is not None
    assert plain.bound_usd is not None
    assert found.bound_usd < plain.bound_usd
