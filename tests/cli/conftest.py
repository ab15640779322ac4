"""Fixtures of the command line's tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cli_commands import LAST_WORDS, Run, Serving, headgate, started  # it lies beside this file


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`headgate` in this test's own folder."""

    def in_folder(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return headgate(*arguments, cwd=tmp_path, **{"XDG_DATA_HOME": str(tmp_path / "share"), **env})

    return in_folder


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`headgate serve` on a free port, with the simulator behind it, and no key asked for."""
    folder = tmp_path_factory.mktemp("serving")
    with started("serve", "--port", "0", cwd=folder, until=LAST_WORDS) as found:
        yield found
