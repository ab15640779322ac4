"""A name that nobody has heard of is warned of when an incident is set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ledger_maker import ROUTE, Maker

from headgate.cli.incident_names import unheard_of
from headgate.settings import Settings, load
from headgate.stores.sqlite import SqliteLedger


@pytest.mark.parametrize(
    ("scope", "value", "known"),
    [
        ("task", "sumarise", False),
        ("task", "support", True),  # of the configuration
        ("model", "claude-hiaku-4-5", False),
        ("model", "fast", True),
        ("model", "anthropic/claude-haiku-4-5", True),
        ("tenant", "acmee", False),
        ("provider", "anthropic", True),
    ],
)
def test_a_name_that_is_nobodys_is_warned_of(scope: str, value: str, known: bool, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'headgate.db'}"
    ledger = SqliteLedger(storage)
    ledger.open()
    ledger.close()
    told = {"tasks": {"support": {"max_tokens": 99}}, "models": {"fast": ["anthropic/claude-haiku-4-5"]}}
    said = unheard_of(load(env={"HEADGATE_STORAGE": storage}, overrides=told), scope, value)
    assert (said == "") == known
    assert known or repr(value) in said


def test_a_tenant_of_the_ledger_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = f"sqlite:///{tmp_path / 'headgate.db'}"
    ledger, make = SqliteLedger(storage), Maker()
    exchange = make.exchange()
    make.attempt(exchange)
    ledger.blocking().settle(make.answered(exchange))
    ledger.close()
    monkeypatch.setattr("headgate.cli.incident_names.time.time", lambda: exchange.started + 60)
    settings = load(env={"HEADGATE_STORAGE": storage})
    assert [unheard_of(settings, "tenant", name) == "" for name in ("acme", "acmee")] == [True, False]


LLAMA = "meta-llama/llama-3.3-70b-instruct"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Calls for a model that answers under a dated name, and for one with a slash of its own."""
    storage = f"sqlite:///{tmp_path / 'headgate.db'}"
    ledger, make = SqliteLedger(storage), Maker()
    for model, provider in (("claude-haiku-4-5", "anthropic"), (LLAMA, "openrouter"), ("gpt-6-luna", "openai")):
        exchange = make.exchange(model=model)
        make.attempt(exchange, route=replace(ROUTE, provider=provider))
        make.answered(exchange)
        if provider != "anthropic":
            exchange.attempts[0].model_served = model
        ledger.blocking().settle(exchange)
    ledger.close()
    monkeypatch.setattr("headgate.cli.incident_names.time.time", lambda: exchange.started + 60)
    return load(env={"HEADGATE_STORAGE": storage})


@pytest.mark.parametrize("value", ["claude-haiku-4-5", "anthropic/claude-haiku-4-5", LLAMA, f"openrouter/{LLAMA}"])
def test_a_model_is_known_by_the_name_that_calls_use_whatever_it_answers_as(served: Settings, value: str) -> None:
    assert unheard_of(served, "model", value) == ""


@pytest.mark.parametrize("value", ["opnai/gpt-6-luna", "anthropic/gpt-6-luna", "llama-3.3-70b-instruct"])
def test_a_model_behind_another_providers_name_is_nobodys(served: Settings, value: str) -> None:
    assert "look for a typing error" in unheard_of(served, "model", value)


def test_of_a_name_that_only_answers_had_the_name_that_calls_use_is_said(served: Settings) -> None:
    said = unheard_of(served, "model", "claude-haiku-4-5-20251001")
    assert "'anthropic/claude-haiku-4-5'" in said
    assert "typing" not in said
