"""Running the command line as people do: in an empty folder, without any provider's key; apart where it goes on."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from headgate.cli import main
from headgate.cli.group import cli

SECONDS = 60.0
_DROPPED = ("ANTHROPIC_", "OPENAI_", "HEADGATE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "COV_", "FORCE_COLOR")


def clean_env(**more: str) -> dict[str, str]:
    """This process's environment without what would change an answer."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(_DROPPED)}
    return {**kept, "PYTHONIOENCODING": "utf-8", **more}


HERE = ("usage", "budgets", "invoice", "reconcile", "prices", "keys", "logs", "lab", "init", "explain", "doctor")
HERE += ("providers", "batch", "cache", "shadow", "approvals", "incident", "alerts", "demo", "--config")
"""Commands that end by themselves: run in this process, which is ten times quicker."""


def headgate(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    if arguments[0] in HERE:
        return _here(*arguments, cwd=cwd, env=clean_env(**env))
    return apart(*arguments, cwd=cwd, **env)


def apart(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own: where this one has the ledger."""
    return subprocess.run(
        [sys.executable, "-m", "headgate.cli.main", *arguments],
        cwd=cwd,
        env=clean_env(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def _here(*arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(cwd)
        patched.setattr(os, "environ", env)
        patched.setattr(tempfile, "tempdir", None)  # TMPDIR is looked at anew
        with redirect_stdout(out), redirect_stderr(err):
            code = main.run(cli, list(arguments))
    return subprocess.CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(slots=True)
class Serving:
    """A running command."""

    process: subprocess.Popen[str]
    folder: Path
    out: str  # what it said up to its last line of greeting
    url: str


@contextmanager
def started(*arguments: str, cwd: Path, until: str, **env: str) -> Iterator[Serving]:
    """Run a command that goes on, once it has said `until` on standard output."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headgate.cli.main", *arguments],
        cwd=cwd,
        env=clean_env(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdout is not None
    assert process.stderr is not None
    timer = threading.Timer(SECONDS, process.kill)
    timer.start()
    try:
        said = ""
        for line in process.stdout:
            said += line
            if until in line:
                break
        # Only the start is timed: who serves a whole session's tests lives as long as they take.
        timer.cancel()
        assert until in said, f"it said:\n{said}\n{process.stderr.read()}"
        found = re.search(r"http://127\.0\.0\.1:[0-9]+", said)
        url = found.group() if found else ""
        yield Serving(process, cwd, said, url)
    finally:
        timer.cancel()
        if process.poll() is None:
            process.terminate()
            process.wait(SECONDS)
        process.stdout.close()
        process.stderr.close()


LAST_WORDS = "Ctrl-C stops it."
