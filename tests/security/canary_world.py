"""A gateway with everything on, and everything that comes out of it: files, pages, answers, spans, alerts, webhooks."""

from __future__ import annotations

import http.server
import io
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from argon2 import PasswordHasher
from canary_texts import forms  # it lies beside this file

from headgate.cli import main
from headgate.cli.group import cli
from headgate.control.app import build as build_control
from headgate.control.passwords import Passwords
from headgate.core.secret import Secret
from headgate.gateway.app import create
from headgate.gateway.auth import KeyRecord, KeyRing, digest
from headgate.gateway.server import BackgroundServer, ServerOptions
from headgate.pages import pages
from headgate.settings import load


@dataclass
class Sinks:
    """Everything that came out, by where."""

    found: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)  # of the admin API, by path

    def add(self, where: str, what: bytes | str) -> None:
        raw = what.encode("utf-8", "surrogatepass") if isinstance(what, str) else what
        self.found[where] = self.found.get(where, b"") + raw

    def files(self, folder: Path) -> None:
        """Every file but the configuration."""
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "headgate.yaml":
                with suppress(FileNotFoundError):
                    self.add(f"file {path.name}", path.read_bytes())

    def holders(self, value: str) -> list[str]:
        """Where a value, or a form of it, is to be seen."""
        looked = [form.encode() for form in forms(value)] + [value.encode("utf-16-le")]
        return sorted(where for where, what in self.found.items() if any(each in what for each in looked))


def rows_of(database: Path, *, but: set[str]) -> str:
    """What an SQLite file has in its tables, without some."""
    with closing(sqlite3.connect(database)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return "\n".join(
            repr(row) for name in names if name not in but for row in connection.execute(f'SELECT * FROM "{name}"')
        )


class Receiver:
    """Takes whatever is posted: webhooks of alerts, approvals and jobs, spans and metrics."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.news = threading.Condition()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with outer.news:
                    outer.got.append((self.path, body))
                    outer.news.notify_all()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def wait(self, path: str, seconds: float = 20.0) -> bool:
        """Whether something came to a path."""
        with self.news:
            return self.news.wait_for(lambda: any(told.startswith(path) for told, _ in self.got), seconds)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Served:
    """A gateway in a thread with the dashboard beside it; the command line finds it through its ledger."""

    def __init__(self, url: str, built: Any, folder: Path, env: Mapping[str, str]) -> None:
        self.url, self.built, self.folder, self.env = url, built, folder, env

    def command(self, *arguments: str) -> str:
        """What a command says, out and err."""
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(self.folder)
            for name, value in self.env.items():
                patched.setenv(name, value)
            with redirect_stdout(said), redirect_stderr(said):
                main.run(cli, list(arguments))
        return said.getvalue()

    def crawl(self, sinks: Sinks, start: tuple[str, ...], headers: Mapping[str, str], most: int = 60) -> list[str]:
        """Pages, and what they link to; their paths."""
        queue, seen = list(start), set(start)
        with httpx2.Client(base_url=self.url, headers=dict(headers), timeout=30) as client:
            for path in queue:
                if len(seen) > most and path not in start:
                    continue
                answer = client.get(path)
                sinks.add(f"page {path.partition('?')[0]}", answer.content + repr(answer.headers).encode())
                for found in re.findall(r'(?:href|hx-get)="(/[^"]*)"', answer.text):
                    link = found.replace("&amp;", "&")
                    if link not in seen and not link.startswith("/static/"):
                        seen.add(link)
                        queue.append(link)
        return queue


CHEAP = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


def _aside(gateway: Any) -> Any:
    return build_control(gateway, pages=pages, passwords=CHEAP)


@contextmanager
def serving(
    folder: Path, config: str, env: Mapping[str, str], keys: Mapping[str, KeyRecord], token: str
) -> Iterator[Served]:
    """A gateway on a free port, put together as `headgate serve` does it."""
    from headgate.build import build

    (folder / "headgate.yaml").write_text(config)
    settings = load(folder / "headgate.yaml", env=env)
    built = build(settings, env=env, wait=lambda state: 0.0)
    built.ledger.open()
    built.incidents.load()
    built.alerting.start()
    ring = KeyRing(loopback=True)
    for key, record in keys.items():
        ring.add(digest(key), record)
    gateway = create(built, ring=ring, admin_token=Secret(token), aside=_aside)
    try:
        with BackgroundServer(gateway, ServerOptions(port=0, drain_seconds=1.0, lifespan="off", tune_gc=False)) as on:
            built.ledger.publish(on.url, token)
            yield Served(on.url, built, folder, env)
    finally:
        built.close()


class ServedByCommand:
    """`headgate serve` itself, in a process of its own, its log on standard output."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, said: Path) -> None:
        self.url = url
        self._process = process
        self._said = said

    def stop(self) -> tuple[bytes, bytes]:
        """End it in order; everything that it said, out and err."""
        self._process.terminate()
        assert self._process.wait(60) == 0
        return (self._said / "out").read_bytes(), (self._said / "err").read_bytes()


@contextmanager
def serving_process(folder: Path, config: str, env: Mapping[str, str]) -> Iterator[ServedByCommand]:
    """The command on a free port, once it listens."""
    (folder / "headgate.yaml").write_text(config)
    command = [sys.executable, "-m", "headgate.cli.main", "serve", "--port", "0", "--log", "-"]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **env}, stdout=out, stderr=err)
        try:
            end, url = time.monotonic() + 60, None
            while url is None:  # the greeting goes to standard error where the log has standard output
                assert time.monotonic() < end, (folder / "err").read_text()
                assert process.poll() is None, (folder / "err").read_text()
                time.sleep(0.05)
                url = re.search(r"http://127\.0\.0\.1:[1-9][0-9]*(?=[\s/])", (folder / "err").read_text())
            yield ServedByCommand(process, url.group(), folder)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
