"""Canaries: secrets planted everywhere one can come in, and looked for everywhere something goes out."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anthropic
import httpx2
import openai
import pytest
from e2e_upstream import RawUpstream, Received, whole  # it lies beside the end-to-end tests

from headgate import Gate
from headgate.settings import load
from headgate.testing.server import SimulatorServer


def _canary(name: str) -> str:
    """Looks like a secret, is none, and is found by one search."""
    return "-".join(("canary", name, "5f0c" * 6))


CREDENTIALS = {
    name: _canary(name)
    for name in (
        "anthropic-provider-key",
        "openai-provider-key",
        "echo-provider-key",
        "virtual-key",
        "wrong-key",
        "bearer",
        "basic",
        "google-key",
        "azure-key",
        "cookie",
        "proxy-authorization",
        "query-key",
        "proxy-password",
        "malformed-line",
        "admin-guess",
    )
}
BODY, SYSTEM = _canary("user-message"), _canary("system-prompt")
MAIL = f"{_canary('mail')}@example.org"

CONFIG = """
providers:
  echo: {dialect: openai, base_url: "%(echo)s/v1", api_key: env:ECHO_KEY, price: free, breaker: off}
  behind: {dialect: openai, base_url: "http://127.0.0.1:9/v1", api_key: env:ECHO_KEY, price: free,
           proxy: "http://someone:%(password)s@127.0.0.1:9"}
keys:
  - {name: dev, key: env:DEV_KEY}
timeouts: {connect: 1s, first_byte: 5s}
retry: {attempts: 2, deadline: 3s}
log: {bodies: %(bodies)s}
"""


@dataclass
class Evidence:
    """Everything that came out, by where."""

    found: dict[str, bytes] = field(default_factory=dict)

    def add(self, where: str, what: bytes | str) -> None:
        self.found[where] = self.found.get(where, b"") + (what.encode() if isinstance(what, str) else what)

    def holders(self, secret: str) -> list[str]:
        """Where a secret, or a form of it that says as much, is to be seen."""
        forms = {secret.encode(), quote(secret).encode(), secret.encode("utf-16-le")}
        return [where for where, what in self.found.items() if any(form in what for form in forms)]


def _echo(request: Received) -> bytes:
    """A careless provider: it repeats the request's headers in its error."""
    seen = " ".join(value.decode("latin-1") for _, value in request.headers)
    status = "401 Unauthorized" if b"denied" in request.body else "500 Internal Server Error"
    body = json.dumps({"error": {"message": f"Incorrect API key: {seen}", "type": "x", "code": seen}}).encode()
    return whole(status, body)


class Served:
    """`headgate serve` with canaries in its configuration."""

    def __init__(self, folder: Path, sim: SimulatorServer, echo: RawUpstream, bodies: str) -> None:
        password = CREDENTIALS["proxy-password"]
        (folder / "headgate.yaml").write_text(CONFIG % {"echo": echo.url, "password": password, "bodies": bodies})
        dropped = ("ANTHROPIC_", "OPENAI_", "HEADGATE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        env = {k: v for k, v in os.environ.items() if not k.upper().startswith(dropped)}
        env |= {
            "ANTHROPIC_BASE_URL": sim.url,
            "OPENAI_BASE_URL": sim.openai_url,
            "ANTHROPIC_API_KEY": CREDENTIALS["anthropic-provider-key"],
            "OPENAI_API_KEY": CREDENTIALS["openai-provider-key"],
            "ECHO_KEY": CREDENTIALS["echo-provider-key"],
            "DEV_KEY": CREDENTIALS["virtual-key"],
        }
        self.folder = folder
        with (folder.parent / f"{bodies}.out").open("wb") as out, (folder.parent / f"{bodies}.err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headgate.cli.main", "serve", "--port", "0"],
                cwd=folder,
                env=env,
                stdout=out,
                stderr=err,
            )
        self._streams = [folder.parent / f"{bodies}.{end}" for end in ("out", "err")]
        self.url = self._wait_for_url()

    def _wait_for_url(self) -> str:
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            found = re.search(rb"http://127\.0\.0\.1:(?!9\b)\d+", self._streams[0].read_bytes())
            if found is not None:
                url = found.group().decode()
                with suppress(httpx2.HTTPError):
                    httpx2.get(f"{url}/health/live")
                    return url
            time.sleep(0.02)
        raise AssertionError([stream.read_text() for stream in self._streams])

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def files(self, evidence: Evidence) -> None:
        """Everything it wrote: its output, and every file in its folder but the configuration."""
        for path in [*self._streams, *self.folder.rglob("*")]:
            if path.is_file() and path.name != "headgate.yaml":
                evidence.add(path.name, path.read_bytes())


def _exchanges(served: Served, evidence: Evidence) -> None:
    """Healthy calls and every kind of failing one; with secrets wherever a caller can put one."""
    key = CREDENTIALS["virtual-key"]
    stray = {
        "cookie": f"session={CREDENTIALS['cookie']}",
        "proxy-authorization": f"Basic {CREDENTIALS['proxy-authorization']}",
        "x-goog-api-key": CREDENTIALS["google-key"],
        "api-key": CREDENTIALS["azure-key"],
    }
    claude = anthropic.Anthropic(api_key=key, base_url=served.url, max_retries=0, default_headers=stray)
    gpt = openai.OpenAI(api_key=key, base_url=f"{served.url}/v1", max_retries=0, default_headers=stray)
    said: Any = [{"role": "user", "content": f"say: {BODY} of {MAIL}"}]
    query = {"key": CREDENTIALS["query-key"]}
    calls = [
        lambda: claude.messages.create(model="claude-haiku-4-5", max_tokens=90, system=SYSTEM, messages=said),
        lambda: list(claude.messages.create(model="claude-haiku-4-5", max_tokens=90, messages=said, stream=True)),
        lambda: gpt.chat.completions.create(model="gpt-6-luna", messages=said),
        lambda: list(gpt.chat.completions.create(model="gpt-6-luna", messages=said, stream=True)),
        lambda: claude.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=said, extra_query=query),
        lambda: gpt.chat.completions.create(model="gpt-6-luna", messages=said, extra_query=query),
        lambda: claude.messages.create(model="claude-haiku-4-5", max_tokens=-1, messages=said),
        lambda: gpt.chat.completions.create(model="no-such-model", messages=said),
        lambda: gpt.chat.completions.create(model="echo/denied", messages=said),
        lambda: gpt.chat.completions.create(model="echo/broken", messages=said),
        lambda: gpt.chat.completions.create(model="behind/anything", messages=said),
    ]
    for number, call in enumerate(calls):
        try:
            evidence.add(f"answer {number}", repr(call()).replace(BODY, "").replace(MAIL, ""))
        except (anthropic.APIError, openai.APIError) as error:
            evidence.add(
                f"error {number}", f"{error!r} {error} {getattr(error, 'body', '')}".replace(BODY, "").replace(MAIL, "")
            )


def _strangers(served: Served, evidence: Evidence) -> None:
    """Wrong and malformed requests."""
    attempts: list[dict[str, str]] = [
        {"x-api-key": CREDENTIALS["wrong-key"]},
        {"authorization": f"Bearer {CREDENTIALS['bearer']}"},
        {"authorization": f"Basic {CREDENTIALS['basic']}"},
        {"x-goog-api-key": CREDENTIALS["google-key"], "cookie": CREDENTIALS["cookie"]},
    ]
    query = f"?key={CREDENTIALS['query-key']}"
    for headers in attempts:
        for path in ("/v1/messages", "/v1/chat/completions", "/nowhere", "/admin/api/keys"):
            answer = httpx2.post(f"{served.url}{path}{query}", headers=headers, content=b"{")
            assert answer.status_code >= 400
            evidence.add("answers to strangers", answer.content + repr(answer.headers).encode())
    admin = {"authorization": f"Bearer {CREDENTIALS['admin-guess']}"}
    evidence.add("control API", httpx2.get(f"{served.url}/admin/api/keys", headers=admin).content)
    good = {"x-api-key": CREDENTIALS["virtual-key"]}
    for body in (b"{", b'{"model":7}', b'{"model":"\xff"}', CREDENTIALS["basic"].encode()):
        for path in ("/v1/messages", "/v1/chat/completions", "/p/nobody/v1/chat/completions", "/v1/../x"):
            answer = httpx2.post(f"{served.url}{path}{query}", headers=good, content=body)
            evidence.add("answers to bad bodies", answer.content)
    host, _, port = served.url.removeprefix("http://").partition(":")
    for line in (
        f"GARBAGE {CREDENTIALS['malformed-line']}\r\n\r\n",
        f"POST /v1/messages HTTP/1.1\r\nx-api-key {CREDENTIALS['malformed-line']}\r\n\r\n",
        f"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {CREDENTIALS['malformed-line']}\r\n\r\n",
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(line.encode())
            evidence.add("answers to garbage", connection.recv(65536))


@pytest.fixture(scope="module", params=["off", "redacted", "full"])
def evidence(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Evidence]:
    """What a gateway said and wrote, once for each setting of `bodies`."""
    folder = tmp_path_factory.mktemp("canaries") / "run"
    folder.mkdir()
    found = Evidence()
    with SimulatorServer() as sim, RawUpstream(_echo) as echo:
        served = Served(folder, sim, echo, request.param)
        try:
            _exchanges(served, found)
            _strangers(served, found)
            found.add("metrics and health", httpx2.get(f"{served.url}/health/ready").content)
            served.files(found)  # while the write-ahead log is still there
        finally:
            code = served.stop()
        served.files(found)
        assert code == 0
        assert len(echo.received) >= 2
        found.add("requests upstream", json.dumps([r["headers"] for r in sim.requests()]))
        found.add(
            "requests upstream", repr([r.headers for r in echo.received]).replace(CREDENTIALS["echo-provider-key"], "")
        )
    return request.param, found


@pytest.mark.parametrize("name", CREDENTIALS)
def test_no_credential_is_ever_written_or_answered(name: str, evidence: tuple[str, Evidence]) -> None:
    _, found = evidence
    assert found.holders(CREDENTIALS[name]) == []


def test_the_search_would_find_what_it_looks_for(evidence: tuple[str, Evidence]) -> None:
    _, found = evidence
    log = found.found["headgate.db.log.jsonl"]
    assert b"denied" in log
    assert b"invalid_request" in log
    assert {"headgate.db", "headgate.db.log.jsonl"} <= set(found.found)
    assert found.found["answers to garbage"]
    assert b"acme" not in log
    assert found.holders("claude-haiku-4-5")


def test_bodies_are_written_only_where_the_log_is_told_to_keep_them(evidence: tuple[str, Evidence]) -> None:
    bodies, found = evidence
    assert _outside_the_log_store(found.holders(BODY)) == ([] if bodies == "off" else ["headgate.db.log.jsonl"])


def test_what_is_personal_is_written_only_where_bodies_are_kept_whole(evidence: tuple[str, Evidence]) -> None:
    bodies, found = evidence
    assert _outside_the_log_store(found.holders(MAIL)) == (["headgate.db.log.jsonl"] if bodies == "full" else [])


def _outside_the_log_store(holders: list[str]) -> list[str]:
    """A process of its own fills the log store from the log's lines: it has them, or not yet."""
    if "headgate.db.log.jsonl" not in holders:
        return holders
    return [name for name in holders if not name.startswith("headgate.db.log.db")]


def test_a_system_prompt_is_only_ever_written_as_its_hash(evidence: tuple[str, Evidence]) -> None:
    _, found = evidence
    assert found.holders(SYSTEM) == []
    assert b"system_prompt_hash" in found.found["headgate.db.log.jsonl"]


def test_in_process_no_credential_is_in_an_exception_a_repr_or_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "headgate")
    found = Evidence()
    bearer, password = CREDENTIALS["bearer"], CREDENTIALS["proxy-password"]
    with RawUpstream(_echo) as echo, SimulatorServer("outage") as sim:
        env = {"OPENAI_BASE_URL": f"{echo.url}/v1", "ANTHROPIC_BASE_URL": sim.url, "ANTHROPIC_API_KEY": bearer}
        storage = f"sqlite:///{tmp_path / 'own.db'}"
        with Gate.load(env=env, wait=lambda state: 0.0, storage=storage, log={"bodies": "off"}) as gate:
            claude = anthropic.Anthropic(api_key=bearer, base_url=sim.url, http_client=gate.client())
            gpt = openai.OpenAI(api_key=bearer, base_url="http://127.0.0.1:9/v1", http_client=gate.client())
            said: Any = [{"role": "user", "content": BODY}]
            calls = [
                lambda: claude.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=said),
                lambda: gpt.chat.completions.create(model="gpt-6-luna", messages=said),
                lambda: gpt.chat.completions.create(model="no-such-model", messages=said),
            ]
            for call in calls:
                with pytest.raises((anthropic.APIError, openai.APIError)) as caught:
                    call()
                found.add("exceptions", "".join(traceback.format_exception(caught.value)))
                found.add("exceptions", repr(caught.value))
                chain: BaseException | None = caught.value
                while chain is not None:
                    found.add("exceptions", f"{chain!r} {vars(chain).get('message', '')}")
                    chain = chain.__cause__ or chain.__context__
            found.add("reprs", f"{gate!r} {gate.settings!r} {gate.built!r} {gate.built.router!r} {gate.stats!r}")
            gate.flush()
    found.add("log", caplog.text)
    for path in tmp_path.iterdir():
        found.add(path.name, path.read_bytes())
    assert found.found["own.db.log.jsonl"]
    assert [found.holders(secret) for secret in (bearer, password, BODY)] == [[], [], []]


def test_settings_and_their_mistakes_never_show_what_they_hold(tmp_path: Path) -> None:
    password, url = CREDENTIALS["proxy-password"], CREDENTIALS["wrong-key"]
    path = tmp_path / "headgate.yaml"
    path.write_text(
        f'providers: {{openai: {{proxy: "http://someone:{password}@127.0.0.1:9"}}}}\n'
        f'alerts: [{{to: "https://hooks.example/{url}"}}]\n'
    )
    settings = load(path, env={"OPENAI_API_KEY": CREDENTIALS["openai-provider-key"]})
    found = Evidence()
    found.add("repr", f"{settings!r} {settings} {settings.providers!r} {settings.warnings!r}")
    assert [found.holders(secret) for secret in (password, url, CREDENTIALS["openai-provider-key"])] == [[], [], []]
