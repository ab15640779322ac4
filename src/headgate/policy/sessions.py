"""Which model a session was last answered by: its signed thinking is of no use to another (decisions 14).

In memory, and this process's: what is not known is presumed to be with the first route. The oldest go first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from headgate.core.caller import Caller
from headgate.core.exchange import Route
from headgate.policy.homes import owner

MOST = 100_000
"""Sessions remembered: some 30 MB."""


class Sessions:
    """Sessions to (provider, model), by the model that was asked for. Safe to share between threads."""

    def __init__(self, most: int = MOST) -> None:
        self._models: OrderedDict[tuple[str, str, str], tuple[str, str]] = OrderedDict()
        self._most = most
        self._lock = threading.Lock()

    def remember(self, caller: Caller, asked: str, route: Route) -> None:
        """A session that asked for a model was answered by `route`. Nothing where the caller names no session."""
        if not caller.session:
            return
        key = (owner(caller), caller.session, asked)
        with self._lock:
            self._models[key] = (route.provider, route.model)
            self._models.move_to_end(key)
            if len(self._models) > self._most:
                self._models.popitem(last=False)

    def find(self, caller: Caller, asked: str) -> tuple[str, str] | None:
        """(provider, model) that last answered; None where nothing is known."""
        return self._models.get((owner(caller), caller.session, asked)) if caller.session else None


def at_model(routes: Sequence[Route], home: tuple[str, str]) -> list[Route]:
    """The routes to `home`'s model, those of its provider first; or to the first route's, where none leads there."""
    provider, model = home
    found = [route for route in routes if route.model == model]
    if not found:
        return [route for route in routes if route.model == routes[0].model]
    return sorted(found, key=lambda route: route.provider != provider)
