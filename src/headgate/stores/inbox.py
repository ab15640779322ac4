"""The way into a thread of ours: a first-in first-out queue whose reader sleeps without polling."""

from __future__ import annotations

import threading
from collections import deque
from itertools import repeat, starmap
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Any number of threads put, one takes.

    Putting is an append and a comparison while the reader is awake: under load nobody is woken twice. Where every call
    comes by, both are written out.

    Attributes:
        items: to be appended to; then, if the reader is `asleep`, `ring`.
        hurry: an item should not wait for company: to be set behind it; then, if the reader is `resting`, `ring`.
        asleep: the reader waits for an item, or has not begun.
        resting: it is asleep, or lingers.
    """

    __slots__ = ("_bell", "asleep", "hurry", "items", "resting")

    def __init__(self, *, begun: bool = True) -> None:
        """`begun`: there is a reader, or whoever puts makes sure that there is."""
        self.items: deque[T] = deque()
        self.hurry = False
        self.asleep = self.resting = not begun
        self._bell = threading.Lock()
        self._bell.acquire()

    def begin(self) -> None:
        """Called by the reader."""
        self.resting = self.asleep = False

    def put(self, item: T) -> None:
        """Append; wake the reader only if it sleeps."""
        self.items.append(item)
        if self.asleep:
            self.ring()

    def put_hurried(self, item: T) -> None:
        """Append; wake the reader even if it waits for more to come together."""
        self.items.append(item)
        self.hurry = True
        if self.resting:
            self.ring()

    def wait(self) -> None:
        """Return when there is an item (or, rarely, for nothing)."""
        self.resting = self.asleep = True
        # Looked at only after saying that we sleep, so an item put in between is not missed.
        if not self.items:
            self._bell.acquire()
        self.resting = self.asleep = False

    def linger(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as a hurried item comes."""
        self.resting = True
        if not self.hurry:
            self._bell.acquire(timeout=seconds)
        self.resting = False

    def take(self) -> list[T]:
        """Everything there is, oldest first."""
        self.hurry = False
        items = self.items
        return list(starmap(items.popleft, repeat((), len(items))))  # a loop in C

    def ring(self) -> None:
        """Wake the reader."""
        self.resting = self.asleep = False
        try:
            self._bell.release()
        except RuntimeError:
            # Another thread rang first: one ring is enough.
            return
