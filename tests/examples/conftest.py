"""The examples as a newcomer runs them: their own files, the SDK's own variables, the simulator behind them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from headgate.testing.server import SimulatorServer

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headgate_simulator: SimulatorServer) -> Path:
    """An empty folder to run in, and an environment in which the provider is the simulator."""
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "OPENAI_", "HEADGATE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", headgate_simulator.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "simulated-key-of-the-server")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def example() -> Callable[[str], ModuleType]:
    """Loads a file of the examples, as `chat_app/app.py`."""

    def load(path: str) -> ModuleType:
        name = "example_" + path.removesuffix(".py").replace("/", "_")
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where pydantic looks annotations up
        spec.loader.exec_module(module)
        return module

    return load
