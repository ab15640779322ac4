"""Refusals of rates that come inside an answer, and callers over their limits: what turns make of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import UpstreamBroken
from headgate.core.limits import Limit
from headgate.policy.recovery import Recovery
from headgate.policy.turn import TurnRules
from headgate.testing.canned import SSE, event, message, message_stream
from headgate.testing.fakes import FakeAnswer, World

Run = Callable[[Coroutine[Any, Any, Any]], Any]

BROKEN = UpstreamBroken("reset", kind="server", status=500, retryable=True, elsewhere=True)
BUSY = {"type": "rate_limit_error", "message": "slow down"}
STREAM = ((b"content-type", SSE),)
STREAMED = b'{"model":"claude-haiku-4-5","max_tokens":9,"messages":[],"stream":true}'


def test_a_429_that_comes_as_an_event_of_a_200_is_waited_for_and_not_sent_into_again_at_once(run: Run) -> None:
    told = FakeAnswer(200, STREAM, (event("error", error=BUSY),))
    world = World(told, FakeAnswer(200, STREAM, tuple(message_stream("hi"))), turns=TurnRules())
    assert run(world.call(world.request(STREAMED))).status == 200
    assert len(world.upstream.sent) == 2
    assert sum(world.clock.slept) == pytest.approx(1.0, abs=0.1)


def test_a_429_in_the_body_of_a_200_is_waited_for_as_long_as_it_says(run: Run) -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'
    headers = ((b"content-type", b"application/json"), (b"retry-after", b"7"))
    world = World(FakeAnswer(200, headers, (body,)), message("hello"), turns=TurnRules())
    assert run(world.call()).status == 200
    assert sum(world.clock.slept) == pytest.approx(7.0, abs=0.1)


def test_whoever_is_over_its_own_limit_uses_up_nobodys_retries(run: Run) -> None:
    limits = [Limit(("user",), requests_per_minute=1)]
    world = World(*[BROKEN] * 9, turns=TurnRules(breaker=None), limits=limits, recovery=Recovery(attempts=1))
    for user in ("a", "b", "c", "mallory"):
        request = world.request()
        request.caller = Caller(user=user)
        run(world.call(request))
    assert world.turns is not None
    budget = world.turns.desk.budget("anthropic")
    assert budget is not None
    before = budget.balance(world.clock.now())
    assert before == 5.0
    for _ in range(20):
        request = world.request()
        request.caller, request.client_retries = Caller(user="mallory"), 1
        assert run(world.call(request)).status == 429
    assert budget.balance(world.clock.now()) == before
