"""Pools in a forked child: the sockets are the parent's, so every pool begins afresh."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class _Pool(Protocol):
    def after_fork(self) -> None:
        """In the child: keep what was inherited unclosed and untouched, and begin afresh."""
        ...


_pools: weakref.WeakSet[_Pool] = weakref.WeakSet()


def tell_after_fork(pool: _Pool) -> None:
    """Call `pool.after_fork` in every child this process forks, for as long as the pool lives."""
    _pools.add(pool)


def _after_fork() -> None:
    for pool in list(_pools):
        pool.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
