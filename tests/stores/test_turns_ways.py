"""What is kept of a route between two calls holds for no longer than it is true; an exchange's end is told once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headgate.core.errors import NoTurn, UpstreamBroken
from headgate.core.exchange import Attempt, Exchange, Route
from headgate.core.secret import Secret
from headgate.core.usage import Usage
from headgate.policy import turns as turns_module
from headgate.policy.turn import Turn, TurnRules
from headgate.policy.turns import Turns
from headgate.stores.turns import LocalTurns
from headgate.testing.fakes import World, route

ROUTE = route("anthropic", "claude-haiku-4-5")
NOW = 1000.0
LATE = NOW + 60.0


class Renewed(Secret):
    """A credential that gets another value, as those of stores do."""

    __slots__ = ()

    def put(self, value: str) -> None:
        self._value = value


def go(desk: Turns, at: Route = ROUTE, **more: Any) -> Turn:
    request = World().request()
    for name, value in more.items():
        setattr(request, name, value)
    found = desk.ask(request, at, LATE, NOW)
    assert isinstance(found, Turn)
    return found


def ended(desk: Turns, turn: Turn, error: UpstreamBroken | None = None, at: Route = ROUTE) -> None:
    attempt = Attempt(1, at, NOW, sent=True, error=error, turn=turn)
    if error is None:
        attempt.first_content, attempt.usage = NOW, Usage(input_tokens=10, output_tokens=10)
    desk.end(turn, attempt, NOW, jitter=0.0)


def test_a_breaker_that_opened_since_the_last_call_at_a_route_stands_in_the_way_of_the_next() -> None:
    desk = Turns()
    ended(desk, go(desk))
    while desk.blocked(ROUTE, NOW) is None:
        ended(desk, go(desk), UpstreamBroken("gone", kind="server", status=500))
    with pytest.raises(NoTurn, match="left alone"):
        go(desk)
    desk.lift(ROUTE.provider)
    ended(desk, go(desk))


def test_a_renewed_credential_has_a_lane_of_its_own_at_the_very_next_call() -> None:
    secret = Renewed("one")
    at = replace(ROUTE, credential=secret)
    desk = Turns()
    before, again = go(desk, at), go(desk, at)
    assert before.lane is again.lane
    secret.put("an" + "other")
    assert go(desk, at).lane is not before.lane


def test_no_turn_is_given_in_one_step_where_anything_has_changed() -> None:
    secret = Renewed("one")
    at = replace(ROUTE, credential=secret)
    desk, request = Turns(default=TurnRules(pacing=False)), World().request()

    def at_once() -> bool:
        turn = desk.at_once(request, at, NOW)
        if turn is not None:
            ended(desk, turn, at=at)
        return turn is not None

    ended(desk, go(desk, at), at=at)
    ended(desk, go(desk, at), at=at)  # its breaker was made by the end of the first
    assert at_once()
    secret.put("an" + "other")
    assert not at_once()
    ended(desk, go(desk, at), at=at)
    ended(desk, go(desk, at), at=at)
    assert at_once()
    request.facts.fast = True
    assert not at_once()
    request.facts.fast = False
    while desk.blocked(at, NOW) is None:
        assert at_once()
        ended(desk, go(desk, at), UpstreamBroken("gone", kind="server", status=500), at=at)
    assert not at_once()
    desk.lift(at.provider)
    assert not at_once()  # until it was asked for in full
    ended(desk, go(desk, at), at=at)
    assert at_once()


def test_fast_mode_and_free_endpoints_do_not_take_the_way_of_the_calls_before_them() -> None:
    desk = Turns()
    plain = go(desk)
    facts = replace(World().request().facts, fast=True)
    assert go(desk, facts=facts).lane is not plain.lane
    assert go(desk, endpoint="count_tokens").lane is None
    ended(desk, plain)
    assert go(desk).lane is plain.lane


def test_where_lanes_make_room_nobody_is_led_to_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "MOST_LANES", 2)
    desk = Turns()
    turn = go(desk)
    ended(desk, turn)
    for number in range(4):
        other = route("anthropic", f"model-{number}")
        ended(desk, go(desk, other), at=other)
    kept = go(desk).lane
    assert kept is not None
    assert kept in desk._lanes.values()


@pytest.mark.parametrize("told_before", [False, True])
def test_the_end_of_an_exchange_ends_its_last_attempt_and_counts_both_once(told_before: bool) -> None:
    turns = LocalTurns(
        lambda: Turns(default=TurnRules(concurrency=1)), now=lambda: NOW, random=lambda: 0.5, tell=lambda *_, **__: None
    )
    port = turns.asynchronous()
    exchange = Exchange("ex", World().request(), NOW)
    attempt = Attempt(1, ROUTE, NOW)
    exchange.attempts.append(attempt)
    assert port.turn(exchange, attempt, until=LATE) is None
    attempt.sent, attempt.first_content = True, NOW
    if told_before:
        port.ended(exchange, attempt)
    port.closed(exchange)
    rates, _ = turns.rates()
    assert (rates.attempts, rates.exchanges) == (1, 1)
    following = Attempt(1, ROUTE, NOW)
    assert port.turn(exchange, following, until=LATE) is None  # its place under the cap is free
