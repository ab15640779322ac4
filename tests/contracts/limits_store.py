"""Callers' limits over each store, with a clock that stands still unless it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from redis_server import the_redis

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Limit, Taken
from headgate.policy.gcra import Limits
from headgate.stores.limits import MemoryLimits
from headgate.stores.redis_limits import RedisLimits
from headgate.stores.redis_link import RedisLink
from headgate.stores.redis_place import redis_place

T0 = 1_795_132_800.0
PATIENT = 30.0  # this suite is not about outages, and the machine may be busy
ADA, BOB = Caller(user="ada", tenant="acme"), Caller(user="bob", tenant="acme")


class Store:
    """One store of limits. `run` drives its port."""

    def __init__(self, limits: Sequence[Limit], run: Callable[[Any], Any]) -> None:
        self.now = T0
        self._run = run

    def ask(self, caller: Caller = ADA, tokens: int = 0, **more: str) -> Taken | Exceeded:
        found: Taken | Exceeded = self._run(self.port.ask(caller, tokens=tokens, **more))
        return found

    def taken(self, caller: Caller = ADA, tokens: int = 0, **more: str) -> Taken:
        found = self.ask(caller, tokens, **more)
        assert isinstance(found, Taken)
        return found

    def correct(self, taken: Taken, tokens: int) -> None:
        self.port.correct(taken, tokens, self.now)

    def left(self, caller: Caller = ADA, unit: str = "tokens") -> int:
        """What remains of the tightest limit of a unit: asked without tokens, so that takes a request at the most."""
        return next(each.remaining for each in self.ask(caller).figures if each.unit == unit)

    def close(self) -> None:
        """Nothing to close."""


class MemoryStore(Store):
    def __init__(self, limits: Sequence[Limit], run: Callable[[Any], Any]) -> None:
        super().__init__(limits, run)
        self.port: Any = MemoryLimits(Limits(limits), lambda: self.now)


class RedisStore(Store):
    def __init__(self, limits: Sequence[Limit], run: Callable[[Any], Any]) -> None:
        super().__init__(limits, run)
        place = replace(redis_place(the_redis().url()), timeout=PATIENT)
        self.lost: list[str] = []
        self.link = RedisLink(place, tell=lambda name, **_: self.lost.append(name), now=lambda: self.now)
        made = RedisLimits(self.link, limits)
        from headgate.engine.blocking import run_blocking

        self.port = made.blocking() if run is run_blocking else made.asynchronous()

    def close(self) -> None:
        assert not self.lost
        self.link.close()


LIMIT_STORES = (MemoryStore, RedisStore)
