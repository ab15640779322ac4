"""The pytest plugin. It imports nothing until a fixture is asked for, so that other suites do not pay for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from headgate.testing.server import SimulatorServer


@pytest.fixture(scope="session")
def _headgate_simulator_server() -> Iterator[SimulatorServer]:
    from headgate.testing.server import SimulatorServer

    with SimulatorServer() as server:
        yield server


@pytest.fixture
def headgate_simulator(_headgate_simulator_server: SimulatorServer) -> SimulatorServer:
    """The simulator on a loopback port: healthy, seed 0, with empty books, for each test.

    ``headgate_simulator.url`` goes to the Anthropic SDK as its base URL, ``.openai_url`` to the OpenAI SDK;
    ``.load("storm")`` plays a scenario, ``.invoice()`` tells what it would bill.
    """
    _headgate_simulator_server.load(None)
    return _headgate_simulator_server
