"""Gates on a ledger of their own, in front of the simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate import Gate


@pytest.fixture
def make_gate(tmp_path: Path) -> Iterator[Callable[..., Gate]]:
    """Makes gates without the machine's environment; closes them afterwards. Retries do not wait unless told."""
    made: list[Gate] = []

    def make(**told: Any) -> Gate:
        told.setdefault("wait", lambda state: 0.0)
        told.setdefault("storage", f"sqlite:///{tmp_path / f'ledger-{len(made)}.db'}")
        told.setdefault("env", {})
        gate = Gate.load(**told)
        made.append(gate)
        return gate

    yield make
    for gate in made:
        gate.close()


@pytest.fixture
def gate(make_gate: Callable[..., Gate]) -> Gate:
    """One with every default but the waits."""
    return make_gate()
