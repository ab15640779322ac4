"""A provider's batch that an incident stops is not submitted, and goes on once the incident is lifted."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from batch_files import claude, write_lines

from headgate import Gate
from headgate.jobs import provider
from headgate.testing.server import SimulatorServer


@pytest.mark.parametrize(("scope", "value"), [("provider", "anthropic"), ("model", "claude-haiku-4-5")])
def test_a_stopped_batch_is_submitted_once_the_incident_is_lifted(
    gate: Gate,
    headgate_simulator: SimulatorServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scope: str,
    value: str,
) -> None:
    monkeypatch.setattr(provider, "poll_wait", lambda asked: 0.02)
    monkeypatch.setattr(provider, "_STEP", 0.02)
    made = gate.incidents.set("stop", scope, value)
    gate.incidents.set("stop", "model", "claude-opus-4-8")  # no line's
    lines = [claude(f"n{n}", f"say {n}") for n in range(3)]
    job = gate.batch(write_lines(tmp_path / "in.jsonl", lines), via="provider")
    done: list[Any] = []
    running = threading.Thread(target=lambda: done.append(job.run()))
    running.start()
    running.join(0.5)
    assert running.is_alive()
    assert headgate_simulator.invoice()["total"]["requests"] == 0
    gate.incidents.lift(made.id)
    running.join(60)
    (status,) = done
    assert (status.state, status.succeeded, status.failed) == ("ended", 3, 0)
