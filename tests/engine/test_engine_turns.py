"""Leave to send: before money, given back on every way out, and what failing and limited providers make of it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.budget import Budget
from headgate.core.errors import BudgetExceeded, NoTurn, UpstreamBroken, UpstreamBusy, UpstreamTimeout
from headgate.core.exchange import Attempt, Ending, Exchange
from headgate.engine.blocking import run_blocking
from headgate.engine.engine import Engine
from headgate.policy.breaker import BreakerRules
from headgate.policy.pace_need import Ceilings
from headgate.policy.recovery import Recovery
from headgate.policy.turn import TurnRules
from headgate.policy.turns import Turns
from headgate.stores.turns import LocalTurns
from headgate.testing.canned import JSON, message, message_stream
from headgate.testing.fakes import FakeAnswer, Passed, Piece, World, route

Run = Callable[[Coroutine[Any, Any, Any]], Any]

RULES = TurnRules()
SLOWLY = TurnRules(ceilings=Ceilings(requests_per_minute=6))  # one at once, then one in 10 s
BROKEN = UpstreamBroken("reset", kind="server", status=500, retryable=True, elsewhere=True)


def busy(after: float | None = None) -> UpstreamBusy:
    return UpstreamBusy("busy", kind="busy", status=429, retryable=True, elsewhere=True, retry_after=after)


def refused(after: str = "") -> FakeAnswer:
    headers = [(b"content-type", b"application/json")]
    if after:
        headers.append((b"retry-after", after.encode()))
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'
    return FakeAnswer(429, tuple(headers), (body,))


def in_flight(world: World) -> int:
    assert world.turns is not None
    look = world.turns.desk.look(world.request(), route("anthropic", "claude-haiku-4-5"), world.clock.now())
    assert look.in_flight is not None
    assert look.pace is not None
    assert look.pace.in_flight == look.in_flight
    return look.in_flight


def test_a_turn_comes_before_the_money_and_ends_with_the_attempt(run: Run) -> None:
    world = World(message("hello"), turns=RULES)
    assert run(world.call()).status == 200
    assert world.happened == ["turn", "intend", "send", "ended", "settle"]
    assert in_flight(world) == 0


def test_a_call_waits_for_its_turn_before_money_is_set_aside_and_says_how_long(run: Run) -> None:
    world = World(message("a"), message("b"), turns=SLOWLY, budgets=(Budget(id="all", cap_nano=10**9),))
    run(world.call())
    played = run(world.call())
    assert played.status == 200
    assert 9.0 < sum(world.clock.slept) < 10.1
    assert float(played.headers[b"x-headgate-waited-ms"]) == pytest.approx(sum(world.clock.slept) * 1000, abs=1.5)
    assert world.happened[5:8] == ["turn", "intend", "send"]


def test_a_call_that_cannot_go_in_time_is_refused_at_once_with_the_time_it_lacks(run: Run) -> None:
    world = World(message("a"), turns=SLOWLY, retry_deadline=5.0)
    run(world.call())
    played = run(world.call())
    assert played.status == 503
    assert played.headers[b"x-should-retry"] == b"false"
    assert 1 <= int(played.headers[b"retry-after"]) <= 5
    assert world.clock.slept == []
    assert world.exchange is not None
    assert world.exchange.ending is Ending.FAILED
    assert world.exchange.attempts == []
    assert len(world.upstream.sent) == 1


def test_a_wait_for_a_turn_that_never_came_is_on_record_though_another_route_has_answered(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes = (route("anthropic", "claude-opus-4-8"), route("anthropic", "claude-haiku-4-5"))
    world = World(message("a"), turns=RULES, models={"fast": routes})
    turns = world.engine.ports.turns
    assert turns is not None
    first, asked = turns.turn, []

    async def slow(exchange: Exchange, attempt: Attempt, *, until: float) -> None:
        asked.append(attempt.route.model)
        if len(asked) > 1:
            wait = first(exchange, attempt, until=until)
            if wait is not None:
                await wait
            return
        await world.clock.sleep(4.0)
        attempt.waited += 4.0
        raise NoTurn("late", kind="paced", retry_after=1.0)

    monkeypatch.setattr(type(turns), "turn", lambda _, *told, **more: slow(*told, **more))
    played = run(
        world.call(world.request(b'{"model":"fast","max_tokens":20,"messages":[{"role":"user","content":"hi"}]}'))
    )
    assert played.status == 200
    assert asked == ["claude-opus-4-8", "claude-haiku-4-5"]
    assert world.exchange is not None
    assert (world.exchange.waited, world.exchange.attempts[0].waited) == (4.0, 0.0)
    assert played.headers[b"x-headgate-waited-ms"] == b"4000"
    assert float(played.headers[b"x-headgate-overhead-ms"]) < 100


def test_whoever_cannot_pay_gives_the_turn_back(run: Run) -> None:
    world = World(turns=RULES, budgets=(Budget(id="all", cap_nano=1),))
    assert run(world.call()).status == 429
    assert world.happened == ["turn", "unsent", "settle"]
    assert in_flight(world) == 0


def test_an_attempt_that_fails_ends_its_turn_and_the_next_one_takes_its_own(run: Run) -> None:
    world = World(BROKEN, message("hello"), turns=RULES)
    assert run(world.call()).status == 200
    assert world.happened == ["turn", "intend", "send", "ended", "turn", "intend", "send", "ended", "settle"]
    assert in_flight(world) == 0


def test_after_a_429_the_pace_waits_and_nothing_is_slept_beside_it(run: Run) -> None:
    world = World(refused("7"), message("hello"), turns=RULES)
    assert run(world.call()).status == 200
    assert sum(world.clock.slept) == pytest.approx(7.0, abs=0.1)


def test_a_429_sends_the_call_on_to_the_next_route_at_once_where_there_is_one(run: Run) -> None:
    models = {"fast": (route("anthropic", "claude-haiku-4-5"), route("acme", "claude-haiku-4-5"))}
    world = World(
        refused("60"), message("hello"), turns=RULES, models=models, recovery=Recovery(per_route=1), ceiling_pico=10
    )
    played = run(world.call(world.request(b'{"model":"fast","max_tokens":9,"messages":[]}')))
    assert played.status == 200
    assert [out.url.partition("//")[2].partition(".")[0] for out in world.upstream.sent] == ["anthropic", "acme"]
    assert sum(world.clock.slept) == 0


def test_a_route_whose_breaker_is_open_is_passed_over_and_costs_nothing(run: Run) -> None:
    rules = TurnRules(breaker=BreakerRules(minimum_calls=2, window_calls=2), retry_share=None)
    models = {"fast": (route("anthropic", "claude-haiku-4-5"), route("acme", "claude-haiku-4-5"))}
    script = [BROKEN, BROKEN, message("a"), message("b"), message("c")]
    world = World(*script, turns=rules, models=models, ceiling_pico=10)
    for _ in range(3):
        request = world.request(b'{"model":"fast","max_tokens":9,"messages":[]}')
        assert run(world.call(request)).status == 200
    hosts = [out.url.partition("//")[2].partition(".")[0] for out in world.upstream.sent]
    assert hosts == ["anthropic", "anthropic", "acme", "acme", "acme"]
    assert len(world.exchange.attempts if world.exchange else ()) == 1


def test_a_sole_route_whose_breaker_is_open_is_waited_for_and_probed(run: Run) -> None:
    rules = TurnRules(breaker=BreakerRules(minimum_calls=2, window_calls=2), retry_share=None)
    world = World(BROKEN, BROKEN, message("a"), turns=rules, recovery=Recovery(attempts=3, per_route=3), jitter=0.0)
    assert run(world.call()).status == 200
    assert sum(world.clock.slept) >= 5.0
    assert len(world.upstream.sent) == 3


def test_a_breaker_that_stays_open_beyond_the_deadline_is_an_honest_answer_at_once(run: Run) -> None:
    rules = TurnRules(breaker=BreakerRules(minimum_calls=1, window_calls=1, open_seconds=60.0), retry_share=None)
    world = World(BROKEN, turns=rules, recovery=Recovery(attempts=1), retry_deadline=20.0)
    run(world.call())
    played = run(world.call())
    assert (played.status, len(world.upstream.sent)) == (503, 1)
    assert b"not available" in played.body
    assert int(played.headers[b"retry-after"]) >= 60


def test_retries_stop_where_the_providers_retry_budget_is_spent(run: Run) -> None:
    world = World(*[BROKEN] * 100, turns=TurnRules(breaker=None), jitter=0.0)
    for _ in range(20):
        run(world.call())
    assert len(world.upstream.sent) == 20 + 5  # the budget's floor, 5 in 10 s


def test_a_callers_own_retry_is_refused_only_where_the_provider_fails_and_the_budget_is_spent(run: Run) -> None:
    world = World(*[BROKEN] * 30, *[message("a")] * 5, turns=TurnRules(breaker=None), jitter=0.0)

    def again() -> Any:
        request = world.request()
        request.client_retries = 1
        return run(world.call(request))

    for _ in range(10):
        run(world.call())
    sent = len(world.upstream.sent)
    assert again().headers[b"x-should-retry"] == b"false"
    assert len(world.upstream.sent) == sent
    healthy = World(message("a"), turns=TurnRules(breaker=None))
    request = healthy.request()
    request.client_retries = 2
    assert run(healthy.call(request)).status == 200


def test_an_attempt_whose_ledger_says_no_gives_the_turn_back(run: Run) -> None:
    from headgate.core.errors import Unavailable

    world = World(turns=RULES)
    world.ledger.refuses = Unavailable("the disk is full")
    assert run(world.call()).status == 503
    assert in_flight(world) == 0


def _held() -> BudgetExceeded:
    return BudgetExceeded("held", why="held")


class Slow:
    """A ledger whose money is held by others until somebody has waited for it."""

    def __init__(self, world: World, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.world = world
        self.meanwhile = meanwhile
        self.free = False
        self.closed: list[int] = []
        self._close = world.ledger.close

    async def intend(self, exchange: Exchange, attempt: Attempt, *, until: float = 0.0, may_wait: bool = True) -> None:
        if not self.free and not may_wait:
            self.world.happened.append("held")
            raise _held()
        if not self.free:
            assert in_flight(self.world) == 0, "nobody waits for money with a turn in hand"
            self.free = True
            self.meanwhile()
        self.world.happened.append(f"intend {attempt.number}")

    def close(self, exchange: Exchange, attempt: Attempt) -> None:
        self.world.happened.append(f"close {attempt.number}")
        self._close(exchange, attempt)


def test_whoever_waits_for_money_does_so_without_a_turn_and_takes_its_place_again(run: Run) -> None:
    world = World(message("hello"), turns=RULES, budgets=(Budget(id="all", cap_nano=10**9),))
    slow = Slow(world)
    world.ledger.intend = slow.intend  # type: ignore[method-assign]  # what the fake ledger cannot play
    assert run(world.call()).status == 200
    assert world.happened == ["turn", "held", "unsent", "intend 1", "turn", "send", "ended", "settle"]


def test_money_that_comes_when_there_is_no_turn_goes_back_while_the_place_is_waited_for(run: Run) -> None:
    world = World(message("hello"), turns=SLOWLY, budgets=(Budget(id="all", cap_nano=10**9),))

    def another_goes() -> None:
        """Somebody else takes the only place while we wait for money."""
        assert world.turns is not None
        other = route("anthropic", "claude-haiku-4-5")
        world.turns.desk.ask(world.request(), other, world.clock.now() + 60, world.clock.now())

    slow = Slow(world, another_goes)
    world.ledger.intend = slow.intend  # type: ignore[method-assign]  # what the fake ledger cannot play
    world.ledger.close = slow.close  # type: ignore[method-assign]
    assert run(world.call()).status == 200
    told = [each for each in world.happened if not each.startswith("close 2")]
    assert told[:7] == ["turn", "held", "unsent", "intend 1", "close 1", "turn", "intend 2"]
    assert sum(world.clock.slept) > 9
    assert world.exchange is not None
    assert [attempt.number for attempt in world.exchange.attempts] == [2]


# What other models have used inside an answer


def limited(*pieces: bytes) -> FakeAnswer:
    """An answer whose provider says that all of an input limit of 50,000 is left."""
    told = {"limit": b"50000", "remaining": b"50000", "reset": b"2026-11-20T00:00:01Z"}
    headers = tuple((b"anthropic-ratelimit-input-tokens-" + name.encode(), value) for name, value in told.items())
    return FakeAnswer(headers=((b"content-type", JSON), *headers), pieces=pieces)


@pytest.mark.parametrize("kind", ["advisor_message", "fallback_message"])
def test_another_models_tokens_are_not_taken_from_the_limit_of_the_one_that_was_asked(run: Run, kind: str) -> None:
    hops = [
        {"type": "message", "model": "claude-haiku-4-5", "input_tokens": 10, "output_tokens": 5},
        {"type": kind, "model": "claude-opus-5", "input_tokens": 90_000, "output_tokens": 3_000},
    ]
    nested = message(usage={"input_tokens": 10, "output_tokens": 5, "iterations": hops})
    world = World(limited(*message()), limited(*nested), limited(*message()), turns=RULES)
    for _ in range(3):
        exchange = run(world.call()).exchange
    assert exchange.attempts[0].waited_turn == 0.0
    assert world.clock.slept == []


# Whose timer ran out


def silent() -> UpstreamTimeout:
    return UpstreamTimeout("silent", kind="timeout", maybe_billed=True)


def errors_of(world: World, patience: float) -> float:
    """The share of attempts that count as the provider's errors, after one stream."""
    turns = LocalTurns(
        lambda: Turns(default=RULES), now=world.clock.now, random=lambda: 0.5, tell=lambda name, **facts: None
    )
    world.engine = Engine(replace(world.engine.ports, turns=turns.blocking()), world.engine.policies)
    request = world.request(stream=True)
    request.patience = patience
    run_blocking(world.call(request))
    turns.close()
    return turns.look(request, route("anthropic", "claude-haiku-4-5")).attempt_errors


@pytest.mark.parametrize("begins", [20, 60, 150, 400])
@pytest.mark.parametrize(("patience", "errors"), [(120.0, 1.0), (60.0, 1.0), (30.0, 0.0)])
@pytest.mark.parametrize("on_cut", ["error", "buffer"])
def test_a_stall_is_the_providers_unless_its_caller_bears_less_of_it_than_we(
    begins: int, patience: float, errors: float, on_cut: str
) -> None:
    frames = message_stream("a", "b")[:4]
    goes_on = [piece for _ in range(begins // 10) for piece in (Passed(10), frames[-1])]
    stream: list[Piece] = [*frames, *goes_on, Passed(min(patience, 60.0)), silent()]
    assert errors_of(World(stream, on_cut=on_cut, recovery=Recovery(attempts=1)), patience) == errors


@pytest.mark.parametrize(("patience", "errors"), [(120.0, 1.0), (30.0, 0.0)])
def test_a_first_byte_that_the_caller_does_not_wait_for_says_nothing_of_the_provider(
    patience: float, errors: float
) -> None:
    async def late() -> None:
        world.clock.time += min(patience, 60.0)
        raise silent()

    world = World(late, recovery=Recovery(attempts=1))
    assert errors_of(world, patience) == errors
