"""What the garbage collector, a dying thread and a closed loop do to turns: nobody hangs, and nothing leaks."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from headgate.core.errors import NoTurn, UpstreamTimeout
from headgate.core.exchange import Attempt, Exchange
from headgate.core.limits import Amount
from headgate.engine.blocking import run_blocking
from headgate.policy.pace_need import Ceilings
from headgate.policy.turn import INITIAL_CAP, TurnRules
from headgate.policy.turns import Turns
from headgate.stores.redis_pace import RedisPace
from headgate.stores.turns import LocalTurns
from headgate.stores.waiters import BlockingWaiter
from headgate.testing.fakes import World, route

ROUTE = route("anthropic", "claude-haiku-4-5")
ONE = TurnRules(pacing=False, concurrency=1, breaker=None)
PLACE = ("account", "family")


def local(rules: TurnRules = ONE, told: list[str] | None = None, **more: Any) -> LocalTurns:
    events = [] if told is None else told
    return LocalTurns(
        lambda: Turns(default=rules),
        now=more.get("now", lambda: 1000.0),
        random=lambda: 0.5,
        tell=lambda name, **facts: events.append(name),
    )


def call(started: float = 1000.0) -> tuple[Exchange, Attempt]:
    exchange = Exchange("ex", World().request(), started)
    exchange.attempts.append(Attempt(1, ROUTE, started))
    return exchange, exchange.attempts[0]


async def granted(port: Any, exchange: Exchange, attempt: Attempt, *, until: float) -> None:
    wait = port.turn(exchange, attempt, until=until)
    if wait is not None:
        await wait


def in_flight(turns: LocalTurns) -> int | None:
    return turns.look(World().request(), ROUTE).in_flight


def until(true: Any) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.001)


def waiting_thread(turns: LocalTurns, at: float = 1600.0) -> tuple[threading.Thread, list[Any]]:
    said: list[Any] = []

    def wait() -> None:
        exchange, attempt = call()
        try:
            run_blocking(granted(turns.blocking(), exchange, attempt, until=at))
            said.append(attempt)
        except NoTurn as error:
            said.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    until(lambda: turns.desk.waiting or said)
    return thread, said


def test_a_task_that_is_collected_in_the_middle_of_the_desk_leaves_its_queue_when_the_desk_is_free() -> None:
    async def play() -> None:
        turns = local()
        port = turns.asynchronous()
        await granted(port, *call(), until=1600.0)
        abandoned = granted(port, *call(), until=1600.0)
        abandoned.send(None)
        with turns as desk:
            abandoned.close()  # as the collector does with a task of a loop that is gone
            assert desk.waiting == 1
            assert turns._inside
        assert turns.desk.waiting == 0

    asyncio.run(play())


def test_an_exchange_may_be_settled_inside_the_desk() -> None:
    turns = local()
    port = turns.blocking()
    exchange, attempt = call()
    run_blocking(granted(port, exchange, attempt, until=1600.0))
    attempt.sent, attempt.first_content = True, 1000.0
    with turns as desk:
        port.ended(exchange, attempt)
        port.closed(exchange)
        assert turns._inside
        budget = desk.budget("anthropic")
        assert budget is not None
        assert budget.rates(1000.0).exchanges == 0
    assert budget.rates(1000.0).exchanges == 1
    assert in_flight(turns) == 0


def test_nothing_asks_the_retry_budget_without_the_desks_lock() -> None:
    """It has none of its own."""
    turns = local()
    port = turns.blocking()
    inside: list[bool] = []
    budget = turns.desk.budget("anthropic")
    assert budget is not None

    def watched(method: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            inside.append(turns._inside)
            return method(*args, **named)

        return call

    for name in ("may_retry", "client_retry", "rates", "note_attempt", "note_answered", "note_exchange"):
        setattr(budget, name, watched(getattr(budget, name)))
    exchange, attempt = call()
    run_blocking(granted(port, exchange, attempt, until=1600.0))
    attempt.sent, attempt.first_content = True, 1000.0
    port.ended(exchange, attempt)
    port.closed(exchange)
    port.may_retry(ROUTE)
    port.may_come_again(ROUTE)
    assert inside
    assert all(inside)


def test_an_end_that_comes_while_the_desk_is_given_back_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = local()
    port = turns.blocking()
    exchange, attempt = call()
    run_blocking(granted(port, exchange, attempt, until=1600.0))
    attempt.sent = True
    thread, said = waiting_thread(turns)
    schedule = turns.schedule

    def collected() -> None:
        monkeypatch.undo()
        schedule()
        port.ended(exchange, attempt)

    monkeypatch.setattr(turns, "schedule", collected)
    turns.look(World().request(), ROUTE)
    thread.join(20)
    assert isinstance(said[0], Attempt)


def test_an_error_in_the_thread_is_told_and_does_not_end_all_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("headgate.stores.turns.PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("headgate.stores.turns.LOOK_SECONDS", 0.05)
    now = [1000.0]
    turns = local(TurnRules(ceilings=Ceilings(requests_per_minute=3000)), told, now=lambda: now[0])
    broken: list[int] = []
    tick = turns.desk.tick

    def failing(now: float) -> Any:
        if not broken:
            broken.append(1)
            raise ZeroDivisionError
        return tick(now)

    monkeypatch.setattr(turns.desk, "tick", failing)
    port = turns.blocking()
    for _ in range(2):
        run_blocking(granted(port, *call(), until=1060.0))
    thread, said = waiting_thread(turns, 1060.0)
    until(lambda: told)
    now[0] = 1061.0
    thread.join(20)
    assert isinstance(said[0], NoTurn)
    assert told == ["turns_failed"]
    turns.close()


def test_where_no_thread_can_be_started_the_desk_is_given_back_and_the_next_one_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    turns = local(ONE, told)
    run_blocking(granted(turns.blocking(), *call(), until=1600.0))
    start = threading.Thread.start

    def full(thread: threading.Thread) -> None:
        if thread.name == "headgate-turns":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", full)
    thread, said = waiting_thread(turns)
    until(lambda: told)
    assert told == ["turns_failed"]
    monkeypatch.undo()
    assert in_flight(turns) == 1
    until(lambda: turns._thread is not None and turns._thread.is_alive())
    turns.close()
    thread.join(20)
    assert isinstance(said[0], NoTurn)


def test_a_thousand_waiters_of_a_closed_loop_are_passed_over_one_after_the_other() -> None:
    turns = local()
    blocking = turns.blocking()
    exchange, attempt = call()
    run_blocking(granted(blocking, exchange, attempt, until=1600.0))
    loop = asyncio.new_event_loop()

    async def many() -> list[Any]:
        tasks = [asyncio.ensure_future(granted(turns.asynchronous(), *call(), until=1600.0)) for _ in range(1500)]
        await asyncio.sleep(0)
        return tasks

    tasks = loop.run_until_complete(many())
    loop.close()
    assert turns.desk.waiting == 1500
    attempt.sent = True
    blocking.ended(exchange, attempt)
    assert turns.desk.waiting == 0
    assert in_flight(turns) == 0
    for task in tasks:
        task._log_destroy_pending = False


class Gone:
    """A Redis that does not answer."""

    up, replicas, time = False, 1, ""

    async def answer(self, *_: object) -> None:
        return None

    def key(self, *parts: str) -> str:
        return ":".join(parts)


def test_while_redis_is_gone_the_collector_may_correct_the_pace_in_the_middle_of_it() -> None:
    now = [1000.0]

    def clock() -> float:
        if ended:
            ended.pop()()
        return now[0]

    pace = RedisPace(Gone(), now=clock)  # type: ignore[arg-type]  # all of it that is used
    port = pace.blocking()
    amounts = [Amount("requests", 10.0, 10.0, 1.0)]
    ended: list[Any] = [lambda: port.give_back(PLACE, amounts)]

    def take() -> float:
        return run_blocking(pace.take(PLACE, amounts, BlockingWaiter))

    assert take() == 0.0
    assert take() == 0.0  # it was given back
    assert take() == pytest.approx(10.0, abs=0.01)


class Full:
    """What replicas share: nobody may go for ten seconds."""

    def __init__(self) -> None:
        self.given_back = 0

    async def take(self, *_: Any) -> float:
        return 10.0

    def give_back(self, *_: Any) -> None:
        self.given_back += 1


def test_whoever_holds_money_does_not_wait_for_other_replicas_with_it() -> None:
    turns = local(TurnRules(breaker=None))
    exchange, attempt = call()
    run_blocking(granted(turns.blocking(), exchange, attempt, until=1600.0))
    shared = turns.blocking(Full())  # type: ignore[arg-type]  # all of it that is used
    shared.unsent(attempt)
    assert run_blocking(shared.again(exchange, attempt, until=1600.0, wait=False)) is False
    assert turns.desk.waiting == 0
    assert in_flight(turns) == 0


@pytest.mark.parametrize("bound", ["timeout", "patience"])
@pytest.mark.parametrize("kind", ["timeout", "connect"])
def test_a_caller_without_patience_opens_nothing_and_lowers_nothing_whatever_it_waited_for(
    kind: str, bound: str
) -> None:
    told: list[str] = []
    turns = local(TurnRules(pacing=False), told)
    port = turns.blocking()
    for _ in range(100):
        exchange, attempt = call(999.9)
        setattr(exchange.request, bound, 0.1)
        run_blocking(granted(port, exchange, attempt, until=1600.0))
        attempt.sent, attempt.error = True, UpstreamTimeout("late", kind=kind)
        port.ended(exchange, attempt)
        port.closed(exchange)
    look = turns.look(World().request(), ROUTE)
    assert (look.blocked, look.cap, look.attempt_errors, look.exchange_errors) == (None, INITIAL_CAP, 0.0, 0.0)
    assert told == []


def test_a_child_does_not_touch_the_locks_of_its_parents_calls() -> None:
    turns = local(TurnRules())
    port = turns.blocking()
    exchange, attempt = call()
    run_blocking(granted(port, exchange, attempt, until=1600.0))
    attempt.sent, attempt.first_content = True, 1000.0
    parents = turns.lock
    turns._begin()  # as in a child, at a moment when another thread of the parent has the lock
    with parents:
        ending = threading.Thread(target=port.ended, args=(exchange, attempt), daemon=True)
        ending.start()
        ending.join(20)
        assert not ending.is_alive()
    assert turns.desk.waiting == 0
