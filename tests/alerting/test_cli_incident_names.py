"""A name that nobody has heard of is warned of when an incident is set."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_maker import Maker

from headgate.cli.incident_names import unheard_of
from headgate.settings import load
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
