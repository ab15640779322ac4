"""A private PostgreSQL from the system's package, in a temporary folder, gone with the test run.

One server for each test process, one database for each test. It trusts whoever comes over loopback, but for the role
`lockedout`, who needs a password. Where the package is missing it is installed if we are root; else tests are skipped,
on CI failed.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import pwd
import re
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

ROLE = "headgate"
LOCKED_OUT = "lockedout"
PATIENCE = 30.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # a test stops the server, never the machine
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "max_wal_size": "128MB",
    "timezone": "Asia/Tokyo",  # what takes the server's zone for UTC shows
}


class Missing(Exception):
    """There is no PostgreSQL on this machine, and none can be put there."""


class Server:
    """A running server. `url()` makes a database on it."""

    def __init__(self) -> None:
        self._bin = _programs()
        self._user = _unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="hg-pg-"))
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        try:
            self._initdb()
            self.start()
        except BaseException:
            self.remove()
            raise

    def _initdb(self) -> None:
        told = [self._bin / "initdb", "-D", self._data, "-U", ROLE, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        done = subprocess.run([*told, "--no-sync"], capture_output=True, user=self._user, cwd=self._folder, check=False)
        assert done.returncode == 0, done.stderr.decode()
        rules = self._data / "pg_hba.conf"
        rules.write_text(f"host all {LOCKED_OUT} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")

    def start(self) -> None:
        """Start, on a free port the first time and on the same one again."""
        again = hasattr(self, "port")
        for _ in range(1 if again else 5):
            if not again:
                with socket.create_server(("127.0.0.1", 0)) as free:
                    self.port = free.getsockname()[1]
            if self._started():
                return
        raise AssertionError((self._folder / "log").read_text())

    def _started(self) -> bool:
        told: list[Any] = [self._bin / "postgres", "-D", self._data, "-p", str(self.port), "-k", self._folder]
        told += [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                told, stdout=log, stderr=log, user=self._user, cwd=self._folder, preexec_fn=_die_with_us
            )
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.run("SELECT 1")
            except _psycopg().OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False

    def stop(self, how: int = signal.SIGQUIT) -> None:
        """Stop: SIGQUIT breaks off everything at once, SIGINT closes what is open in order."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE)
            self._process = None

    def remove(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as the superuser."""
        psycopg = _psycopg()
        place = {"host": "127.0.0.1", "port": self.port, "user": ROLE, "dbname": database}
        with psycopg.connect(**place, autocommit=True, connect_timeout=60) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def url(self, *, user: str = ROLE, password: str = "", options: str = "") -> str:
        """A new, empty database, whose language sorts otherwise than bytes do where this PostgreSQL can."""
        name = f"t{secrets.token_hex(6)}"
        version = int(self.run("SHOW server_version_num")[0][0])
        language = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US'" if version >= 150000 else ""
        self.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {language}")
        who = f"{user}:{password}" if password else user
        return f"postgresql://{who}@127.0.0.1:{self.port}/{name}{options}"

    def seem_long_up(self, url: str) -> str:
        """Let a database believe that the server has been up for a day: until then, nobody is called dead in it."""
        name = database_of(url)
        told = "SELECT now() - interval '1 day'"
        self.run(
            f"CREATE FUNCTION public.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql RETURN ({told})", name
        )
        self.run(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
        return url

    def log(self) -> str:
        """What the server has said."""
        return (self._folder / "log").read_text()


def database_of(url: str) -> str:
    """The name in a URL."""
    return url.rpartition("/")[2].partition("?")[0]


def _psycopg() -> Any:
    import psycopg

    return psycopg


def _programs() -> Path:
    if sys.platform == "win32":
        raise Missing("PostgreSQL's tests run on Linux and macOS")
    found = _installed()
    if found is None and os.geteuid() == 0:
        _install()
        found = _installed()
    if found is None:
        raise Missing("no PostgreSQL on this machine (Debian: apt-get install postgresql)")
    return found


def _installed() -> Path | None:
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if versions:
        return max(versions, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0))
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found and shutil.which("postgres") else None


def _install() -> None:
    """Workers wait for each other. No cluster of its own is made: `postgresql` would start one."""
    if shutil.which("apt-get") is None:
        return
    with (Path(tempfile.gettempdir()) / "headgate-postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _installed() is None:
            quiet = {"DEBIAN_FRONTEND": "noninteractive", "PATH": os.environ["PATH"]}
            made_by_installing = Path("/etc/postgresql-common/createcluster.conf")
            if not made_by_installing.exists():
                made_by_installing.parent.mkdir(exist_ok=True)
                made_by_installing.write_text("create_main_cluster = false\n")
            subprocess.run(["apt-get", "update", "-qq"], check=False, timeout=300, env=quiet)
            told = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql"]
            subprocess.run(told, check=False, timeout=600, stdout=subprocess.DEVNULL, env=quiet)


def _unprivileged() -> str | None:
    """Who runs it: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _die_with_us() -> None:
    # A test run that is killed leaves no server behind. Linux only; elsewhere the server stays.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
    os.setpgid(0, 0)  # Ctrl-C at the terminal is for pytest, which stops it when it is done


@functools.cache
def _server() -> Server | str:
    try:
        made = Server()
    except Missing as missing:
        return str(missing)
    atexit.register(made.remove)
    return made


@pytest.fixture
def server() -> Server:
    """The one server of this test process."""
    return the_server()


def the_server() -> Server:
    """As the fixture, for what is no fixture."""
    found = _server()
    if isinstance(found, str):
        if os.environ.get("CI") == "true":
            pytest.fail(found)
        pytest.skip(found)
    return found


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that the test may stop and start."""
    try:
        made = Server()
    except Missing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    yield made
    made.remove()


@pytest.fixture
def url(server: Server) -> str:
    """An empty database of this test's own."""
    return server.url()
