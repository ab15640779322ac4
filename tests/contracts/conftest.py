"""One suite, every store, both colours."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.engine.blocking import run_blocking

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "stores")]

from ledger_maker import Maker  # noqa: E402  # it lies beside the stores' tests
from ledger_store import STORES, Store  # noqa: E402  # it lies beside this file


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What a store cannot do is no test of it: it is not run, and not skipped either."""
    apart = [item for item in items if _lacks(item)]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in apart]


def _lacks(item: pytest.Item) -> bool:
    need, call = item.get_closest_marker("needs"), getattr(item, "callspec", None)
    if need is None or call is None:
        return False
    store = call.params.get("store") or call.params.get("each_store")
    return store is not None and not getattr(store, need.args[0])


@pytest.fixture(params=[run_blocking, asyncio.run], ids=["blocking", "async"])
def run(request: pytest.FixtureRequest) -> Any:
    """Every test runs twice: without an event loop, and with one."""
    return request.param


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, run: Any) -> Iterator[Store]:
    found = request.param(tmp_path, run)
    yield found
    found.ledger.close()


@pytest.fixture(params=STORES)
def each_store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Every store, for tests that have an event loop of their own; they close it."""
    return request.param(tmp_path, run_blocking)


@pytest.fixture
def make() -> Maker:
    return Maker()
