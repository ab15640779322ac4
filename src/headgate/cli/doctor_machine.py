"""This machine: packages, disk, SQLite, the ledger's files and who holds them, the log, the limits of the process."""

from __future__ import annotations

import os
import shutil
import sqlite3
import ssl
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from headgate._version import __version__
from headgate.checklist.files import mode, too_open
from headgate.cli.doctor_ledger import check_memory, check_postgres
from headgate.cli.doctor_report import NOTE, OK, PROBLEM, WARNING, Finding
from headgate.core.errors import ConfigError, HeadgateError

if TYPE_CHECKING:
    from headgate.settings.model import Settings

WAL_FIXED = (3, 51, 3)
"""The first SQLite without the WAL-reset bug (https://www.sqlite.org/wal.html#walresetbug); 3.7.0 to 3.51.2 have it."""

LITTLE_BYTES = 100 * 1024**2
LOW_BYTES = 1024**3
FEW_FILES = 1024

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs", "lustre"})
_CORE = ("httpx2", "httptools", "msgspec", "tenacity", "pyyaml", "sqlalchemy", "alembic", "structlog", "truststore")
_EXTRAS = (("gateway", ("uvicorn",)), ("cli", ("click", "rich")))


def check_packages() -> Iterator[Finding]:
    """Python, OpenSSL, and the packages of the core and of the gateway."""
    python = ".".join(map(str, sys.version_info[:3]))
    missing = [name for name in _CORE if _version(name) is None]
    if missing:
        yield Finding("machine", PROBLEM, f"packages are missing: {', '.join(missing)}", "pip install headgate again")
    for extra, names in _EXTRAS:
        if any(_version(name) is None for name in names):
            what = f"the extra [{extra}] is not installed"
            yield Finding("machine", NOTE, what, f"`headgate serve` needs it: pip install 'headgate[{extra}]'")
    if os.name != "nt" and _version("uvloop") is None:
        yield Finding("machine", NOTE, "uvloop is not installed: the gateway is slower without it")
    if _built_plainly():
        what = "this Python was built without its own optimisations (pyenv's default): it takes 10 to 30 % more CPU"
        better = "your system's, or PYTHON_CONFIGURE_OPTS='--enable-optimizations --with-lto' pyenv install"
        yield Finding("machine", NOTE, what, f"where that matters, use another: {better}")
    yield Finding("machine", OK, f"headgate {__version__}, Python {python}, {ssl.OPENSSL_VERSION}")


def _built_plainly() -> bool:
    """Whether the interpreter was compiled without profile-guided optimisation
    (https://docs.python.org/3/using/configure.html#performance-options). What a system brings is taken to be well
    built: Debian's does not tell."""
    told = sysconfig.get_config_var("CONFIG_ARGS")
    return sys.base_prefix != "/usr" and isinstance(told, str) and "--enable-optimizations" not in told


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_process() -> Iterator[Finding]:
    """Open files: each call holds two, one to the caller and one to the provider."""
    if sys.platform == "win32":
        return
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        what = f"a process may open {soft} files: about {soft // 2} calls at a time"
        yield Finding("machine", WARNING, what, "raise it (ulimit -n 65536)")


def check_sqlite() -> Finding:
    """Whether this Python's SQLite has the WAL-reset bug, and when that matters here."""
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info >= WAL_FIXED:
        return Finding("ledger", OK, f"SQLite {found}")
    what = (
        f"SQLite {found} can damage a WAL file when two connections write or checkpoint it at the same moment "
        "(fixed in 3.51.3). Headgate writes through one connection and reads with mode=ro: alone it never does"
    )
    return Finding("ledger", NOTE, what, "never let another program write to the ledger while a gateway runs")


def check_ledger(settings: Settings) -> Iterator[Finding]:
    """The ledger's folder, files and holder; the log beside it."""
    from headgate.stores.opening import is_postgres_url, log_file, log_key_file, sqlite_file

    storage = settings.storage
    try:
        path = sqlite_file(storage)
    except ConfigError as error:
        yield Finding("ledger", PROBLEM, error.message)
        return
    beside = (log_file(storage), log_key_file(storage))
    if path is None:
        yield from check_postgres(storage) if is_postgres_url(storage) else check_memory()
        yield from _folder(beside[0].parent, "the log lives")
        yield from _rights((), beside)
        return
    yield check_sqlite()
    yield from _file(storage, path, beside)


def _folder(folder: Path, lives: str) -> Iterator[Finding]:
    if not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("ledger", PROBLEM, f"{folder.absolute()} cannot be written by this user: {lives} there")
    yield from _disk(folder)


def _file(storage: str, path: Path, beside: tuple[Path, Path]) -> Iterator[Finding]:
    folder = path.parent
    if not folder.is_dir():
        yield Finding("ledger", PROBLEM, f"{folder} is not a folder: the ledger cannot be made", f"mkdir -p {folder}")
        return
    yield from _folder(folder, "the ledger and its log live")
    per_process = "{pid}" in storage
    if per_process:
        yield Finding("ledger", NOTE, "there is a ledger for each process ({pid}): their files are not looked at")
        return
    yield from _held(path)
    yield from _rights([path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", ".lock")], beside)
    if path.exists():
        yield _readable(path)
    else:
        yield Finding("ledger", OK, f"{path} will be made by the first call")


def _disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    amount = f"{free / 1024**3:.1f} GiB free for the ledger" if free >= 1024**3 else f"{free // 1024**2} MiB free"
    level = PROBLEM if free < LITTLE_BYTES else WARNING if free < LOW_BYTES else OK
    yield Finding("ledger", level, amount, "" if level == OK else "on a full disk every call is refused: make room")
    kind = _file_system(folder)
    if kind in _NETWORK:
        what = f"{folder.absolute()} is on {kind}: SQLite's WAL needs memory shared on one machine, and locks that hold"
        yield Finding("ledger", WARNING, what, "put the ledger on a local disk")


def _file_system(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """The kind of the file system that a folder is on, where Linux tells; "" elsewhere."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
        where = folder.resolve()
    except OSError:
        return ""
    best, kind = "", ""
    for line in lines:
        parts = line.split(" ")
        if len(parts) > 2:
            point = parts[1].replace("\\040", " ")
            if len(point) >= len(best) and where.is_relative_to(point):
                best, kind = point, parts[2]
    return kind


def _held(path: Path) -> Iterator[Finding]:
    from headgate.stores.lockfile import read_lock

    holder = read_lock(path)
    if holder is None:
        yield Finding("ledger", OK, "nobody writes it now")
    elif holder.url:
        yield Finding("ledger", OK, f"held by the gateway at {holder.url} (process {holder.pid})")
    else:
        what = f"held by process {holder.pid}: another writer has to wait for its end"
        yield Finding("ledger", NOTE, what, "SQLite takes one writer; several need a gateway, or a file each")


def _rights(ledger: Sequence[Path], beside: tuple[Path, Path]) -> Iterator[Finding]:
    """Modes: the ledger has who asked for what, the lock the gateway's control token, the log its key and its lines.

    Args:
        ledger: its files.
        beside: the log, and its key.
    """
    open_ones = [each for each in (*ledger, *beside) if each.exists() and too_open(each)]
    for each in open_ones:
        what = f"{each} can be read by other users ({mode(each)})"
        level = PROBLEM if each.name.endswith((".lock", ".logkey")) else WARNING
        yield Finding("ledger", level, what, f"chmod 600 {each}")
    written = [each for each in (*ledger[:1], beside[0]) if each.exists()]
    closed = [each for each in written if not os.access(each, os.W_OK)]
    for each in closed:
        yield Finding("ledger", PROBLEM, f"{each} cannot be written by this user", f"whose is it? (ls -l {each})")
    if written and not open_ones and not closed:
        what = "its files are this user's alone, and so is the log" if ledger else "the log is this user's alone"
        yield Finding("ledger", OK, what)


def _readable(path: Path) -> Finding:
    from headgate.stores.reader import Reader

    try:
        Reader(path).recent(limit=1)
    except HeadgateError as error:
        return Finding("ledger", PROBLEM, error.message, "restore it from a backup, or let `storage` name another file")
    return Finding("ledger", OK, f"{path} can be read ({path.stat().st_size / 1024**2:,.1f} MiB)")
