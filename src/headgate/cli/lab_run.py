"""One strategy against an account of its own, and what came of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from headgate.cli.lab_provider import Account, Arrived, Provider, provider
from headgate.cli.lab_sending import Ask, Bare, Sender, ask_of
from headgate.cli.lab_strategies import Refused, Strategy
from headgate.cli.lab_time import EPOCH, LabLoop
from headgate.policy.failures import retry_after_seconds

if TYPE_CHECKING:
    from tenacity import AsyncRetrying


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do, the same for every strategy.

    Attributes:
        clients: each makes one call at a time.
        calls: of all clients together; they come evenly over `seconds`.
        attempts: after which a client gives a call up, the first one included.
    """

    account: Account
    clients: int
    calls: int
    seconds: float
    attempts: int

    @property
    def per_second(self) -> float:
        """Calls that the limit lets through."""
        return self.account.requests_per_minute / 60

    @property
    def overload(self) -> float:
        """What is asked, as a multiple of what the limit lets through meanwhile."""
        return self.calls / (self.per_second * self.seconds)

    @property
    def answer(self) -> float:
        """Seconds from sending to the answer, where nothing stands in the way."""
        return self.account.latency + 2 * self.account.network

    @property
    def ideal(self) -> float:
        """Seconds after which the last answer can be there at the earliest: the limit's burst, then its rate, then one
        answer; and never before the clients, one call at a time each, could have made them all without a limit."""
        limited = (self.calls - self.account.requests_per_minute) / self.per_second + self.answer
        ended = [0.0] * self.clients
        for number, due in enumerate(self.due()):
            client = number % self.clients
            ended[client] = max(ended[client], due) + self.answer
        return max(limited, *ended)

    def due(self) -> list[float]:
        """When each call comes, in seconds, ascending: evenly, each somewhere in its own interval."""
        draw = random.Random(self.account.seed)  # noqa: S311 -- a plan, not a secret
        step = self.seconds / self.calls
        return [(number + draw.random()) * step for number in range(self.calls)]


@dataclass(slots=True)
class Call:
    """One logical call. Times are seconds since the experiment began."""

    number: int
    client: int
    due: float
    ended: float = 0.0
    completed: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a strategy."""

    strategy: Strategy
    work: Work
    calls: Sequence[Call]
    arrived: Sequence[Arrived] = field(repr=False)

    @property
    def completed(self) -> int:
        """Calls that were answered."""
        return sum(call.completed for call in self.calls)

    @property
    def upstream(self) -> int:
        """Requests that reached the provider."""
        return len(self.arrived)

    @property
    def per_call(self) -> float:
        """Requests that reached the provider, per logical call."""
        return self.upstream / len(self.calls)

    @property
    def refused(self) -> int:
        """Of them those that were answered with a 429."""
        return sum(each.refused for each in self.arrived)

    @property
    def refused_share(self) -> float:
        """429s per request, 0 to 1."""
        return self.refused / max(1, self.upstream)

    @property
    def wasted(self) -> float:
        """Seconds, of all calls together, spent on attempts that were refused and on the waits behind them: from each
        refused attempt to its call's next one, or to the answer that said no for good."""
        by_call: dict[int, list[Arrived]] = {}
        for each in self.arrived:
            by_call.setdefault(each.call, []).append(each)
        round_trip = 2 * self.work.account.network
        lost = 0.0
        for attempts in by_call.values():
            lost += sum(later.at - one.at for one, later in pairwise(attempts) if one.refused)
            lost += round_trip if attempts[-1].refused else 0.0
        return lost

    @property
    def finished(self) -> float:
        """Seconds until the last call had ended, well or not."""
        return max(call.ended for call in self.calls)

    @property
    def times_ideal(self) -> float | None:
        """How much longer than the ideal it took; None where not every call was answered."""
        return self.finished / self.work.ideal if self.completed == len(self.calls) else None

    def answered_after(self, quantile: float) -> float | None:
        """Seconds from when a call came to its answer, of the calls that were answered; None where none was."""
        took = sorted(call.ended - call.due for call in self.calls if call.completed)
        return took[min(len(took) - 1, int(len(took) * quantile))] if took else None

    @property
    def broken(self) -> bool:
        """Headgate's promise is not kept: all calls answered, at most 10 % behind the ideal, and at most 1 % of the
        requests refused (one, where they are fewer than 100)."""
        late = self.times_ideal
        return self.strategy.paced and (late is None or late > 1.10 or self.refused > max(1.0, 0.01 * self.upstream))


def run(strategy: Strategy, work: Work, tell: Callable[[], None]) -> Outcome:
    """Run one strategy from its beginning to the end of its last call.

    Args:
        tell: called whenever a call has ended.
    """
    before = random.getstate()
    random.seed(work.account.seed)  # tenacity's jitter is drawn from the global generator
    try:
        with asyncio.Runner(loop_factory=LabLoop) as runner:
            return runner.run(_run(strategy, work, tell))
    finally:
        random.setstate(before)


async def _run(strategy: Strategy, work: Work, tell: Callable[[], None]) -> Outcome:
    calls = [Call(number, number % work.clients, due) for number, due in enumerate(work.due())]
    most = work.calls * work.attempts
    async with provider(work.account, most) as served, _sender(strategy, work, served) as sent:
        began = asyncio.get_running_loop().time()
        clients = (
            _client_makes(calls[client :: work.clients], strategy.retrying(work.attempts), served, sent, began, tell)
            for client in range(min(work.clients, work.calls))
        )
        await asyncio.gather(*clients)
        return Outcome(strategy, work, calls, served.arrived())


@asynccontextmanager
async def _sender(strategy: Strategy, work: Work, served: Provider) -> AsyncIterator[Sender]:
    if not strategy.paced:
        yield Bare(work.clients)
        return
    from headgate.cli.lab_governed import governed

    async with governed(served, work.attempts, work.clients) as found:
        yield found


async def _client_makes(
    calls: Sequence[Call],
    retrying: AsyncRetrying,
    served: Provider,
    sender: Sender,
    began: float,
    tell: Callable[[], None],
) -> None:
    """One client: its calls in their order, each when it comes or when the one before it has ended."""
    loop = asyncio.get_running_loop()
    for call in calls:
        await asyncio.sleep(max(0.0, began + call.due - loop.time()))
        ask = ask_of(served, call.number, call.client)
        try:
            async for attempt in retrying:
                with attempt:
                    await _send(sender, ask)
        except Refused:
            pass  # given up: `completed` stays False
        else:
            call.completed = True
        call.ended = loop.time() - began
        tell()


async def _send(sender: Sender, ask: Ask) -> None:
    status, headers = await sender.send(ask)
    if status == 429:
        raise Refused(retry_after_seconds(headers, EPOCH + asyncio.get_running_loop().time()))
