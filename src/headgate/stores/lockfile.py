"""One writer process per ledger file (decisions 21), told by a lock file beside it.

The lock is `flock`'s: the kernel gives it back when the process dies, however it dies. The file's content is for
people and for the command line: who holds it, since when, and where the running gateway can be reached.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from headgate.core.errors import ConfigError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_BYTE_FAR_BEHIND = 1 << 30
"""Windows locks are mandatory for the locked bytes, so lock one that nobody reads."""


@dataclass(frozen=True, slots=True)
class LockInfo:
    """Who writes a ledger. `token` is the gateway's control credential: it does not print."""

    pid: int
    started: float  # seconds since the epoch
    url: str = ""  # the gateway's control address, "" if the writer is not a gateway
    token: str = field(default="", repr=False)


class LockFile:
    """The held lock of one ledger file."""

    __slots__ = ("_fd", "_info", "path")

    def __init__(self, path: Path, fd: int, info: LockInfo) -> None:
        self.path = path
        self._fd = fd
        self._info = info

    @classmethod
    def acquire(cls, ledger: Path, *, now: float) -> LockFile:
        """Take the lock of `ledger`.

        Raises:
            ConfigError: another process holds it, or the lock file cannot be made.
        """
        path = lock_path(ledger)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        except OSError as error:
            raise ConfigError(f"the lock file {path} cannot be opened: {error.strerror}") from error
        try:
            _lock(fd)
        except OSError as error:
            os.close(fd)
            raise ConfigError(_held(ledger)) from error
        lock = cls(path, fd, LockInfo(os.getpid(), now))
        lock._write()
        return lock

    def publish(self, url: str, token: str) -> None:
        """Say where the gateway that holds this ledger can be reached, for the command line."""
        self._info = LockInfo(self._info.pid, self._info.started, url, token)
        self._write()

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes lock two different files."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def forget(self) -> None:
        """In a forked child: let go of the inherited descriptor, which would outlive the parent, and touch nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self) -> None:
        info = self._info
        content = {"pid": info.pid, "started": info.started, "url": info.url, "token": info.token}
        body = json.dumps(content).encode()
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.write(self._fd, body)


def lock_path(ledger: Path) -> Path:
    """``headgate.db`` is locked by ``headgate.db.lock``."""
    return ledger.with_name(ledger.name + ".lock")


def read_lock(ledger: Path) -> LockInfo | None:
    """Who writes `ledger` now; None if nobody does (as far as its lock file tells: a dead process does not count)."""
    try:
        content = json.loads(lock_path(ledger).read_bytes())
        info = LockInfo(int(content["pid"]), float(content["started"]), str(content["url"]), str(content["token"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return info if is_alive(info.pid) else None


def _held(ledger: Path) -> str:
    holder = read_lock(ledger)
    who = f"process {holder.pid}" if holder is not None else "another process"
    return (
        f"the ledger {ledger} is being written by {who}, and SQLite takes one writer. Choose: (1) PostgreSQL for many "
        "processes, `storage: postgresql://...`; (2) one gateway for all of them, `headgate serve`; (3) a file per "
        "process where no budget is shared, `storage: sqlite:///headgate-{pid}.db`."
    )


def is_alive(pid: int) -> bool:
    """Whether there is a process of this id."""
    if sys.platform == "win32":
        return True  # os.kill would end the process there; the caller finds out when it connects
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        os.lseek(fd, _BYTE_FAR_BEHIND, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
