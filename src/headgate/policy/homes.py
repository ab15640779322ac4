"""Where a provider keeps what later requests refer to: which provider and model, by which credential, made by whom.

Kept in memory, the newest first to stay; the ledger has all of them, and is asked about those that are not here. What
it does not know either stays with the first route and its first credential, which is also where what may be kept is
made.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from headgate.core.caller import Caller
from headgate.core.errors import NotServed
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

    def remember(self, ids: Iterable[str], home: Home) -> list[str]:
        """What was made at a home, or found in what was. An id's first owner stays its owner.

        Returns:
            Those that are new.
        """
        homes = self._homes
        with self._lock:
            fresh = [name for name in dict.fromkeys(ids) if name not in homes]
            for name in fresh:
                homes[name] = home
            while len(homes) > self._most:
                del homes[next(iter(homes))]
        return fresh

    def unknown(self, ids: Iterable[str]) -> list[str]:
        """Those that are not here."""
        return [name for name in ids if name not in self._homes]

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
