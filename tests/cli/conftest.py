"""Fixtures of the command line's tests."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.cli import main
from headgate.cli.group import cli

sys.path.insert(0, str(Path(__file__).parent))

from cli_commands import LAST_WORDS, Run, Serving, clean_env, headgate, started  # it lies beside this file

HERE = ("usage", "budgets", "invoice", "reconcile", "prices", "keys", "logs", "lab", "init", "explain", "doctor")
HERE += ("providers", "batch", "cache", "shadow", "incident", "--config")
"""Commands that end by themselves: run in this process, which is ten times quicker."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`headgate` in this test's own folder."""

    def in_folder(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        if arguments[0] not in HERE:
            return headgate(*arguments, cwd=tmp_path, **env)
        with monkeypatch.context() as patched:
            patched.chdir(tmp_path)
            patched.setattr(os, "environ", clean_env(**{"XDG_DATA_HOME": str(tmp_path / "share"), **env}))
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main.run(cli, list(arguments))
        return subprocess.CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())

    return in_folder


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """`headgate serve` on a free port, with the simulator behind it, and no key asked for."""
    folder = tmp_path_factory.mktemp("serving")
    with started("serve", "--port", "0", cwd=folder, until=LAST_WORDS) as found:
        yield found
