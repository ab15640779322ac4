"""Metering: what has arrived, what cannot be believed, what breaks its bound, and answers read on for the bill."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.errors import UpstreamBroken, UpstreamTimeout
from headgate.core.exchange import Ending
from headgate.engine.blocking import run_blocking
from headgate.policy.calibration import ENOUGH, SILENT_RATE, UNSEEN_LEAST, UNSEEN_MOST
from headgate.testing import World
from headgate.testing.canned import (
    chunk,
    completion,
    completion_stream,
    event,
    message,
    message_stream,
    messages_request,
)
from headgate.testing.fakes import Arrived, Passed, route

# Nano-dollars per token: claude-haiku-4-5 1000 in, 5000 out; gpt-6-luna 100 in, 500 out.
OUT = {"anthropic": 5000, "openai": 500}
IN = {"anthropic": 1000, "openai": 100}
STREAM = {"anthropic": message_stream, "openai": completion_stream}
WHOLE = {"anthropic": message, "openai": completion}
MODEL = {"anthropic": "claude-haiku-4-5", "openai": "gpt-6-luna"}


def lost() -> UpstreamBroken:
    return UpstreamBroken("lost", kind="broken", retryable=True, elsewhere=True, maybe_billed=True)


def idle() -> UpstreamTimeout:
    return UpstreamTimeout("idle", kind="timeout", retryable=True, maybe_billed=True)


def served(dialect: str, *script: Any, **more: Any) -> World:
    """A world whose model "m" has one route with these settings."""
    own = replace(route(dialect, MODEL[dialect]), **more)
    return World(*script, models={"m": [own]})


def roomy(dialect: str, model: str = "") -> bytes:
    """A call whose cap does not get in the way."""
    turns = [{"role": "user", "content": "hello"}]
    told = {"model": model or MODEL[dialect], "max_tokens": 1_000, "stream": True, "messages": turns}
    return json.dumps(told).encode()


async def left_after(world: World, pieces: int, *, dialect: str = "anthropic", body: bytes | None = None) -> Any:
    """The last attempt of a caller that reads so many pieces and goes."""
    reply = await world.open(world.request(body, dialect=dialect, stream=True))
    for _ in range(pieces):
        await reply.read()
    reply.close()
    assert world.exchange is not None
    return world.exchange.last


async def drained(world: World, body: bytes | None = None, *, dialect: str = "anthropic") -> Any:
    """The last attempt of a caller that reads one piece, and whose answer is read on."""
    reply = await world.open(world.request(body, dialect=dialect, stream=True))
    await reply.read()
    reply.leave()
    while await reply.read():
        pass
    reply.close()
    assert world.exchange is not None
    return world.exchange.last


# What has arrived


def test_what_has_arrived_by_the_time_the_caller_leaves_is_charged_though_nobody_read_it(
    run: Any, dialect: str
) -> None:
    frames = STREAM[dialect]("twelve bytes", "and twenty more bytes")
    place = next(i for i, frame in enumerate(frames) if b"twelve" in frame) + 1
    body = roomy(dialect)
    seen = run(left_after(World([*frames[:place], Arrived(frames[place])]), 1, dialect=dialect, body=body))
    unseen = run(left_after(World([*frames[:place], frames[place]]), 1, dialect=dialect, body=body))
    assert seen.usage.output_tokens == unseen.usage.output_tokens + 21 == 12 + 21 + UNSEEN_MOST


def test_an_answer_that_had_arrived_to_its_end_is_abandoned_and_charged_exactly(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]()
    place = next(i for i, frame in enumerate(frames) if b"hello" in frame) + 1
    world = World([*frames[:place], Arrived(b"".join(frames[place:]))])
    last = run(left_after(world, 1, dialect=dialect))
    assert world.exchange.ending is Ending.ABANDONED
    assert (last.cost_nano, last.estimated) == (10 * IN[dialect] + 5 * OUT[dialect], False)


# What was on its way


def test_a_stream_that_is_left_pays_for_what_its_own_rate_had_on_its_way() -> None:
    frames = message_stream("x" * 100, "y" * 100)
    script = [*frames[:3], Passed(1.0), frames[3], Passed(1.0), *frames[4:]]
    last = run_blocking(left_after(World(script), 2, body=messages_request(stream=True, max_tokens=10_000)))
    assert last.usage.output_tokens == 200 + UNSEEN_MOST  # no second had passed when its last piece was asked for
    slow = [*frames[:3], Passed(4.0), frames[3], Passed(1.0), *frames[4:]]

    async def later() -> Any:
        world = World(slow)
        reply = await world.open(world.request(messages_request(stream=True, max_tokens=10_000)))
        await reply.read()
        await reply.read()
        await reply.read()
        reply.close()
        return world.exchange.last

    assert run_blocking(later()).usage.output_tokens == 200 + UNSEEN_LEAST


def test_what_is_learned_from_counted_streams_tightens_what_is_charged_for_the_next(run: Any, dialect: str) -> None:
    text = "the keeper lowers the gate. " * 8
    whole = STREAM[dialect](text, output_tokens=56)
    script = [whole] * (ENOUGH + 4)
    place = next(i for i, frame in enumerate(whole) if b"keeper" in frame) + 1
    body = roomy(dialect)

    async def main() -> tuple[int, int]:
        world = World([*whole[:place], lost()], *script, [*whole[:place], lost()])
        costs = []
        for _ in range(ENOUGH + 6):
            reply = await world.open(world.request(body, dialect=dialect))
            while await reply.read():
                pass
            costs.append(world.exchange.last)
        assert all(each.estimated for each in (costs[0], costs[-1]))
        assert not any(each.estimated for each in costs[1:-1])
        return costs[0].usage.output_tokens, costs[-1].usage.output_tokens

    before, after = run(main())
    assert before == len(text) + UNSEEN_LEAST
    assert 56 <= after < 75


def test_a_stream_that_times_out_before_its_content_pays_for_the_time_it_may_have_reasoned() -> None:
    role = completion_stream()[0]
    world = World([role, Passed(0.1), idle()], *[[idle()]] * 3)
    run_blocking(world.call(world.request(dialect="openai", stream=True)))
    first = world.exchange.attempts[0]
    assert (first.estimated, first.status) == (True, 200)
    assert first.usage.output_tokens == min(100, UNSEEN_MOST + int(SILENT_RATE * 0.1))


# Who bills to the end


def test_a_provider_that_bills_to_the_end_is_charged_all_that_was_allowed_when_its_stream_is_left(
    run: Any, dialect: str
) -> None:
    body = roomy(dialect, "m")
    last = run(left_after(served(dialect, STREAM[dialect](), bills_to_end=True), 1, dialect=dialect, body=body))
    assert (last.usage.output_tokens, last.estimated) == (1_000, True)
    assert last.cost_nano <= last.bound_nano


def test_it_is_not_where_the_provider_itself_broke_off(run: Any) -> None:
    world = served("anthropic", [*message_stream()[:3], lost()], bills_to_end=True)
    run(world.call(world.request(messages_request(stream=True, model="m", max_tokens=700))))
    assert world.exchange.last.usage.output_tokens == len("hello") + UNSEEN_LEAST


# What cannot be believed

_WRONG = [
    {"input_tokens": -10, "output_tokens": 5},
    {"input_tokens": "10", "output_tokens": "5"},
    {"input_tokens": 10.5, "output_tokens": 5},
    {"input_tokens": 10, "output_tokens": 10**15},
    {"input_tokens": 10**12, "output_tokens": 5},
    {"input_tokens": 10, "output_tokens": 2**60},
]


def _in(dialect: str, usage: dict[str, Any]) -> dict[str, Any]:
    if dialect == "anthropic":
        return usage
    return {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}


@pytest.mark.parametrize("usage", _WRONG)
def test_counts_that_cannot_be_are_not_charged_but_estimated_and_told(
    run: Any, dialect: str, usage: dict[str, Any]
) -> None:
    world = World(WHOLE[dialect]("twelve bytes", usage=_in(dialect, usage)))
    played = run(world.call(world.request(dialect=dialect)))
    last = played.exchange.last
    assert (played.status, played.exchange.ending, last.estimated) == (200, Ending.COMPLETE, True)
    assert 10 * IN[dialect] + 12 * OUT[dialect] <= last.cost_nano <= last.bound_nano
    [(name, fields)] = world.log.events
    assert (name, fields["exchange"], fields["provider"]) == ("bad_usage", played.exchange.id, dialect)


@pytest.mark.parametrize("usage", _WRONG)
def test_at_a_streams_end_they_are_not_charged_either(run: Any, dialect: str, usage: dict[str, Any]) -> None:
    frames = STREAM[dialect]("twelve bytes")
    if dialect == "anthropic":
        frames[-2] = event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    else:
        frames[-2] = chunk([], usage=_in(dialect, usage))
    world = World(frames)
    played = run(world.call(world.request(dialect=dialect, stream=True)))
    last = played.exchange.last
    assert (played.exchange.ending, last.estimated) == (Ending.COMPLETE, True)
    assert 10 * IN[dialect] + 12 * OUT[dialect] <= last.cost_nano <= last.bound_nano
    assert [name for name, _ in world.log.events] == ["bad_usage"]


_TOLD = {"input_tokens": 10, "output_tokens": 5}


@pytest.mark.parametrize(
    "more",
    [
        {"server_tool_use": {"web_search_requests": 2**53}},
        {"server_tool_use": {"web_search_requests": 1_001}},
        {"iterations": [{"type": "compaction", "input_tokens": 10**12}]},
        {"iterations": [{"type": "compaction", "cache_creation_input_tokens": 10**12}]},
        {"iterations": [{"type": "advisor_message", "model": "claude-opus-5", "output_tokens": 10**12}]},
    ],
)
def test_nested_counts_that_cannot_be_are_not_charged_either(run: Any, more: dict[str, Any]) -> None:
    world = World(message("twelve bytes", usage=_TOLD | more))
    last = run(world.call(world.request(dialect="anthropic"))).exchange.last
    assert last.estimated
    searches = 10 * 10_000_000 if "server_tool_use" in more else 0  # ten of them, at $10 for a thousand
    told = 10 * IN["anthropic"] + 5 * OUT["anthropic"] + searches
    assert told <= last.cost_nano <= last.bound_nano + searches
    assert world.log.events[0][0] == "bad_usage"


def test_a_missing_usage_is_estimated_and_nothing_is_told(run: Any, dialect: str) -> None:
    world = World(WHOLE[dialect](usage=None))
    last = run(world.call(world.request(dialect=dialect))).exchange.last
    assert (last.estimated, world.log.events) == (True, [])


def test_nothing_is_learned_from_counts_that_cannot_be(run: Any) -> None:
    world = World(*[message("x" * 100, usage={"input_tokens": 10, "output_tokens": 10**15})] * 20)

    async def main() -> None:
        for _ in range(20):
            await world.call()

    run(main())
    assert len({each.cost_nano for each in (e.last for e in world.ledger.settled)}) == 1


# A broken bound


def test_a_cost_above_its_bound_is_charged_and_told(run: Any, dialect: str) -> None:
    world = World(WHOLE[dialect](output_tokens=90_000))
    played = run(world.call(world.request(dialect=dialect)))
    last = played.exchange.last
    assert last.cost_nano == 10 * IN[dialect] + 90_000 * OUT[dialect] > last.bound_nano
    [(name, fields)] = world.log.events
    assert name == "bound_broken"
    assert (fields["bound_nano"], fields["cost_nano"], fields["estimated"]) == (last.bound_nano, last.cost_nano, False)
    assert (fields["provider"], fields["exchange"]) == (dialect, played.exchange.id)


def test_a_price_that_is_a_fallback_is_told_once_an_hour(run: Any) -> None:
    world = World(*[message("hi", model="claude-nonesuch-9")] * 3)
    for seconds in (0, 60, 3_600):
        world.clock.time += seconds
        run(world.call(world.request()))
    events = [fields for name, fields in world.log.events if name == "price_doubt"]
    assert len(events) == 2
    assert (events[0]["model"], events[0]["provider"]) == ("claude-nonesuch-9", "anthropic")
    assert events[0]["price_version"].endswith("+ceiling")
    assert "claude-nonesuch-9" in events[0]["doubts"][0]


def test_tokens_of_a_compaction_count_towards_caps_and_in_the_rows(run: Any) -> None:
    hops = [
        {"type": "compaction", "input_tokens": 50_000, "output_tokens": 5_000},
        {"type": "message", "input_tokens": 10, "output_tokens": 5},
    ]
    usage = {"input_tokens": 10, "output_tokens": 5, "iterations": hops}
    world = World(message("hi", usage=usage))
    last = run(world.call(world.request())).exchange.last
    assert last.used_tokens == 55_015
    assert (last.usage.input_tokens, last.usage.output_tokens) == (50_010, 5_005)
    assert last.cost_nano == 50_010 * IN["anthropic"] + 5_005 * OUT["anthropic"]


def test_an_ordinary_cost_tells_nothing(run: Any, dialect: str) -> None:
    world = World(WHOLE[dialect]())
    run(world.call(world.request(dialect=dialect)))
    assert world.log.events == []


# Draining

BODY = messages_request(stream=True, model="m", max_tokens=100_000)


def test_a_drained_answer_is_abandoned_and_charged_exactly(run: Any) -> None:
    world = served("anthropic", message_stream("a", "b"), drain=True)
    last = run(drained(world, BODY))
    assert (world.exchange.ending, last.estimated, last.cost_nano) == (Ending.ABANDONED, False, 35_000)


def test_draining_ends_after_its_seconds(run: Any) -> None:
    frames = message_stream(*["x" * 10] * 100)
    slow: list[Any] = []
    for frame in frames:
        slow += [Passed(1.0), frame]
    world = served("anthropic", slow, drain=True, drain_seconds=7.0)
    began = world.clock.time
    last = run(drained(world, BODY))
    assert (world.exchange.ending, last.estimated) == (Ending.ABANDONED, True)
    assert 7 <= world.clock.time - began <= 12
    assert not world.upstream.answers[0].read_to_end
    assert world.upstream.answers[0].closed


def test_draining_ends_at_its_dollars(run: Any) -> None:
    world = served("anthropic", message_stream(*["x" * 100] * 100), drain=True, drain_nano=5_000_000)
    last = run(drained(world, BODY))
    assert (world.exchange.ending, last.estimated) == (Ending.ABANDONED, True)
    # 5 million nano-dollars are 1,000 tokens at 5,000, and nothing was learned: 1,000 bytes, behind the first 100.
    assert 1_100 <= last.usage.output_tokens <= 1_200 + UNSEEN_MOST


def test_draining_stops_when_it_is_told_to(run: Any) -> None:
    world = served("anthropic", [*message_stream()[:3], lost()], drain=True)

    async def main() -> None:
        reply = await world.open(world.request(BODY))
        await reply.read()
        assert reply.drains
        reply.leave()
        assert not reply.drains  # somebody does so already
        reply.stop()
        assert await reply.read() == b""
        reply.close()

    run(main())
    assert (world.exchange.ending, world.exchange.last.estimated) == (Ending.ABANDONED, True)
    assert world.ledger.settled == [world.exchange]


def test_an_answer_that_breaks_while_it_is_drained_is_still_the_callers_leaving(run: Any) -> None:
    world = served("anthropic", [*message_stream("twelve bytes")[:3], lost()], drain=True)
    last = run(drained(world, BODY))
    assert (world.exchange.ending, last.estimated) == (Ending.ABANDONED, True)
    assert last.usage.output_tokens == 12 + UNSEEN_LEAST


def test_only_streams_that_are_under_way_drain(run: Any) -> None:
    async def main() -> list[bool]:
        found = []
        for world, stream in (
            (served("anthropic", message_stream(), drain=True), True),
            (served("anthropic", message_stream(), drain=False), True),
            (served("anthropic", message(), drain=True), False),
        ):
            reply = await world.open(world.request(messages_request(stream=stream, model="m")))
            found.append(reply.drains)
            while await reply.read():
                pass
            found.append(reply.drains)
        return found

    assert run(main()) == [True, False, False, False, False, False]
