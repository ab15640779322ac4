"""A gate on a ledger of its own in front of the simulator, and files of requests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate import Gate
from headgate.testing.server import SimulatorServer

sys.path.insert(0, str(Path(__file__).parent))

from batch_files import MakeGate, providers  # it lies beside this file


@pytest.fixture
def make_gate(tmp_path: Path, headgate_simulator: SimulatorServer) -> Iterator[MakeGate]:
    """Makes gates on one ledger; what they need not be told is the simulator's."""
    made: list[Gate] = []

    def make(**overrides: Any) -> Gate:
        told: dict[str, Any] = {
            "storage": f"sqlite:///{tmp_path / 'ledger.db'}",
            "providers": providers(headgate_simulator),
            **overrides,
        }
        gate = Gate.load(env={"KEY": "fake"}, wait=lambda state: 0.0, **told)
        made.append(gate)
        return gate

    yield make
    for gate in made:
        gate.close()


@pytest.fixture
def gate(make_gate: MakeGate) -> Gate:
    return make_gate()
