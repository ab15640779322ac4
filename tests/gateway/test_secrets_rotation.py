"""A gateway whose secrets change while it runs: providers' keys and virtual keys, rotated, deleted, and back."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headgate.build import Built, build
from headgate.core.errors import ConfigError
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.rotation import ConfiguredKeys
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.settings import load
from headgate.testing.canned import CLAUDE, GPT, completion, message

CANARY = "canary"
CONFIG = """
providers:
  anthropic: {{api_key: [file:a.key, file:b.key], base_url: "{url}"}}
  openai: {{api_key: file:o.key, base_url: "{url}/v1"}}
keys: [{{name: app, key: file:app.key, environment: production}}]
storage: sqlite:///{folder}/h.db
"""


class Provider(ThreadingHTTPServer):
    """Answers whoever has one of `valid`, 401 to everybody else, 429 to `busy`. `seen` are the keys, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.valid: set[str] = set()
        self.busy: set[str] = set()
        self.seen: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        key = self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")
        self.server.seen.append(key)
        status = 401 if key not in self.server.valid else 429 if key in self.server.busy else 200
        said = completion("hi") if "completions" in self.path else message("hi")
        kind = "authentication_error" if status == 401 else "rate_limit_error"
        failure = json.dumps({"type": "error", "error": {"type": kind, "message": "no"}}).encode()
        body = b"".join(said) if status == 200 else failure
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Place:
    """A gateway, its provider, and the folder its secrets are in."""

    folder: Path
    provider: Provider
    built: Built
    url: str
    loop: asyncio.AbstractEventLoop

    def put(self, name: str, value: str | None) -> None:
        path = self.folder / f"{name}.key"
        if value is None:
            path.unlink()
        else:
            path.write_text(f"{CANARY}-{value}\n", encoding="ascii")

    def look(self) -> None:
        """What the background does when it is time; twice, so that what is gone is known to be."""
        for _ in range(2):
            for kept in self.built.secrets._kept.values():
                kept.due = 0.0
            self.built.secrets.refresh_due()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.loop).result(10)

    def call(self, key: str = "app-1", dialect: str = "anthropic") -> tuple[int, dict[str, str], Any]:
        path = "/v1/messages" if dialect == "anthropic" else "/v1/chat/completions"
        body = {"model": CLAUDE if dialect == "anthropic" else GPT, "max_tokens": 5, "messages": []}
        headers = {"x-api-key": f"{CANARY}-{key}", "content-type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        return answer(request)

    def ready(self) -> Any:
        return answer(urllib.request.Request(self.url + "/health/ready"))[2]


def answer(request: urllib.request.Request) -> tuple[int, dict[str, str], Any]:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            return response.status, dict(response.headers), json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.loads(error.read())


@contextmanager
def serving(folder: Path) -> Iterator[Place]:
    with Provider() as provider:
        thread = threading.Thread(target=provider.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        for name in ("a", "b", "o", "app"):
            (folder / f"{name}.key").write_text(f"{CANARY}-{name}-1\n", encoding="ascii")
            provider.valid.add(f"{CANARY}-{name}-1")
        path = folder / "headgate.yaml"
        path.write_text(CONFIG.format(url=f"http://127.0.0.1:{provider.server_port}", folder=folder), encoding="utf-8")
        settings = load(path, env={})
        built = build(settings, env={}, wait=lambda state: 0.0)
        built.ledger.open()
        ring = KeyRing(loopback=True)
        configured = ConfiguredKeys(ring, settings.keys, built.secrets)
        configured.fill()
        loops: list[asyncio.AbstractEventLoop] = []

        def ready(url: str) -> None:
            loops.append(asyncio.get_running_loop())
            configured.follow(loops[0])

        app = create(built, ring=ring, admin_token=Secret("t" * 40))
        options = ServerOptions(port=0, tune_gc=False, lifespan="off", on_ready=ready)
        try:
            with BackgroundServer(app, options) as server:
                yield Place(folder, provider, built, server.url, loops[0])
        finally:
            built.close()
            provider.shutdown()
            thread.join()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with serving(tmp_path) as made:
        yield made


def test_two_keys_of_a_provider_are_used_in_turn(place: Place) -> None:
    assert [place.call()[0] for _ in range(4)] == [200] * 4
    assert place.provider.seen == [f"{CANARY}-{name}-1" for name in "abab"]


@pytest.mark.parametrize("trouble", ["valid", "busy"])
def test_a_key_that_is_refused_or_over_its_limit_costs_one_attempt_and_the_next_key_answers(
    place: Place, trouble: str
) -> None:
    if trouble == "valid":
        place.provider.valid.discard(f"{CANARY}-a-1")
    else:
        place.provider.busy.add(f"{CANARY}-a-1")
    status, headers, _ = place.call()
    assert (status, headers["x-headgate-attempts"]) == (200, "2")
    assert place.provider.seen == [f"{CANARY}-a-1", f"{CANARY}-b-1"]


def test_a_refused_key_is_not_tried_first_again(place: Place) -> None:
    place.provider.valid.discard(f"{CANARY}-a-1")
    assert [place.call()[1]["x-headgate-attempts"] for _ in range(4)] == ["2", "1", "1", "1"]


def test_a_key_changed_where_it_is_kept_is_used_by_the_call_that_was_refused_with_the_old_one(place: Place) -> None:
    assert place.call(dialect="openai")[0] == 200
    place.put("o", "o-2")
    place.provider.valid = {f"{CANARY}-o-2"}
    status, headers, _ = place.call(dialect="openai")
    assert (status, headers["x-headgate-attempts"]) == (200, "2")
    assert place.call(dialect="openai")[1]["x-headgate-attempts"] == "1"
    assert place.provider.seen == [f"{CANARY}-o-1", f"{CANARY}-o-1", f"{CANARY}-o-2", f"{CANARY}-o-2"]


def test_a_changed_key_is_used_after_the_next_look_without_any_refusal(place: Place) -> None:
    place.put("o", "o-2")
    place.provider.valid.add(f"{CANARY}-o-2")
    place.look()
    assert place.call(dialect="openai")[1]["x-headgate-attempts"] == "1"
    assert place.provider.seen == [f"{CANARY}-o-2"]


def test_a_deleted_key_is_a_clear_error_in_the_callers_dialect_and_serves_again_when_it_is_back(place: Place) -> None:
    place.put("o", None)
    place.look()
    status, headers, body = place.call(dialect="openai")
    assert status == 503
    assert body["error"]["code"] == "provider_not_configured"
    assert "provider openai cannot be used" in body["error"]["message"]
    assert "o.key" not in body["error"]["message"]
    assert headers["x-should-retry"] == "false"
    for name in "ab":
        place.put(name, None)
    place.look()
    status, _, body = place.call()
    assert (status, body["type"]) == (503, "error")
    assert "provider anthropic cannot be used" in body["error"]["message"]
    assert place.provider.seen == []
    place.put("o", "o-1")
    place.look()
    assert place.call(dialect="openai")[0] == 200


def test_one_key_of_two_that_was_deleted_is_not_used_and_nobody_notices(place: Place) -> None:
    place.put("a", None)
    place.look()
    assert [place.call()[1]["x-headgate-attempts"] for _ in range(3)] == ["1"] * 3
    assert set(place.provider.seen) == {f"{CANARY}-b-1"}
    assert place.ready() == {"status": "ready", "secrets": "1 missing and 0 perhaps out of date, of 4"}


def test_a_virtual_key_changed_where_it_is_kept_is_valid_and_the_one_before_is_not(place: Place) -> None:
    assert place.call("app-1")[0] == 200
    place.put("app", "app-2")
    place.look()
    assert [place.call(key)[0] for key in ("app-1", "app-2")] == [401, 200]
    place.put("app", None)
    place.look()
    assert [place.call(key)[0] for key in ("app-1", "app-2")] == [401, 401]
    place.put("app", "app-2")
    place.look()
    assert place.call("app-2")[0] == 200


def test_no_value_of_any_of_it_is_in_an_answer_or_in_the_log(place: Place) -> None:
    said = []
    for name, value in (("o", "o-2"), ("o", None), ("a", None), ("app", "app-2"), ("app", "two\nlines")):
        place.put(name, value)
        place.look()
        said += [repr(place.call(key, dialect)) for key in ("app-1", "app-2") for dialect in ("anthropic", "openai")]
    place.built.log.flush()
    log = (place.folder / "h.db.log.jsonl").read_text(encoding="utf-8")
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert {"secret_rotated", "secret_missing", "secret_out_of_reach"} <= set(events)
    assert CANARY not in log + repr(said)


def test_a_virtual_key_that_cannot_be_read_at_the_start_keeps_the_gateway_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "headgate.yaml"
    path.write_text("keys: [{name: app, key: file:none.key}, {name: b, key: env:NONE}]", encoding="utf-8")
    settings = load(path, env={}, overrides={"storage": f"sqlite:///{tmp_path}/h.db"})
    built = build(settings, env={})
    with pytest.raises(ConfigError) as caught:
        ConfiguredKeys(KeyRing(loopback=True), settings.keys, built.secrets).fill()
    assert len(caught.value.mistakes) == 2
    assert "keys[0].key: file:none.key cannot be read" in str(caught.value)
    built.close()
