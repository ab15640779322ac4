"""Streams of the other dialect: metered as they come, translated as they go, and their every ending."""

from __future__ import annotations

import json
from itertools import cycle
from typing import Any

import pytest
from crossing_calls import MIXED, ONCE, asks, sent
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.exchange import Ending
from headgate.engine.blocking import run_blocking
from headgate.testing import FakeAnswer, Played, World
from headgate.testing.canned import (
    DONE,
    SSE,
    chunk,
    completion,
    completion_stream,
    delta,
    event,
    message,
    message_stream,
)


def texts(played: Played) -> str:
    """What a caller of Anthropic's has read of a stream."""
    found = (json.loads(line[6:]) for line in played.body.splitlines() if line.startswith(b"data: {"))
    return "".join(each["delta"].get("text", "") for each in found if each.get("type") == "content_block_delta")


def test_a_stream_is_metered_as_it_came_and_translated_as_it_goes(play: Any) -> None:
    world = World(completion_stream("a", "b", input_tokens=7, output_tokens=3), models=MIXED)
    played = play(world, asks("anthropic", "gpt", stream=True)[0])
    assert texts(played) == "ab"
    assert sent(world)["stream_options"] == {"include_usage": True}
    last = world.exchange.attempts[0]
    assert (last.usage.input_tokens, last.usage.output_tokens, last.stop_reason) == (7, 3, "stop")
    assert (world.exchange.ending, world.exchange.estimated) == (Ending.COMPLETE, False)
    frames = played.body.split(b"\n\n")
    assert frames[-3].startswith(b"event: message_stop")
    assert frames[-2].startswith(b": x-headgate-exchange=")
    assert len(played.pieces) > 2


@pytest.mark.parametrize("asked", [False, True])
def test_a_caller_of_openais_sees_the_usage_chunk_only_if_it_asked_for_one(play: Any, asked: bool) -> None:
    world = World(message_stream("hi", input_tokens=7, output_tokens=3), models=MIXED)
    more = {"stream_options": {"include_usage": True}} if asked else {}
    played = play(world, asks("openai", "claude", stream=True, **more)[0], dialect="openai")
    assert (b'"prompt_tokens":7' in played.body) == asked
    assert world.exchange.attempts[0].usage.output_tokens == 3
    done = played.body.index(b"data: [DONE]")
    assert played.body.index(b": x-headgate-exchange=") > done


@pytest.mark.parametrize("kept", range(2, 6))
def test_a_stream_that_is_cut_ends_in_the_callers_own_error_event_and_is_charged(play: Any, kept: int) -> None:
    pieces = message_stream("one", "two")[: kept + 1]
    world = World(pieces, models=MIXED)
    played = play(world, asks("openai", "claude", stream=True)[0], dialect="openai")
    last = played.body.rstrip().split(b"\n\n")[-1]
    assert last.startswith(b"data: {")
    assert json.loads(last[6:])["error"]["code"] == "provider_broken"
    assert b"[DONE]" not in played.body
    assert world.exchange.ending is Ending.CUT
    assert world.exchange.estimated == (kept < 5)  # the last one has told its final count
    assert world.exchange.cost_nano > 0


@pytest.mark.parametrize("kept", [2, 3])
def test_likewise_a_stream_of_openais_for_a_caller_of_anthropics(play: Any, kept: int) -> None:
    world = World(completion_stream("one", "two")[:kept], models=MIXED)
    played = play(world, asks("anthropic", "gpt", stream=True)[0])
    name, _, data = played.body.rstrip().split(b"\n\n")[-1].partition(b"\n")
    assert name == b"event: error"
    assert json.loads(data[6:])["headgate"]["code"] == "provider_broken"
    assert world.exchange.ending is Ending.CUT


def test_a_providers_error_event_after_content_comes_in_the_callers_form_once(play: Any) -> None:
    failing = [*completion_stream("one")[:2], b'data: {"error":{"message":"slow","type":"server_error"}}\n\n']
    world = World(failing, models=MIXED)
    played = play(world, asks("anthropic", "gpt", stream=True)[0])
    assert played.body.count(b"event: error") == 1
    assert b'"type":"api_error"' in played.body
    assert world.exchange.ending is Ending.CUT
    assert world.exchange.error is not None
    assert world.exchange.error.kind == "server"


def test_a_chunk_that_nobody_can_read_ends_the_stream_with_an_error_event(play: Any) -> None:
    world = World([*completion_stream("one")[:2], b"data: {nonsense\n\n", DONE], models=MIXED)
    played = play(world, asks("anthropic", "gpt", stream=True)[0])
    assert played.body.count(b"event: error") == 1
    assert b"message_stop" not in played.body
    assert world.exchange.ending is Ending.CUT


def test_what_an_answer_lost_is_said_at_the_streams_end(play: Any) -> None:
    thinking = delta(reasoning_content="hm")
    first, *rest = completion_stream("hi")
    world = World([first, thinking, *rest], models=MIXED)
    played = play(world, asks("anthropic", "gpt", stream=True, top_k=1)[0])
    assert played.headers[b"x-headgate-degraded"] == b"translated: top_k"
    assert b"x-headgate-degraded=translated:top_k,thinking" in played.body
    assert world.exchange.degradation == "translated: top_k, thinking"


def test_a_stream_left_by_its_caller_is_charged_for_what_had_come(run: Any) -> None:
    world = World(completion_stream("one", "two", "three"), models=MIXED)

    async def leave() -> None:
        reply = await world.open(world.request(asks("anthropic", "gpt", stream=True)[0]))
        await reply.read()
        reply.close()

    run(leave())
    assert world.exchange.ending is Ending.ABANDONED
    assert world.exchange.cost_nano > 0


def test_an_answer_that_asks_for_another_request_is_no_answer_and_is_paid_for(play: Any) -> None:
    paused = message(stop_reason="pause_turn", input_tokens=1000, output_tokens=100)
    world = World(paused, models=MIXED)
    played = play(world, asks("openai", "claude")[0], dialect="openai")
    assert (played.status, json.loads(played.body)["error"]["code"]) == (503, "provider_broken")
    assert world.exchange.cost_nano > 0
    assert not world.exchange.estimated
    pausing = event("message_delta", delta={"stop_reason": "pause_turn"}, usage={"output_tokens": 9})
    world = World([*message_stream("hi")[:-2], pausing, event("message_stop")], models=MIXED)
    played = play(world, asks("openai", "claude", stream=True)[0], dialect="openai")
    assert b"pause_turn" in played.body
    assert b"[DONE]" not in played.body
    assert world.exchange.ending is Ending.CUT


def test_a_whole_answer_where_a_stream_was_asked_for_is_translated_whole(play: Any) -> None:
    world = World(completion("hi"), models=MIXED)
    played = play(world, asks("anthropic", "gpt", stream=True)[0])
    assert json.loads(played.body)["content"][0]["text"] == "hi"


def test_a_choice_chunk_without_text_is_no_content(play: Any) -> None:
    """Until the first content the failure of a crossed stream is retried elsewhere, too."""
    failing = [chunk([{"index": 0, "delta": {"role": "assistant"}}]), b'data: {"error":{"type":"server_error"}}\n\n']
    world = World(failing, message_stream("hi"), models=MIXED, recovery=ONCE)
    played = play(world, asks("anthropic", "gpt-first", stream=True)[0])
    assert (texts(played), [a.route.provider for a in world.exchange.attempts]) == ("hi", ["openai", "anthropic"])
    assert b"event: error" not in played.body


def recut(pieces: list[bytes], sizes: list[int]) -> list[bytes]:
    """The same bytes, cut after so many bytes each, over and over."""
    whole, out = b"".join(pieces), []
    for size in cycle(sizes):
        if not whole:
            return out
        out.append(whole[:size])
        whole = whole[size:]
    return out


@pytest.mark.parametrize("dialect", ["anthropic", "openai"])
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_any_cut_of_the_providers_bytes_gives_the_same_answer_and_the_same_bill(dialect: str, sizes: list[int]) -> None:
    model, stream = ("gpt", completion_stream) if dialect == "anthropic" else ("claude", message_stream)
    seen = []
    for pieces in (stream("Grüße", "\u2028 😀"), recut(stream("Grüße", "\u2028 😀"), sizes)):
        headers = ((b"content-type", SSE),)
        world = World(FakeAnswer(200, headers, pieces), models=MIXED)
        played = run_blocking(world.call(world.request(asks(dialect, model, stream=True)[0], dialect=dialect)))
        assert world.exchange is not None
        seen.append((played.body, world.exchange.cost_nano, world.exchange.attempts[0].usage))
    assert seen[0] == seen[1]
