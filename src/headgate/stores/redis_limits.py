"""Callers' limits that many replicas share, in Redis or Valkey: one script per call decides on all of them."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Figure, Limit, Taken
from headgate.core.ports import CallerLimits
from headgate.policy.gcra import Header, ratelimit_headers
from headgate.policy.limit_rules import BURST_SECONDS, DEBT_SECONDS, SLACK, Rule, rules_of, tightest
from headgate.policy.limit_shares import ShareOfLimits
from headgate.stores.redis_link import Arg, RedisLink
from headgate.stores.redis_scripts import ASK, CORRECT
from headgate.stores.waiters import BlockingWaiter, Waiter, async_waiter

_MOST_DEBT = BURST_SECONDS + DEBT_SECONDS


class _Rule(Rule):
    """A limit in one unit, and the beginning of its cells' names."""

    __slots__ = ("_digest",)

    def __init__(self, limit: Limit, unit: str, per_minute: int, nth: int) -> None:
        super().__init__(limit, unit, per_minute, nth)
        # Not the figure: while replicas are being brought to another one, they go on with the same cells, which are
        # in seconds' worth. Hashed, for whoever looks into Redis need not read who our callers are.
        shape = repr((unit, limit.per, limit.only, nth))
        self._digest = hashlib.blake2b(shape.encode("utf-8", "surrogatepass"), digest_size=16)

    def cell(self, scope: Hashable) -> str:
        """The cell's name: 32 hexadecimal digits, whatever the scope's length."""
        digest = self._digest.copy()
        digest.update(repr(scope).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


class _Standing(NamedTuple):
    """A cell, right after a call."""

    rule: _Rule
    key: str
    debt: float
    born: str
    given: str


class _TakenShared(Taken):
    __slots__ = ("_done", "_standing", "_when")

    def __init__(self, tokens: int, standing: Sequence[_Standing], when: str) -> None:
        self.tokens = tokens
        self._done = False
        self._standing = standing
        self._when = when

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tightest(each.rule.figure(each.debt) for each in self._standing)

    def headers(self) -> list[Header]:
        """See `core.limits.Taken`."""
        return ratelimit_headers(self.figures)

    def shares(self) -> tuple[str, list[_Standing]]:
        """When it was let in, and what it has taken of tokens; the second time nothing."""
        done, self._done = self._done, True
        return self._when, [] if done else [each for each in self._standing if each.rule.unit == "tokens"]


class _ExceededShared(Exceeded):
    __slots__ = ("_standing",)

    def __init__(self, rule: _Rule, scope: Hashable, wait: float, standing: Sequence[_Standing]) -> None:
        self.limit = rule.limit
        self.unit = rule.unit
        self.scope = scope
        self.retry_after = None if wait == math.inf else wait
        self._standing = standing

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tightest(each.rule.figure(each.debt) for each in self._standing)


class RedisLimits:
    """Callers' limits of all replicas together; this process's share of them while Redis is gone.

    Args:
        link: the connection; whoever made it closes it.
        limits: all limits of the configuration.
        now: seconds, for the share; where it goes back, time stands still.
    """

    def __init__(self, link: RedisLink, limits: Sequence[Limit], *, now: Callable[[], float] = time.time) -> None:
        self.link = link
        self.now = now
        self._all = tuple(limits)
        self._rules = rules_of(limits, _Rule)
        self._share: ShareOfLimits | None = None

    def asynchronous(self) -> CallerLimits:
        """The port for an engine on event loops; any number of loops in any number of threads."""
        return _Port(self, async_waiter)

    def blocking(self) -> CallerLimits:
        """The port for an engine without an event loop; its coroutines never suspend."""
        return _Port(self, BlockingWaiter)

    def applying(self, caller: Caller, model: str, provider: str, address: str) -> list[tuple[_Rule, Hashable]]:
        """The limits that apply to a call, and whose buckets they are."""
        found: list[tuple[_Rule, Hashable]] = []
        for rule in self._rules:
            of_caller = rule.of_caller
            scope = of_caller(caller) or None if of_caller else rule.scope(caller, model, provider, address)
            if scope is not None:
                found.append((rule, scope))
        return found

    def share(self) -> ShareOfLimits:
        """What this process may let in by itself. It goes on where the last outage ended: none opens a new bucket."""
        share = self._share
        if share is None or share.replicas != self.link.replicas:
            share = self._share = ShareOfLimits(self._all, self.link.replicas)
        return share

    def correct(self, taken: Taken, tokens: int) -> None:
        """See the port."""
        if not isinstance(taken, _TakenShared):
            if self._share is not None:
                self._share.correct(taken, tokens, self.now())
            return
        over = tokens - taken.tokens
        when, shares = taken.shares()
        if not over or not shares:
            return
        args: list[Arg] = [self.link.time, _MOST_DEBT]
        for each in shares:
            args += [over * each.rule.seconds_each, each.debt, when, each.born, each.given]
        self.link.post(CORRECT, [each.key for each in shares], args)


class _Port:
    """:class:`headgate.core.ports.CallerLimits` in one colour."""

    __slots__ = ("_limits", "_new_waiter")

    at_once = None

    def __init__(self, limits: RedisLimits, new_waiter: Callable[[], Waiter]) -> None:
        self._limits = limits
        self._new_waiter = new_waiter

    async def ask(
        self, caller: Caller, *, tokens: int, model: str = "", provider: str = "", address: str = ""
    ) -> Taken | Exceeded:
        """See the port."""
        limits = self._limits
        found = limits.applying(caller, model, provider, address)
        if not found:
            return _TakenShared(tokens, (), "")
        link = limits.link
        keys = [link.key("limit", rule.cell(scope)) for rule, scope in found]
        costs = [(tokens if rule.unit == "tokens" else 1) * rule.seconds_each for rule, _ in found]
        args: list[Arg] = [link.time, BURST_SECONDS, SLACK, *costs]
        reply = await link.answer(ASK, keys, args, self._new_waiter)
        if not isinstance(reply, bytes):
            share = limits.share()
            return share.ask(caller, limits.now(), tokens=tokens, model=model, provider=provider, address=address)
        said = reply.decode("ascii").split(" ")
        standing = [
            _Standing(rule, key, float(said[at]), said[at + 1], said[at + 2])
            for at, (rule, _), key in zip(range(2, len(said), 3), found, keys, strict=True)
        ]
        if said[0] == "1":
            return _TakenShared(tokens, standing, said[1])
        return _exceeded(found, costs, standing)

    def correct(self, taken: Taken, tokens: int, now: float) -> None:
        """See the port. Redis has a clock of its own."""
        self._limits.correct(taken, tokens)


def _exceeded(
    found: Sequence[tuple[_Rule, Hashable]], costs: Sequence[float], standing: Sequence[_Standing]
) -> _ExceededShared:
    """Of the limits that say no, the one that takes longest."""

    def wait(cost: float, debt: float) -> float:
        if not cost:
            return -math.inf  # it only looked
        return math.inf if cost > BURST_SECONDS + SLACK else debt + cost - BURST_SECONDS

    waits = [wait(cost, each.debt) for cost, each in zip(costs, standing, strict=True)]
    worst = max(waits)
    rule, scope = found[waits.index(worst)]
    return _ExceededShared(rule, scope, worst, standing)
