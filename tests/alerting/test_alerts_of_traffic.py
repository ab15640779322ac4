"""Alerts from real traffic: an SDK, a provider that fails, and a webhook that hears of it, and of the end."""

from __future__ import annotations

import json
import time
from pathlib import Path

import anthropic
import pytest
from receiver import Receiver

import headgate
from headgate import Gate
from headgate.alerting import watching
from headgate.policy import alert_states
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Rule, Scenario, When

KEY = "provider-" + "canary-key"


def test_a_provider_that_fails_is_told_of_once_and_so_is_its_end_without_a_word_of_the_calls(
    headgate_simulator: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "EVERY_SECONDS", 0.05)
    monkeypatch.setattr(alert_states, "CLEAR_SECONDS", 0.2)
    receiver = Receiver()
    rules = {"exchange_errors": {"over": "10%", "minimum": 4, "for": "0s", "window": "30s"}}
    rules |= dict.fromkeys(("provider_errors", "attempt_errors", "breaker_open", "disk_full"), "off")  # type: ignore[misc]
    gate = Gate.load(
        env={"ANTHROPIC_BASE_URL": headgate_simulator.url},
        storage=f"sqlite:///{tmp_path / 'headgate.db'}",
        alerts=[{"to": receiver.url}],
        alert_rules=rules,
        retry={"attempts": 1},
        wait=lambda state: 0.0,
    )
    sdk = anthropic.Anthropic(http_client=gate.client(), base_url=headgate_simulator.url, api_key=KEY, max_retries=0)

    def ask() -> None:
        said = [{"role": "user", "content": "canary-prompt"}]
        with headgate.caller(user="canary-user", session="canary-session", tenant="acme"):
            sdk.messages.create(model="claude-haiku-4-5", max_tokens=5, messages=said)  # type: ignore[arg-type]

    ask()  # the first call begins it
    end = time.monotonic() + 20
    while not (gate.built.alerting._thread is not None and gate.built.alerting._windows._recent):
        assert time.monotonic() < end
        time.sleep(0.01)
    headgate_simulator.load(Scenario(name="down", rules=[Rule(when=When(), fault=Fault("server_error"))]))
    for _ in range(6):
        with pytest.raises(anthropic.APIStatusError):
            ask()
    ((_, opened),) = receiver.wait(1)
    assert (opened["rule"], opened["scope"], opened["state"]) == ("exchange_errors", "anthropic", "firing")
    assert "calls at anthropic failed" in opened["summary"]
    headgate_simulator.load("healthy")
    gate.built.alerting._windows._recent.clear()  # as half a minute later
    _, (_, resolved) = receiver.wait(2)
    assert (resolved["type"], resolved["id"]) == ("alert.resolved", opened["id"])
    gate.close()
    receiver.close()
    told = json.dumps([body for _, body in receiver.got]) + (tmp_path / "headgate.db").read_bytes().decode("latin-1")
    assert [body["type"] for _, body in receiver.got] == ["alert.opened", "alert.resolved"]
    assert "canary-prompt" not in told
    assert KEY not in told
    assert "canary-user" not in json.dumps([body for _, body in receiver.got])
