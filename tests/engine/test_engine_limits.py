"""Callers' limits in the engine: who is let in, what a refusal says, what is corrected on every ending."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import pytest

from headgate.core.budget import Budget
from headgate.core.caller import Caller
from headgate.core.errors import RateExceeded, UpstreamBroken, UpstreamTimeout
from headgate.core.exchange import Ending
from headgate.core.limits import Limit
from headgate.policy.estimate import likely_tokens
from headgate.policy.recovery import Recovery
from headgate.testing import FakeAnswer, Played, World
from headgate.testing.canned import (
    CLAUDE,
    JSON,
    completion,
    message,
    message_stream,
    messages_request,
)
from headgate.testing.fakes import route

ADA, BOB = Caller(user="ada", tenant="acme"), Caller(user="bob", tenant="acme")
TWO = Limit(("user",), requests_per_minute=2, source="headgate.yaml:3:5")
TOKENS = Limit(("user",), tokens_per_minute=10_000)
LARGE = messages_request(max_tokens=10, messages=[{"role": "user", "content": "x" * 39_000}])


def said(played: Played) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"".join(played.pieces))
    return found


def answers(count: int) -> list[Any]:
    return [message("hi", input_tokens=10, output_tokens=5) for _ in range(count)]


def test_as_many_as_the_limit_are_let_in_and_the_next_is_told_when_to_come_again(play: Any) -> None:
    world = World(*answers(3), limits=[TWO])
    assert [play(world, caller=ADA).status for _ in range(2)] == [200, 200]
    refused = play(world, caller=ADA)
    assert refused.status == 429
    assert refused.headers[b"retry-after"] == b"30"
    assert refused.headers[b"retry-after-ms"] == b"30000"
    assert refused.headers[b"x-should-retry"] == b"true"
    assert refused.headers[b"x-ratelimit-limit-requests"] == b"2"
    assert refused.headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert refused.headers[b"x-ratelimit-reset-requests"] == b"1m0s"
    assert play(world, caller=BOB).status == 200


def test_who_comes_again_after_the_time_it_was_told_is_let_in(play: Any) -> None:
    world = World(*answers(4), limits=[TWO])
    for _ in range(2):
        play(world, caller=ADA)
    told = play(world, caller=ADA).headers[b"retry-after-ms"]
    world.clock.time += int(told) / 1000 - 0.01
    assert play(world, caller=ADA).status == 429
    world.clock.time += 0.01
    assert play(world, caller=ADA).status == 200


def test_a_refusal_writes_nothing_but_its_row_and_does_not_wait_for_that(play: Any) -> None:
    world = World(*answers(1), limits=[Limit(requests_per_minute=1)])
    play(world)
    world.happened.clear()
    before = world.ledger.flushes
    refused = play(world)
    assert world.happened == ["settle"]
    assert world.ledger.flushes == before
    assert (refused.exchange.ending, refused.exchange.attempts) == (Ending.REFUSED, [])
    assert isinstance(refused.error, RateExceeded)
    assert (refused.error.unit, refused.error.code) == ("requests", "rate_limit_exceeded")


def test_a_refusal_is_in_the_callers_dialect_and_names_the_limit_and_the_caller(play: Any, dialect: str) -> None:
    answer = message if dialect == "anthropic" else completion
    world = World(answer("hi"), limits=[Limit(("user",), 1, source="headgate.yaml:3:5")])
    play(world, dialect=dialect, caller=ADA)
    refused = play(world, dialect=dialect, caller=ADA)
    error = said(refused)["error"]
    if dialect == "anthropic":
        assert (said(refused)["type"], error["type"]) == ("error", "rate_limit_error")
        assert error["details"]["error_code"] == "rate_limit_exceeded"
    else:
        assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert error["message"] == "The limit of 1 request per minute of user ada is used up. Send it again in 60 s"
    assert said(refused)["headgate"]["code"] == "rate_limit_exceeded"


def test_a_call_that_never_fits_is_not_to_be_sent_again(play: Any, dialect: str) -> None:
    world = World(limits=[Limit(("user",), tokens_per_minute=100)])
    refused = play(
        world,
        LARGE if dialect == "anthropic" else LARGE.replace(CLAUDE.encode(), b"gpt-6-luna"),
        dialect=dialect,
        caller=ADA,
    )
    assert refused.status == 429
    assert refused.headers[b"x-should-retry"] == b"false"
    assert b"retry-after" not in refused.headers
    assert b"retry-after-ms" not in refused.headers
    error = said(refused)["error"]
    assert error["type"] == ("rate_limit_error" if dialect == "anthropic" else "tokens")
    assert "the limit of 100 tokens per minute of user ada never has room for so many" in error["message"]


def test_a_wait_that_no_sdk_waits_for_is_told_but_not_to_be_retried(play: Any) -> None:
    world = World(message("hi", input_tokens=20_000), *answers(1), limits=[Limit(("user",), tokens_per_minute=10_000)])
    play(world, caller=ADA)  # it used twice the limit: the bucket is empty, and in debt for a minute
    refused = play(world, LARGE, caller=ADA)
    assert int(refused.headers[b"retry-after"]) > 60
    assert refused.headers[b"x-should-retry"] == b"false"


def test_without_a_limit_that_applies_the_providers_own_headers_pass_and_none_of_ours_are_there(play: Any) -> None:
    own = {"x-ratelimit-limit-requests": "5000", "anthropic-ratelimit-tokens-remaining": "1"}
    world = World(FakeAnswer(200, headers(own), message("hi")), limits=[Limit(("session",), 1)])
    played = play(world, caller=ADA)
    assert played.headers[b"x-ratelimit-limit-requests"] == b"5000"
    assert played.headers[b"anthropic-ratelimit-tokens-remaining"] == b"1"


@pytest.mark.parametrize("status", [200, 400])
def test_with_a_limit_of_its_own_a_caller_sees_that_and_not_the_accounts(play: Any, status: int) -> None:
    own = {
        "x-ratelimit-limit-requests": "5000",
        "x-ratelimit-remaining-tokens": "1",
        "anthropic-ratelimit-tokens-remaining": "1",
        "anthropic-fast-input-tokens-limit": "9",
        "anthropic-organization-id": "o",
    }
    body = (
        message("hi")
        if status == 200
        else [b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}']
    )
    world = World(FakeAnswer(status, headers(own), body), limits=[TWO])
    played = play(world, caller=ADA)
    assert played.status == status
    assert {name for name in played.headers if b"limit" in name} == {
        b"x-ratelimit-limit-requests",
        b"x-ratelimit-remaining-requests",
        b"x-ratelimit-reset-requests",
    }
    assert played.headers[b"x-ratelimit-limit-requests"] == b"2"
    assert played.headers[b"x-ratelimit-remaining-requests"] == b"1"
    assert played.headers[b"anthropic-organization-id"] == b"o"


def headers(more: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", JSON), *((name.encode(), value.encode()) for name, value in more.items())]


def used(world: World) -> list[int]:
    assert world.limits is not None
    return [tokens for _, tokens in world.limits.corrected]


def test_tokens_are_taken_by_estimate_and_corrected_to_what_was_counted(play: Any) -> None:
    world = World(message("hi", input_tokens=300, output_tokens=200), limits=[TOKENS])
    played = play(world, caller=ADA)
    assert world.limits is not None
    ((expected, tokens),) = world.limits.corrected
    request = played.exchange.request
    assert expected == likely_tokens(request.facts, len(request.body), prompt=None, output=None)
    assert tokens == 500
    again = run_once(world)
    assert again == 10_000 - 500


def run_once(world: World) -> int:
    """What is left of the tokens, without taking any."""
    assert world.limits is not None
    taken = asyncio.run(world.limits.ask(ADA, tokens=0))
    return taken.figures[0].remaining


def test_a_stream_is_corrected_when_it_is_over_and_not_before(run: Any) -> None:
    world = World(message_stream("a", "b", input_tokens=70, output_tokens=30), limits=[TOKENS])

    async def go() -> None:
        reply = await world.open(world.request(stream=True, caller=ADA))
        assert used(world) == []
        while await reply.read():
            pass
        assert used(world) == [100]
        reply.close()

    run(go())
    assert used(world) == [100]


def test_an_abandoned_stream_is_corrected_to_what_it_is_charged_for(run: Any) -> None:
    world = World(message_stream("a" * 400, "b", input_tokens=70, output_tokens=300), limits=[TOKENS])

    async def go() -> None:
        reply = await world.open(world.request(stream=True, caller=ADA))
        await reply.read()
        reply.close()

    run(go())
    (attempt,) = world.exchange.attempts
    assert world.exchange.ending is Ending.ABANDONED
    assert used(world) == [attempt.used_tokens]
    assert attempt.used_tokens >= 70


def test_a_cut_stream_is_corrected_once(run: Any) -> None:
    pieces = message_stream("a" * 400, "b", input_tokens=70, output_tokens=300)[:4]
    world = World([*pieces, UpstreamBroken("reset", kind="broken", maybe_billed=True)], limits=[TOKENS])
    run(world.call(world.request(stream=True, caller=ADA)))
    assert world.exchange.ending is Ending.CUT
    assert used(world) == [world.exchange.attempts[0].used_tokens]


def test_what_every_attempt_has_used_counts(play: Any) -> None:
    world = World(
        UpstreamTimeout("slow", kind="timeout", retryable=True, maybe_billed=True),
        message("hi", input_tokens=70, output_tokens=30),
        limits=[TOKENS],
    )
    play(world, caller=ADA)
    first, second = world.exchange.attempts
    assert used(world) == [first.used_tokens + 100]
    assert second.used_tokens == 100


@pytest.mark.parametrize("budget", [True, False])
def test_a_call_that_reaches_no_provider_uses_no_tokens(play: Any, budget: bool) -> None:
    script: Sequence[Any] = () if budget else [UpstreamBroken("refused", kind="connect", elsewhere=True)]
    budgets = [Budget("all/day", cap_nano=0, every="day")] if budget else []
    world = World(*script, budgets=budgets, limits=[TOKENS], recovery=Recovery(attempts=1))
    assert play(world, caller=ADA).status in (429, 503)
    assert used(world) == [0]


def test_a_cancelled_call_is_corrected(run: Any) -> None:
    async def go(world: World) -> None:
        with pytest.raises(asyncio.CancelledError):
            await world.open(world.request(caller=ADA))

    world = World(asyncio.CancelledError(), limits=[TOKENS])
    run(go(world))
    assert world.exchange.ending is Ending.CANCELLED
    assert used(world) == [world.exchange.attempts[0].used_tokens]


def test_a_call_without_a_price_counts_as_a_request_and_not_in_tokens(play: Any) -> None:
    both = Limit(("user",), requests_per_minute=1, tokens_per_minute=10)
    world = World([b'{"input_tokens": 5}'], limits=[both])
    counting = messages_request()
    assert play(world, counting, path="/v1/messages/count_tokens", caller=ADA).status == 200
    assert play(world, counting, path="/v1/messages/count_tokens", caller=ADA).status == 429


@pytest.mark.parametrize(
    ("limit", "caller"),
    [
        (Limit(("model",), 1), Caller()),
        (Limit(("provider",), 1), Caller()),
        (Limit(("tenant", "user"), 1), ADA),
        (Limit(("tag:team",), 1), Caller(tags=MappingProxyType({"team": "red"}))),
        (Limit((), 1, only=(("tenant", "acme"),)), ADA),
        (Limit(("environment",), 1), Caller(environment="test")),
    ],
)
def test_every_dimension_of_a_call_can_be_limited(play: Any, limit: Limit, caller: Caller) -> None:
    world = World(*answers(1), limits=[limit])
    assert [play(world, caller=caller).status for _ in range(2)] == [200, 429]


def test_a_limit_per_model_is_that_of_the_route_that_comes_first(play: Any) -> None:
    routes = {"fast": [route("anthropic", "claude-haiku-4-5"), route("anthropic", "claude-sonnet-5-5")]}
    world = World(*answers(1), models=routes, limits=[Limit(("model",), 1)])
    assert play(world, messages_request(model="fast")).status == 200
    assert play(world, messages_request(model="claude-haiku-4-5")).status == 429


def test_a_limit_does_not_apply_to_a_call_that_lacks_its_dimension(play: Any) -> None:
    world = World(*answers(3), limits=[Limit(("user",), 1), Limit(("address",), 1)])
    assert [play(world).status for _ in range(3)] == [200] * 3


def test_a_limit_per_address_counts_the_address_that_the_way_in_tells(run: Any) -> None:
    world = World(*answers(2), limits=[Limit(("address",), 1)])

    def call(address: str) -> int:
        request = world.request()
        request.address = address
        return int(run(world.call(request)).status)

    assert [call("192.0.2.1"), call("192.0.2.1"), call("192.0.2.2")] == [200, 429, 200]


def test_a_request_that_no_route_serves_takes_nothing_from_a_limit(play: Any) -> None:
    nobodys = {"odd": [route("anthropic", "unheard-of-8"), route("anthropic", "unheard-of-9")]}
    world = World(*answers(1), models=nobodys, limits=[Limit(requests_per_minute=1)])
    assert play(world, messages_request(model="odd")).status == 400
    assert play(world).status == 200
