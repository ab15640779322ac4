"""Incident mode: what a stop, a slowing and a degradation make of calls that begin, and of retries."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headgate.core.caller import Caller
from headgate.core.errors import UpstreamBroken
from headgate.core.exchange import Ending
from headgate.core.incidents import Incident
from headgate.policy.fallback import Fallbacks
from headgate.policy.ladder import Step
from headgate.policy.turn import TurnRules
from headgate.testing.canned import message
from headgate.testing.fakes import World, route

Run = Callable[[Coroutine[Any, Any, Any]], Any]

MODELS = {
    "fast": (route("anthropic", "claude-haiku-4-5"), route("acme", "claude-haiku-4-5")),
    "cheap": (route("anthropic", "claude-haiku-4-5"),),
}
BROKEN = UpstreamBroken("reset", kind="server", status=500, retryable=True, elsewhere=True)


def on(world: World, *found: tuple[Any, ...], seconds: float = 3_600.0, **more: Any) -> None:
    """Put incidents: (kind, scope, value)."""
    now = world.clock.now()
    told = {"to": "", "rate": 0, "by": "ada", "why": "for a canary-reason", **more}
    all_ = [Incident(f"inc_{n}", *each, since=now, expires=now + seconds, **told) for n, each in enumerate(found)]
    world.engine.policies.incidents.put(all_, now)


def ask(world: World, model: str = "fast", **more: Any) -> Any:
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    return world.call(world.request(json.dumps(body).encode(), **more))


def hosts(world: World) -> list[str]:
    return [out.url.partition("//")[2].partition(".")[0] for out in world.upstream.sent]


@pytest.mark.parametrize(("scope", "caller"), [("tenant", Caller(tenant="acme")), ("task", Caller(task="acme"))])
def test_whoever_is_stopped_is_refused_in_a_sentence_for_people_and_everybody_else_is_served(
    run: Run, scope: str, caller: Caller
) -> None:
    world = World(message("hello"), turns=TurnRules())
    on(world, ("stop", scope, "acme"))
    played = run(world.call(world.request(caller=caller)))
    assert (played.status, played.headers[b"x-should-retry"]) == (503, b"false")
    said = json.loads(played.body)
    assert said["headgate"]["code"] == "incident_stopped"
    assert "paused on purpose" in said["error"]["message"]
    assert "inc_0" in said["error"]["message"]
    assert "canary" not in played.body.decode()
    assert world.exchange is not None
    assert (world.exchange.ending, world.exchange.attempts) == (Ending.REFUSED, [])
    assert world.happened == ["settle"]  # no commit for each of a flood
    assert run(world.call(world.request(caller=Caller(tenant="other")))).status == 200


def test_a_stopped_provider_is_passed_over_and_the_next_route_serves(run: Run) -> None:
    world = World(message("hello"), models=MODELS, turns=TurnRules(), ceiling_pico=10)
    on(world, ("stop", "provider", "anthropic"))
    assert run(ask(world)).status == 200
    assert hosts(world) == ["acme"]
    assert world.exchange is not None
    assert len(world.exchange.attempts) == 1


@pytest.mark.parametrize("turns", [TurnRules(), None])
@pytest.mark.parametrize("value", ["claude-haiku-4-5", "fast"])
def test_a_stopped_model_is_refused_where_no_route_is_left(run: Run, turns: TurnRules | None, value: str) -> None:
    world = World(models=MODELS, turns=turns, ceiling_pico=10)
    on(world, ("stop", "model", value))
    played = run(ask(world))
    assert (played.status, json.loads(played.body)["headgate"]["code"]) == (503, "incident_stopped")
    assert world.upstream.sent == []


def test_only_the_providers_own_model_is_stopped_where_the_provider_is_named(run: Run) -> None:
    world = World(message("hello"), models=MODELS, ceiling_pico=10)
    on(world, ("stop", "model", "anthropic/claude-haiku-4-5"))
    assert run(ask(world)).status == 200
    assert hosts(world) == ["acme"]


def test_a_stop_that_comes_during_a_call_keeps_its_retries_from_going_there(run: Run) -> None:
    world = World(BROKEN, message("hello"), models=MODELS, turns=TurnRules(), ceiling_pico=10)
    slept = world.clock.sleep

    async def meanwhile(seconds: float) -> None:
        on(world, ("stop", "provider", "anthropic"))
        await slept(seconds)

    world.clock.sleep = meanwhile  # type: ignore[method-assign]  # what the fake clock cannot play
    assert run(ask(world)).status == 200
    assert hosts(world) == ["anthropic", "acme"]


def test_models_that_follow_a_failure_follow_a_stop_but_for_those_that_are_stopped(run: Run) -> None:
    models = {**MODELS, "other": (route("acme", "claude-sonnet-4-5"),)}
    fallbacks = Fallbacks(models={"cheap": {"overload": ("fast", "other")}})
    world = World(message("hello"), models=models, fallbacks=fallbacks, turns=TurnRules(), ceiling_pico=10)
    on(world, ("stop", "provider", "anthropic"), ("stop", "model", "fast"))
    assert run(ask(world, "cheap")).status == 200
    assert [attempt.route.model for attempt in world.exchange.attempts] == ["claude-sonnet-4-5"]  # type: ignore[union-attr]


def test_the_ladder_takes_over_where_a_stop_leaves_no_route(run: Run) -> None:
    world = World(models=MODELS, ladder=[Step(frozenset({"overload"}), say="Back soon.")], ceiling_pico=10)
    on(world, ("stop", "model", "claude-haiku-4-5"))
    played = run(ask(world))
    assert played.status == 200
    assert b"Back soon." in played.body


def test_slowed_calls_wait_for_their_turn_and_say_how_long(run: Run) -> None:
    world = World(message("a"), message("b"), message("c"), turns=TurnRules())
    on(world, ("slow", "tenant", "acme"), rate=6)
    for wait in (0, 10_000, 10_000):
        played = run(world.call(world.request(caller=Caller(tenant="acme"))))
        assert (played.status, int(played.headers[b"x-headgate-waited-ms"])) == (200, pytest.approx(wait, abs=50))


def test_slowed_calls_whose_turn_comes_after_their_deadline_are_refused_with_the_time_to_wait(run: Run) -> None:
    world = World(message("a"), retry_deadline=5.0)
    on(world, ("slow", "tenant", "acme"), rate=6)
    caller = Caller(tenant="acme")
    run(world.call(world.request(caller=caller)))
    played = run(world.call(world.request(caller=caller)))
    assert (played.status, played.headers[b"x-should-retry"]) == (429, b"true")
    assert (played.headers[b"retry-after"], world.clock.slept) == (b"10", [])


def test_a_slowed_provider_holds_an_attempt_before_its_money_and_another_route_serves_before_that(run: Run) -> None:
    world = World(message("a"), message("b"), models=MODELS, turns=TurnRules(), ceiling_pico=10)
    on(world, ("slow", "provider", "anthropic"), rate=2)
    assert [run(ask(world)).status for _ in range(2)] == [200, 200]
    assert hosts(world) == ["anthropic", "acme"]
    alone = World(message("a"), message("b"), models=MODELS, turns=TurnRules())
    on(alone, ("slow", "model", "claude-haiku-4-5"), rate=2)
    assert [run(ask(alone, "cheap")).status for _ in range(2)] == [200, 200]
    assert sum(alone.clock.slept) == pytest.approx(30.0)
    assert alone.happened[5:8] == ["turn", "intend", "send"]
    assert alone.exchange is not None
    assert alone.exchange.attempts[0].waited == pytest.approx(30.0)


def test_a_slowed_provider_without_another_route_refuses_as_a_limit_does(run: Run) -> None:
    world = World(message("a"), models=MODELS, turns=TurnRules(), retry_deadline=5.0)
    on(world, ("slow", "provider", "anthropic"), rate=2)
    run(ask(world, "cheap"))
    played = run(ask(world, "cheap"))
    assert (played.status, played.headers[b"retry-after"]) == (429, b"30")
    assert json.loads(played.body)["headgate"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("scope", "value"),
    [("model", "strong"), ("model", "claude-opus-4-8"), ("provider", "acme"), ("tenant", "t"), ("task", "k")],
)
def test_degraded_calls_are_answered_by_the_other_model_and_say_so(run: Run, scope: str, value: str) -> None:
    models = {**MODELS, "strong": (route("acme", "claude-opus-4-8"),)}
    world = World(message("hello"), models=models, turns=TurnRules(), ceiling_pico=10)
    on(world, ("degrade", scope, value), to="cheap")
    played = run(ask(world, "strong", caller=Caller(tenant="t", task="k")))
    assert (played.status, played.headers[b"x-headgate-degraded"]) == (200, b"incident: cheap")
    assert world.exchange is not None
    assert world.exchange.attempts[0].route.model == "claude-haiku-4-5"
    assert json.loads(world.upstream.sent[0].body)["model"] == "claude-haiku-4-5"


def test_a_call_that_no_other_model_can_serve_is_not_degraded(run: Run) -> None:
    world = World(message("hello"), models=MODELS)
    on(world, ("degrade", "provider", "anthropic"), to="openai/gpt-5")  # this path is the other provider's alone
    request = world.request()
    request.provider = "anthropic"
    played = run(world.call(request))
    assert (played.status, b"x-headgate-degraded" in played.headers) == (200, False)


def test_after_the_last_incident_has_expired_calls_look_at_one_attribute_again(run: Run) -> None:
    world = World(message("a"), message("b"))
    on(world, ("stop", "tenant", "acme"), seconds=10)
    run(world.clock.sleep(11))
    assert run(world.call(world.request(caller=Caller(tenant="acme")))).status == 200
    assert world.engine.policies.incidents.live is None
