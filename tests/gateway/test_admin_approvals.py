"""The control API's tool calls that wait: who may decide, and what it takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from headgate.core.approvals import Parked
from headgate.core.caller import Caller
from headgate.core.guards import ToolCall
from headgate.core.secret import Secret
from headgate.gateway.admin import AdminApi
from headgate.gateway.admin_approvals import ApprovalsApi
from headgate.gateway.auth import KeyRing
from headgate.policy.guards.tokens import decide_token, use_token
from headgate.stores.approvals import ApprovalStore
from headgate.stores.sqlite import SqliteLedger

TOKEN = "control-" + "t" * 32
HOST = (b"host", b"127.0.0.1:8484")
CONTROL = (HOST, (b"authorization", b"Bearer " + TOKEN.encode()))
NOW = 1_800_000_000.0
KEY = b"k" * 32
IDS = ["ap_" + letter * 26 for letter in "abc"]


class Api:
    def __init__(self, ledger: SqliteLedger) -> None:
        self.now = NOW
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.store = ApprovalStore(ledger, lambda: KEY, now=lambda: self.now, tell=self._tell)
        approvals = ApprovalsApi(self.store, now=lambda: self.now)
        self.app = AdminApi(Secret(TOKEN), cast("Any", None), KeyRing(), approvals=approvals)  # no key is asked for
        self.parked = [self._park(approval, number) for number, approval in enumerate(IDS)]
        ledger.flush()
        self.events.clear()

    def _tell(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))

    def _park(self, approval: str, number: int) -> Parked:
        call = ToolCall("toolu_1", "send_email", '{"to": "ada@acme.example"}')
        caller = Caller(key="k", tenant="acme", user="ada", tags={"x": "y"})
        parked = Parked(approval, NOW + number, NOW + 3600, caller, call, "ex_1", "digest")
        self.store.keep(parked)
        return parked

    def call(
        self, method: str, path: str = "", body: Any = None, *, query: bytes = b"", headers: Any = CONTROL, **more: Any
    ) -> tuple[int, Any]:
        sent: list[Any] = []
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""

        async def receive() -> Any:
            return {"type": "http.request", "body": data}

        async def send(message: Any) -> None:
            sent.append(message)

        path = f"/admin/api/approvals{path}"
        told = {"type": "http", "method": method, "path": path, "query_string": query, "client": ("127.0.0.1", 5)}
        asyncio.run(self.app({**told, "headers": headers, **more}, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    ledger = SqliteLedger(f"sqlite:///{tmp_path / 'headgate.db'}", now=lambda: NOW)
    ledger.open()
    yield Api(ledger)
    ledger.close()


def with_token(token: str) -> Any:
    return ((b"host", b"gate.acme.example"), (b"authorization", f"Bearer {token}".encode()))


def test_they_are_listed_the_newest_first_without_a_token_or_a_digest(api: Api) -> None:
    status, answer = api.call("GET", query=b"state=pending&limit=2")
    assert status == 200
    assert [each["id"] for each in answer["approvals"]] == [IDS[2], IDS[1]]
    first = answer["approvals"][0]
    assert (first["state"], first["tool"], first["arguments"]) == ("pending", "send_email", {"to": "ada@acme.example"})
    assert first["caller"]["user"] == "ada"
    assert not {"token", "digest"} & set(first)


def test_one_is_shown_by_its_id(api: Api) -> None:
    assert api.call("GET", f"/{IDS[0]}")[1]["id"] == IDS[0]
    assert api.call("GET", "/ap_" + "z" * 26)[0] == 404


def test_a_call_is_approved_once_and_that_is_on_record(api: Api) -> None:
    status, answer = api.call("POST", f"/{IDS[0]}/approve", {"reason": "fine"})
    assert (status, answer["made"], answer["state"], answer["note"]) == (200, True, "approved", "fine")
    status, answer = api.call("POST", f"/{IDS[0]}/deny")
    assert (status, answer["made"], answer["state"]) == (200, False, "approved")
    told = {"approval": IDS[0], "decision": "approved", "by": "api", "edited": False}
    assert api.events == [("approval_decided", told)]


def test_a_call_is_approved_with_other_arguments(api: Api) -> None:
    status, answer = api.call("POST", f"/{IDS[0]}/approve", {"arguments": {"to": "bob@acme.example"}})
    assert (status, answer["edited"], answer["arguments"]["to"]) == (
        200,
        {"to": "bob@acme.example"},
        "ada@acme.example",
    )


def test_a_call_is_denied(api: Api) -> None:
    status, answer = api.call("POST", f"/{IDS[0]}/deny", {"reason": "no"})
    assert (status, answer["state"], answer["decided_by"]) == (200, "denied", "api")


def test_what_has_expired_is_not_decided(api: Api) -> None:
    api.now += 3600
    status, answer = api.call("POST", f"/{IDS[0]}/approve")
    assert (status, answer["made"], answer["state"]) == (200, False, "expired")


@pytest.mark.parametrize(
    ("method", "path", "body", "query", "status"),
    [
        ("GET", "", None, b"state=lost", 400),
        ("GET", "", None, b"limit=0", 400),
        ("GET", "", None, b"limit=x", 400),
        ("GET", "", None, b"who=ada", 400),
        ("POST", "", None, b"", 404),
        ("DELETE", f"/{IDS[0]}", None, b"", 404),
        ("POST", f"/{IDS[0]}/forget", None, b"", 404),
        ("POST", "/other/approve", None, b"", 404),
        ("POST", f"/{IDS[0]}/approve", b"{", b"", 400),
        ("POST", f"/{IDS[0]}/approve", [], b"", 400),
        ("POST", f"/{IDS[0]}/approve", {"arguments": [1]}, b"", 400),
        ("POST", f"/{IDS[0]}/deny", {"arguments": {}}, b"", 400),
        ("POST", f"/{IDS[0]}/deny", {"reason": 5}, b"", 400),
        ("POST", f"/{IDS[0]}/deny", {"because": "x"}, b"", 400),
    ],
)
def test_what_cannot_be_used_is_refused(api: Api, method: str, path: str, body: Any, query: bytes, status: int) -> None:
    assert api.call(method, path, body, query=query)[0] == status
    assert api.events == []


def test_a_webhooks_token_decides_its_own_call_from_anywhere(api: Api) -> None:
    headers = with_token(decide_token(KEY, api.parked[0]))
    far = ("203.0.113.9", 443)
    status, answer = api.call("POST", f"/{IDS[0]}/approve", headers=headers, client=far)
    assert (status, answer["state"], answer["decided_by"]) == (200, "approved", "webhook")
    assert api.call("POST", f"/{IDS[1]}/approve", headers=headers, client=far)[0] == 403
    assert api.call("GET", f"/{IDS[0]}", headers=headers, client=far)[0] == 403
    assert api.call("GET", headers=headers)[0] == 403


def test_whoever_asked_cannot_approve_with_the_token_that_they_got(api: Api) -> None:
    parked = api.parked[0]
    for token in (
        use_token(KEY, parked.id, parked.caller, parked.digest),
        parked.id,
        "hgd_" + "a" * 26 + "_" + "b" * 43,
    ):
        near = (HOST, (b"authorization", f"Bearer {token}".encode()))
        assert api.call("POST", f"/{parked.id}/approve", headers=near)[0] == 401
        assert api.call("POST", f"/{parked.id}/approve", headers=with_token(token), client=("203.0.113.9", 1))[0] == 403
    assert api.events == []
