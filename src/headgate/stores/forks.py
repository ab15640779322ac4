"""A fork waits until no thread of ours is at work in SQLite, in a driver or in the C library.

A child gets their locks as they are at that moment, and nobody there would let go of one that another thread held: its
own first call would wait for ever (https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
tells of the connections; the locks of SQLite's memory and of its files are one per process).
"""

from __future__ import annotations

import os
import threading
import time
import weakref

FORK_SECONDS = 2.0
"""That a fork waits for all threads together: one that hangs, for a disk or a server, holds no such lock."""

_locks: weakref.WeakSet[threading.RLock] = weakref.WeakSet()
_making = threading.RLock()
_resting: list[threading.RLock] = []


def work_lock() -> threading.RLock:
    """For one thread at a time, to hold while it is at work, and not while it waits for work. In a forked child it is
    of no use any more: make another."""
    lock = threading.RLock()  # who forks may be at work itself
    with _making:
        _locks.add(lock)
    return lock


def _before() -> None:
    _making.acquire()
    until = time.monotonic() + FORK_SECONDS
    for lock in list(_locks):
        if lock.acquire(timeout=max(0.0, until - time.monotonic())):
            _resting.append(lock)


def _after_in_parent() -> None:
    while _resting:
        _resting.pop().release()
    _making.release()


def _after_in_child() -> None:
    global _making
    _locks.clear()  # one that was not to be had stays held for ever
    _making = threading.RLock()
    while _resting:
        _resting.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
