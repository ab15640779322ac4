"""The way into a thread of ours: a first-in first-out queue whose reader sleeps without polling."""

from __future__ import annotations

import threading
from collections import deque
from itertools import repeat, starmap
from typing import Generic, TypeVar

T = TypeVar("T")

_AWAKE, _LINGERING, _ASLEEP = 0, 1, 2


class Inbox(Generic[T]):
    """Any number of threads put, one takes.

    Putting is an append and a comparison while the reader is awake: under load nobody is woken twice. `hurry`
    says that an item should not wait for company.
    """

    __slots__ = ("_bell", "_state", "hurry", "items")

    def __init__(self) -> None:
        self.items: deque[T] = deque()
        self.hurry = False
        self._state = _AWAKE
        self._bell = threading.Lock()
        self._bell.acquire()

    def put(self, item: T) -> None:
        """Append; wake the reader only if it sleeps."""
        self.items.append(item)
        if self._state == _ASLEEP:
            self._ring()

    def put_hurried(self, item: T) -> None:
        """Append; wake the reader even if it waits for more to come together."""
        self.items.append(item)
        self.hurry = True
        if self._state != _AWAKE:
            self._ring()

    def wait(self) -> None:
        """Return when there is an item (or, rarely, for nothing)."""
        self._state = _ASLEEP
        # Looked at only after saying that we sleep, so an item put in between is not missed.
        if not self.items:
            self._bell.acquire()
        self._state = _AWAKE

    def linger(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as a hurried item comes."""
        self._state = _LINGERING
        if not self.hurry:
            self._bell.acquire(timeout=seconds)
        self._state = _AWAKE

    def take(self) -> list[T]:
        """Everything there is, oldest first."""
        self.hurry = False
        items = self.items
        return list(starmap(items.popleft, repeat((), len(items))))  # a loop in C

    def _ring(self) -> None:
        self._state = _AWAKE
        try:
            self._bell.release()
        except RuntimeError:
            # Another thread rang first: one ring is enough.
            return
