"""Which doubts about prices are news: each is told once an hour, however many calls it is about."""

from __future__ import annotations

import threading

EVERY_SECONDS = 3_600.0
"""The same doubt about the same model and price version is told so often."""

MOST = 1_024
"""Doubts that are remembered; beyond it the oldest leaves, so that names from outside cannot fill the memory."""

Doubted = tuple[str, str, str, tuple[str, ...]]
"""Provider, model, price version, and the doubts themselves."""


class ToldDoubts:
    """Remembers what was told. Safe to share between threads."""

    def __init__(self) -> None:
        self._told: dict[Doubted, float] = {}
        self._lock = threading.RLock()  # the collector may settle an unread stream inside it

    def news(self, doubted: Doubted, now: float) -> bool:
        """Whether it is to be told now, and then taken as told. `now`: seconds since the epoch."""
        with self._lock:
            told = self._told.get(doubted)
            if told is not None and abs(now - told) < EVERY_SECONDS:  # a clock may have been set back
                return False
            self._told.pop(doubted, None)
            while len(self._told) >= MOST:
                del self._told[next(iter(self._told))]
            self._told[doubted] = now
            return True
