"""`headgate logs erase`, where nobody else has the ledger, and through the gateway that has; `gate.erase`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest
from cli_commands import LAST_WORDS, Run, apart, started

import headgate
from headgate.core.errors import Unavailable
from headgate.gate import Gate
from headgate.testing.server import SimulatorServer

SAID = {"ada": "Zambezi", "ben": "Limpopo"}
CONFIG = "log: {bodies: full}\ncache: {default: 1h}\n"


def say(client: Any, url: str, user: str) -> None:
    headers = {"x-headgate-user": user, "x-headgate-tenant": "acme", "x-headgate-session": f"of-{user}"}
    asked = [{"role": "user", "content": f"Where does the {SAID[user]} rise?"}]
    with openai.OpenAI(http_client=client, base_url=f"{url}/v1", api_key="k", default_headers=headers) as sdk:
        sdk.chat.completions.create(model="gpt-6-luna", max_completion_tokens=900, messages=asked, temperature=0)


def holding(folder: Path, word: str) -> list[str]:
    """Files that have a word anywhere in their bytes."""
    return sorted(each.name for each in folder.rglob("*") if each.is_file() and word.encode() in each.read_bytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where ada and ben have asked something in process, and nothing runs any more."""
    (tmp_path / "headgate.yaml").write_text(f"storage: sqlite:///{tmp_path}/headgate.db\n{CONFIG}")
    with SimulatorServer() as sim, Gate.load(tmp_path / "headgate.yaml", env={}) as gate:
        for user in SAID:
            with headgate.caller(user=user, tenant="acme"):
                say(gate.client(), sim.url, user)
    return tmp_path


def test_a_users_words_go_and_nobody_elses_where_nothing_runs(run: Run, folder: Path) -> None:
    assert holding(folder, "Zambezi")
    done = run("logs", "erase", "user", "ada", "--tenant", "acme", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "exchanges      1, of erased-" in done.stdout
    assert "bodies         1 erased" in done.stdout
    assert holding(folder, "Zambezi") == []
    assert run("logs", "search", "Zambezi").returncode == 1
    assert run("logs", "search", "Limpopo").returncode == 0
    assert json.loads(run("usage", "--by", "user", "--json").stdout)["total"]["exchanges"] == 2  # what was paid stays
    again = run("logs", "erase", "user", "ada", "--yes", "--json")
    assert (again.returncode, json.loads(again.stdout)["exchanges"]) == (0, 0)


def test_what_was_erased_by_whom_is_on_record_without_the_name(run: Run, folder: Path) -> None:
    assert run("logs", "erase", "session", "of-ben", "--yes").returncode == 0
    with Gate.load(folder / "headgate.yaml", env={}) as gate:
        done, begun = gate.built.ledger.audit.rows(limit=2)
    assert (begun.action, begun.after, begun.way) == ("log.erase", '{"begun":true}', "cli")
    assert done.subject.startswith("session erased-")
    assert "of-ben" not in repr((done, begun))


def test_nothing_is_erased_without_a_yes(folder: Path) -> None:
    before = holding(folder, "Zambezi")
    done = apart("logs", "erase", "user", "ada", cwd=folder)  # whose standard input is empty
    assert done.returncode == 130
    assert "Erase the words of user ada for good?" in done.stderr
    assert holding(folder, "Zambezi") == before


def test_an_empty_name_would_be_everybody_and_is_refused(run: Run, folder: Path) -> None:
    assert run("logs", "erase", "user", "", "--yes").returncode == 2
    assert run("logs", "erase", "tenant", "acme", "--tenant", "globex", "--yes").returncode == 2
    assert holding(folder, "Zambezi")


def test_the_gateway_that_has_the_ledger_does_it_and_forgets_what_it_has_in_memory(tmp_path: Path) -> None:
    (tmp_path / "headgate.yaml").write_text(CONFIG)
    with started("serve", "--port", "0", cwd=tmp_path, until=LAST_WORDS) as serving:
        for user in SAID:
            say(None, serving.url, user)
        told = apart("logs", "erase", "tenant", "acme", "--yes", "--json", cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        found = json.loads(told.stdout)
        assert (found["exchanges"], found["bodies"], found["answers"]) == (2, 2, 2)
        assert holding(tmp_path, "Zambezi") == []


def test_python_erases_what_it_has_just_logged(tmp_path: Path) -> None:
    with SimulatorServer() as sim, Gate.load(env={}, storage=f"sqlite:///{tmp_path}/h.db", log={"bodies": "full"}) as g:
        say(g.client(), sim.url, "ada")
        told = g.erase("session", "of-ada")
        assert (told["exchanges"], told["bodies"]) == (1, 1)
        with pytest.raises(ValueError, match="everybody"):
            g.erase("user", "")
    assert holding(tmp_path, "Zambezi") == []


def test_without_a_log_store_it_says_so(tmp_path: Path) -> None:
    with (
        Gate.load(env={}, storage=f"sqlite:///{tmp_path}/h.db", log={"store": "off"}) as gate,
        pytest.raises(Unavailable, match="no log store"),
    ):
        gate.erase("user", "ada")
