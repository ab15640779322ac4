"""Starting and stopping for real: signals in a subprocess, drains, refusals to start."""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headgate.core.errors import ConfigError, HeadgateError
from headgate.gateway.listening import listen, url_of
from headgate.gateway.server import BackgroundServer, GateServer, ServerOptions, run

SCRIPT = textwrap.dedent(
    """
    import asyncio, sys
    from headgate.gateway.server import ServerOptions, run

    draining = asyncio.Event()

    def tell(text):
        print(text, flush=True)

    async def app(scope, receive, send):
        endless = scope["path"] == "/endless"
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            if endless:
                await asyncio.sleep(3600)
            await draining.wait()
            for _ in range(5):
                await asyncio.sleep(0.02)
                await send({"type": "http.response.body", "body": b"more", "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            tell("answered")
        except asyncio.CancelledError:
            tell("cancelled")
            await asyncio.sleep(0.01)
            tell("settled")
            raise

    def drain():
        draining.set()
        tell("draining")

    async def stop():
        await asyncio.sleep(0.01)
        tell("flushed")
        if len(sys.argv) > 2:
            raise OSError("disk full")

    sys.exit(run(app, ServerOptions(port=0, drain_seconds=float(sys.argv[1]), lifespan="off",
                                    on_ready=tell, on_drain=drain, on_stop=stop)))
    """
)


class Served:
    def __init__(self, process: subprocess.Popen[str], address: tuple[str, int]) -> None:
        self.process = process
        self.address = address

    def begin(self, path: str) -> socket.socket:
        """Ask, and wait for the first bytes of the answer."""
        client = socket.create_connection(self.address, timeout=10)
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        got = b""
        while b"first" not in got:
            got += client.recv(65536)
        return client

    def end(self) -> tuple[int, list[str]]:
        out, errors = self.process.communicate(timeout=60)
        assert "Traceback" not in errors
        return self.process.returncode, out.split()


@contextmanager
def served(*arguments: str) -> Iterator[Served]:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        host, port = process.stdout.readline().strip().removeprefix("http://").split(":")
        yield Served(process, (host, int(port)))
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def read_all(client: socket.socket) -> bytes:
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stream_is_finished_after_the_signal_and_the_exit_code_is_0(number: signal.Signals) -> None:
    with served("20") as server:
        client = server.begin("/stream")
        server.process.send_signal(number)
        assert read_all(client).endswith(b"4\r\nmore\r\n0\r\n\r\n")
        assert server.end() == (0, ["draining", "answered", "flushed"])


def test_an_endless_stream_is_cancelled_after_the_drain_and_settled_before_the_flush() -> None:
    with served("0.2") as server:
        client = server.begin("/endless")
        server.process.terminate()
        assert not read_all(client).endswith(b"0\r\n\r\n")
        assert server.end() == (0, ["draining", "cancelled", "settled", "flushed"])


def test_a_second_signal_cancels_at_once_and_still_flushes() -> None:
    with served("3600") as server:
        client = server.begin("/endless")
        server.process.terminate()
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == "draining\n"
        server.process.terminate()
        assert server.end() == (1, ["cancelled", "settled", "flushed"])
        client.close()


def test_a_flush_that_fails_shows_in_the_exit_code() -> None:
    with served("5", "fail") as server:
        server.process.terminate()
        assert server.end() == (1, ["draining", "flushed"])


async def hello(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def options(**changes: Any) -> ServerOptions:
    return ServerOptions(port=0, drain_seconds=5, tune_gc=False, **changes)


def test_a_stopped_server_has_closed_idle_connections_and_takes_no_new_ones() -> None:
    with BackgroundServer(hello, options()) as server:
        address = server.url.removeprefix("http://")
        kept = http.client.HTTPConnection(address, timeout=10)
        kept.request("GET", "/")
        assert kept.getresponse().read() == b"hello"
    assert kept.sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(address, timeout=10).request("GET", "/")


def test_each_tick_renews_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dates() -> list[bytes]:
        server = GateServer(hello, options())
        server.config.load()
        seen = []
        for now in (0.0, 86_400.0):
            monkeypatch.setattr("uvicorn.server.time.time", lambda now=now: now)
            await server.on_tick(0)
            seen.append(server.state.date)
        return seen

    expected = [b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n", b"date: Fri, 02 Jan 1970 00:00:00 GMT\r\n"]
    assert asyncio.run(dates()) == expected


def test_start_and_stop_run_in_order_around_the_lifespan() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            return await hello(scope, receive, send)
        seen.append((await receive())["type"])
        await send({"type": "lifespan.startup.complete"})
        seen.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})
        return None

    async def start() -> None:
        seen.append("on_start")

    async def stop() -> None:
        seen.append("on_stop")

    changes = {"on_drain": lambda: seen.append("on_drain"), "on_ready": lambda url: seen.append("on_ready")}
    with BackgroundServer(app, options(on_start=start, on_stop=stop, **changes)):
        pass
    expected = ["lifespan.startup", "on_start", "on_ready", "on_drain", "lifespan.shutdown", "on_stop"]
    assert seen == expected


def test_what_on_start_raises_ends_the_start() -> None:
    async def start() -> None:
        raise ConfigError("no database")

    with pytest.raises(ConfigError, match="no database"):
        BackgroundServer(hello, options(on_start=start)).start()


def test_an_app_whose_lifespan_fails_is_a_sentence_and_not_an_exit() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    with pytest.raises(HeadgateError, match="failed to start"):
        BackgroundServer(app, options()).start()


def test_a_port_in_use_is_a_sentence_that_says_what_to_do() -> None:
    with BackgroundServer(hello, options()) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(ConfigError, match="another gateway running"):
            run(hello, ServerOptions(port=port))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_an_address_that_others_can_reach_is_refused_without_keys(host: str) -> None:
    with pytest.raises(ConfigError, match="no key is configured"):
        listen(host, 0, keys_configured=False)


def test_an_address_that_others_can_reach_is_taken_with_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[Any] = []

    class Listener:  # a real one would be reachable
        def __init__(self, *kind: Any) -> None: ...
        def setsockopt(self, *option: Any) -> None: ...
        def listen(self, backlog: int) -> None: ...
        def bind(self, address: Any) -> None:
            bound.append(address)

    monkeypatch.setattr("headgate.gateway.listening.socket.socket", Listener)
    listen("0.0.0.0", 0, keys_configured=True)
    assert bound == [("0.0.0.0", 0)]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.9"])
def test_loopback_needs_no_keys(host: str) -> None:
    listener = listen(host, 0, keys_configured=False)
    assert url_of(listener).startswith("http://127.0.0.")
    listener.close()


def test_a_host_that_is_none_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"server\.host"):
        listen("no such host", 0, keys_configured=False)
