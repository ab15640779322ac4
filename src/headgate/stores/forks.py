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
_PAUSE = 0.001

_locks: weakref.WeakSet[threading.RLock] = weakref.WeakSet()
_making = threading.RLock()
_forking = threading.local()
"""By thread: what it holds until its fork is over, `held`. It is written down before it is had: an exception that a
signal brings is told and forgotten in a hook, and the fork goes on."""


def work_lock() -> threading.RLock:
    """For one thread at a time, to hold while it is at work, and not while it waits for work. In a forked child it is
    of no use any more: make another."""
    lock = threading.RLock()  # who forks may be at work itself
    with _making:
        _locks.add(lock)
    return lock


def _before() -> None:
    _forking.held = []
    until = time.monotonic() + FORK_SECONDS
    while not _all_rest(_forking.held) and time.monotonic() < until:
        _let_go(_forking.held)  # nobody stands still because another takes his time
        time.sleep(_PAUSE)


def _all_rest(held: list[threading.RLock]) -> bool:
    """Hold what is to be had, and what it takes to begin with new work."""
    held.append(_making)
    if not _making.acquire(timeout=FORK_SECONDS):  # another thread forks
        held.pop()
        return False
    missing = 0
    for lock in list(_locks):
        held.append(lock)
        if not lock.acquire(blocking=False):
            held.pop()
            missing += 1
    return not missing


def _let_go(held: list[threading.RLock]) -> None:
    while held:
        try:
            held[-1].release()
        except RuntimeError:
            pass  # it was written down, and not had
        finally:
            held.pop()


def _after_in_parent() -> None:
    held = _forking.held
    try:
        _let_go(held)
    finally:
        _let_go(held)


def _after_in_child() -> None:
    global _making
    held, _forking.held = _forking.held, []
    _locks.clear()  # one that was not to be had stays held for ever
    _making = threading.RLock()
    _let_go(held)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
