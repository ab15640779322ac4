"""Calls that may come again, by their head and body (`engine.again`)."""

from __future__ import annotations

from headgate.engine.again import Repeat
from headgate.gateway.entrance import Head

MOST = 512
LARGEST = 16 * 1024
"""Bytes of a body that is remembered: 8 MB at most, all together."""


class Repeats:
    """The latest. One thread's, the event loop's.

    Attributes:
        some: there have been any.
    """

    __slots__ = ("_known", "some")

    def __init__(self) -> None:
        self.some = False
        self._known: dict[tuple[int, bytes], tuple[Head, Repeat]] = {}  # the head keeps its identity its own

    def find(self, head: Head, body: bytes) -> Repeat | None:
        """What is known of this very head with this body."""
        found = self._known.get((id(head), body))
        return None if found is None else found[1]

    def keep(self, head: Head, body: bytes, repeat: Repeat | None) -> None:
        """Remember it, where there is something to; forget all when there are too many."""
        if repeat is None or len(body) > LARGEST:
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[id(head), body] = head, repeat
        self.some = True
