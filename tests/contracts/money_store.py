"""Budgets of a ledger seen from outside: callers that ask, wait, are let in or refused, in one event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ledger_maker import ROUTE, Maker

from headgate.core.budget import Budget, Claim
from headgate.core.errors import BudgetExceeded, Unavailable
from headgate.core.exchange import Attempt, Ending, Exchange
from headgate.core.usage import Usage

DAY = 86_400.0
TODAY = 23_148 * DAY  # 2033-05-18
NOW = 2_000_000_000.0  # what the stores take it for
CAPS = {"all/day": 60, "tenant/day": 40, "user/day": 25}
BUDGETS = {
    name: Budget(name, cap_nano=cap, cap_tokens=cap * 10, every="day", alerts=(8_000, 10_000))
    for name, cap in CAPS.items()
}


def claim(name: str, scope: str, day: int = 0) -> Claim:
    start = TODAY + day * DAY
    return Claim(BUDGETS[name], scope, start, start + DAY, (name, scope, start))


def claims_of(user: str, day: int = 0) -> tuple[Claim, ...]:
    """The accounts of one of the users "a" and "b" of one tenant, in the order of their keys."""
    return (claim("all/day", "", day), claim("tenant/day", "acme", day), claim("user/day", user, day))


@dataclass(eq=False)
class Caller:
    """One call: "waits" until its task is done, then "in" or "refused"; "closed" once it is settled."""

    exchange: Exchange
    attempt: Attempt
    task: asyncio.Task[None]
    state: str = "waits"
    error: BaseException | None = None
    costs: list[int] = field(default_factory=list)


class Money:
    """Callers on a store of `ledger_store`."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.make = Maker()
        self.runner = asyncio.Runner()
        self.callers: list[Caller] = []
        self.alerts: list[tuple[str, str, float, int]] = []
        self.listen()

    def listen(self) -> None:
        """After every opening."""
        self.store.ledger.on_alert(
            lambda alert: self.alerts.append((*alert.claim.key, alert.share)) if alert.unit == "usd" else None
        )

    def ask(
        self, user: str, bound: int, *, day: int = 0, until: float = NOW + 60, may_wait: bool = True, tokens: int = 0
    ) -> Caller:
        """A call that sets `bound` nano-dollars aside."""
        exchange = self.make.exchange()
        return self._ask(exchange, claims_of(user, day), bound, tokens, until, may_wait)

    def again(self, caller: Caller, bound: int) -> Caller:
        """The next attempt of a call whose attempt has failed."""
        claims = caller.attempt.claims
        return self._ask(caller.exchange, claims, bound, 0, NOW + 60, may_wait=True)

    def _ask(
        self,
        exchange: Exchange,
        claims: tuple[Claim, ...],
        bound: int,
        tokens: int,
        until: float,
        may_wait: bool,
        *,
        look: bool = True,
    ) -> Caller:
        attempt = self.make.attempt(exchange, bound=bound, route=ROUTE)
        attempt.claims, attempt.bound_tokens = claims, tokens
        port = self.store.ledger.asynchronous()

        async def start() -> asyncio.Task[None]:
            return asyncio.ensure_future(port.intend(exchange, attempt, until=until, may_wait=may_wait))

        caller = Caller(exchange, attempt, self.runner.run(start()))
        self.callers.append(caller)
        if look:
            self.look()
        return caller

    def start(self, user: str, bound: int, claims: tuple[Claim, ...] = (), **exchange: Any) -> Caller:
        """A call that asks, and nobody has answered it yet: while the store is `busy`."""
        claims = claims or claims_of(user)
        return self._ask(self.make.exchange(**exchange), claims, bound, 0, NOW + 60, may_wait=True, look=False)

    def cancel(self, caller: Caller) -> None:
        """Its caller leaves while it asks."""

        async def cancel() -> None:
            await asyncio.sleep(0)
            caller.task.cancel()
            await asyncio.wait([caller.task])

        self.runner.run(cancel())
        self.make.ended(caller.exchange, Ending.CANCELLED)
        self.store.ledger.asynchronous().settle(caller.exchange)
        caller.state = "refused"

    @contextmanager
    def busy(self) -> Iterator[None]:
        """The store does something else meanwhile; what is put before it comes all at once."""
        working, done = threading.Event(), threading.Event()

        def work(connection: Any) -> None:
            working.set()
            done.wait(10)

        thread = threading.Thread(target=self.store.ledger.call, args=(work,))
        thread.start()
        working.wait(10)
        try:
            yield
        finally:
            done.set()
            thread.join(10)

    def fail(self, caller: Caller, cost: int) -> None:
        """The attempt has failed, and may have cost something; another may follow."""
        self._cost(caller, cost)
        self.make.failed(caller.attempt)
        self.store.ledger.asynchronous().close(caller.exchange, caller.attempt)
        caller.state = "failed"
        self.look()

    def settle(self, caller: Caller, cost: int, ending: Ending = Ending.COMPLETE) -> None:
        """The call is over."""
        self.over(caller, cost, ending)
        self.look()

    def over(self, caller: Caller, cost: int, ending: Ending = Ending.COMPLETE) -> None:
        """The same, and nobody has looked yet: while the store is `busy`."""
        self._cost(caller, cost)
        self.make.ended(caller.exchange, ending, status=200)
        caller.attempt.ended = caller.exchange.ended
        self.store.ledger.asynchronous().settle(caller.exchange)
        for each in self.callers:
            if each.exchange is caller.exchange:
                each.state = "closed" if each.state in ("in", "failed", "closed") else "refused"

    @staticmethod
    def _cost(caller: Caller, cost: int) -> None:
        caller.attempt.cost_nano = cost
        caller.attempt.usage = Usage(output_tokens=cost)

    def look(self) -> None:
        """Wait until the store has looked at everything, and note what it said."""

        async def flush() -> None:
            await self.store.ledger.asynchronous().flush()
            await asyncio.sleep(0)

        self.runner.run(flush())
        for caller in self.callers:
            if caller.state == "waits" and caller.task.done():
                caller.error = caller.task.exception() if not caller.task.cancelled() else asyncio.CancelledError()
                assert caller.error is None or isinstance(caller.error, BudgetExceeded | Unavailable)
                caller.state = "in" if caller.error is None else "refused"

    def balance(self, name: str, scope: str, day: int = 0) -> tuple[int, int]:
        """(spent, held) in nano-dollars."""
        (found,) = self.store.ledger.balances([claim(name, scope, day)])
        return found.spent_nano, found.held_nano

    def close(self) -> None:
        """End whatever waits."""
        self.store.ledger.close()
        self.runner.close()
