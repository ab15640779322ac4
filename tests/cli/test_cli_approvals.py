"""`headgate approvals`: tool calls that wait, read beside the gateway and decided through it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from cli_commands import LAST_WORDS, headgate, started

from headgate.core.approvals import Parked
from headgate.core.caller import Caller
from headgate.core.guards import ToolCall
from headgate.stores.approvals import ApprovalStore
from headgate.stores.sqlite import SqliteLedger

IDS = ["ap_" + letter * 26 for letter in "abcd"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With four calls that wait, one of them for too long."""
    ledger = SqliteLedger(f"sqlite:///{tmp_path / 'headgate.db'}")
    store, now = ApprovalStore(ledger, bytes, now=time.time), time.time()
    for number, approval in enumerate(IDS):
        call = ToolCall(
            "c", "send_email", json.dumps({"to": "ada@acme.example", "text": "\x1b]0;owned\x07" + "x" * 99})
        )
        expires = now - 1 if number == 3 else now + 3600
        caller = Caller(key="k", user="ada\x1b[31m")
        store.keep(Parked(approval, now - 100 + number, expires, caller, call, "ex_1", "digest"))
    ledger.flush()
    ledger.close()
    return tmp_path


def asked(folder: Path, *arguments: str, code: int = 0) -> Any:
    done = headgate("approvals", *arguments, cwd=folder)
    assert done.returncode == code, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done


def listed(folder: Path, *arguments: str) -> dict[str, str]:
    found = json.loads(asked(folder, "list", "--json", *arguments).stdout)["approvals"]
    return {each["id"]: each["state"] for each in found}


def test_without_a_gateway_they_are_listed_and_decided_in_the_file(folder: Path) -> None:
    assert listed(folder) == {IDS[3]: "expired", **dict.fromkeys(reversed(IDS[:3]), "pending")}
    assert IDS[0] in asked(folder, "list", "--state", "pending").stdout
    assert "approved: send_email" in asked(folder, "approve", IDS[0], "--reason", "fine").stdout
    edit = json.loads(asked(folder, "approve", IDS[1], "--edit", '{"to": "bob"}', "--json").stdout)
    assert (edit["made"], edit["edited"], edit["decided_by"]) == (True, {"to": "bob"}, "cli")
    shown = asked(folder, "show", IDS[1]).stdout
    assert '"to": "bob"' in shown
    assert "by cli" in shown
    asked(folder, "deny", IDS[2])
    assert "denied already: nothing was changed" in asked(folder, "approve", IDS[2], code=1).stderr
    asked(folder, "approve", IDS[3], code=1)
    assert list(listed(folder).values()) == ["expired", "denied", "approved", "approved"]
    log = (folder / "headgate.db.log.jsonl").read_text()
    assert log.count('"approval_decided"') == 3


def test_what_is_no_decision_is_a_mistake(folder: Path) -> None:
    asked(folder, "approve", IDS[0], "--edit", "[1]", code=2)
    assert "there is no approval 'ap_none'" in asked(folder, "deny", "ap_none", code=2).stderr
    asked(folder, "show", "ap_none", code=2)
    assert listed(folder, "--state", "approved") == {}


def test_where_nothing_was_recorded_nothing_waits(tmp_path: Path) -> None:
    assert asked(tmp_path, "list").stdout == "No tool call waits.\n"


def test_a_running_gateway_decides_for_the_command_line(folder: Path) -> None:
    with started("serve", "--port", "0", cwd=folder, until=LAST_WORDS):
        done = json.loads(asked(folder, "approve", IDS[0], "--edit", '{"to": "bob"}', "--json").stdout)
        assert (done["made"], done["state"], done["decided_by"]) == (True, "approved", "api")
        asked(folder, "deny", IDS[0], code=1)
        assert listed(folder, "--state", "approved") == {IDS[0]: "approved"}
