"""What Headgate's own tests are made of, for yours too. Everything is imported on first use.

`World` is an engine with fakes around it: nothing waits, nothing is sent. `Simulator` is a whole provider to call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headgate.testing.fakes import (
        FakeAnswer,
        FakeClock,
        FakeLedger,
        FakeLog,
        FakeUpstream,
        Passed,
        Played,
        World,
    )
    from headgate.testing.server import SimulatorServer
    from headgate.testing.simulator import Simulator

_WHERE = {
    "FakeAnswer": "fakes",
    "FakeClock": "fakes",
    "FakeLedger": "fakes",
    "FakeLog": "fakes",
    "FakeUpstream": "fakes",
    "Passed": "fakes",
    "Played": "fakes",
    "World": "fakes",
    "Simulator": "simulator",
    "SimulatorServer": "server",
}

__all__ = [
    "FakeAnswer",
    "FakeClock",
    "FakeLedger",
    "FakeLog",
    "FakeUpstream",
    "Passed",
    "Played",
    "Simulator",
    "SimulatorServer",
    "World",
]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module 'headgate.testing' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"headgate.testing.{where}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
