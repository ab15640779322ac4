"""Every ending: named once, settled once, charged for what it may have cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import Gone, HeadgateError, TooLarge, UpstreamBroken, UpstreamTimeout
from headgate.core.exchange import Ending
from headgate.engine.blocking import run_blocking
from headgate.policy.calibration import UNSEEN_MOST
from headgate.policy.recovery import Recovery
from headgate.testing import FakeAnswer, World
from headgate.testing.canned import GPT, JSON, SSE, chat_request, completion_stream, event, message, message_stream
from headgate.testing.fakes import route

# Rates in nano-dollars per token: claude-haiku-4-5 1000 in, 5000 out; gpt-6-luna 100 in, 500 out.
OUT = {"anthropic": 5000, "openai": 500}
IN = {"anthropic": 1000, "openai": 100}
STREAM = {"anthropic": message_stream, "openai": completion_stream}


class Cancelled(BaseException):
    """What a cancelled task raises, in a colour of its own, so that both colours can be cut at the same place."""


def lost() -> UpstreamBroken:
    return UpstreamBroken("lost", kind="broken", retryable=True, elsewhere=True, maybe_billed=True)


def ended(world: World, ending: Ending) -> Any:
    """The exchange ended so, and every record of it was written exactly once. Returns its last attempt."""
    exchange = world.exchange
    assert exchange is not None
    assert exchange.ending is ending
    assert world.ledger.settled == [exchange]
    assert world.log.written == [exchange]
    assert exchange.ended is not None
    assert all(a.ended is not None for a in exchange.attempts)
    assert all(i.closed for i in world.upstream.answers) or ending is Ending.COMPLETE
    return exchange.last


async def pieces(world: World, *, stream: bool = True, dialect: str = "anthropic", stop_after: int = 99) -> list[bytes]:
    """Reads so many pieces, then closes twice."""
    reply = await world.open(world.request(dialect=dialect, stream=stream))
    got = []
    while len(got) < stop_after and (piece := await reply.read()):
        got.append(piece)
    reply.close()
    reply.close()
    return got


# Complete


def test_reading_to_the_end_is_complete_and_closing_again_changes_nothing(run: Any, dialect: str) -> None:
    world = World(STREAM[dialect]())
    run(pieces(world, dialect=dialect))
    ended(world, Ending.COMPLETE)


def test_a_caller_that_leaves_after_the_terminal_event_has_a_complete_exchange(run: Any, dialect: str) -> None:
    whole = b"".join(STREAM[dialect]())
    world = World([whole, b": never read\n\n"])
    run(pieces(world, dialect=dialect, stop_after=1))
    assert ended(world, Ending.COMPLETE).cost_nano == 10 * IN[dialect] + 5 * OUT[dialect]


def test_a_json_answer_is_complete_before_its_caller_has_read_it(run: Any) -> None:
    world = World(message())
    run(pieces(world, stream=False, stop_after=0))
    ended(world, Ending.COMPLETE)


# Abandoned


def test_a_caller_that_closes_early_abandons_the_exchange_and_pays_for_what_was_shown(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]("twelve bytes", "more")
    world = World(frames)
    shown = run(pieces(world, dialect=dialect, stop_after=1))
    assert b"twelve bytes" in shown[0]
    last = ended(world, Ending.ABANDONED)
    assert last.estimated
    assert last.cost_nano >= 12 * OUT[dialect] + 10 * IN[dialect]
    assert last.cost_nano < last.bound_nano


def test_a_caller_that_closes_before_reading_pays_for_the_first_content_all_the_same(run: Any, dialect: str) -> None:
    world = World(STREAM[dialect]("twelve bytes"))
    run(pieces(world, dialect=dialect, stop_after=0))
    last = ended(world, Ending.ABANDONED)
    assert last.cost_nano >= 12 * OUT[dialect]
    assert not world.upstream.answers[0].read_to_end


def test_a_drained_answer_is_abandoned_and_charged_exactly(run: Any, dialect: str) -> None:
    world = World(STREAM[dialect]("one", "two"))

    async def drain() -> None:
        reply = await world.open(world.request(dialect=dialect, stream=True))
        await reply.read()
        reply.leave()
        while await reply.read():
            pass
        reply.close()

    run(drain())
    last = ended(world, Ending.ABANDONED)
    assert (last.cost_nano, last.estimated) == (10 * IN[dialect] + 5 * OUT[dialect], False)


def test_a_raw_answer_that_is_left_is_abandoned(run: Any) -> None:
    world = World([b"one", b"two"])

    async def leave() -> None:
        reply = await world.open(world.request(b"", method="GET", path="/v1/files/f/content"))
        await reply.read()
        reply.close()

    run(leave())
    assert ended(world, Ending.ABANDONED).cost_nano == 0


# Cut


def test_a_connection_lost_after_content_ends_in_a_typed_error_event(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]("twelve bytes")
    world = World([*frames[:3], lost()])
    got = run(pieces(world, dialect=dialect))
    last = ended(world, Ending.CUT)
    told = got[-1]
    if dialect == "anthropic":
        assert told.startswith(b"event: error\ndata: ")
    data = json.loads(told[told.index(b"{") :])
    assert data["headgate"] == {"code": "provider_broken", "exchange": world.exchange.id}
    assert told.endswith(b"\n\n")
    assert last.estimated
    assert last.cost_nano >= 12 * OUT[dialect]
    assert len(world.upstream.sent) == 1  # content has left: nothing is retried
    assert world.exchange.error.kind == "broken"


def test_a_stream_that_ends_without_its_terminal_event_is_a_failure(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]("twelve bytes")
    cut = [f for f in frames[:4] if b'"stop"' not in f]
    world = World(cut)
    got = run(pieces(world, dialect=dialect))
    last = ended(world, Ending.CUT)
    assert b"provider_broken" in got[-1]
    assert world.exchange.error.kind == "truncated"
    assert (last.estimated, last.cost_nano >= 12 * OUT[dialect]) == (True, True)


def test_a_cut_after_the_final_usage_is_charged_exactly(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]()
    world = World([*frames[:-1], lost()])
    run(pieces(world, dialect=dialect))
    last = ended(world, Ending.CUT)
    assert (last.cost_nano, last.estimated) == (10 * IN[dialect] + 5 * OUT[dialect], False)


def test_an_idle_stream_is_cut_with_a_timeout_of_its_own_name(run: Any) -> None:
    world = World([*message_stream()[:3], UpstreamTimeout("idle", kind="timeout", retryable=True, maybe_billed=True)])
    got = run(pieces(world))
    ended(world, Ending.CUT)
    assert b"provider_timeout" in got[-1]


def test_a_frame_that_was_cut_in_two_does_not_spoil_the_error_event(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]("one", "two")
    world = World([*frames[:3], frames[3][:30], lost()])
    got = b"".join(run(pieces(world, dialect=dialect)))
    for frame in got.split(b"\n\n"):
        data = frame[frame.find(b"data:") + 5 :].strip()
        assert not frame or json.loads(data)
    ended(world, Ending.CUT)


def test_the_providers_own_error_event_goes_out_as_it_came_and_ours_does_not_follow(run: Any, dialect: str) -> None:
    frames = STREAM[dialect]("twelve bytes")
    if dialect == "anthropic":
        error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    else:
        error = b'data: {"error":{"type":"service_unavailable_error","code":"server_is_overloaded","message":"no"}}\n\n'
    world = World([*frames[:3], error])
    got = b"".join(run(pieces(world, dialect=dialect)))
    assert got == b"".join(frames[:3]) + error
    last = ended(world, Ending.CUT)
    assert world.exchange.error.kind == "overloaded"
    assert last.cost_nano >= 12 * OUT[dialect]


@pytest.mark.parametrize(("provider", "asks"), [("openai", False), ("local", True), ("local", False)])
def test_a_chat_stream_without_usage_and_done_is_over_only_where_nobody_expects_them(
    run: Any, provider: str, asks: bool
) -> None:
    frames = completion_stream("a", "b")[:-2]
    world = World(frames, models={"fast": [route(provider, GPT, dialect="openai")]}, ceiling_pico=100_000)
    more = {"stream_options": {"include_usage": True}} if asks else {}
    played = run(world.call(world.request(chat_request(stream=True, model="fast", **more), dialect="openai")))
    missed = provider == "openai" or asks
    assert played.exchange.ending is (Ending.CUT if missed else Ending.COMPLETE)
    assert (b"provider_broken" in played.body) is missed


@pytest.mark.parametrize("end", ["lost", "truncated"])
def test_a_malformed_event_before_a_cut_does_not_make_the_end_look_like_success(
    run: Any, dialect: str, end: str
) -> None:
    bad = b"event: message_delta\ndata: {nonsense\n\n" if dialect == "anthropic" else b"data: {nonsense\n\n"
    world = World([*STREAM[dialect]("twelve bytes")[:3], bad, *([lost()] if end == "lost" else [])])
    got = b"".join(run(pieces(world, dialect=dialect)))
    assert bad in got  # the provider's bytes pass unchanged
    assert b"provider_broken" in got[got.index(bad) :]
    ended(world, Ending.CUT)


def test_an_error_event_in_the_same_piece_as_the_first_content_is_not_retried(run: Any) -> None:
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    whole = b"".join([*message_stream("one")[:3], error])
    world = World([whole])
    assert b"".join(run(pieces(world))) == whole
    ended(world, Ending.CUT)


def test_a_broken_raw_answer_raises_because_there_is_no_format_to_say_it_in(run: Any) -> None:
    world = World([b"one", lost()])

    async def read() -> None:
        reply = await world.open(world.request(b"", method="GET", path="/v1/files/f/content"))
        assert await reply.read() == b"one"
        with pytest.raises(UpstreamBroken):
            await reply.read()
        assert await reply.read() == b""
        reply.close()

    run(read())
    ended(world, Ending.CUT)


# Failed and refused


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_before_the_first_byte_is_failed(run: Any, stream: bool) -> None:
    world = World(lost(), recovery=Recovery(attempts=1))
    run(world.call(world.request(stream=stream)))
    last = ended(world, Ending.FAILED)
    assert (last.cost_nano, last.estimated) == (last.bound_nano, True)


def test_nothing_after_the_headers_is_failed_and_charged_for_the_prompt_at_least(run: Any, dialect: str) -> None:
    world = World(FakeAnswer(headers=((b"content-type", SSE),), pieces=[lost()]), recovery=Recovery(attempts=1))
    run(world.call(world.request(dialect=dialect, stream=True)))
    last = ended(world, Ending.FAILED)
    assert last.estimated
    assert 10 * IN[dialect] < last.cost_nano < last.bound_nano


def test_an_error_status_is_failed_and_free(run: Any) -> None:
    world = World(FakeAnswer(500, ((b"content-type", JSON),), [b"{}"]), recovery=Recovery(attempts=1))
    run(world.call())
    assert ended(world, Ending.FAILED).cost_nano == 0


def test_an_error_whose_body_breaks_off_is_still_the_error_its_status_says(run: Any) -> None:
    world = World(FakeAnswer(413, ((b"content-type", JSON),), [b"{", lost()]))
    assert run(world.call()).status == 413
    ended(world, Ending.FAILED)


def test_a_refused_exchange_is_recorded_durably_before_the_caller_hears_of_it(run: Any) -> None:
    world = World()
    exchange = world.exchange = world.engine.begin(world.request())
    run(world.engine.refuse(exchange, TooLarge("too large")))
    ended(world, Ending.REFUSED)
    assert world.ledger.flushes == 1
    assert (exchange.error.code, exchange.attempts) == ("request_too_large", [])


# Cancelled


def cancelled(run: Any, world: World, *, stream: bool = False, error: type[BaseException] = Cancelled) -> Any:
    with pytest.raises(error):
        run(world.open(world.request(stream=stream)))
    return ended(world, Ending.CANCELLED)


def test_cancelled_while_the_intent_is_written_costs_nothing(run: Any) -> None:
    world = World()
    world.ledger.refuses = Cancelled()
    assert cancelled(run, world).cost_nano == 0
    assert world.upstream.sent == []


@pytest.mark.parametrize("stream", [False, True])
def test_cancelled_while_sending_is_charged_in_full_because_nobody_knows(run: Any, stream: bool) -> None:
    last = cancelled(run, World(Cancelled()), stream=stream)
    assert (last.cost_nano, last.estimated) == (last.bound_nano, True)


def test_cancelled_while_the_first_content_is_awaited_is_charged_for_the_prompt_reported_and_what_was_on_its_way(
    run: Any,
) -> None:
    frames = message_stream(input_tokens=1000)
    last = cancelled(run, World([frames[0], Cancelled()]), stream=True)
    assert last.usage is not None
    assert 1 < last.usage.output_tokens <= UNSEEN_MOST  # the caller's own cap, which is below it
    assert (last.cost_nano, last.estimated) == (1000 * 1000 + last.usage.output_tokens * 5000, True)


def test_cancelled_while_a_json_answer_comes_is_charged_in_full(run: Any) -> None:
    last = cancelled(run, World([message()[0][:20], Cancelled()]))
    assert (last.cost_nano, last.estimated) == (last.bound_nano, True)


def test_cancelled_while_an_error_body_comes_costs_nothing(run: Any) -> None:
    last = cancelled(run, World(FakeAnswer(500, ((b"content-type", JSON),), [Cancelled()])))
    assert last.cost_nano == 0


def test_cancelled_during_a_wait_is_charged_for_no_attempt_that_was_not_made(run: Any) -> None:
    world = World(FakeAnswer(529, ((b"content-type", JSON),), [b"{}"]))

    async def cancel() -> None:
        raise Cancelled

    world.clock.on_sleep = cancel
    assert cancelled(run, world).cost_nano == 0
    assert len(world.exchange.attempts) == 1
    assert world.exchange.attempts[0].error.kind == "overloaded"


def test_a_caller_that_is_gone_is_cancelled_and_not_failed(run: Any) -> None:
    cancelled(run, World(Gone("gone")), error=Gone)


def test_cancelled_while_a_piece_is_awaited_is_settled_by_the_close_that_follows(run: Any) -> None:
    world = World([*message_stream("twelve bytes")[:3], Cancelled()])

    async def read() -> None:
        reply = await world.open(world.request(stream=True))
        try:
            while await reply.read():
                pass
        finally:
            reply.close()

    with pytest.raises(Cancelled):
        run(read())
    assert ended(world, Ending.ABANDONED).cost_nano >= 12 * 5000


PLACES: dict[str, Callable[[World, Callable[[], Awaitable[None]]], None]] = {
    "intend": lambda world, hang: setattr(world.ledger, "on_intend", hang),
    "sleep": lambda world, hang: setattr(world.clock, "on_sleep", hang),
    "send": lambda world, hang: None,
    "first read": lambda world, hang: None,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_real_task_that_is_cancelled_settles_wherever_it_stands(place: str) -> None:
    async def main() -> World:
        standing = asyncio.Event()

        async def hang() -> None:
            standing.set()
            await asyncio.Event().wait()

        script: dict[str, Any] = {
            "intend": [],
            "sleep": [FakeAnswer(500, (), [b"{}"])],
            "send": [hang],
            "first read": [[message_stream()[0], hang]],
        }
        world = World(*script[place])
        PLACES[place](world, hang)
        task = asyncio.create_task(world.open(world.request(stream=True)))
        await standing.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return world

    world = asyncio.run(main())
    ended(world, Ending.CANCELLED)


# Whatever happens


_FRAMES = [*message_stream("one", "two"), event("error", error={"type": "api_error", "message": "x"}), b"event: pi"]
_PIECES = st.sampled_from([*_FRAMES, b"garbage\n\n", b"\n"]) | st.builds(lost) | st.builds(Cancelled)
_STEPS = (
    st.lists(_PIECES, max_size=8).map(lambda p: FakeAnswer(headers=((b"content-type", SSE),), pieces=p))
    | st.sampled_from([200, 302, 400, 401, 404, 429, 500, 529]).map(
        lambda s: FakeAnswer(s, ((b"content-type", JSON),), message() if s == 200 else [b"{}"])
    )
    | st.builds(lost)
    | st.builds(Cancelled)
)


@settings(max_examples=150, deadline=None)
@given(script=st.lists(_STEPS, min_size=4, max_size=4), stream=st.booleans(), stop_after=st.integers(0, 12))
def test_every_run_of_events_ends_once_and_is_written_once(script: list[Any], stream: bool, stop_after: int) -> None:
    world = World(*script)
    try:
        run_blocking(pieces(world, stream=stream, stop_after=stop_after))
    except (HeadgateError, Cancelled):
        if world.exchange.ending is None:
            return  # a read was cancelled, and its way in has not closed the reply here
    exchange = world.exchange
    assert exchange.ending is not None
    assert world.ledger.settled == [exchange]
    assert world.log.written == [exchange]
    assert len(exchange.attempts) == len(world.ledger.intents) == len(world.upstream.sent) <= 4
    for attempt in exchange.attempts:
        assert attempt.cost_nano >= 0
        assert attempt.ended is not None
        if attempt.status >= 300:
            assert attempt.cost_nano == 0
    if exchange.ending in (Ending.CUT, Ending.ABANDONED):
        assert exchange.last.cost_nano > 0


def test_an_async_port_in_a_blocking_engine_is_a_mistake_that_says_so() -> None:
    async def suspend() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="an async port was used in a blocking engine"):
        run_blocking(suspend())


def test_a_blocking_engine_works_inside_a_running_loop() -> None:
    async def main() -> bytes:
        world = World(message())
        return run_blocking(world.call()).body

    assert asyncio.run(main()) == message()[0]


def test_in_a_gateway_a_provider_cannot_make_its_calls_free_by_naming_an_exchange(run: Any) -> None:
    world = World(FakeAnswer(200, [(b"content-type", JSON), (b"x-headgate-exchange", b"ex_theirs")], message()))
    request = world.request()
    request.way_in = "gateway"
    played = run(world.call(request))
    assert (played.exchange.upstream_gateway, played.exchange.cost_nano > 0) == ("", True)
