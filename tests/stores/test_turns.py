"""Turns in one process: both colours, real threads and event loops, and nothing that sleeps for long."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from typing import Any

import pytest

from headgate.core.errors import NoTurn, UpstreamBroken, UpstreamBusy
from headgate.core.exchange import Attempt, Exchange, Request
from headgate.core.usage import Usage
from headgate.engine.blocking import run_blocking
from headgate.policy.pace_need import Ceilings
from headgate.policy.turn import Turn, TurnRules, Waiting
from headgate.policy.turns import Turns
from headgate.stores.turns import LocalTurns
from headgate.testing.fakes import World, route

ROUTE = route("anthropic", "claude-haiku-4-5")


class Bench:
    """Local turns on a clock that stands still until it is set, and what they told."""

    def __init__(self, rules: TurnRules | None = None) -> None:
        self.time = 1000.0
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.turns = LocalTurns(
            lambda: Turns(default=rules or TurnRules()),
            now=lambda: self.time,
            random=lambda: 0.5,
            tell=lambda name, **facts: self.told.append((name, facts)),
        )
        self._requests = World()

    def request(self, **more: Any) -> Request:
        found = self._requests.request()
        for name, value in more.items():
            setattr(found, name, value)
        return found

    def call(self, **more: Any) -> tuple[Exchange, Attempt]:
        exchange = Exchange("ex", self.request(**more), self.time)
        attempt = Attempt(1, ROUTE, self.time)
        exchange.attempts.append(attempt)
        return exchange, attempt


async def granted(port: Any, exchange: Exchange, attempt: Attempt, *, until: float) -> None:
    wait = port.turn(exchange, attempt, until=until)
    if wait is not None:
        await wait


def done(bench: Bench, exchange: Exchange, attempt: Attempt, error: Any = None) -> None:
    attempt.sent = True
    attempt.error = error
    if error is None:
        attempt.first_content = bench.time
        attempt.usage = Usage(input_tokens=10, output_tokens=10)
    bench.turns.ended(exchange, attempt)


async def _two_in_flight(bench: Bench, port: Any) -> list[tuple[Exchange, Attempt]]:
    calls = [bench.call(), bench.call()]
    for exchange, attempt in calls:
        await granted(port, exchange, attempt, until=bench.time + 60)
    return calls


def test_two_go_at_once_and_the_third_when_the_first_is_answered() -> None:
    async def play() -> None:
        bench = Bench()
        port = bench.turns.asynchronous()
        calls = await _two_in_flight(bench, port)
        third = bench.call()
        waiting = asyncio.create_task(port.turn(*third, until=bench.time + 60))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert bench.turns.desk.waiting == 1
        port.answered(calls[0][1], 200, ())
        await waiting
        assert third[1].turn is not None
        assert bench.turns.desk.waiting == 0

    asyncio.run(play())


def test_a_thread_waits_for_its_turn_and_is_woken_by_another() -> None:
    bench = Bench()
    port = bench.turns.blocking()
    calls = run_blocking(_two_in_flight(bench, port))
    third = bench.call()
    thread = threading.Thread(target=lambda: run_blocking(port.turn(*third, until=bench.time + 60)))
    thread.start()
    while not bench.turns.desk.waiting:
        pass
    done(bench, *calls[0])
    thread.join(20)
    assert not thread.is_alive()
    assert third[1].turn is not None


def test_a_call_that_cannot_go_before_its_deadline_is_refused_at_once_and_told_when() -> None:
    bench = Bench(TurnRules(ceilings=Ceilings(requests_per_minute=60)))
    port = bench.turns.blocking()
    for _ in range(2):
        exchange, attempt = bench.call()
        run_blocking(granted(port, exchange, attempt, until=bench.time + 60))
        port.answered(attempt, 200, ())
        done(bench, exchange, attempt)
    taken = 2
    while taken < 10:  # 10 s of a ceiling go at once
        exchange, attempt = bench.call()
        run_blocking(granted(port, exchange, attempt, until=bench.time))
        taken += 1
        port.answered(attempt, 200, ())
        done(bench, exchange, attempt)
    with pytest.raises(NoTurn) as told:
        run_blocking(port.turn(*bench.call(), until=bench.time))
    assert told.value.kind == "paced"
    assert told.value.retry_after is not None
    assert 0 < told.value.retry_after <= 1.1


def test_a_cancelled_waiter_leaves_the_queue_and_one_with_a_turn_in_hand_gives_it_back() -> None:
    async def play() -> None:
        bench = Bench()
        port = bench.turns.asynchronous()
        calls = await _two_in_flight(bench, port)
        first = asyncio.create_task(port.turn(*bench.call(), until=bench.time + 60))
        second = asyncio.create_task(port.turn(*bench.call(), until=bench.time + 60))
        await asyncio.sleep(0)
        assert bench.turns.desk.waiting == 2
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert bench.turns.desk.waiting == 1
        for exchange, attempt in calls:
            done(bench, exchange, attempt)
        second.cancel()  # its turn is on its way to it
        with pytest.raises(asyncio.CancelledError):
            await second
        look = bench.turns.look(bench.request(), ROUTE)
        assert look.in_flight == 0
        assert look.pace is not None
        assert look.pace.in_flight == 0

    asyncio.run(play())


def test_the_clock_alone_lets_the_next_one_go() -> None:
    """The thread looks again when the ceiling has room: real time, a fifth of a second."""
    import time

    turns = LocalTurns(
        lambda: Turns(default=TurnRules(ceilings=Ceilings(requests_per_minute=300))),
        now=time.time,
        random=lambda: 0.5,
        tell=lambda name, **facts: None,
    )
    bench = Bench()
    bench.turns, bench.time = turns, time.time()
    port = turns.blocking()
    waited, end = 0.0, time.monotonic() + 60
    while not waited and time.monotonic() < end:  # 50 go at once, and more while this machine does something else
        exchange, attempt = bench.call()
        run_blocking(granted(port, exchange, attempt, until=time.time() + 60))
        port.answered(attempt, 200, ())
        done(bench, exchange, attempt)
        waited = attempt.waited
    turns.close()
    assert waited > 0


def test_a_deadline_that_comes_while_it_waits_ends_the_wait() -> None:
    import time

    turns = LocalTurns(Turns, now=time.time, random=lambda: 0.5, tell=lambda name, **facts: None)
    bench = Bench()
    bench.turns, bench.time = turns, time.time()
    port = turns.blocking()
    run_blocking(_two_in_flight(bench, port))
    with pytest.raises(NoTurn) as told:
        run_blocking(port.turn(*bench.call(), until=time.time() + 0.05))
    assert told.value.kind == "paced"
    turns.close()


def test_a_breaker_that_opens_sends_on_whoever_waits_and_is_told() -> None:
    async def play() -> None:
        bench = Bench()
        port = bench.turns.asynchronous()
        for _ in range(9):
            exchange, attempt = bench.call()
            await granted(port, exchange, attempt, until=bench.time + 60)
            done(bench, exchange, attempt, UpstreamBroken("x", kind="server", status=500))
        calls = await _two_in_flight(bench, port)
        waiting = asyncio.create_task(port.turn(*bench.call(), until=bench.time + 60))
        await asyncio.sleep(0)
        assert not waiting.done()
        done(bench, *calls[0], UpstreamBroken("x", kind="server", status=500))
        with pytest.raises(NoTurn) as told:
            await waiting
        assert told.value.kind == "open"
        assert told.value.cause == "failures"
        assert port.blocked(ROUTE) is not None
        assert [(name, facts["state"]) for name, facts in bench.told] == [("breaker", "open")]
        with pytest.raises(NoTurn):
            await port.turn(*bench.call(), until=bench.time + 60)
        assert bench.turns.lift("anthropic") == 1
        assert port.blocked(ROUTE) is None

    asyncio.run(play())


def test_what_is_not_sent_takes_nothing_and_ends_once() -> None:
    bench = Bench()
    port = bench.turns.blocking()
    exchange, attempt = bench.call()
    run_blocking(granted(port, exchange, attempt, until=bench.time + 60))
    port.unsent(attempt)
    port.unsent(attempt)
    bench.turns.ended(exchange, attempt)
    look = bench.turns.look(bench.request(), ROUTE)
    assert look.in_flight == 0
    assert look.pace is not None
    assert look.pace.in_flight == 0


def test_the_collector_may_end_a_turn_in_the_middle_of_the_desk() -> None:
    """An unread stream is settled by the garbage collector, in whatever thread and line that happens to run."""
    bench = Bench()
    port = bench.turns.blocking()
    exchange, attempt = bench.call()
    run_blocking(granted(port, exchange, attempt, until=bench.time + 60))
    attempt.sent = True

    class Unread:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            bench.turns.ended(exchange, attempt)

    Unread()
    with bench.turns as desk:
        gc.collect()
        assert desk.look(bench.request(), ROUTE, bench.time).in_flight == 1
    assert bench.turns.look(bench.request(), ROUTE).in_flight == 0


def test_errors_that_retries_hide_are_told_once() -> None:
    bench = Bench()
    port = bench.turns.blocking()
    for _ in range(30):
        for _ in range(2):
            exchange, attempt = bench.call()
            run_blocking(granted(port, exchange, attempt, until=bench.time + 60))
            done(bench, exchange, attempt)
            port.closed(exchange)
        exchange, attempt = bench.call()
        run_blocking(granted(port, exchange, attempt, until=bench.time + 60))
        done(bench, exchange, attempt, UpstreamBusy("x", kind="overloaded", status=529, retryable=True))
        exchange.attempts.append(Attempt(2, ROUTE, bench.time))
        run_blocking(granted(port, exchange, exchange.attempts[-1], until=bench.time + 60))
        done(bench, exchange, exchange.attempts[-1])
        port.closed(exchange)
    hidden = [facts for name, facts in bench.told if name == "hidden_errors"]
    assert len(hidden) == 1
    assert 0.1 < hidden[0]["attempt_errors"] <= 0.25
    assert hidden[0]["exchange_errors"] == 0.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_begins_with_nothing_in_flight() -> None:
    bench = Bench()
    port = bench.turns.blocking()
    run_blocking(_two_in_flight(bench, port))
    child = os.fork()
    if not child:
        ok = False
        try:
            run_blocking(_two_in_flight(bench, bench.turns.blocking()))
            ok = True
        finally:
            os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_closing_lets_out_whoever_waits() -> None:
    bench = Bench()
    port = bench.turns.blocking()
    run_blocking(_two_in_flight(bench, port))
    said: list[BaseException] = []

    def wait() -> None:
        try:
            run_blocking(port.turn(*bench.call(), until=bench.time + 60))
        except NoTurn as error:
            said.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not bench.turns.desk.waiting:
        pass
    bench.turns.close()
    thread.join(20)
    assert len(said) == 1


def test_fast_mode_has_a_lane_of_its_own() -> None:
    bench = Bench()
    body = b'{"model":"claude-opus-4-8","max_tokens":9,"messages":[],"speed":"fast"}'
    fast = World().request(body)
    assert fast.facts.fast
    port = bench.turns.blocking()
    for _ in range(2):
        attempt = Attempt(1, route("anthropic", "claude-opus-4-8"), bench.time)
        run_blocking(granted(port, Exchange("ex", fast, bench.time), attempt, until=bench.time))
    slow = World().request(body.replace(b',"speed":"fast"', b""))
    attempt = Attempt(1, route("anthropic", "claude-opus-4-8"), bench.time)
    run_blocking(granted(port, Exchange("ex", slow, bench.time), attempt, until=bench.time))
    assert attempt.turn is not None


def test_places_that_are_given_back_are_in_front_and_in_order() -> None:
    """Two calls of one user with one deadline: both went at once, and both gave their turn back to wait for money."""
    bench = Bench()
    request = bench.request()
    with bench.turns as desk:
        until = bench.time + 60
        turns = [desk.ask(request, ROUTE, until, bench.time) for _ in range(2)]
        for turn in turns:
            assert isinstance(turn, Turn)
            desk.unsent(turn, bench.time)
        others = [desk.ask(request, ROUTE, until, bench.time) for _ in range(2)]
        waiting = desk.ask(request, ROUTE, until, bench.time)
        back = [desk.ask(request, ROUTE, until, bench.time, last=turn) for turn in turns if isinstance(turn, Turn)]
        assert isinstance(waiting, Waiting)
        for other in others:
            assert isinstance(other, Turn)
            desk.unsent(other, bench.time)
        assert [isinstance(each, Waiting) and each.turn is not None for each in (*back, waiting)] == [True, True, False]


def answer(bench: Bench, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    port = bench.turns.blocking()
    exchange, attempt = bench.call()
    run_blocking(granted(port, exchange, attempt, until=bench.time + 60))
    port.answered(attempt, status, headers)
    done(bench, exchange, attempt)
    bench.time += 1.0


def test_a_provider_that_tells_no_rate_limits_is_named_in_the_log_once() -> None:
    bench = Bench()
    for _ in range(60):
        answer(bench)
    assert bench.told == [("no_rate_limits", {"provider": "anthropic", "answers": 20})]


def test_headers_that_cannot_be_believed_are_counted_per_provider_and_not_more_often_than_they_are_looked_at() -> None:
    bench = Bench()
    past = (b"anthropic-ratelimit-requests-reset", b"%d" % 1_000_000_001)
    bench.time = 1_100_000_000.0
    for _ in range(4):
        answer(bench, (b"anthropic-ratelimit-requests-limit", b"50"), past)
    bench.time -= 1.0  # the same moment again
    answer(bench, (b"anthropic-ratelimit-requests-limit", b"50"), past)
    (look,) = bench.turns.providers()
    assert (look.headers.answers, look.headers.told, dict(look.headers.faults)) == (4, 4, {"past": 4})
    assert bench.told == []


def test_how_all_stands_is_told_while_somebody_waits() -> None:
    bench = Bench()
    port = bench.turns.blocking()
    calls = run_blocking(_two_in_flight(bench, port))
    third = bench.call()
    thread = threading.Thread(target=lambda: run_blocking(port.turn(*third, until=bench.time + 60)))
    thread.start()
    while not bench.turns.desk.waiting:
        pass
    rates, waiting = bench.turns.rates()
    assert (rates.attempts, waiting) == (0, 1)
    assert [look.waiting for look in bench.turns.providers()] == [1]
    done(bench, *calls[0])
    thread.join(20)


def test_a_head_that_tells_nothing_new_waits_for_nobody_at_the_desk() -> None:
    bench = Bench()
    port = bench.turns.blocking()
    for _ in range(30):  # past the slow start
        bench.time += 0.1
        exchange, attempt = bench.call()
        run_blocking(granted(port, exchange, attempt, until=bench.time + 60))
        bench.time += 0.01
        port.answered(attempt, 200, ())
        done(bench, exchange, attempt)
    _, attempt = bench.call()
    run_blocking(granted(port, bench.call()[0], attempt, until=bench.time + 60))
    attempt.first_byte = bench.time
    lane = attempt.turn.lane  # type: ignore[attr-defined]
    assert lane.pace.calm
    assert bench.time < lane.read_at
    said: list[bool] = []
    thread = threading.Thread(target=lambda: said.append(port.answered(attempt, 200, ()) is None), daemon=True)
    with bench.turns:
        thread.start()
        thread.join(20)
        assert said == [True]
    assert attempt.turn.counted  # type: ignore[attr-defined]
    assert lane.pace.newest == bench.time
