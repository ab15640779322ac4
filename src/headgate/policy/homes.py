"""Where a provider keeps what later requests refer to: which provider and model, by which credential, made by whom.

Kept in memory, the newest first to stay. What is not known here stays with the first route and its first credential,
which is also where what may be kept is made; so a restart forgets little.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from headgate.core.caller import Caller
from headgate.core.errors import NotServed
from headgate.core.exchange import Route
from headgate.core.secret import Secret

MOST = 100_000
"""Ids remembered: some 30 MB."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where something is kept.

    Attributes:
        provider: its name.
        model: of the route it was made by; "" where none was asked for.
        credential: None = the caller's own.
        owner: whose it is, see `owner`.
    """

    provider: str
    model: str
    credential: Secret | None
    owner: str


def owner(caller: Caller) -> str:
    """Whose state it is: the tenant's, or else the key's; "" where there are neither."""
    return caller.tenant or caller.key


class Homes:
    """Ids to their homes. Safe to share between threads."""

    def __init__(self, most: int = MOST) -> None:
        self._homes: dict[str, Home] = {}
        self._most = most
        self._lock = threading.RLock()  # the collector may settle an unread stream inside it

    def remember(self, ids: Iterable[str], route: Route, caller: Caller) -> None:
        """What a caller made at `route`, or found in what it has made. An id's first owner stays its owner."""
        home = Home(route.provider, route.model, route.credential, owner(caller))
        with self._lock:
            for name in ids:
                self._homes.setdefault(name, home)
            while len(self._homes) > self._most:
                del self._homes[next(iter(self._homes))]

    def find(self, ids: Iterable[str], caller: Caller) -> Home | None:
        """The home of the first known id. All of them are looked at.

        Raises:
            NotServed: one is somebody else's. The answer is that of an id that does not exist.
        """
        first: Home | None = None
        for name in ids:
            home = self._homes.get(name)
            if home is None:
                continue
            if home.owner and home.owner != owner(caller):
                raise NotServed(f"there is nothing with the id {name[:64]!r}", code="not_found", status_hint=404)
            first = first or home
        return first
