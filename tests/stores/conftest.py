"""Ledgers in a temporary folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.stores.sqlite import SqliteLedger

sys.path.insert(0, str(Path(__file__).parent))

from ledger_maker import Maker  # it lies beside this file
from log_world import LogWorld
from postgres_server import the_server


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
def ledgers(tmp_path: Path) -> Iterator[Callable[..., SqliteLedger]]:
    """Opens ledgers on `<tmp>/headgate.db` (or another name) and closes them afterwards."""
    opened: list[SqliteLedger] = []

    def open_ledger(name: str = "headgate.db", **options: Any) -> SqliteLedger:
        ledger = SqliteLedger(f"sqlite:///{tmp_path / name}", **options)
        opened.append(ledger)
        return ledger

    yield open_ledger
    for ledger in opened:
        ledger.close()


@pytest.fixture
def log_world(tmp_path: Path) -> Iterator[LogWorld]:
    """A log's lines and their store, in a temporary folder."""
    world = LogWorld(tmp_path)
    yield world
    world.close()


@pytest.fixture(params=["sqlite", "postgres"])
def any_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LogWorld]:
    """As `log_world`, in each database."""
    world = LogWorld(tmp_path, the_server().url() if request.param == "postgres" else "")
    yield world
    world.close()
