"""A batch that an incident stops waits, sends nothing, and goes on once the incident is lifted."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from batch_files import claude, write_lines

from headgate import Gate
from headgate.jobs import paced
from headgate.testing.server import SimulatorServer


@pytest.mark.parametrize("via", ["paced", "provider"])
def test_a_stopped_batch_waits_and_is_answered_once_the_incident_is_lifted(
    via: Any, gate: Gate, headgate_simulator: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced, "STOPPED_PAUSE", 0.05)
    made = gate.incidents.set("stop", "provider", "anthropic")
    job = gate.batch(write_lines(tmp_path / "in.jsonl", [claude(f"n{n}", f"say {n}") for n in range(3)]), via=via)
    done: list[Any] = []
    running = threading.Thread(target=lambda: done.append(job.run()))
    running.start()
    running.join(1.0)
    assert running.is_alive()
    assert headgate_simulator.invoice()["total"]["requests"] == 0
    gate.incidents.lift(made.id)
    running.join(60)
    ((status),) = done
    assert (status.state, status.succeeded, status.failed) == ("ended", 3, 0)
