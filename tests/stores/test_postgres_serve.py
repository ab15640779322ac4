"""`headgate serve` on a ledger in PostgreSQL: two gateways, the command line, a restart, a database that goes away."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from postgres_server import Server, own_server, server

from headgate.cli import main
from headgate.cli.group import cli

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))

from cli_commands import LAST_WORDS, Serving, clean_env, headgate, started  # it lies beside the command line's tests

__all__ = ["own_server", "server"]

PASSWORD = "sword" + "fish-8"
CONFIG = """
storage: env:DATABASE_URL
budgets: [{per: tenant, usd: 1, every: day}]
"""
PATIENCE = 30.0

Gateways = Callable[..., AbstractContextManager[Serving]]


class Place:
    """A folder with a configuration, and a database's URL in the environment only."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.env = {"DATABASE_URL": url}
        (folder / "headgate.yaml").write_text(CONFIG)

    def gateway(self) -> AbstractContextManager[Serving]:
        return started("serve", "--port", "0", "--simulator", cwd=self.folder, until=LAST_WORDS, **self.env)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself: in this process, which is ten times quicker."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(self.folder)
            patched.setattr(os, "environ", clean_env(**self.env))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main.run(cli, list(arguments))
        done = subprocess.CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())
        assert PASSWORD not in done.stdout + done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def ask(gateway: Serving, key: str) -> anthropic.types.Message:
    client = anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0)
    question: Any = {"role": "user", "content": "Hello"}
    return client.messages.create(model="claude-haiku-4-5", max_tokens=20, messages=[question])


def until(what: Callable[[], bool]) -> None:
    """Wait for it: other processes take their time."""
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def works(gateway: Serving, key: str) -> bool:
    try:
        ask(gateway, key)
    except anthropic.AuthenticationError:
        return False
    return True


def until_denied(gateway: Serving, key: str) -> None:
    until(lambda: not works(gateway, key))


@pytest.fixture
def place(tmp_path: Path, server: Server) -> Place:
    role = "DO $$ BEGIN CREATE ROLE gate LOGIN PASSWORD '{}'; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    server.run(role.format(PASSWORD))
    url = server.url(user="gate", password=PASSWORD)
    server.run(f"ALTER DATABASE {url.rpartition('/')[2]} OWNER TO gate")
    return Place(tmp_path, url)


def test_two_gateways_and_the_command_line_share_keys_budgets_and_usage(place: Place) -> None:
    with place.gateway() as one, place.gateway() as two:
        key = place.run("keys", "create", "ci", "--tenant", "acme").stdout.strip()
        for gateway in (one, two):
            until_denied(gateway, "no key")  # open to this machine until the first key
            ask(gateway, key)
        until(lambda: place.json("usage", "--tenant", "acme")["total"]["exchanges"] == 2)
        calls = place.json("usage", "--by", "tenant", "--since", "1h")
        (row,) = [each for each in calls["rows"] if each["tenant"] == "acme"]
        (account,) = place.json("budgets", "list", "--budget", "tenant/day")["budgets"]
        assert account["spent_usd"] == row["cost_usd"]
        changed = place.run("budgets", "set", "tenant/day", "--scope", "acme", "--usd", "0")
        assert changed.returncode == 0, changed.stderr
        for gateway in (one, two):
            with pytest.raises(anthropic.RateLimitError, match="tenant/day"):
                ask(gateway, key)
        assert place.run("budgets", "unset", "tenant/day", "--scope", "acme").returncode == 0
        until(lambda: place.json("logs", "show", "--last")["exchange"].get("ending") == "refused")
        assert place.run("keys", "revoke", "ci").returncode == 0
        for gateway in (one, two):
            until_denied(gateway, key)
        for gateway in (one, two):
            gateway.process.terminate()
            assert gateway.process.wait(PATIENCE) == 0
    said = (place.folder / "headgate.log.jsonl").read_text()
    assert PASSWORD not in said
    assert "budget_changed" in said
    assert (place.folder / "headgate.logkey").exists()


def test_the_other_commands_read_it_too(place: Place) -> None:
    assert "there is no ledger in postgresql://" in place.run("usage").stderr
    assert "no ledger in it yet: the first process makes its tables" in place.run("doctor", "--offline").stdout
    assert place.json("keys", "list")["keys"] == []
    assert "nothing is spent" in place.run("budgets").stderr
    with place.gateway() as gateway:
        ask(gateway, "none")
        until(lambda: place.json("usage")["total"]["cost_usd"] != "0")
        assert "1 process writes it now" in place.run("doctor", "--offline").stdout
    month = time.strftime("%Y-%m", time.gmtime())
    invoice = place.json("invoice", "--tenant", "", "--month", month)
    assert invoice
    done = place.run("reconcile", "--since", "1h", "--against", "nothing.csv", "--provider", "anthropic")
    assert "nothing.csv" in done.stderr
    key = place.run("keys", "create", "dev").stdout.strip()
    assert key.startswith("hg-")
    explained = place.run("explain", "--key", "dev", "--model", "claude-haiku-4-5")
    assert "[ledger]" in explained.stdout, explained.stderr
    rotated = place.run("keys", "rotate", "dev").stdout.strip()
    assert rotated.startswith("hg-")
    assert rotated != key


def test_what_was_spent_is_known_after_a_restart(place: Place) -> None:
    for calls in (1, 2):
        with place.gateway() as gateway:
            ask(gateway, "none")
            gateway.process.terminate()
            assert gateway.process.wait(PATIENCE) == 0
        assert place.json("usage")["total"]["exchanges"] == calls


def test_a_database_that_goes_away_means_503_until_it_is_back(own_server: Server, tmp_path: Path) -> None:
    place = Place(tmp_path, own_server.url())
    with place.gateway() as gateway:
        ask(gateway, "none")
        own_server.stop()
        with pytest.raises(anthropic.InternalServerError, match=r"cannot be .*nothing is sent") as caught:
            ask(gateway, "none")
        assert caught.value.status_code == 503
        assert caught.value.response.headers["x-should-retry"] == "false"
        own_server.start()

        def back() -> bool:
            try:
                return bool(ask(gateway, "none"))
            except anthropic.InternalServerError:
                return False

        until(back)
        until(lambda: place.json("usage")["total"]["held_usd"] == "0")


def test_without_its_database_it_does_not_start_and_says_why(place: Place) -> None:
    place.env["DATABASE_URL"] = f"postgresql://ada:{PASSWORD}@127.0.0.1:1/headgate"
    done = headgate("serve", "--port", "0", "--simulator", cwd=place.folder, **place.env)
    assert done.returncode == 1
    assert "postgresql://127.0.0.1:1/headgate" in done.stderr
    assert "Traceback" not in done.stderr
    doctor = place.run("doctor", "--offline")
    assert doctor.returncode == 1
    assert "postgresql://127.0.0.1:1/headgate does not answer" in doctor.stdout
