"""The JSON lines, read on from where they were left: whole lines only, through moves, truncations and restarts.

Whoever writes the file holds a shared lock on it while it writes (`stores.log`), and looks whether it is still the file
of that name behind taking it. Whoever holds the exclusive lock may therefore end a file: nothing is added to it later.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

if sys.platform != "win32":
    import fcntl

HEAD_BYTES = 256
"""The beginning of the file, by whose hash it is known again: the first line has a time and an exchange's id."""
MOST_AT_ONCE = 4 * 1024 * 1024
LONGEST_LINE = 16 * 1024 * 1024
"""Without a newline in so many bytes the file is no log; they are skipped as one bad line."""


_BEGINS = re.compile(rb'\{"timestamp":"([0-9T:.+Z-]{20,40})"')
_BEHIND = b"\0\0"
"""How `Spool.head` begins where nothing was read of the file yet: behind it is when the one before was begun and last
written to."""


def _hashed(beginning: bytes) -> bytes:
    return len(beginning).to_bytes(2, "big") + sha256(beginning).digest()


def _length(head: bytes) -> int:
    return int.from_bytes(head[:2], "big")


def _begun(path: Path) -> bytes:
    """The time of a file's first line, as it is written there; b"" where it has none."""
    try:
        with path.open("rb") as file:
            found = _BEGINS.match(file.read(HEAD_BYTES))
    except OSError:
        return b""
    return found[1] if found else b""


class Spool:
    """One file of lines, from a position on. Not for several threads.

    Attributes:
        position: of the first byte that was not read yet, in the file that is open.
        head: tells how it begins: the length of that and its hash, so that no words are on record; or which file was
            read to its end before it; b"" = not known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self.head = b""
        self._fd = -1
        self._id = (0, 0)
        self._holds = False

    def begin(self, position: int, head: bytes) -> None:
        """Go on at a position of the file that begins so."""
        self.close()
        self.position, self.head = position, head

    def close(self) -> None:
        """Let go of the file. The position stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._holds = False

    def behind(self) -> int:
        """Bytes in the file of that name that were not read yet; 0 where there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return 0
        if self._fd >= 0 and (found.st_dev, found.st_ino) != self._id:
            return max(0, os.fstat(self._fd).st_size - self.position) + found.st_size
        return found.st_size - self.position if found.st_size >= self.position else found.st_size

    def read(self) -> bytes:
        """What comes next: whole lines, at most 4 MB or one line; b"" where there is nothing more now. The position
        moves on only with `advance`.

        Raises:
            OSError: it cannot be read.
        """
        while True:
            if self._fd < 0 and not self._open():
                return b""
            if not self._same():  # truncated and begun anew: by copytruncate, say, or cut by us
                self.position, self.head = 0, b""
            found = self._lines()
            if found or not self._moved():
                return found
            # Moved away, and read to its end. Under the exclusive lock nobody is about to write to it.
            with self.held():
                found = self._lines(last=True)
            if found:
                return found
            self.begin(0, self._mark())

    def advance(self, size: int) -> None:
        """So many bytes were taken in."""
        self.position += size
        if self._fd >= 0:  # a torn last line was given its newline
            self.position = min(self.position, os.fstat(self._fd).st_size)
        if self._fd >= 0 and _length(self.head) < HEAD_BYTES:
            self.head = _hashed(os.pread(self._fd, min(HEAD_BYTES, self.position), 0))

    def cut(self) -> bool:
        """Empty the file, if all of it was taken in. Whether it was. Call it with the position on record, inside
        `held`: a crash behind it is seen as a truncation. Nothing is done where `read` has gone on to another file,
        which is not held."""
        if not self._holds or self._moved() or os.fstat(self._fd).st_size != self.position:
            return False
        mark = self._mark()
        os.truncate(self.path, 0)
        self.position, self.head = 0, mark
        return True

    def empty(self) -> bool:
        """Whether there is no line in the file of that name, read or not."""
        try:
            return self.path.stat().st_size == 0
        except OSError:
            return True

    @contextmanager
    def held(self) -> Iterator[None]:
        """With the exclusive lock: nobody writes meanwhile."""
        if self._fd < 0:
            yield
            return
        if sys.platform != "win32":
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._holds = True
        try:
            yield
        finally:
            self._holds = False
            if self._fd >= 0 and sys.platform != "win32":
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _open(self) -> bool:
        path = self._next() or self._left_behind() or self.path
        try:
            fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return False
        self._fd = fd
        found = os.fstat(fd)
        self._id = (found.st_dev, found.st_ino)
        return True

    def _left_behind(self) -> Path | None:
        """Where the file has gone that was being read, if it was moved while nobody looked: beside the new one. Also
        where it was read to its end: there may be others between it and the new one."""
        if not self.head or self.head.startswith(_BEHIND) or self._begins_so(self.path):
            return None
        for each in self._beside():
            if self._begins_so(each) and each.stat().st_size >= self.position:
                return each
        return None

    def _next(self) -> Path | None:
        """The file that was begun next behind the one that was read to its end, where that one was moved away: there
        are several where nobody looked for a while."""
        told = self.head.removeprefix(_BEHIND).split(b" ")
        if not self.head.startswith(_BEHIND) or len(told) != 2:
            return None
        later = [(begun, each != self.path, each) for each in (self.path, *self._beside()) if (begun := _begun(each))]
        # One that was not written to since then was read before, however far its clock had gone ahead.
        fit = [each for each in later if each[0] > told[0] and each[2].stat().st_mtime_ns >= int(told[1])]
        return min(fit)[2] if fit else None

    def _mark(self) -> bytes:
        """Of the file that was read to its end: when it was begun and last written to, for `_next`."""
        found = _BEGINS.match(os.pread(self._fd, HEAD_BYTES, 0))
        return b"%s%s %d" % (_BEHIND, found[1], os.fstat(self._fd).st_mtime_ns) if found else b""

    def _beside(self) -> list[Path]:
        return sorted(each for each in self.path.parent.glob(f"{self.path.name}?*") if each.is_file())

    def _begins_so(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                return _hashed(file.read(_length(self.head))) == self.head
        except OSError:
            return False

    def _same(self) -> bool:
        if os.fstat(self._fd).st_size < self.position:
            return False
        return (
            not self.head
            or self.head.startswith(_BEHIND)
            or _hashed(os.pread(self._fd, _length(self.head), 0)) == self.head
        )

    def _moved(self) -> bool:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False  # there will be a new one; until then this may still be written to
        return (found.st_dev, found.st_ino) != self._id

    def _lines(self, last: bool = False) -> bytes:
        size = MOST_AT_ONCE
        while True:
            found = os.pread(self._fd, size, self.position)
            end = found.rfind(b"\n") + 1
            if end:
                return found[:end]
            if len(found) < size:
                return found + b"\n" if last and found else b""  # torn: the rest of the line may still come
            if size >= LONGEST_LINE:
                return found
            size *= 2
