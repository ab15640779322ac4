"""`headgate alerts`: what the ledger has, who looks after it, and a test to each place."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_commands import Run

from headgate.policy.alert_rules import RULES
from headgate.policy.alert_states import Change, Reading
from headgate.stores.alert_outbox import claim, failed
from headgate.stores.alerts import Recording, record
from headgate.stores.sqlite import SqliteLedger

NOW = 1_800_000_000.0


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    """One alert on, one ended, and a notice that was given up. The id of the first."""
    ledger = SqliteLedger(f"sqlite:///{tmp_path / 'headgate.db'}")
    how = Recording("dead", [("webhook-gone", "warning")], 3_600.0)

    def change(what: Any, rule: str, scope: str) -> Change:
        return Change(
            what, RULES[rule], Reading(rule, scope, 0.5, 100, f"{rule} at\x1b[31m {scope}"), NOW + len(rule), 1
        )

    ledger.call(lambda sql: record(sql, [change("opened", "disk_full", "ledger")], how, NOW))
    ledger.call(lambda sql: record(sql, [change("resolved", "disk_full", "ledger")], how, NOW + 60))
    (told,) = ledger.call(lambda sql: record(sql, [change("opened", "exchange_errors", "anthropic")], how, NOW + 90))
    due = ledger.call(lambda sql: claim(sql, "webhook-gone", "dead", NOW + 90, alone=True))
    ledger.call(lambda sql: failed(sql, due.notice, "answered 500", NOW + 90_000))
    ledger.close()
    return told.alert.id


def said(run: Run, *arguments: str, code: int = 0) -> Any:
    done = run("alerts", *arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_without_a_ledger_there_is_none(run: Run) -> None:
    assert said(run, "list") == {"alerts": [], "untold": []}
    assert run("alerts", "list").stdout == "No alert is on.\n"


def test_what_is_on_is_listed_and_what_could_not_be_told(run: Run, recorded: str) -> None:
    found = said(run, "list", code=1)
    assert [(each["id"], each["rule"], each["state"]) for each in found["alerts"]] == [
        (recorded, "exchange_errors", "firing")
    ]
    assert found["untold"] == [{"place": "webhook-gone", "waiting": 2, "given_up": 1}]
    shown = run("alerts", "list").stdout
    assert "2 waiting to be told, 1 given up" in shown
    assert "\x1b[31m" not in shown
    history = said(run, "history")["alerts"]
    assert [each["state"] for each in history] == ["firing", "resolved"]


def test_one_is_acknowledged_and_an_unknown_one_is_misuse(run: Run, recorded: str) -> None:
    found = said(run, "acknowledge", recorded, "--by", "ada")
    assert (found["state"], found["acknowledged_by"]) == ("acknowledged", "ada")
    assert "acknowledged by ada" in run("alerts", "list").stdout
    assert run("alerts", "acknowledge", "al_nothing").returncode == 2


@pytest.fixture
def hook() -> Iterator[tuple[str, list[Any]]]:
    got: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(404 if self.path == "/gone" else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


def test_a_test_says_what_came_of_it_at_each_place(run: Run, tmp_path: Path, hook: tuple[str, list[Any]]) -> None:
    url, got = hook
    assert "Nobody is told" in run("alerts", "test").stdout
    (tmp_path / "headgate.yaml").write_text(
        f"alerts: [{{to: '{url}/canary'}}, {{to: '{url}/gone'}}, {{to: log}}]\n", encoding="utf-8"
    )
    done = run("alerts", "test")
    assert done.returncode == 1
    assert "webhook 127.0.0.1  told" in done.stdout
    assert "webhook 127.0.0.1  NOT told: answered 404" in done.stdout
    assert "canary" not in done.stdout
    assert [body["type"] for body in got] == ["alert.test"] * 2
