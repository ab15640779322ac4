"""A webhook is told of a call that waits, and answers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from headgate.core.approvals import Decision, Parked
from headgate.core.caller import Caller
from headgate.core.errors import ConfigError
from headgate.core.guards import ToolCall
from headgate.core.secret import Secret
from headgate.upstream import approval_hook
from headgate.upstream.approval_hook import ApprovalHook
from headgate.upstream.signing import signature

PARKED = Parked(
    "ap_" + "a" * 26,
    1_000.0,
    2_000.0,
    Caller(key="k", user="ada"),
    ToolCall("c", "send_email", '{"to": "ada@acme.example"}'),
    "ex_1",
    "digest",
    token="hga_of_the_caller",
)


class Receiver:
    """A webhook that says what it is told to, and remembers what it got."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status, answer = receiver.answers.pop(0) if receiver.answers else (204, b"")
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


class World:
    def __init__(self, url: str, secret: str = "shared") -> None:
        self.decided: list[tuple[str, Decision]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.happened = threading.Event()
        self.now = 1_100.0
        self.hook = ApprovalHook(
            url,
            lambda: Secret(secret),
            decide=self._decide,
            token=lambda parked: "hgd_token",
            now=lambda: self.now,
            tell=self._tell,
        )

    def _decide(self, approval: str, decision: Decision) -> None:
        self.decided.append((approval, decision))
        self.happened.set()

    def _tell(self, name: str, **fields: Any) -> None:
        self.events.append((name, fields))
        self.happened.set()

    def park(self) -> None:
        self.hook.parked(PARKED)
        assert self.happened.wait(20)
        self.hook.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_hook, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(approval_hook, "LONGEST_WAIT", 0.002)


def answer(**fields: Any) -> tuple[int, bytes]:
    return 200, json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("said", "decision"),
    [
        (answer(decision="approve"), Decision(True, None, "webhook")),
        (answer(decision="deny", reason="no"), Decision(False, None, "webhook", "no")),
        (answer(decision="edit", arguments={"to": "b"}), Decision(True, '{"to": "b"}', "webhook")),
    ],
)
def test_it_may_decide_at_once(receiver: Receiver, said: tuple[int, bytes], decision: Decision) -> None:
    receiver.answers = [said]
    world = World(receiver.url)
    world.park()
    assert world.decided == [(PARKED.id, decision)]


def test_it_gets_the_call_signed_with_a_token_to_decide_later_and_not_the_callers(receiver: Receiver) -> None:
    receiver.answers = [answer(decision="approve")]
    World(receiver.url).park()
    ((headers, body),) = receiver.got
    told = json.loads(body)
    assert (told["tool"], told["arguments"], told["caller"]) == (
        "send_email",
        {"to": "ada@acme.example"},
        {"key": "k", "user": "ada"},
    )
    assert told["decide"] == {"path": f"/admin/api/approvals/{PARKED.id}", "token": "hgd_token"}
    assert b"hga_" not in body
    signed = f"{PARKED.id}.1100.".encode() + body
    mac = base64.b64encode(hmac.digest(b"shared", signed, hashlib.sha256)).decode()
    named = [headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")]
    assert named == [PARKED.id, "1100", f"v1,{mac}"]


@pytest.mark.usefixtures("at_once")
def test_it_is_told_again_while_it_fails(receiver: Receiver) -> None:
    receiver.answers = [(500, b""), (429, b""), answer(decision="deny")]
    world = World(receiver.url)
    world.park()
    assert len(receiver.got) == 3
    assert [decision.approve for _, decision in world.decided] == [False]


@pytest.mark.usefixtures("at_once")
def test_who_does_not_answer_is_given_up_and_the_log_says_so() -> None:
    world = World("http://127.0.0.1:9/hook")
    world.park()
    ((name, told),) = world.events
    assert (name, told["approval"], told["error"]) == ("approval_untold", PARKED.id, "ConnectError")


@pytest.mark.parametrize("said", [b"[]", b"{", b'{"decision": "maybe"}', b"x" * 600_000])
def test_an_answer_that_is_none_decides_nothing(receiver: Receiver, said: bytes) -> None:
    receiver.answers = [(200, said)]
    world = World(receiver.url)
    if said == b"[]":
        world.hook._answered(PARKED, said)
        assert world.events == []
        return
    world.park()
    assert world.decided == []
    assert [name for name, _ in world.events] == ["approval_answer_unread"]


def test_a_secret_in_base64_is_the_key_that_it_spells() -> None:
    plain = signature(Secret("key"), "a", "1", b"body")
    assert signature(Secret("whsec_" + base64.b64encode(b"key").decode()), "a", "1", b"body") == plain
    with pytest.raises(ConfigError, match="base64"):
        signature(Secret("whsec_?"), "a", "1", b"body")


def test_too_many_at_once_are_told_to_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_hook, "MAX_QUEUED", 1)
    world = World("http://127.0.0.1:9/hook")
    world.hook.close()  # no thread is made any more
    for _ in range(2):
        world.hook.parked(PARKED)
    assert [name for name, _ in world.events] == ["approval_untold"]
