"""The pace that many replicas share, in Redis or Valkey: what all have sent into each of a provider's limits."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from headgate.core.limits import Amount, Place
from headgate.core.ports import SharedPace
from headgate.policy.pace import MOST_BLOCKED
from headgate.policy.pace_cells import KEPT_SECONDS, MARGIN, NOTHING, PaceCells
from headgate.stores.redis_link import Arg, RedisLink
from headgate.stores.redis_scripts import PACE
from headgate.stores.waiters import BlockingWaiter, Waiter, async_waiter


class RedisPace:
    """The buckets of all replicas together; this process's share of them while Redis is gone.

    Args:
        link: the connection; whoever made it closes it.
        now: seconds that never run backwards, for the share.
    """

    def __init__(self, link: RedisLink, *, now: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._now = now
        self._lock = threading.Lock()
        self._cells = PaceCells()
        self._told: deque[tuple[str, Place, Sequence[Amount] | float]] = deque()  # and not yet done

    def asynchronous(self) -> SharedPace:
        """The port for an engine on event loops; any number of loops in any number of threads."""
        return _Port(self, async_waiter)

    def blocking(self) -> SharedPace:
        """The port for an engine without an event loop; its coroutines never suspend."""
        return _Port(self, BlockingWaiter)

    async def take(self, place: Place, amounts: Sequence[Amount], new_waiter: Callable[[], Waiter]) -> float:
        """See the port."""
        link = self._link
        reply = await link.answer(PACE, [self._key(place)], self._args("take", amounts), new_waiter)
        if isinstance(reply, bytes):
            return float(reply)
        with self._lock:
            wait = self._share().take(place, amounts, self._now())
        self._catch_up()
        return wait

    def move(self, doing: str, place: Place, amounts: Sequence[Amount]) -> None:
        """`correct` or `learn`."""
        if not amounts:
            return
        if self._link.up:
            self._link.post(PACE, [self._key(place)], self._args(doing, amounts))
            return
        self._here(doing, place, amounts)

    def block(self, place: Place, seconds: float) -> None:
        """See the port. It holds here, too, should Redis be gone before it is over."""
        if seconds <= 0:
            return
        if self._link.up:
            self._link.post(PACE, [self._key(place)], [*self._args("block", ()), seconds])
        self._here("block", place, float(seconds))

    def _here(self, doing: str, place: Place, told: Sequence[Amount] | float) -> None:
        self._told.append((doing, place, told))
        self._catch_up()

    def _catch_up(self) -> None:
        """Do what was told. Who finds the lock taken leaves that to whoever has it: it may be this very thread, in
        which the collector has settled a stream that nobody reads."""
        while self._told and self._lock.acquire(blocking=False):
            try:
                cells, now = self._share(), self._now()
                while self._told:
                    doing, place, told = self._told.popleft()
                    if isinstance(told, float):
                        cells.block(place, told, now)
                    else:
                        (cells.learn if doing == "learn" else cells.correct)(place, told, now)
            finally:
                self._lock.release()

    def _share(self) -> PaceCells:
        """Under the lock. It goes on where the last outage ended: none opens a new bucket."""
        self._cells.share = 1 / self._link.replicas
        return self._cells

    def _key(self, place: Place) -> str:
        return self._link.key("pace", hashlib.blake2b(repr(place).encode(), digest_size=16).hexdigest())

    def _args(self, doing: str, amounts: Sequence[Amount]) -> list[Arg]:
        args: list[Arg] = [self._link.time, doing, KEPT_SECONDS, MOST_BLOCKED, MARGIN, NOTHING]
        for each in amounts:
            args += each
        return args


class _Port:
    """:class:`headgate.core.ports.SharedPace` in one colour."""

    __slots__ = ("_new_waiter", "_pace")

    def __init__(self, pace: RedisPace, new_waiter: Callable[[], Waiter]) -> None:
        self._pace = pace
        self._new_waiter = new_waiter

    async def take(self, place: Place, amounts: Sequence[Amount]) -> float:
        """See the port."""
        return await self._pace.take(place, amounts, self._new_waiter)

    def give_back(self, place: Place, amounts: Sequence[Amount]) -> None:
        """See the port."""
        self._pace.move("correct", place, [each._replace(amount=-each.amount) for each in amounts])

    def correct(self, place: Place, more: Sequence[Amount]) -> None:
        """See the port."""
        self._pace.move("correct", place, more)

    def learn(self, place: Place, told: Sequence[Amount]) -> None:
        """See the port."""
        self._pace.move("learn", place, told)

    def block(self, place: Place, seconds: float) -> None:
        """See the port."""
        self._pace.block(place, seconds)
