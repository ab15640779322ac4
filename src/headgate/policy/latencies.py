"""How soon routes have answered of late: a median per route, of few samples that grow old."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

from headgate.core.exchange import Route

SAMPLES = 32
"""The newest answers of a route that count."""

FRESH_SECONDS = 900.0
"""A route whose newest answer is older than that is as good as unmeasured: what was slow may have recovered."""

MOST_ROUTES = 1_024
"""Routes remembered; the one measured longest ago goes first."""

Key = tuple[str, str, bool]
"""(provider, model, streamed). A whole answer's first content is its end, so it has a time of its own."""


def key_of(route: Route, *, stream: bool) -> Key:
    """Where a route's times are kept. Its credential does not matter: an account is no faster than another."""
    return route.provider, route.model, stream


class _Measured:
    __slots__ = ("median", "newest", "seconds")

    def __init__(self) -> None:
        self.seconds: deque[float] = deque(maxlen=SAMPLES)
        self.median = 0.0
        self.newest = 0.0


class Latencies:
    """Times to the first content, in seconds. Safe to share between threads; memory is bounded."""

    def __init__(self) -> None:
        self._routes: OrderedDict[Key, _Measured] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, key: Key, seconds: float, now: float) -> None:
        """A route has answered after `seconds`, or has not answered in so many."""
        with self._lock:
            found = self._routes.get(key)
            if found is None:
                found = self._routes[key] = _Measured()
                if len(self._routes) > MOST_ROUTES:
                    self._routes.popitem(last=False)
            elif now - found.newest > FRESH_SECONDS:
                found.seconds.clear()
            self._routes.move_to_end(key)
            found.seconds.append(max(0.0, seconds))
            found.newest = max(now, found.newest)
            # The upper one of an even number: two samples, one of which is slow, do not make a route fast.
            found.median = sorted(found.seconds)[len(found.seconds) // 2]

    def of(self, key: Key, now: float) -> float | None:
        """The median of a route's newest answers; None where it has not answered lately."""
        found = self._routes.get(key)
        return None if found is None or now - found.newest > FRESH_SECONDS else found.median
