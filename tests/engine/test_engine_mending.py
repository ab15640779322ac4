"""Streams that break off in the middle: held back and retried whole, or begun anew; every attempt charged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from headgate.core.errors import UpstreamBroken, UpstreamBusy
from headgate.core.exchange import Ending
from headgate.engine.mending import PING, on_cut
from headgate.policy.ladder import PROVIDERS, Step
from headgate.policy.recovery import Recovery
from headgate.testing import Passed, Played, World
from headgate.testing.canned import completion_stream, event, message_stream
from headgate.wire import DIALECTS

STREAM = {"anthropic": message_stream, "openai": completion_stream}
SAY = Step(frozenset(PROVIDERS), say="A short break.")


def lost() -> UpstreamBroken:
    return UpstreamBroken("lost", kind="broken", retryable=True, elsewhere=True, maybe_billed=True)


def play(run: Any, world: World, dialect: str = "anthropic", asked: str = "") -> Played:
    request = world.request(dialect=dialect, stream=True)
    request.on_cut = asked
    played: Played = run(world.call(request))
    return played


def text_of(dialect: str, body: bytes) -> str:
    facts = World().request(dialect=dialect, stream=True)
    meter = DIALECTS[dialect].meter(facts.endpoint, facts.facts, keep_text=True)
    meter.feed(body)
    return meter.text()


# Held back


def test_a_cut_in_the_middle_of_a_buffered_stream_is_invisible_and_costs_both_attempts(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]("one ", "two ", "three")
    world = World([*frames[:3], lost()], frames, on_cut="buffer")
    played = play(run, world, dialect)
    assert played.status == 200
    assert text_of(dialect, played.body) == "one two three"
    assert played.body.count(b"three") == 1
    first, second = world.exchange.attempts
    assert first.cost_nano > 0 < second.cost_nano
    assert (first.estimated, second.estimated) == (True, False)
    assert isinstance(first.error, UpstreamBroken)
    assert (world.exchange.ending, world.exchange.error) == (Ending.COMPLETE, None)
    assert len(world.ledger.settled) == 1


def test_a_buffered_stream_comes_in_one_go(run: Any) -> None:
    world = World(message_stream("a", "b", "c"), on_cut="buffer")
    assert len(play(run, world).pieces) == 1


def test_a_stream_that_ends_without_its_terminal_event_is_retried_too(run: Any) -> None:
    frames = message_stream("a", "b")
    world = World(frames[:4], frames, on_cut="buffer")
    assert play(run, world).exchange.ending is Ending.COMPLETE
    assert len(world.exchange.attempts) == 2


def test_an_error_event_in_the_middle_is_not_handed_on(run: Any) -> None:
    frames = message_stream("a", "b")
    bad = event("error", error={"type": "overloaded_error", "message": "no"})
    world = World([*frames[:3], bad], frames, on_cut="buffer")
    played = play(run, world)
    assert b"overloaded_error" not in played.body
    assert world.exchange.attempts[0].error.kind == "overloaded"


def test_whoever_waits_for_the_whole_is_told_that_it_comes(run: Any) -> None:
    frames = message_stream("a", "b", "c")
    world = World([*frames[:3], Passed(25), *frames[3:]], on_cut="buffer")
    pieces = play(run, world).pieces
    assert pieces[:2] == [PING, PING]
    assert len(pieces) == 3
    assert text_of("anthropic", b"".join(pieces)) == "abc"


def patient(world: World, seconds: float | None, asked: str = "") -> Any:
    request = world.request(stream=True)
    request.patience, request.on_cut = seconds, asked
    return request


def test_it_is_told_so_within_its_patience_and_first_of_all_with_its_headers(run: Any) -> None:
    frames = message_stream("a", "b", "c")
    world = World([Passed(3), *frames[:3], Passed(4), *frames[3:]], on_cut="buffer")
    told: list[float] = []

    async def heard() -> None:
        reply = await world.open(patient(world, 4.0))
        while piece := await reply.read():
            told.append(world.clock.time - world.exchange.started)
            assert piece == PING or len(told) == 4
        reply.close()

    run(heard())
    assert told == pytest.approx([3, 5, 7, 7], abs=0.01)


@pytest.mark.parametrize("seconds", [None, 600.0, 30.0])
@pytest.mark.parametrize("asked", ["buffer", "restart"])
def test_a_break_is_mended_for_whoever_has_heard_of_its_answer_however_little_silence_it_bears(
    run: Any, asked: str, seconds: float | None
) -> None:
    frames = message_stream("one ", "two")
    world = World([*frames[:3], Passed(20), *frames[3:4], Passed(20), lost()], frames, on_cut=asked)
    run(world.call(patient(world, seconds, asked)))
    assert (world.exchange.ending, len(world.exchange.attempts)) == (Ending.COMPLETE, 2)


def test_what_mends_it_has_to_begin_before_its_caller_would_leave(run: Any) -> None:
    frames = message_stream("one ", "two")
    world = World([*frames[:3], Passed(20), lost()], frames, on_cut="buffer")
    run(world.call(patient(world, 30.0)))
    assert [sent.timeouts.first_byte for sent in world.upstream.sent] == [30, 19]  # pinged at 10 s, sent again at 21 s


def test_an_answer_too_large_to_hold_flows_and_is_cut_as_any_other(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.engine.engine.MAX_WHOLE_BYTES", 400)
    frames = message_stream(*["word "] * 20)
    world = World([*frames[:12], lost()], on_cut="buffer")
    played = play(run, world)
    assert b"provider_broken" in played.body
    assert (world.exchange.ending, len(world.exchange.attempts)) == (Ending.CUT, 1)


def test_when_no_attempt_holds_the_caller_gets_the_error_and_nothing_else(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]("one ", "two")
    world = World([*frames[:3], lost()], [*frames[:3], lost()], recovery=Recovery(attempts=2), on_cut="buffer")
    played = play(run, world, dialect)
    assert b"one" not in played.body
    assert b"provider_broken" in played.body
    assert (world.exchange.ending, world.exchange.status) == (Ending.FAILED, 200)
    assert all(each.cost_nano > 0 for each in world.exchange.attempts)


def test_a_buffered_stream_that_cannot_be_had_ends_in_the_ladders_sentence(run: Any) -> None:
    frames = message_stream("one ", "two")
    world = World([*frames[:3], lost()], recovery=Recovery(attempts=1), ladder=[SAY], on_cut="buffer")
    played = play(run, world)
    assert text_of("anthropic", played.body) == "A short break."
    assert (world.exchange.ending, world.exchange.degraded) == (Ending.FAILED, "server: say")
    assert b" x-headgate-degraded=server:say" in played.body  # its headers had gone out before


def test_the_deadline_to_the_first_content_bounds_the_retries_too(run: Any) -> None:
    frames = message_stream("one ", "two")
    world = World([*frames[:3], Passed(130), lost()], frames, on_cut="buffer")
    assert b"provider_broken" in play(run, world).body
    assert len(world.exchange.attempts) == 1


def test_held_money_is_released_once_for_each_attempt(run: Any) -> None:
    frames = message_stream("a", "b")
    world = World([*frames[:3], lost()], frames, on_cut="buffer")
    play(run, world)
    assert [number for _, number, _ in world.ledger.intents] == [1, 2]


def test_a_caller_that_leaves_while_it_is_held_back_is_charged_for_what_was_shown(run: Any) -> None:
    frames = message_stream("a", "b")
    world = World([*frames[:3], Passed(11), *frames[3:]], on_cut="buffer")

    async def left() -> None:
        reply = await world.open(world.request(stream=True))
        assert await reply.read() == PING
        reply.close()
        reply.close()

    run(left())
    assert world.exchange.ending is Ending.ABANDONED
    assert world.exchange.cost_nano > 0
    assert len(world.ledger.settled) == 1


def test_a_caller_that_leaves_between_two_attempts_ends_the_exchange_too(run: Any) -> None:
    frames = message_stream("a", "b")

    async def gone() -> None:
        raise KeyboardInterrupt

    world = World([*frames[:3], lost()], gone, on_cut="buffer")

    async def left() -> None:
        reply = await world.open(world.request(stream=True))
        try:
            with pytest.raises(KeyboardInterrupt):
                await reply.read()
        finally:
            reply.close()

    run(left())
    assert world.exchange.ending is Ending.ABANDONED
    assert [each.ended is not None for each in world.exchange.attempts] == [True, True]


# Begun anew


def test_after_a_cut_a_caller_that_has_asked_for_it_is_told_to_forget_and_gets_a_new_answer(
    run: Any, dialect: str
) -> None:
    frames = STREAM[dialect]("one ", "two ", "three")
    world = World([*frames[:3], lost()], frames, on_cut="restart")
    played = play(run, world, dialect, asked="restart")
    before, mark, after = played.body.partition(b": x-headgate-discard attempt=1 reason=provider_broken\n\n")
    assert mark
    assert b"one " in before
    assert b"headgate_discard" in after
    assert text_of(dialect, after) == "one two three"
    assert (world.exchange.ending, len(world.exchange.attempts)) == (Ending.COMPLETE, 2)
    assert world.exchange.attempts[0].cost_nano > 0


@pytest.mark.parametrize(("configured", "asked"), [("restart", ""), ("error", "restart")])
def test_a_restart_needs_both_the_task_and_the_caller(run: Any, configured: str, asked: str) -> None:
    frames = message_stream("one ", "two")
    world = World([*frames[:3], lost()], on_cut=configured)
    played = play(run, world, asked=asked)
    assert b"provider_broken" in played.body
    assert world.exchange.ending is Ending.CUT
    assert played.headers.get(b"x-headgate-on-cut", b"error") == b"error"


def test_when_the_new_answer_cannot_be_had_the_caller_is_told_after_what_it_has(run: Any) -> None:
    frames = message_stream("one ", "two")
    busy = UpstreamBusy("busy", kind="busy", retryable=True, elsewhere=True)
    world = World([*frames[:3], lost()], busy, recovery=Recovery(attempts=2), on_cut="restart")
    played = play(run, world, asked="restart")
    assert b"headgate_discard" not in played.body
    assert b"provider_busy" in played.body
    assert world.exchange.ending is Ending.CUT


# What counts


@pytest.mark.parametrize(
    ("configured", "asked", "what"),
    [
        ("error", "", "error"),
        ("buffer", "", "buffer"),
        ("restart", "", "error"),
        ("restart", "restart", "restart"),
        ("buffer", "restart", "buffer"),
        ("error", "buffer", "buffer"),
        ("buffer", "error", "error"),
        ("restart", "buffer", "buffer"),
    ],
)
def test_the_callers_word_counts_but_no_restart_is_forced_on_anybody(configured: str, asked: str, what: str) -> None:
    request = World().request(stream=True)
    request.on_cut = asked
    assert on_cut(request, configured) == what
    assert on_cut(replace(request, facts=replace(request.facts, stream=False)), configured) == "error"


def test_what_was_discarded_is_kept_where_bodies_are(run: Any) -> None:
    frames = message_stream("one ", "two ", "three")
    world = World([*frames[:3], lost()], frames, on_cut="buffer", keep_text=True)
    play(run, world)
    assert world.exchange.discarded_texts == ("one ",)
    assert world.exchange.response_text == "one two three"


def test_without_bodies_nothing_of_it_is_kept(run: Any) -> None:
    frames = message_stream("one ", "two")
    world = World([*frames[:3], lost()], frames, on_cut="buffer")
    play(run, world)
    assert world.exchange.discarded_texts == ()
