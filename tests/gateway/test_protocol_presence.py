"""How an app learns, at once and once, that its caller has left: real sockets, both event loops."""

from __future__ import annotations

import asyncio
import queue
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from headgate.gateway import server as server_module
from headgate.gateway.cycle import Presence
from headgate.gateway.limits import Limits
from headgate.gateway.server import BackgroundServer, ServerOptions

WAIT = 60  # seconds after which a test gives up; none takes that long
LIMITS = Limits(write_seconds=0.3, tick=0.05)


class World:
    """An app that tells what happens to it."""

    def __init__(self) -> None:
        self.told: queue.Queue[str] = queue.Queue()

    def hear(self) -> str:
        return self.told.get(timeout=WAIT)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        tell = self.told.put
        presence = scope["extensions"]["headgate"]
        path = scope["path"]
        if path != "/plain":
            task = asyncio.current_task()
            assert task is not None
            presence.on_disconnect = lambda: (tell(f"gone:{presence.gone}"), task.cancel())
        tell("started")
        try:
            if path == "/body":
                while (await receive()).get("more_body"):
                    pass
            await send({"type": "http.response.start", "status": 200, "headers": []})
            if path == "/wait":
                await asyncio.sleep(3600)
            if path == "/flood":
                while True:
                    await send({"type": "http.response.body", "body": b"a" * 65536, "more_body": True})
            if path == "/plain":
                while not presence.half_closed and scope["query_string"]:
                    await asyncio.sleep(0.01)
            await send({"type": "http.response.body", "body": b"done"})
            tell("ended")
        except asyncio.CancelledError:
            tell("cancelled")
            raise


@pytest.fixture(params=["uvloop", "asyncio"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    if request.param == "asyncio":
        monkeypatch.setattr(server_module, "_loop_factory", lambda: None)
    world = World()
    with BackgroundServer(world, ServerOptions(port=0, limits=LIMITS, drain_seconds=0.2, tune_gc=False)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        world.address = (host, int(port))  # type: ignore[attr-defined]
        yield world


def ask(world: World, head: str, body: bytes = b"") -> socket.socket:
    client = socket.create_connection(world.address, timeout=WAIT)  # type: ignore[attr-defined]
    client.sendall(head.encode() + b" HTTP/1.1\r\nhost: a\r\n" + body)
    return client


def test_the_hook_is_called_when_the_caller_closes_while_the_app_waits(world: World) -> None:
    client = ask(world, "GET /wait", b"\r\n")
    assert world.hear() == "started"
    client.close()
    assert [world.hear(), world.hear()] == ["gone:left", "cancelled"]


def test_the_hook_is_called_when_the_connection_is_reset(world: World) -> None:
    client = ask(world, "GET /wait", b"\r\n")
    assert world.hear() == "started"
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert [world.hear(), world.hear()] == ["gone:left", "cancelled"]


def test_the_hook_is_called_when_the_body_is_cut_off(world: World) -> None:
    client = ask(world, "POST /body", b"content-length: 10\r\n\r\nabc")
    assert world.hear() == "started"
    client.close()
    assert [world.hear(), world.hear()] == ["gone:left", "cancelled"]


def test_the_hook_is_called_for_a_body_that_turns_out_malformed(world: World) -> None:
    client = ask(world, "POST /body", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert world.hear() == "started"
    client.sendall(b"nonsense\r\n")
    assert [world.hear(), world.hear()] == ["gone:broken", "cancelled"]
    assert client.recv(65536).startswith(b"HTTP/1.1 400 ")
    client.close()


def test_a_caller_that_does_not_read_is_dropped(world: World) -> None:
    client = ask(world, "GET /flood", b"\r\n")
    assert [world.hear(), world.hear(), world.hear()] == ["started", "gone:slow", "cancelled"]
    client.close()


def test_the_hook_is_not_called_once_the_response_is_complete(world: World) -> None:
    client = ask(world, "GET /", b"\r\n")
    assert [world.hear(), world.hear()] == ["started", "ended"]
    client.close()
    assert ask(world, "GET /", b"\r\n").recv(100)
    assert world.hear() == "started"  # nothing was told in between


def test_a_caller_that_only_stops_sending_is_answered_where_no_hook_is_set(world: World) -> None:
    client = ask(world, "GET /plain?wait", b"\r\n")
    assert world.hear() == "started"
    client.shutdown(socket.SHUT_WR)
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    assert answer.endswith(b"4\r\ndone\r\n0\r\n\r\n")
    client.close()


def test_a_caller_that_stops_sending_has_left_where_a_hook_is_set(world: World) -> None:
    client = ask(world, "GET /wait", b"\r\n")
    client.shutdown(socket.SHUT_WR)
    assert [world.hear() for _ in range(3)][-1] == "cancelled"
    client.close()


def test_a_hook_set_after_the_caller_left_is_called_at_once() -> None:
    calls: list[str] = []
    presence = Presence()
    presence.leave("left")
    presence.on_disconnect = lambda: calls.append(presence.gone)
    presence.leave("slow")
    assert calls == ["left"]


def test_a_hook_set_after_a_half_close_is_called_at_once() -> None:
    calls: list[str] = []
    presence = Presence()
    presence.half_closed = True
    presence.on_disconnect = lambda: calls.append(presence.gone)
    assert calls == ["left"]


def test_a_hook_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def hook() -> None:
        raise ValueError("secret")

    presence = Presence()
    presence.on_disconnect = hook
    presence.leave("left")
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text
