"""A wait for a turn is what the engine awaits in place of a coroutine: it has to behave as one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from headgate.core.errors import NoTurn
from headgate.core.exchange import Attempt, Exchange
from headgate.engine.blocking import run_blocking
from headgate.policy.turn import TurnRules
from headgate.policy.turns import Turns
from headgate.stores.turn_wait import TurnWait
from headgate.stores.turns import LocalTurns
from headgate.testing.fakes import World, route

ROUTE = route("anthropic", "claude-haiku-4-5")
UNTIL = 1600.0


class Bench:
    """One turn at a time; the first call has it."""

    def __init__(self) -> None:
        self.time = 1000.0
        rules = TurnRules(pacing=False, concurrency=1, breaker=None)
        self.turns = LocalTurns(
            lambda: Turns(default=rules), now=lambda: self.time, random=lambda: 0.5, tell=lambda name, **facts: None
        )

    def wait(self, port: Any) -> tuple[Exchange, Attempt, Any]:
        exchange = Exchange("ex", World().request(), self.time)
        attempt = Attempt(1, ROUTE, self.time, waited=2.0)
        exchange.attempts.append(attempt)
        return exchange, attempt, port.turn(exchange, attempt, until=UNTIL)

    def end(self, exchange: Exchange, attempt: Attempt) -> None:
        attempt.sent, attempt.first_content = True, self.time
        self.turns.ended(exchange, attempt)


def _one_waits() -> tuple[Bench, tuple[Exchange, Attempt], Attempt, Any]:
    bench = Bench()
    port = bench.turns.asynchronous()
    exchange, attempt, none = bench.wait(port)
    assert none is None
    _, second, wait = bench.wait(port)
    assert isinstance(wait, TurnWait)
    assert bench.turns.desk.waiting == 1
    return bench, (exchange, attempt), second, wait


def test_what_it_waited_is_added_to_what_it_had_waited_and_it_starts_when_it_is_told() -> None:
    async def play() -> None:
        bench, first, second, wait = _one_waits()
        task = asyncio.ensure_future(wait)
        await asyncio.sleep(0)
        bench.time += 30
        bench.end(*first)
        await task
        assert (second.waited, second.started) == (32.0, 1030.0)
        assert second.turn is not None

    asyncio.run(play())


def test_it_is_awaited_once() -> None:
    async def play() -> None:
        bench, first, _, wait = _one_waits()
        bench.end(*first)
        await asyncio.sleep(0)
        await wait
        with pytest.raises(RuntimeError, match="once"):
            await wait

    asyncio.run(play())


def test_a_turn_that_was_given_before_anybody_awaits_it_is_had_at_once() -> None:
    async def play() -> None:
        bench, first, second, wait = _one_waits()
        bench.end(*first)
        await asyncio.sleep(0)
        with pytest.raises(StopIteration):
            wait.send(None)
        assert second.turn is not None

    asyncio.run(play())


def test_one_that_is_closed_before_it_has_begun_leaves_the_queue() -> None:
    async def play() -> None:
        bench, _, _, wait = _one_waits()
        wait.close()
        assert bench.turns.desk.waiting == 0

    asyncio.run(play())


@pytest.mark.parametrize("error", [KeyError("x"), KeyError, GeneratorExit])
def test_what_is_thrown_into_it_comes_out_and_it_leaves_the_queue(error: Any) -> None:
    async def play() -> None:
        bench, _, _, wait = _one_waits()

        async def above() -> None:
            await wait

        coroutine: Coroutine[object, None, None] = above()
        coroutine.send(None)
        with pytest.raises(error if isinstance(error, type) else type(error)):
            coroutine.throw(error)
        assert bench.turns.desk.waiting == 0

    asyncio.run(play())


def test_a_coroutine_that_nobody_runs_any_more_takes_it_out_of_the_queue() -> None:
    async def play() -> None:
        bench, _, _, wait = _one_waits()

        async def above() -> None:
            await wait

        coroutine = above()
        coroutine.send(None)
        del coroutine
        assert bench.turns.desk.waiting == 0

    asyncio.run(play())


def test_a_task_cancelled_with_its_turn_in_hand_gives_it_back() -> None:
    async def play() -> None:
        bench, first, second, wait = _one_waits()
        task = asyncio.ensure_future(wait)
        await asyncio.sleep(0)
        bench.end(*first)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert second.turn is None
        assert bench.turns.look(World().request(), ROUTE).in_flight == 0

    asyncio.run(play())


def test_who_waits_when_headgate_ends_is_told_so_in_both_colours() -> None:
    async def play() -> None:
        bench, _, _, wait = _one_waits()
        bench.turns.close()
        await asyncio.sleep(0)
        with pytest.raises(NoTurn, match="shutting down"):
            await wait

    asyncio.run(play())
    bench = Bench()
    port = bench.turns.blocking()
    bench.wait(port)
    wait = bench.wait(port)[2]
    closing = threading.Thread(target=bench.turns.close)
    closing.start()
    with pytest.raises(NoTurn, match="shutting down"):
        run_blocking(wait)
    closing.join()
