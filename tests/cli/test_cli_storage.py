"""Every command over what `storage` may name besides a file; PostgreSQL that answers: `test_postgres_serve.py`."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

import pytest
from cli_commands import LAST_WORDS, Run, started

MEMORY = {"HEADGATE_STORAGE": "memory"}


@pytest.mark.parametrize(
    "command",
    [
        ("usage",),
        ("logs", "show", "--last"),
        ("budgets",),
        ("budgets", "set", "all/day", "--usd", "1"),
        ("invoice", "--tenant", "acme", "--month", "2026-11"),
        ("reconcile", "--since", "1d"),
        ("keys", "create", "ci"),
        ("keys", "revoke", "ci"),
    ],
    ids=" ".join,
)
def test_what_is_in_another_processs_memory_is_not_to_be_had_and_what_would_be_is_said(
    run: Run, command: tuple[str, ...]
) -> None:
    done = run(*command, **MEMORY, HEADGATE_BUDGETS="[{usd: 5, every: day}]")
    assert done.returncode == 2
    assert "in the memory of the process that serves, and no other can reach it" in done.stderr
    assert "sqlite:///headgate.db or postgresql://" in done.stderr


def test_keys_of_the_configuration_are_listed_whatever_the_storage(run: Run) -> None:
    done = run("keys", "list", **MEMORY, HEADGATE_KEYS="[{name: dev, key: env:DEV_KEY}]", DEV_KEY="some-key")
    assert done.returncode == 0
    assert "dev" in done.stdout


def test_doctor_says_what_memory_means(run: Run) -> None:
    done = run("doctor", "--offline", **MEMORY)
    assert "storage is memory: what was spent, keys and caps are gone" in done.stdout


@pytest.mark.parametrize("url", ["postgresql://ada:{}@127.0.0.1:1/x", "postgresql://ada@127.0.0.1:1/x?password={}"])
@pytest.mark.parametrize("command", [("usage",), ("keys", "list"), ("keys", "create", "ci"), ("doctor", "--offline")])
def test_a_database_that_does_not_answer_is_named_without_its_credential(
    run: Run, url: str, command: tuple[str, ...]
) -> None:
    secret = "sword" + "fish-9"
    done = run(*command, HEADGATE_STORAGE=url.format(secret))
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "postgresql://127.0.0.1:1/x" in said
    assert "Traceback" not in said
    assert secret not in said


def test_a_gateway_over_memory_says_at_its_start_that_nothing_is_kept(tmp_path: Path) -> None:
    with started("serve", "--port", "0", cwd=tmp_path, until=LAST_WORDS, **MEMORY) as found:
        with urllib.request.urlopen(f"{found.url}/health/ready") as answer:
            assert answer.status == 200
        found.process.send_signal(signal.SIGTERM)
        assert found.process.wait(30) == 0
        assert found.process.stderr is not None
        assert "warning: storage (HEADGATE_STORAGE) is memory" in found.process.stderr.read()
    assert not list(tmp_path.glob("*.db"))
