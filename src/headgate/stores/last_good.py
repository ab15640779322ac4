"""The last complete answer to each request, for when none is to be had (`degrade: [{use: last_good}]`)."""

from __future__ import annotations

from collections.abc import Callable

from headgate.core.cache import Kind, Stored
from headgate.core.exchange import Exchange
from headgate.core.ports import Substitute
from headgate.engine.blocking import run_blocking
from headgate.policy.asking import key_of
from headgate.stores.cache_memory import MemoryCache


class LastGood:
    """`core.ports.Witness` and `core.ports.Substitutes` in this process's memory, for both colours.

    Args:
        used: whether the ladder of a task ("" = of calls without one) comes to it.
        keep_seconds: how old an answer may be, > 0.
        most_bytes: of all of them; those that were not used for longest go first.
        per_user: each user's answers are only that user's.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        used: Callable[[str], bool],
        *,
        keep_seconds: float,
        most_bytes: int,
        per_user: bool,
        now: Callable[[], float],
    ) -> None:
        self._used = used
        self._keep = keep_seconds
        self._per_user = per_user
        self._now = now
        self.kept = MemoryCache(most_bytes, now=now)

    def wants(self, exchange: Exchange) -> bool:
        """See the port."""
        return self._used(exchange.request.caller.task)

    def saw(self, exchange: Exchange, answer: Substitute) -> None:
        """See the port."""
        key = self._key(exchange)
        if key:
            now = self._now()
            kind: Kind = "stream" if exchange.request.facts.stream else "whole"
            stored = Stored(kind, answer.status, tuple(answer.headers), answer.body, now, now + self._keep,
                            exchange_id=exchange.id)  # fmt: skip
            self.kept.put(key, stored)

    async def find(self, exchange: Exchange, why: str) -> Substitute | None:
        """See the port. `age` says how many seconds old it is (RFC 9111, section 5.1)."""
        if exchange.findings:  # a guard had something to say of the request: no answer to such ones was kept
            return None
        key = self._key(exchange)
        found = self.kept.look(key) if key else None
        if found is None:
            return None
        age = b"%d" % max(0, self._now() - found.made)
        return Substitute(found.status, (*found.headers, (b"age", age)), found.body)

    def forget(self, prefix: str) -> int:
        """Drop the answers whose keys begin so (as the cache's do); "" = all. Returns how many that were."""
        return run_blocking(self.kept.forget(prefix))

    def _key(self, exchange: Exchange) -> str:
        return "" if exchange.original is None else key_of(exchange.original, per_user=self._per_user)
