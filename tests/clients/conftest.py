"""The helpers that lie beside these tests, and what each client saw and sent."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

for _folder in (Path(__file__).parent, Path(__file__).parents[1] / "e2e"):
    sys.path.insert(0, str(_folder))

pytest.register_assert_rewrite("clients_expected")

from clients_run import Client, Run, run_once  # noqa: E402 - only now can it be found

Seen = Callable[[Client], Run]


@pytest.fixture(scope="session")
def seen(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What a client saw. Each client runs once in a session, whichever worker asks first."""
    shared = tmp_path_factory.getbasetemp()
    if hasattr(pytestconfig, "workerinput"):
        shared = shared.parent
    cache = pytestconfig.rootpath / ".pytest_cache" / "d" / "clients"

    def of(client: Client) -> Run:
        return run_once(client, shared / "clients", cache)

    return of
