"""The caller's own time bounds everything: attempts, waits between them, and every timer of each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import UpstreamBusy, UpstreamError, UpstreamTimeout
from headgate.core.exchange import Ending
from headgate.core.ports import Timeouts
from headgate.engine.blocking import run_blocking
from headgate.engine.plan import SECONDS_PER_TOKEN, Plan, unseen_tokens
from headgate.policy.recovery import Recovery
from headgate.testing import Passed, World
from headgate.testing.canned import (
    CLAUDE,
    chat_request,
    completion,
    message,
    message_stream,
    messages_request,
)
from headgate.testing.fakes import route

TWO = {"fast": [route("anthropic", CLAUDE), route("acme", CLAUDE)]}
CEILING = 100_000


def world_of(shares: list[tuple[str, float]], *, timeout: float, jitter: float) -> World:
    """A provider that fails again and again, each time after some share of the time that the attempt has."""
    steps: list[Any] = []

    def step(kind: str, share: float) -> Any:
        async def play() -> None:
            timeouts = world.upstream.sent[-1].timeouts
            # The worst that an upstream may do: each of its timers in turn, but never more than `total`.
            each = timeouts.pool + timeouts.connect + timeouts.write + timeouts.first_byte + timeouts.idle
            world.clock.time += min(share * each, timeouts.total)
            if kind == "timeout":
                raise UpstreamTimeout("late", kind="timeout", retryable=True, elsewhere=True, maybe_billed=True)
            raise UpstreamBusy("busy", kind=kind, retryable=True, elsewhere=True)

        return play

    steps.extend(step(kind, share) for kind, share in shares)
    world = World(*steps, models=TWO, recovery=Recovery(attempts=len(steps)), ceiling_pico=CEILING, jitter=jitter)
    return world


@given(
    st.lists(st.tuples(st.sampled_from(["timeout", "busy", "server"]), st.floats(0, 1)), min_size=1, max_size=8),
    st.floats(0.01, 1000),
    st.floats(0, 0.999),
)
def test_attempts_and_waits_never_add_up_past_the_callers_time(
    shares: list[tuple[str, float]], timeout: float, jitter: float
) -> None:
    world = world_of(shares, timeout=timeout, jitter=jitter)
    request = world.request(messages_request(model="fast"), timeout=timeout)
    started = world.clock.time
    played = run_blocking(world.call(request))
    assert isinstance(played.error, UpstreamError)
    assert world.clock.time - started <= min(timeout, 600) * 1.001 + 0.001 * len(shares)
    for sent in world.upstream.sent:
        assert sent.timeouts.total <= timeout * 1.001 + 0.001


def test_an_attempts_total_is_what_is_left_of_the_exchange(run: Any) -> None:
    async def slow() -> None:
        world.clock.time += 8
        raise UpstreamBusy("busy", kind="busy", retryable=True, elsewhere=True, retry_after=1)

    world = World(slow, slow, message(), jitter=0.0)
    run(world.call(world.request(timeout=30)))
    assert [sent.timeouts.total for sent in world.upstream.sent] == [30, 21, 12]
    assert world.upstream.sent[2].timeouts.first_byte == 12


def test_a_wait_that_the_callers_time_does_not_allow_is_not_begun(run: Any) -> None:
    busy = UpstreamBusy("busy", kind="busy", retryable=True, elsewhere=True, retry_after=20)
    world = World(busy, message())
    assert run(world.call(world.request(timeout=15))).status == 503
    assert world.clock.slept == []


def test_a_stream_that_goes_on_past_the_callers_time_is_cut_with_a_typed_error(run: Any) -> None:
    frames = message_stream("a", "b", "c")
    world = World([*frames[:3], Passed(11), *frames[3:]])
    played = run(world.call(world.request(stream=True, timeout=10)))
    assert b"provider_timeout" in played.body


def test_a_task_with_a_total_of_a_second_keeps_it_to_the_millisecond() -> None:
    plan = Plan(None, (), Recovery(), Timeouts(total=1.0), 0.0, 100.0, World().request())  # type: ignore[arg-type]  # nothing is asked of its dialect
    assert plan.attempt_timeouts(99.5, 1.0).total == 0.5


@pytest.mark.parametrize(("provider", "first_byte"), [("acme", 300.0), ("anthropic", 60.0)])
def test_a_provider_has_its_own_timers(provider: str, first_byte: float) -> None:
    plan = Plan(
        None,  # type: ignore[arg-type]  # nothing is asked of its dialect
        (),
        Recovery(),
        Timeouts(),
        0.0,
        600.0,
        World().request(),
        timeouts_at={"acme": Timeouts(first_byte=300.0)},
    )
    assert plan.attempt_timeouts(0.0, 1.0, provider).first_byte == first_byte
    assert plan.attempt_timeouts(0.0, 2.0, provider).first_byte == 2 * first_byte
    assert plan.attempt_timeouts(590.0, 1.0, provider).first_byte == 10.0


# What is shown only once all of it is written


def first_byte(world: World) -> float:
    return world.upstream.sent[0].timeouts.first_byte


@pytest.mark.parametrize(("cap", "seconds"), [(100, 62.8125), (16_000, 510.0), (64_000, 600.0), (0, 60.0)])
def test_a_whole_answer_is_waited_for_as_long_as_its_cap_takes_to_write(run: Any, cap: int, seconds: float) -> None:
    world = World(message())
    run(world.call(world.request(messages_request(max_tokens=cap))))
    assert first_byte(world) == seconds
    assert world.upstream.sent[0].timeouts.idle == 60.0


def test_a_streams_first_byte_does_not_wait_for_its_cap(run: Any) -> None:
    world = World(message_stream())
    run(world.call(world.request(messages_request(stream=True, max_tokens=64_000), stream=True)))
    assert first_byte(world) == 60.0


def test_a_whole_answer_without_a_cap_is_waited_for_to_the_end(run: Any) -> None:
    body = chat_request().replace(b',"max_completion_tokens":100', b"").replace(b', "max_completion_tokens": 100', b"")
    assert b"max_completion_tokens" not in body
    world = World(completion())
    run(world.call(world.request(body, dialect="openai")))
    assert first_byte(world) == 600.0


def test_the_cap_that_money_is_held_for_is_the_one_that_is_waited_for() -> None:
    request = World().request(messages_request(max_tokens=8_000))
    assert (unseen_tokens(request), unseen_tokens(request, 50)) == (8_000, 50)


@pytest.mark.parametrize("path", ["/embeddings", "/moderations"])
def test_what_nobody_writes_is_answered_within_the_first_byte(path: str) -> None:
    request = World().request(b'{"model":"m","input":"x"}', dialect="openai", path=path)
    assert unseen_tokens(request) == 0


def test_a_providers_own_first_byte_comes_before_what_is_written() -> None:
    own = {"acme": Timeouts(first_byte=300.0)}
    plan = Plan(None, (), Recovery(), Timeouts(), 0.0, 600.0, World().request(), timeouts_at=own)  # type: ignore[arg-type]  # nothing is asked of its dialect
    assert plan.attempt_timeouts(0.0, 1.0, "acme", 1000).first_byte == 300.0 + 1000 * SECONDS_PER_TOKEN


# The SDK's own timeout: silence


def patient(world: World, seconds: float, *, stream: bool) -> Any:
    request = world.request(messages_request(stream=stream), stream=stream)
    request.patience = seconds
    return request


def test_a_stream_that_goes_on_past_the_sdks_read_timeout_is_not_cut(run: Any) -> None:
    frames = message_stream(*["x"] * 10)
    world = World([piece for frame in frames for piece in (Passed(1), frame)])
    played = run(world.call(patient(world, 2.0, stream=True)))
    assert played.exchange.ending is Ending.COMPLETE
    sent = world.upstream.sent[0].timeouts
    assert (sent.first_byte, sent.idle, sent.total) == (2.0, 2.0, 600.0)


def test_an_sdk_at_its_default_does_not_shorten_a_longer_total_of_a_stream(run: Any) -> None:
    frames = message_stream(*["x"] * 30)
    hour = Timeouts(total=3600.0)
    world = World([piece for frame in frames for piece in (Passed(30), frame)], timeouts=hour)
    assert run(world.call(patient(world, 600.0, stream=True))).exchange.ending is Ending.COMPLETE
    assert world.upstream.sent[0].timeouts == hour


def test_an_sdks_timeout_bounds_all_of_a_whole_answer(run: Any) -> None:
    world = World(message())
    run(world.call(patient(world, 20.0, stream=False)))
    assert world.upstream.sent[0].timeouts.total == 20.0


def test_no_attempt_begins_once_the_sdk_has_heard_nothing_for_its_timeout(run: Any) -> None:
    busy = UpstreamBusy("busy", kind="busy", retryable=True, elsewhere=True, retry_after=1.5)
    world = World(busy, busy, message_stream(), jitter=0.0)
    assert run(world.call(patient(world, 2.0, stream=True))).status == 503
    assert [sent.timeouts.first_byte for sent in world.upstream.sent] == [2.0, 0.5]


def test_the_timers_of_whole_answers_are_each_tasks_own_however_many_there_have_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headgate.engine.plan._MOST_TIMERS", 8)
    for seconds in range(1, 100):
        plan = Plan(None, (), Recovery(), Timeouts(first_byte=seconds), 0.0, 600.0, World().request())  # type: ignore[arg-type]  # nothing is asked of its dialect
        for tokens in (1_000, 1_000, *range(2_000, 2_020)):
            found = plan.attempt_timeouts(0.0, 1.0, "", tokens)
            assert found.first_byte == seconds + tokens * SECONDS_PER_TOKEN
        assert len(plan.timers) <= 8
