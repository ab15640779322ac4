"""Whose turn it is to write the log store: a lock file beside it, held for one transaction at a time."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from headgate.core.errors import ConfigError
from headgate.stores.lockfile import is_alive

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_PAUSE_SECONDS = 0.02


class StoreLock:
    """Not for several threads. The kernel gives it back when the process dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def take(self, seconds: float = 0.0) -> bool:
        """Take it, waiting at most so long; whether it was to be had.

        Raises:
            ConfigError: the lock file cannot be made.
        """
        self._open()
        end = time.monotonic() + seconds
        while True:
            try:
                _lock(self._fd)
            except OSError:
                if time.monotonic() >= end:
                    return False
                time.sleep(_PAUSE_SECONDS)
            else:
                return True

    def announce(self, pid: int) -> None:
        """Say in the file which process takes the lines in all the time; 0: none."""
        self._open()
        os.ftruncate(self._fd, 0)
        if pid:
            os.pwrite(self._fd, str(pid).encode(), 0)

    def release(self) -> None:
        """Give it back."""
        if self._fd >= 0:
            _unlock(self._fd)

    def _open(self) -> None:
        if self._fd < 0:
            try:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            except OSError as error:
                raise ConfigError(f"the lock file {self.path} cannot be opened: {error.strerror}") from error

    def close(self) -> None:
        """Give it back, and let go of the file, which stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def worker_of(path: Path) -> int:
    """The process that has announced itself in a lock file and is alive; 0 where there is none."""
    try:
        pid = int(path.read_bytes() or b"0")
    except (OSError, ValueError):
        return 0
    return pid if pid > 0 and is_alive(pid) else 0


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(fd: int) -> None:
    if sys.platform == "win32":
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(fd, fcntl.LOCK_UN)
