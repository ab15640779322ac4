"""Callers' limits of one process, as the engine asks them."""

from __future__ import annotations

from headgate.core.caller import Caller
from headgate.core.limits import Limit
from headgate.core.ports import CallerLimits
from headgate.engine.blocking import run_blocking
from headgate.policy.gcra import Limits
from headgate.stores.limits import MemoryLimits

ADA = Caller(user="ada")


def test_it_asks_at_the_time_of_the_clock_and_never_suspends() -> None:
    now = [1_795_000_000.0]
    port: CallerLimits = MemoryLimits(Limits([Limit(("user",), requests_per_minute=2)]), lambda: now[0])
    assert [bool(run_blocking(port.ask(ADA, tokens=0))) for _ in range(3)] == [True, True, False]
    now[0] += 30
    assert run_blocking(port.ask(ADA, tokens=0))
    assert not run_blocking(port.ask(ADA, tokens=0))


def test_tokens_that_were_not_used_are_there_again() -> None:
    port = MemoryLimits(Limits([Limit(("user",), tokens_per_minute=100)]), lambda: 5.0)
    taken = run_blocking(port.ask(ADA, tokens=100))
    assert taken
    assert not run_blocking(port.ask(ADA, tokens=60))
    port.correct(taken, 40, 5.0)
    port.correct(taken, 0, 5.0)
    assert run_blocking(port.ask(ADA, tokens=60))
    assert not run_blocking(port.ask(ADA, tokens=1))
