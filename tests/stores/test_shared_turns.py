"""Replicas that share a provider account share its pace: by the buckets in memory, and by those in Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from redis_server import the_redis

from headgate.core.errors import NoTurn
from headgate.core.exchange import Attempt, Exchange
from headgate.core.limits import Amount, Place
from headgate.core.ports import SharedPace
from headgate.core.usage import Usage
from headgate.engine.blocking import run_blocking
from headgate.policy.pace_cells import PaceCells
from headgate.policy.pace_need import Ceilings
from headgate.policy.turn import TurnRules
from headgate.policy.turns import Turns
from headgate.stores.redis_link import RedisLink
from headgate.stores.redis_pace import RedisPace
from headgate.stores.redis_place import redis_place
from headgate.stores.turn_port import Port
from headgate.stores.turns import LocalTurns
from headgate.testing.fakes import World, route

ROUTE = route("anthropic", "claude-haiku-4-5")
AT_ONCE = 10  # of a ceiling of 60 per minute: ten seconds' worth


class InMemory:
    """`SharedPace` over the buckets in memory."""

    def __init__(self) -> None:
        self.cells = PaceCells()

    async def take(self, place: Place, amounts: Sequence[Amount]) -> float:
        return self.cells.take(place, amounts, time.time())

    def give_back(self, place: Place, amounts: Sequence[Amount]) -> None:
        self.cells.correct(place, [each._replace(amount=-each.amount) for each in amounts], time.time())

    def correct(self, place: Place, more: Sequence[Amount]) -> None:
        self.cells.correct(place, more, time.time())

    def learn(self, place: Place, told: Sequence[Amount]) -> None:
        self.cells.learn(place, told, time.time())

    def block(self, place: Place, seconds: float) -> None:
        self.cells.block(place, seconds, time.time())


@pytest.fixture(params=["memory", "redis"])
def shared(request: pytest.FixtureRequest) -> Iterator[Callable[[], SharedPace]]:
    """Makes one replica's port."""
    if request.param == "memory":
        one = InMemory()
        yield lambda: one
        return
    url = the_redis().url()
    links: list[RedisLink] = []

    def make() -> SharedPace:
        link = RedisLink(replace(redis_place(url), timeout=10.0), tell=lambda name, **facts: None, now=time.time)
        links.append(link)
        return RedisPace(link).blocking()

    yield make
    for link in links:
        link.close()


def replica(pace: SharedPace) -> Port:
    rules = TurnRules(ceilings=Ceilings(requests_per_minute=60))
    turns = LocalTurns(lambda: Turns(default=rules), now=time.time, random=lambda: 0.5, tell=lambda name, **facts: None)
    return turns.blocking(pace)


def one_call(port: Port, *, sent: bool = True) -> bool:
    """One call that does not wait; False where it was not let go."""
    request = World().request()
    exchange = Exchange("ex", request, time.time())
    attempt = Attempt(1, ROUTE, time.time())
    exchange.attempts.append(attempt)
    try:
        run_blocking(port.turn(exchange, attempt, until=time.time() + 0.01))
    except NoTurn:
        return False
    if sent:
        attempt.sent = True
        attempt.first_content = time.time()
        attempt.usage = Usage(input_tokens=5, output_tokens=5)
        port.answered(attempt, 200, ())
        port.ended(exchange, attempt)
    else:
        port.unsent(attempt)
    return True


def test_two_replicas_together_send_what_one_alone_may(shared: Callable[[], SharedPace]) -> None:
    ports = [replica(shared()), replica(shared())]
    began = time.monotonic()
    went = sum(one_call(ports[number % 2]) for number in range(40))
    assert AT_ONCE <= went <= AT_ONCE + 2 + (time.monotonic() - began)  # it goes on filling, one a second


def test_a_replica_alone_may_use_all_of_it(shared: Callable[[], SharedPace]) -> None:
    port = replica(shared())
    began = time.monotonic()
    went = sum(one_call(port) for _ in range(20))
    assert AT_ONCE <= went <= AT_ONCE + 2 + (time.monotonic() - began)


def test_what_is_not_sent_is_there_for_the_others(shared: Callable[[], SharedPace]) -> None:
    ports = [replica(shared()), replica(shared())]
    for _ in range(30):
        assert one_call(ports[0], sent=False)
    assert sum(one_call(ports[1]) for _ in range(20)) >= AT_ONCE


def test_a_retry_after_that_one_replica_was_told_holds_for_all(shared: Callable[[], SharedPace]) -> None:
    ports = [replica(shared()), replica(shared())]
    assert one_call(ports[0])
    request = World().request()
    exchange, attempt = Exchange("ex", request, time.time()), Attempt(1, ROUTE, time.time())
    exchange.attempts.append(attempt)
    run_blocking(ports[0].turn(exchange, attempt, until=time.time() + 60))
    attempt.sent = True
    ports[0].answered(attempt, 429, ((b"retry-after", b"30"),))
    assert [one_call(port) for port in ports] == [False, False]


def test_what_other_models_used_inside_an_answer_is_not_taken_from_what_all_share() -> None:
    told: list[Sequence[Amount]] = []

    class Told(InMemory):
        def correct(self, place: Place, more: Sequence[Amount]) -> None:
            told.append(more)

    port, request = replica(Told()), World().request()
    for nested in (False, True):
        exchange = Exchange("ex", request, time.time())
        attempt = Attempt(1, ROUTE, time.time(), nested=nested)
        exchange.attempts.append(attempt)
        run_blocking(port.turn(exchange, attempt, until=time.time() + 60))
        attempt.sent, attempt.first_content = True, time.time()
        attempt.usage = Usage(input_tokens=90_000, output_tokens=5)
        port.ended(exchange, attempt)
        assert len(told) == 1
