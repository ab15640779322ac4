"""The caller's own time bounds everything: attempts, waits between them, and every timer of each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import UpstreamBusy, UpstreamError, UpstreamTimeout
from headgate.core.ports import Timeouts
from headgate.engine.blocking import run_blocking
from headgate.engine.plan import Plan
from headgate.policy.recovery import Recovery
from headgate.testing import Passed, World
from headgate.testing.canned import CLAUDE, message, message_stream, messages_request
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
