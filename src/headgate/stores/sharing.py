"""The one door to what replicas share: what `shared:` names, for callers' limits and for the pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from headgate.policy.gcra import Limits
from headgate.stores.limits import MemoryLimits

if TYPE_CHECKING:
    from headgate.core.limits import Limit
    from headgate.core.ports import CallerLimits, SharedPace
    from headgate.stores.redis_limits import RedisLimits
    from headgate.stores.redis_link import RedisLink, Tell
    from headgate.stores.redis_pace import RedisPace

MEMORY = "memory"


class Sharing:
    """Callers' limits and the shared pace of one configuration, in both colours. Opens nothing before its first use.

    Args:
        shared: ``memory``, or ``redis://…`` or ``rediss://…``, as `settings` has checked it.
        limits: callers' limits.
        now: seconds since the epoch.
        tell: told `shared_lost` and `shared_back`, from any thread; must not wait (`core.ports.Log.event`).

    Raises:
        ConfigError: it is no such URL, or a package that it needs is not installed.
    """

    def __init__(
        self, shared: str, limits: Sequence[Limit] = (), *, tell: Tell, now: Callable[[], float] = time.time
    ) -> None:
        self._link: RedisLink | None = None
        self._redis_limits: RedisLimits | None = None
        self._pace: RedisPace | None = None
        self._memory: MemoryLimits | None = None
        if shared == MEMORY:
            self._memory = MemoryLimits(Limits(limits), now) if limits else None
            return
        from headgate.stores.redis_limits import RedisLimits
        from headgate.stores.redis_link import RedisLink
        from headgate.stores.redis_pace import RedisPace
        from headgate.stores.redis_place import redis_place

        self._link = RedisLink(redis_place(shared), tell=tell)
        self._pace = RedisPace(self._link)
        if limits:
            self._redis_limits = RedisLimits(self._link, limits, now=now)

    def limits(self, *, blocking: bool) -> CallerLimits | None:
        """The port for an engine of one colour; None = no caller has a limit."""
        if self._redis_limits is None:
            return self._memory
        return self._redis_limits.blocking() if blocking else self._redis_limits.asynchronous()

    def pace(self, *, blocking: bool) -> SharedPace | None:
        """The port for an engine of one colour; None = each process has its own pace."""
        if self._pace is None:
            return None
        return self._pace.blocking() if blocking else self._pace.asynchronous()

    def health(self) -> dict[str, Any]:
        """`ok` and `shared` (without a credential); over Redis what `RedisLink.health` tells besides."""
        return {"ok": True, "shared": MEMORY} if self._link is None else self._link.health()

    def close(self) -> None:
        """Take leave of the other replicas. Idempotent; at most a second."""
        if self._link is not None:
            self._link.close()
