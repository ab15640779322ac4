"""Work that nobody waits for, one piece after another, in a thread of its own."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable

MOST = 128
"""Pieces of work that wait; of more, the newest are not taken."""
_CLOSING = 5.0  # seconds for the piece that is under way


class Background:
    """Begins its thread with the first piece of work; safe to share. A forked child begins with none.

    Args:
        tell: the log's `event`: is told of work that raised something, by the name of that alone.
    """

    def __init__(self, tell: Callable[..., None], most: int = MOST) -> None:
        self._tell = tell
        self._most = most
        self._changed = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._busy = self._over = False

    def offer(self, work: Callable[[], None]) -> bool:
        """Do `work` some time. Never waits. False: too much is waiting, or it is over."""
        if self._pid != os.getpid():
            self._changed, self._work, self._thread = threading.Condition(), deque(), None
            self._busy, self._pid = False, os.getpid()
        with self._changed:
            if self._over or len(self._work) >= self._most:
                return False
            self._work.append(work)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="headgate-background", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is ending
                    self._work.pop()
                    return False
                self._thread = thread
            self._changed.notify_all()
        return True

    def idle(self, seconds: float) -> bool:
        """Whether all that was offered is done within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._work and not self._busy, seconds)

    def close(self) -> None:
        """Take no more work, drop what waits, and wait for what is under way, at most 5 s. Idempotent."""
        with self._changed:
            self._over = True
            self._work.clear()
            self._changed.notify_all()
            thread = self._thread if self._pid == os.getpid() else None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSING)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._work or self._over)
                if self._over:
                    return
                work = self._work.popleft()
                self._busy = True
            try:
                work()
            except Exception as error:
                # Nobody is there to raise it to, and the next piece of work has nothing to do with it.
                self._tell("background_failed", error=type(error).__name__)
