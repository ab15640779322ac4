"""What a place for kept answers has to do, outside of this process: plain blocking work on bytes, in one thread.

`stores.cache_thread` does all the rest: the thread, waiting and giving up, encoding, counting, losing and coming back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

NO_ANSWER = "it did not answer in time"
NO_CONNECTION = "no connection to it"
UNKNOWN = -1
"""In place of a number that the place does not tell."""


class Entry(NamedTuple):
    """One entry to put. `expires` is in seconds since the epoch, `seconds` how long that is from now; > 0."""

    key: bytes
    data: bytes
    expires: float
    seconds: float


class NotKept(Exception):
    """It answers, and does not take what it is given: it is full, or may only be read. `str()` says why."""


class Backend(Protocol):
    """One place. Its methods are called by one thread, and may raise anything: it is taken to be gone then, and `open`
    is tried again after a while.

    Attributes:
        name: for people; without user, password and options.
        largest: bytes of an entry, at the most.
        patience: seconds; whoever asks waits no longer, and the answers of others are not worth more.
    """

    name: str
    largest: int
    patience: float

    def open(self) -> None:
        """Connect, or open the file. Called again after every failure."""
        ...

    def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """What is there under each of `keys`."""
        ...

    def put(self, entries: Sequence[Entry]) -> int:
        """Keep them; the later of the same key counts. Returns how many others had to go for room, as far as it is
        told.

        Raises:
            NotKept: some were not; what is there can be read all the same.
        """
        ...

    def drop(self, key: bytes) -> None:
        """This one is not wanted any more."""
        ...

    def forget(self, prefix: bytes) -> Iterator[int]:
        """Drop all whose keys begin so, in steps of a few milliseconds. Yields how many each was, or `UNKNOWN`."""
        ...

    def tend(self) -> None:
        """Called about once a minute: throw away what has expired, where the place does not do so itself."""
        ...

    def count(self) -> tuple[int, int]:
        """Entries and their bytes, or `UNKNOWN`. Must not take long: it is asked often."""
        ...

    def hang_up(self) -> None:
        """Give back what `open` has taken. Idempotent, and never raises."""
        ...

    def forked(self) -> None:
        """This is another process now: let go of what `open` has taken, which is the parent's, and touch nothing."""
        ...

    def reason(self, error: BaseException) -> str:
        """Why it is of no use now, in words of ours; `NO_ANSWER` where it has kept us waiting."""
        ...
