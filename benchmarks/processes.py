"""Child processes of a benchmark: starting, waiting for, stopping, and the CPU time they have used."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")


class CannotRun(Exception):
    """A benchmark cannot be run here; the message says why and what to do."""


_PORTS = range(20_000, 32_000)  # below Linux's own and IANA's ephemeral ones


def free_port() -> int:
    """A loopback port nobody listens on now: none of those that systems give to whoever connects somewhere, since one
    of thousands of connections might have it before a server does."""
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise CannotRun("there is no free port")


def wait_for_port(port: int, process: subprocess.Popen[str], *, seconds: float = 15.0) -> None:
    """Return once something accepts connections on the port.

    Raises:
        CannotRun: the process ended, or nothing listens after `seconds`.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        if process.poll() is not None:
            raise CannotRun(f"{process.args!r} ended with exit code {process.returncode}")
        time.sleep(0.02)
    raise CannotRun(f"nothing listens on port {port} after {seconds:g} s: {process.args!r}")


@contextlib.contextmanager
def running(command: list[str], *, cwd: Path, log: Path, env: dict[str, str] | None = None) -> Iterator[Child]:
    """A child process, whose stderr goes to `log`; stopped by SIGTERM on leaving, and killed if it does not obey."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=stderr, text=True)
        try:
            yield Child(process, log)
        finally:
            stop(process)


def stop(process: subprocess.Popen[str]) -> int:
    """SIGTERM, up to 30 s, then SIGKILL. The exit code. Idempotent."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
    return process.returncode


class Child:
    """A running process and everything it started."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log

    def first_line(self) -> str:
        """The first line it prints.

        Raises:
            CannotRun: it ended before printing one.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if not line:
            self.process.wait(10)
            tail = self.log.read_text(errors="replace")[-2000:]
            raise CannotRun(f"{self.process.args!r} ended with exit code {self.process.returncode}:\n{tail}")
        return line

    def cpu(self) -> float:
        """Seconds of CPU (user and system) used so far by the process, its threads and its living children."""
        return sum(_cpu_in(Path(f"/proc/{pid}/stat")) for pid in _tree(self.process.pid))

    def loop_cpu(self) -> float:
        """Seconds of CPU used so far by the process's first thread, where a Python server's event loop runs."""
        return _cpu_in(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/stat"))

    def settled_cpu(self) -> float:
        """`cpu()` once nothing is worked off any more: what a request left to do later is part of its cost."""
        before = self.cpu()
        for _ in range(50):
            time.sleep(0.2)
            now = self.cpu()
            if now - before < 2 * _TICK:
                return now
            before = now
        return before


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in listing.read_text().split())
    return found


def _cpu_in(stat: Path) -> float:
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK  # utime and stime (proc(5))


def need(*programs: str) -> None:
    """Find programs, or install them with apt-get where we are root.

    Raises:
        CannotRun: one is missing and cannot be installed.
    """
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' '.join(missing)} with apt-get", flush=True)
        packages = [*missing, *(["libnginx-mod-http-lua"] if "nginx" in missing else [])]
        subprocess.run(["apt-get", "update", "-qq"], check=False, stdout=subprocess.DEVNULL)
        subprocess.run(["apt-get", "install", "-y", "-qq", *packages], check=False, stdout=subprocess.DEVNULL)
        missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        raise CannotRun(f"needs {' and '.join(missing)}; install with: apt-get install nginx libnginx-mod-http-lua wrk")
