"""Runs a client: a provider, two gateways before it, the client's program in its own environment, and the books."""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from clients_provider import ProviderServer
from e2e_world import PROVIDER_KEYS, Gateway  # it lies in tests/e2e

from headgate.gateway.auth import KeyRecord

PROGRAMS = Path(__file__).parent / "programs"
KEY = "hg-" + "clients" + "-" + "c" * 32
_SECONDS = 150
_CHECKS = re.compile(r'^(?:@check\n(?:async )?def |check\("|    @check\n    def )(\w+)', re.MULTILINE)


@dataclass(frozen=True)
class Client:
    """A client.

    Attributes:
        name: unique; the environment's and the version's are in it.
        program: a file of `programs/`.
        command: the arguments that run the program, given the folder that environments are kept in.
        dialect: what it speaks.
    """

    name: str
    program: str
    command: Callable[[Path], list[str]]
    dialect: str
    env: Mapping[str, str] = field(default_factory=dict)

    def checks(self) -> list[str]:
        """The checks its program makes, and those that hold for all it did."""
        source = (PROGRAMS / self.program).read_text(encoding="utf-8")
        return [*_CHECKS.findall(source), "credentials", "books", "hermetic"]


def cases(clients: Iterable[Client]) -> list[Any]:
    """Every check of every client, as pytest's parameters."""
    return [pytest.param(one, check, id=f"{one.name}-{check}") for one in clients for check in one.checks()]


@dataclass(repr=False)
class Run:
    """What came of it.

    Attributes:
        saw: by check, what the client's program reported; {"wrong": traceback} where it fell over.
        calls: what the provider received, oldest first (`clients_provider.Call.told`).
        attempts: rows of both ledgers.
        strangers: hosts other than the gateway that the client wanted to reach.
        output: the end of what it printed.
    """

    saw: dict[str, dict[str, Any]]
    calls: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    strangers: list[str]
    output: str
    skipped: str = ""

    def of(self, check: str) -> dict[str, Any]:
        """What it saw in a check; a client that fell over fails here."""
        assert check in self.saw, f"{check} was not reported; the end of its output:\n{self.output}"
        saw = self.saw[check]
        assert "wrong" not in saw, saw["wrong"]
        return saw

    def upstream(self, check: str) -> list[dict[str, Any]]:
        """What the provider received in a check."""
        return [call for call in self.calls if call["check"] == check]


def run_once(client: Client, shared: Path, cache: Path) -> Run:
    """The client's run of this session: made by the first that asks; the others wait for it."""
    shared.mkdir(parents=True, exist_ok=True)
    kept = shared / f"{client.name}.json"
    with (shared / f"{client.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(_run(client, shared, cache)))
    run = Run(**json.loads(kept.read_text()))
    if run.skipped:
        unavailable(run.skipped)
    return run


def unavailable(why: str) -> None:
    """A skip; on CI a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


class NotHere(Exception):
    """A client cannot be installed on this machine."""


def _run(client: Client, shared: Path, cache: Path) -> dict[str, Any]:
    folder = shared / client.name
    folder.mkdir()
    try:
        command = client.command(cache)
    except NotHere as error:
        return {"saw": {}, "calls": [], "attempts": [], "strangers": [], "output": "", "skipped": str(error)}
    with ExitStack() as stack:
        provider = stack.enter_context(ProviderServer())
        gateways = []
        for attempts in (4, 1):
            place = folder / f"gateway-{attempts}"
            place.mkdir()
            keys = {KEY: KeyRecord("clients", "clients")}
            # A client meets one failure after the other: none of them is to close the way to the next.
            told = {
                "retry": {"attempts": attempts, "budget": "off"},
                "providers": {name: {"breaker": "off", "pacing": "off"} for name in ("anthropic", "openai")},
            }
            gateways.append(
                stack.enter_context(Gateway(place, provider.url, provider.openai_url, keys=keys, overrides=told))
            )
        strangers = stack.enter_context(_no_way_out())
        env = {
            **_plain_environment(folder, strangers.url),
            "HG_URL": gateways[0].url,
            "HG_ONE_URL": gateways[1].url,
            "HG_CONTROL": f"{provider.url}/_test",
            "HG_KEY": KEY,
            "HG_ASKED": str(PROGRAMS / "asked.json"),
            **client.env,
        }
        output, saw = _watch(command, folder, env)
        calls = [call.told() for call in provider.simulator.books()]
        rows = [row for gateway in gateways for row in gateway.rows("attempts")]
    return {"saw": saw, "calls": calls, "attempts": rows, "strangers": strangers.wanted, "output": output}


def _watch(command: list[str], folder: Path, env: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """Run it to its end; (the end of its output, its reports)."""
    out = folder / "output"
    with out.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        )
        try:
            reported, _ = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            reported, _ = process.communicate()
    saw = {}
    for line in reported.decode("utf-8", "replace").splitlines():
        if line.startswith('{"check"'):
            one = json.loads(line)
            saw[one["check"]] = one["saw"]
    text = out.read_text(errors="replace") + reported.decode("utf-8", "replace")
    return f"exit code {process.returncode}\n{text[-4000:]}", saw


def _plain_environment(folder: Path, proxy: str) -> dict[str, str]:
    """Nothing of this machine's but its paths; a home of its own; every way out leads to `proxy`."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    home = folder / "home"
    home.mkdir()
    ways = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    outside = dict.fromkeys(ways, proxy)
    local = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    return {
        **kept,
        **outside,
        **local,
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
        "DO_NOT_TRACK": "1",
        "NODE_USE_ENV_PROXY": "1",
    }


class _Strangers:
    """A proxy that lets nobody through, and remembers where they wanted to go."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    self.wanted.append(connection.recv(400).split(b"\r\n")[0].decode("latin-1"))
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                except OSError:
                    continue


@contextmanager
def _no_way_out() -> Iterator[_Strangers]:
    strangers = _Strangers()
    thread = threading.Thread(target=strangers.serve, daemon=True)
    thread.start()
    try:
        yield strangers
    finally:
        strangers.listener.shutdown(socket.SHUT_RDWR)
        strangers.listener.close()
        thread.join(10)


PROVIDERS_OWN = tuple(PROVIDER_KEYS.values())
