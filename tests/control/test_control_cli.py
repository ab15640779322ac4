"""`headgate people` and `headgate audit-log`: through the gateway that writes the ledger, and in the ledger itself."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from control_gateway import TOKEN, Running, running

from headgate.cli.group import cli
from headgate.cli.main import run

Call = Callable[..., Result]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("cli")) as made:
        made.built.ledger.publish(made.url, TOKEN)
        yield made


def calling(folder: Path) -> Call:
    env = {"HEADGATE_STORAGE": f"sqlite:///{folder / 'headgate.db'}"}

    def call(*arguments: str, stdin: str = "") -> Result:
        return CliRunner().invoke(cli, arguments, env=env, input=stdin, standalone_mode=False)

    return call


def words(result: Result) -> Any:
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


@pytest.fixture(params=["gateway", "ledger"])
def call(request: pytest.FixtureRequest, tmp_path: Path) -> Call:
    if request.param == "ledger":
        return calling(tmp_path)
    gate: Running = request.getfixturevalue("gate")
    return calling(gate.folder)


def test_people_and_tokens_are_made_changed_and_ended_on_either_way(call: Call) -> None:
    assert words(call("people", "add", "ada", "--role", "admin", "--generate", "--json"))["password"]
    assert words(call("people", "add", "bob", "--role", "viewer", "--password-stdin", "--json", stdin="x" * 12))["name"]
    assert words(call("people", "role", "bob", "tenant-admin", "--tenant", "acme", "--json"))["tenant"] == "acme"
    assert words(call("people", "password", "bob", "--generate", "--json"))["password"]
    assert words(call("people", "logout", "bob", "--json")) == {"ended": 0}
    assert [each["name"] for each in words(call("people", "list", "--json"))["people"]] == ["ada", "bob"]
    token = words(call("people", "token", "ci", "--role", "viewer", "--days", "1", "--json"))
    assert token["token"].startswith("hga-")
    assert words(call("people", "revoke-token", token["id"], "--json"))["revoked"] is not None
    assert token["token"] not in call("people", "tokens", "--json").stdout
    assert words(call("people", "remove", "bob", "--json"))["name"] == "bob"
    told = words(call("audit-log", "list", "--json"))["rows"]
    assert {row["way"] for row in told} == {"cli"}
    assert [row["action"] for row in reversed(told)] == [
        *("person.add", "person.add", "person.change", "person.password", "session.end_all"),
        *("token.create", "token.revoke", "person.remove"),
    ]
    assert words(call("audit-log", "verify", "--json"))["sound"] is True
    for command in (("people", "list"), ("people", "tokens"), ("audit-log", "list"), ("audit-log", "verify")):
        assert call(*command).exception is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("people", "add", "Not A Name", "--role", "admin", "--generate"),
        ("people", "add", "x", "--role", "tenant-admin", "--generate"),
        ("people", "add", "x", "--role", "admin", "--password-stdin"),
        ("people", "role", "nobody", "viewer"),
        ("people", "remove", "nobody"),
        ("people", "revoke-token", "nothing1"),
        ("audit-log", "verify", "--noted", "x"),
    ],
)
def test_what_cannot_be_is_misuse_with_a_sentence(
    gate: Running, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADGATE_STORAGE", f"sqlite:///{gate.folder / 'headgate.db'}")
    monkeypatch.setattr(
        "sys.stdin", type("Empty", (), {"readline": lambda _self: "short\n", "isatty": lambda _s: False})()
    )
    assert run(cli, list(arguments)) == 2
    assert capsys.readouterr().err.strip()


def test_a_tampered_audit_log_ends_verify_with_1_and_names_the_row(tmp_path: Path) -> None:
    call = calling(tmp_path)
    call("keys", "create", "one")
    call("keys", "create", "two")
    noted = words(call("audit-log", "verify", "--json"))
    with closing(sqlite3.connect(tmp_path / "headgate.db")) as connection:
        connection.executescript("DROP TRIGGER audit_log_no_update; UPDATE audit_log SET actor = 'x' WHERE number = 2;")
    done = call("audit-log", "verify")
    assert (done.return_value, "Row 2" in done.stdout) == (1, True)
    assert call("audit-log", "verify", "--noted", f"2:{noted['head']}").return_value == 1


def test_a_keys_change_names_who_ran_the_command(tmp_path: Path) -> None:
    call = calling(tmp_path)
    call("keys", "create", "one")
    (row,) = words(call("audit-log", "list", "--json"))["rows"]
    assert (row["action"], row["way"], row["role"]) == ("key.create", "cli", "admin")
