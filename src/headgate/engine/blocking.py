"""Runs the engine without an event loop: both colours from one source."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine whose ports block instead of suspending.

    Works in any thread and inside a running event loop, because it never touches one.

    Raises:
        RuntimeError: a port suspended, so it was not a blocking one.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        coroutine.close()
    raise RuntimeError("an async port was used in a blocking engine")
