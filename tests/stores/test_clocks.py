"""Real time: both clocks of a gate say the same, and follow a step of the system's clock in the same moment."""

from __future__ import annotations

import pytest

from headgate import clocks
from headgate.clocks import AsyncClock, BlockingClock
from headgate.core.caller import Caller
from headgate.core.limits import Limit
from headgate.policy.gcra import Limits


class Times:
    """The system's two clocks."""

    def __init__(self) -> None:
        self.here, self.epoch = 1000.0, 1_700_000_000.0

    def pass_by(self, seconds: float) -> None:
        self.here += seconds
        self.epoch += seconds


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    times = Times()
    monkeypatch.setattr(clocks.time, "time", lambda: times.epoch)
    monkeypatch.setattr(clocks.time, "monotonic", lambda: times.here)
    monkeypatch.setattr(clocks, "_monotonic", lambda: times.here)
    return times


def test_a_step_forward_is_followed_within_a_second_and_one_back_is_not(times: Times) -> None:
    clock = AsyncClock()
    assert clock.now() == times.epoch
    times.epoch += 3600.0
    times.pass_by(1.1)
    assert clock.now() == times.epoch
    before = times.epoch
    times.epoch -= 7200.0
    times.pass_by(1.1)
    assert clock.now() == pytest.approx(before + 1.1)


def test_both_colours_clocks_follow_together_so_that_no_limit_is_filled_by_turns(times: Times) -> None:
    first = AsyncClock()
    second = BlockingClock(first)
    limits = Limits([Limit(per=("key",), requests_per_minute=60)])
    times.pass_by(0.9)
    first.now()
    times.epoch += 3600.0
    let_in = 0
    for number in range(1000):  # within a second and a half
        times.pass_by(0.0015)
        clock = first if number % 2 else second
        let_in += bool(limits.ask(Caller(key="k"), clock.now()))
        assert first.now() == second.now()
    assert let_in <= 2 * 61 + 2  # a bucket before the step, one after it, and what has run in
