"""Every test runs twice: without an event loop, and with one."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from headgate.engine.blocking import run_blocking
from headgate.testing import World
from headgate.testing.fakes import Played

sys.path.insert(0, str(Path(__file__).parent))  # the helpers that lie beside these tests

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[run_blocking, asyncio.run], ids=["blocking", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine."""
    return request.param


@pytest.fixture(params=["anthropic", "openai"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Both dialects."""
    return request.param


@pytest.fixture
def play(run: Run) -> Callable[..., Played]:
    """One call through a world, from beginning to end."""

    def play(world: World, body: bytes | None = None, **options: Any) -> Played:
        played: Played = run(world.call(world.request(body, **options)))
        return played

    return play
