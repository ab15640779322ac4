"""A request with the head of the last one on its connection is served without a scope: it ends as any other does."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headgate import Gate
from headgate.core.secret import Secret
from headgate.gateway import app
from headgate.gateway.app import Gateway, create
from headgate.gateway.auth import KeyRing
from headgate.gateway.entrance import Head
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Fault, Match, Rule, Scenario, When

HEADERS = {"content-type": "application/json", "anthropic-version": "2023-06-01"}


class World:
    """A gateway, one connection to it on which a call has been answered, and the ledger behind it."""

    def __init__(self, folder: Path, sim: SimulatorServer, stack: ExitStack) -> None:
        self.sim = sim
        told: dict[str, Any] = {
            "providers": {"anthropic": {"base_url": sim.url, "api_key": "env:KEY"}},
            "storage": f"sqlite:///{folder / 'headgate.db'}",
            "retry": {"attempts": 1},
        }
        self.gate = stack.enter_context(Gate.load(env={"KEY": "k"}, **told))
        self.app = create(self.gate.built, ring=KeyRing(loopback=True), admin_token=Secret("t" * 40))
        self.served: list[bytes] = []
        direct = self.app.direct

        def seen(known: Any, headers: Any, visit: Any, body: bytes | None) -> Any:
            found = direct(known, headers, visit, body)
            if found is not None and body is not None:
                self.served.append(body)
            return found

        self.app.direct = seen  # type: ignore[method-assign]
        self.server = BackgroundServer(self.app, ServerOptions(port=0, drain_seconds=0.05, tune_gc=False))
        stack.enter_context(self.server)
        host, _, port = self.server.url.removeprefix("http://").rpartition(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=60)
        stack.callback(self.connection.close)
        self._database = folder / "headgate.db"

    def send(self, **fields: Any) -> None:
        turns = [{"role": "user", "content": "tokens: 20"}]
        body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 99, "messages": turns, **fields})
        self.connection.request("POST", "/v1/messages", body, HEADERS)

    def ask(self, **fields: Any) -> tuple[int, bytes]:
        self.send(**fields)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def rows(self, most: int) -> list[tuple[str, int]]:
        end = time.monotonic() + 60
        while True:
            self.gate.flush()
            with closing(sqlite3.connect(self._database)) as database:
                rows = database.execute("SELECT ending, status FROM exchanges ORDER BY started").fetchall()
            if len(rows) >= most or time.monotonic() > end:
                return rows
            time.sleep(0.01)

    def asked(self, calls: int) -> None:
        """Wait until the provider has had so many."""
        end = time.monotonic() + 60
        while len(self.sim.requests(wait=0)) < calls and time.monotonic() < end:
            time.sleep(0.005)


@pytest.fixture
def world(tmp_path: Path, headgate_simulator: SimulatorServer) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, headgate_simulator, stack)


def slow(kind: str, **told: Any) -> Scenario:
    return Scenario(rules=(Rule(Fault(kind, seconds=60, **told), Match(), When(nth=(2,))),))


def test_answers_and_streams_alternate_on_one_connection(world: World) -> None:
    first, *others = [world.ask(stream=place % 2 == 1) for place in range(6)]
    assert {status for status, _ in (first, *others)} == {200}
    assert [b"message_stop" in body for _, body in (first, *others)] == [False, True] * 3
    assert len(world.served) == 5
    assert world.rows(6) == [("complete", 200)] * 6


def test_a_refusal_a_failure_and_a_success_on_one_connection(world: World) -> None:
    world.sim.load(Scenario(rules=(Rule(Fault("server_error", status=500), Match(), When(nth=(2,))),)))
    assert [world.ask()[0] for _ in range(2)] == [200, 500]
    assert world.ask(model="no-such-model")[0] == 400
    assert world.ask(max_tokens="many")[0] == 400
    assert world.ask()[0] == 200
    assert len(world.served) == 4
    assert [ending for ending, _ in world.rows(5)] == ["complete", "failed", "refused", "refused", "complete"]


@pytest.mark.parametrize("how", ["close", "half"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_ends_its_call(world: World, how: str, stream: bool) -> None:
    world.sim.load(slow("stall", after_events=6) if stream else slow("slow_first_token"))
    assert world.ask()[0] == 200
    world.send(stream=stream)
    world.asked(2)
    if stream:
        assert world.connection.sock.recv(10)
    if how == "half":
        world.connection.sock.shutdown(socket.SHUT_WR)
    else:
        world.connection.close()
    assert [ending for ending, _ in world.rows(2)] == ["complete", "abandoned" if stream else "cancelled"]
    assert len(world.served) == 1
    end = time.monotonic() + 60
    while world.server.state.running() and time.monotonic() < end:
        time.sleep(0.01)
    assert not world.server.state.running()


def test_a_server_that_stops_tells_its_caller_so(world: World) -> None:
    world.sim.load(slow("slow_first_token"))
    assert world.ask()[0] == 200
    world.send()
    world.asked(2)
    stopping = threading.Thread(target=world.server.stop)
    stopping.start()
    answer = world.connection.getresponse()
    assert (answer.status, json.loads(answer.read())["headgate"]["code"]) == (503, "headgate_unavailable")
    stopping.join(60)
    assert world.rows(2) == [("complete", 200), ("cancelled", 503)]


def test_what_breaks_in_the_app_is_an_error_of_ours_and_the_connection_ends(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert world.ask()[0] == 200
    broken: Callable[..., Any] = {}.__getitem__
    monkeypatch.setattr(world.gate.built.engine, "begin", broken)
    world.send()
    answer = world.connection.getresponse()
    assert (answer.status, answer.headers["connection"]) == (500, "close")
    assert b"internal_error" in answer.read()
    assert "the app raised" in caplog.text


def test_another_key_ring_is_asked_anew(world: World) -> None:
    assert [world.ask()[0] for _ in range(2)] == [200, 200]
    world.app.ring.revoke("nobody")
    assert [world.ask()[0] for _ in range(2)] == [200, 200]
    assert len(world.served) == 2


@pytest.mark.parametrize("how", ["close", "half"])
def test_a_caller_that_leaves_while_its_request_is_read_costs_nothing(
    world: World, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.ask()[0] == 200
    reading, left = threading.Event(), threading.Event()
    read = Head.request

    def slowly(*args: Any, **told: Any) -> Any:
        reading.set()
        left.wait(60)
        return read(*args, **told)

    monkeypatch.setattr(app, "_SHORT", 0)  # beside the loop, as long ones are
    monkeypatch.setattr(Head, "request", slowly)
    world.send()
    assert reading.wait(60)
    (gate,) = world.server.state.gates
    active = gate.active
    assert active is not None
    if how == "half":
        world.connection.sock.shutdown(socket.SHUT_WR)
    else:
        world.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        world.connection.close()
    end = time.monotonic() + 60
    while not (active.gone or active.half_closed) and time.monotonic() < end:
        time.sleep(0.005)
    left.set()
    assert [ending for ending, _ in world.rows(2)] == ["complete", "cancelled"]
    assert len(world.sim.requests(wait=0)) == 1


def test_an_app_of_another_server_hears_of_its_caller_from_asgi(tmp_path: Path, headgate_simulator: Any) -> None:
    """The gateway in an app of somebody's own: no cycle of ours reaches it."""
    with ExitStack() as stack:
        world = World(tmp_path, headgate_simulator, stack)
        gateway: Gateway = world.app

        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            await gateway({name: value for name, value in scope.items() if name != "extensions"}, receive, send)

        server = BackgroundServer(wrapped, ServerOptions(port=0, drain_seconds=5, tune_gc=False))
        stack.enter_context(server)
        host, _, port = server.url.removeprefix("http://").rpartition(":")
        world.connection = http.client.HTTPConnection(host, int(port), timeout=60)
        stack.callback(world.connection.close)
        assert [world.ask(stream=stream)[0] for stream in (False, True, False)] == [200] * 3
        headgate_simulator.load(Scenario(rules=(Rule(Fault("slow_first_token", seconds=60), Match()),)))
        world.send()
        world.asked(1)
        world.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        world.connection.close()  # a reset: a FIN alone says nothing to whoever has no hook
        assert [ending for ending, _ in world.rows(4)] == ["complete", "complete", "complete", "cancelled"]
        assert not world.served


def _bytes_of(connection: socket.socket, until: Callable[[bytes], bool]) -> bytes:
    connection.settimeout(60)
    found = b""
    while not until(found):
        piece = connection.recv(65536)
        if not piece:
            break
        found += piece
    return found


def test_a_head_that_carries_a_body_gets_none_however_often_it_comes(tmp_path: Path) -> None:
    """Bytes behind its answer would be read as the next one's, by whoever shares the connection."""
    head = (
        b"%b /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\nanthropic-version: 2023-06-01\r\n"
        b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )
    with ExitStack() as stack:
        nobody: Any = SimpleNamespace(url="http://127.0.0.1:1")  # so that all answers are ours, and have a body
        world = World(tmp_path, nobody, stack)
        address = (world.connection.host, world.connection.port)
        connection = stack.enter_context(closing(socket.create_connection(address)))
        for _ in range(4):
            connection.sendall(head % b"HEAD")
            answer = _bytes_of(connection, lambda found: b"\r\n\r\n" in found)
            assert answer.startswith(b"HTTP/1.1 503 "), answer
            assert answer.index(b"\r\n\r\n") == len(answer) - 4, answer
        connection.sendall(head % b"POST")
        answer = _bytes_of(connection, lambda found: found.endswith(b"}"))
        assert answer.startswith(b"HTTP/1.1 400 "), answer  # and nothing that was left of those before


@pytest.mark.parametrize("coded", [False, True], ids=["large", "gzip"])
def test_a_caller_that_leaves_while_its_request_is_read_beside_the_loop_leaves_no_connection(
    world: World, coded: bool
) -> None:
    words = "tokens: 20 " + "word " * (100 if coded else 200_000)
    body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": words}]})
    sent = gzip.compress(body.encode()) if coded else body.encode()
    coding = b"content-encoding: gzip\r\n" if coded else b""
    head = (
        b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\nanthropic-version: 2023-06-01\r\n"
        b"content-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    )
    before = world.server.state.gates.copy()
    for _ in range(5):
        with closing(socket.create_connection((world.connection.host, world.connection.port))) as connection:
            connection.sendall(head % (coding, len(sent)) + sent)
    end = time.monotonic() + 60
    while world.server.state.gates - before and time.monotonic() < end:
        time.sleep(0.01)
    assert not world.server.state.gates - before
    assert world.server.state.running() == set()
