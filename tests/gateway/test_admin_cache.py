"""The cache in the control API, the command line and Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.build import Built, build
from headgate.cli import main
from headgate.cli.group import cli
from headgate.core.cache import Stored, sealed
from headgate.core.secret import Secret
from headgate.engine.blocking import run_blocking
from headgate.gate import Gate
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRing
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.policy.caching import partition
from headgate.settings import load

TOKEN = "t" * 40
ENV = {"ANTHROPIC_API_KEY": "canary"}
ADA, BOB = f"{partition(tenant='ada')}:1", f"{partition(tenant='bob')}:1"


class Running:
    """A gateway in this process, found by the command line through its ledger's lock file."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.file = folder / "headgate.yaml"
        self.file.write_text(f"storage: sqlite:///{folder / 'headgate.db'}\ncache: {{backend: {backend}}}\n")
        self.built: Built = build(load(self.file, env=ENV), env=ENV)
        self.built.ledger.open()
        app = create(self.built, ring=KeyRing(loopback=True), admin_token=Secret(TOKEN))
        self._server = BackgroundServer(app, ServerOptions(port=0, tune_gc=False)).start()
        self.built.ledger.publish(self._server.url, TOKEN)

    def put(self, *keys: str) -> None:
        now = self.built.engine.ports.clock.now()
        for key in keys:
            self.built.caching.port(blocking=True).put(
                key, sealed(key, Stored("whole", 200, (), b"{}", now, now + 3600))
            )

    def has(self, key: str) -> bool:
        return run_blocking(self.built.caching.port(blocking=True).get(key)) is not None

    def stop(self) -> None:
        self._server.stop()
        self.built.close()


@pytest.fixture(params=["memory", "sqlite"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path, request.param)
    yield made
    made.stop()


def command(file: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main.run(cli, ["cache", *arguments, "--config", str(file)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_tenants_answers_are_forgotten_and_nobody_elses(
    running: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    running.put(ADA, BOB)
    code, out, _ = command(running.file, "forget", "--tenant", "ada", capsys=capsys)
    assert (code, out.split(" forgotten")[0]) == (0, "1 answer")
    assert not running.has(ADA)
    assert running.has(BOB)
    code, out, _ = command(running.file, "forget", "--all", "--json", capsys=capsys)
    assert (code, json.loads(out)["forgotten"]) == (0, 1)
    assert not running.has(BOB)
    running.built.log.flush()
    lines = (tmp_path / "headgate.db.log.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines if "cache_forgotten" in line]
    assert [(each["by"], each["whose"]) for each in told] == [("gateway", {"tenant": "ada"}), ("gateway", "everything")]


def test_stats_show_what_was_asked_for_and_found(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.put(ADA)
    assert running.has(ADA)
    assert not running.has(BOB)
    code, out, _ = command(running.file, "stats", "--json", capsys=capsys)
    told = json.loads(out)
    assert code == 0
    assert {name: told[name] for name in ("running", "ok", "hits", "misses", "hit_rate", "entries")} == {
        "running": True,
        "ok": True,
        "hits": 1,
        "misses": 1,
        "hit_rate": 0.5,
        "entries": 1,
    }
    code, out, _ = command(running.file, "stats", capsys=capsys)
    assert (code, "1 of 2 (50.0%)" in out) == (0, True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"tenant": ""}',
        b'{"tenant": 1}',
        b'{"everything": false}',
        b'{"a": "b"}',
        b'{"tenant": "a", "key": "b"}',
        json.dumps({"tenant": "a" * 201}).encode(),
        b"\xff",
    ],
)
def test_a_body_that_does_not_say_whose_is_refused_and_nothing_is_forgotten(running: Running, body: bytes) -> None:
    running.put(ADA)
    import urllib.error
    import urllib.request

    url = f"{running._server.url}/admin/api/cache/forget"
    asked = urllib.request.Request(url, body, {"authorization": f"Bearer {TOKEN}"}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(asked)
    assert caught.value.code == 400
    assert running.has(ADA)


@pytest.mark.parametrize("options", [(), ("--tenant", "a", "--all"), ("--tenant", "a", "--key", "b"), ("--key", "")])
def test_forgetting_wants_to_know_whose(
    running: Running, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = command(running.file, "forget", *options, capsys=capsys)
    assert code == 2
    assert "--tenant NAME" in err


def test_without_a_gateway_the_file_is_opened_and_memory_is_said_to_be_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = Running(tmp_path, "sqlite")
    running.put(ADA, BOB)
    assert running.has(BOB)
    running.stop()
    code, out, _ = command(running.file, "forget", "--tenant", "ada", "--json", capsys=capsys)
    assert (code, json.loads(out)["forgotten"]) == (0, 1)
    assert command(running.file, "stats", capsys=capsys)[0] == 1
    running.file.write_text(running.file.read_text().replace("sqlite}", "memory}"))
    code, _, err = command(running.file, "forget", "--all", capsys=capsys)
    assert code == 2
    assert "the cache is in its memory" in err


def test_a_program_forgets_by_its_gate(tmp_path: Path) -> None:
    file = tmp_path / "headgate.yaml"
    file.write_text(f"storage: sqlite:///{tmp_path / 'headgate.db'}\n")
    with Gate.load(file) as gate:
        port: Any = gate._built.caching.port(blocking=True)
        now = gate._built.engine.ports.clock.now()
        for key in (ADA, BOB, f"{partition(key='dev')}:1"):
            port.put(key, Stored("whole", 200, (), b"{}", now, now + 3600))
        assert gate.forget(tenant="ada") == 1
        assert gate.forget(key="dev") == 1
        assert gate.forget() == 1
        with pytest.raises(ValueError, match="expected"):
            gate.forget(tenant="ada", key="dev")
