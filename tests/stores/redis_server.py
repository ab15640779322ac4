"""A private Redis (or Valkey) from the system's package, in a temporary folder, gone with the test run.

One server for each test process, a prefix of keys for each test. Where the package is missing it is installed if we are
root; else tests are skipped, on CI failed.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "win32":
    import fcntl

PATIENCE = 30.0
_PROGRAMS = ("redis-server", "valkey-server")


class Missing(Exception):
    """There is no Redis on this machine, and none can be put there."""


class RedisServer:
    """A running server. `url()` is a place on it that nobody else uses."""

    def __init__(self, *told: str) -> None:
        self._program = _program()
        self._told = told
        self._folder = Path(tempfile.mkdtemp(prefix="hg-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        try:
            self.start()
        except BaseException:
            self.remove()
            raise

    def start(self) -> None:
        """Start, on a free port the first time and on the same one again; empty each time."""
        again = self.port != 0
        for _ in range(1 if again else 5):
            if not again:
                with socket.create_server(("127.0.0.1", 0)) as free:
                    self.port = free.getsockname()[1]
            if self._started():
                return
        raise AssertionError((self._folder / "log").read_text())

    def _started(self) -> bool:
        told: list[Any] = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        told += ["--appendonly", "no", "--dir", self._folder, *self._told]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(told, stdout=log, stderr=log, preexec_fn=_die_with_us)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.01)
        return False

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return bool(connection.recv(64))
        except OSError:
            return False

    def stop(self, how: int = signal.SIGKILL) -> None:
        """Stop; SIGSTOP lets it hang instead, and `go_on` ends that."""
        if self._process is None:
            return
        self._process.send_signal(how)
        if how != signal.SIGSTOP:
            self._process.wait(PATIENCE)
            self._process = None

    def go_on(self) -> None:
        """After SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *command: Any) -> Any:
        """Run one command."""
        import redis

        with redis.Redis(port=self.port, socket_timeout=60) as client:
            return client.execute_command(*command)

    def url(self, who: str = "") -> str:
        """A place of its own: no other test has this prefix."""
        return f"redis://{who}127.0.0.1:{self.port}/0?prefix=t{secrets.token_hex(6)}"

    def keys(self, url: str) -> list[str]:
        """All keys of a place."""
        prefix = url.partition("prefix=")[2]
        return sorted(key.decode() for key in self.run("KEYS", f"{{{prefix}}}:*"))


def _program() -> str:
    found = _installed()
    if found is None and sys.platform != "win32" and os.geteuid() == 0:
        _install()
        found = _installed()
    if found is None:
        raise Missing("no Redis on this machine (Debian: apt-get install redis-server)")
    return found


def _installed() -> str | None:
    return next(filter(None, map(shutil.which, _PROGRAMS)), None)


def _install() -> None:
    """Workers wait for each other. `RUNLEVEL` keeps the package from starting a server of its own."""
    if shutil.which("apt-get") is None:
        return
    with (Path(tempfile.gettempdir()) / "headgate-redis.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _installed() is None:
            quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "PATH": os.environ["PATH"]}
            subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=300, env=quiet)
            told = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "redis-server"]
            subprocess.run(told, check=False, timeout=600, stdout=subprocess.DEVNULL, env=quiet)


def _die_with_us() -> None:
    # A test run that is killed leaves no server behind. Linux only; elsewhere the server stays.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.setpgid(0, 0)  # Ctrl-C at the terminal is for pytest, which stops it when it is done


@functools.cache
def _server() -> RedisServer | str:
    try:
        made = RedisServer()
    except Missing as missing:
        return str(missing)
    atexit.register(made.remove)
    return made


def the_redis() -> RedisServer:
    """The one server of this test process."""
    found = _server()
    if isinstance(found, str):
        _without(found)
        raise AssertionError
    return found


def _without(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture
def redis_server() -> RedisServer:
    return the_redis()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that the test may stop and start."""
    try:
        made = RedisServer()
    except Missing as missing:
        _without(str(missing))
        raise AssertionError from None
    yield made
    made.remove()
