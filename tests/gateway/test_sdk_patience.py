"""An SDK whose timeout is short hears through the gateway what it would hear of the provider: a stream that lives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import pytest

from headgate import Gate
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.testing.canned import event, message_stream

TURNS: Any = [{"role": "user", "content": "think"}]
SECONDS = 3.0  # the SDK's timeout: there is half of it between what it hears and when it would leave


class Thinking(ThreadingHTTPServer):
    """A provider that begins at once, and shows nothing but pings until its caller has heard of it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard = threading.Event()
        self.requests = 0


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Thinking)
        self.rfile.read(int(self.headers["content-length"]))
        server.requests += 1
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        first, *frames = message_stream("hello")
        self.wfile.write(first)
        for _ in range(round(5 * SECONDS / 0.1)):
            if server.heard.wait(0.1):
                break
            self.wfile.write(event("ping"))
        self.wfile.write(b"".join(frames))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Thinking]:
    with Thinking() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.heard.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("on_cut", ["error", "buffer"])
def test_a_stream_that_lives_is_heard_of_before_the_sdk_leaves(provider: Thinking, on_cut: str, tmp_path: Path) -> None:
    told: dict[str, Any] = {
        "providers": {"anthropic": {"base_url": f"http://127.0.0.1:{provider.server_port}", "api_key": "env:KEY"}},
        "storage": f"sqlite:///{tmp_path / 'headgate.db'}",
    }
    with ExitStack() as stack:
        gate = stack.enter_context(Gate.load(env={"KEY": "k"}, **told))
        app = create(gate.built, ring=KeyRing(loopback=True), admin_token=Secret("t" * 40))
        server = stack.enter_context(BackgroundServer(app, ServerOptions(port=0, drain_seconds=0.05, tune_gc=False)))
        asks = {"x-headgate-on-cut": on_cut}
        client = anthropic.Anthropic(
            base_url=server.url, api_key="k", timeout=SECONDS, max_retries=0, default_headers=asks
        )
        stack.enter_context(client)
        with client.messages.stream(model="claude-haiku-4-5", max_tokens=500, messages=TURNS) as stream:
            provider.heard.set()
            assert stream.get_final_text() == "hello"
    assert provider.requests == 1
