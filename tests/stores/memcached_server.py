"""A private Memcached from the system's package, gone with the test run; see `redis_server.py`."""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import pwd
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

import pytest

if sys.platform != "win32":
    import fcntl

PATIENCE = 30.0


class Missing(Exception):
    """There is no Memcached on this machine, and none can be put there."""


class MemcachedServer:
    """A running server. `url()` is a place on it that nobody else uses."""

    def __init__(self, *told: str) -> None:
        self._program = _program()
        self._told = told
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start, on a free port the first time and on the same one again; empty each time."""
        again = self.port != 0
        for _ in range(1 if again else 5):
            if not again:
                with socket.create_server(("127.0.0.1", 0)) as free:
                    self.port = free.getsockname()[1]
            if self._started():
                return
        raise AssertionError("memcached did not start")

    def _started(self) -> bool:
        told = [self._program, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "64", "-t", "1", *self._told]
        if os.geteuid() == 0:
            told += ["-u", pwd.getpwuid(0).pw_name]  # it asks who to be where it is started by root
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(told, stdout=quiet, stderr=quiet, preexec_fn=_die_with_us)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.01)
        return False

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"version\r\n")
                return connection.recv(64).startswith(b"VERSION")
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

    def url(self) -> str:
        """A place of its own: no other test has this prefix."""
        return f"memcached://127.0.0.1:{self.port}?prefix=t{secrets.token_hex(6)}"


def _program() -> str:
    if shutil.which("memcached") is None and sys.platform != "win32" and os.geteuid() == 0:
        _install()
    found = shutil.which("memcached")
    if found is None:
        raise Missing("no Memcached on this machine (Debian: apt-get install memcached)")
    return found


def _install() -> None:
    """Workers wait for each other. `RUNLEVEL` keeps the package from starting a server of its own."""
    if shutil.which("apt-get") is None:
        return
    with (Path(tempfile.gettempdir()) / "headgate-memcached.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if shutil.which("memcached") is None:
            quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "PATH": os.environ["PATH"]}
            subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=300, env=quiet)
            told = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "memcached"]
            subprocess.run(told, check=False, timeout=600, stdout=subprocess.DEVNULL, env=quiet)


def _die_with_us() -> None:
    # A test run that is killed leaves no server behind. Linux only; elsewhere the server stays.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.setpgid(0, 0)  # Ctrl-C at the terminal is for pytest, which stops it when it is done


@functools.cache
def _server() -> MemcachedServer | str:
    try:
        made = MemcachedServer()
    except Missing as missing:
        return str(missing)
    atexit.register(made.stop)
    return made


def the_memcached() -> MemcachedServer:
    """The one server of this test process."""
    found = _server()
    if isinstance(found, str):
        if os.environ.get("CI") == "true":
            pytest.fail(found)
        pytest.skip(found)
    return found


@pytest.fixture
def own_memcached() -> Iterator[MemcachedServer]:
    """A server that the test may stop and start."""
    the_memcached()  # or skip
    made = MemcachedServer()
    yield made
    made.stop()
