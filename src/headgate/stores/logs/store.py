"""What a keeper asks of a log store, whatever database it is in."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from headgate.stores.logs.erasing import Erased, Subject
from headgate.stores.logs.lines import Lines


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a spool was read: bytes, how the file begins, and lines that could not be read, ever."""

    position: int = 0
    head: bytes = b""
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went. `more` says that there is more to do now."""

    exchanges: int = 0
    more: bool = False


class LogStore(Protocol):
    """Written by whoever has the turn, in one thread. Every method raises Unavailable where disk or database said no,
    and ConfigError where it is no log store of ours."""

    def transaction(self) -> AbstractContextManager[Any]:
        """Everything in it or nothing."""
        ...

    def progress(self, spool: str) -> Progress:
        """How far a spool was read."""
        ...

    def take(self, raw: bytes) -> Lines:
        """Put whole lines in, in `transaction`."""
        ...

    def note(self, spool: str, progress: Progress) -> None:
        """Put on record how far a spool was read, in the transaction with its lines."""
        ...

    def unheard(self, spool: str) -> int:
        """The last erasure, by number, that a spool was not emptied for; 0: there is none. From now on `take` takes
        lines in without what they have of it. Called in `transaction`, before `take`, and where there is nothing to
        take in."""
        ...

    def heard(self, spool: str, number: int) -> None:
        """A spool was emptied for every erasure up to this one."""
        ...

    def rest(self) -> None:
        """Called where there is nothing to take in: what was put off is done, if it is time."""
        ...

    def erase(self, subject: Subject, spool: str) -> Erased:
        """Take a subject's words and name out of what is stored.

        Args:
            spool: of whoever asks, who empties it afterwards; "" = there is none.
        """
        ...

    def prune(self, before: float, keep_bytes: int) -> Pruned:
        """One slice of what has to go: older than `before`, seconds since the epoch, or the oldest of too much."""
        ...

    def close(self) -> None:
        """Let go of what is open; the next use opens it again."""
        ...
