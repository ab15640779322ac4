"""Any interleaving of calls, corrections and time: a plain list of what was let in judges every store of limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from limits_store import ADA, BOB, LIMIT_STORES, Store

from headgate.core.caller import Caller
from headgate.core.limits import Limit, Taken
from headgate.engine.blocking import run_blocking

SHAPES = (
    Limit(("user",), requests_per_minute=6, tokens_per_minute=60),
    Limit(("tenant",), requests_per_minute=9, tokens_per_minute=90),
    Limit((), tokens_per_minute=100),
)
EDGE = 1e-4  # seconds in which two ways of counting with fractions may differ


class Call:
    """One that was let in: when, what it took, and what it has used as far as is known."""

    def __init__(self, caller: Caller, at: float, tokens: int, said: list[Taken]) -> None:
        self.caller = caller
        self.at = at
        self.tokens = self.used = tokens
        self.said = said


class Limited(RuleBasedStateMachine):
    stores: list[Store]

    @initialize(shapes=st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3, unique=True))
    def begin(self, shapes: list[Limit]) -> None:
        self.limits = shapes
        self.stores = [made(shapes, run_blocking) for made in LIMIT_STORES]
        self.calls: list[Call] = []
        self.open: list[Call] = []

    @property
    def now(self) -> float:
        return self.stores[0].now

    @rule(milliseconds=st.integers(0, 500) | st.integers(0, 30_000) | st.sampled_from([60_000, 120_000]))
    def wait(self, milliseconds: int) -> None:
        for store in self.stores:
            store.now += milliseconds / 1000

    @rule(caller=st.sampled_from([ADA, BOB]), tokens=st.integers(0, 70))
    def ask(self, caller: Caller, tokens: int) -> None:
        said = [store.ask(caller, tokens) for store in self.stores]
        waits = [0.0 if each else getattr(each, "retry_after", 0.0) for each in said]
        assert all(said) == any(said)
        if all(said):
            call = Call(caller, self.now, tokens, [each for each in said if isinstance(each, Taken)])
            self.calls.append(call)
            self.open.append(call)
        else:
            assert waits[0] == pytest.approx(waits[1], abs=EDGE)
        for mine, other in zip(*(each.figures for each in said), strict=True):
            assert mine.reset == pytest.approx(other.reset, abs=EDGE)

    @precondition(lambda self: self.open)
    @rule(which=st.randoms(use_true_random=False), share=st.sampled_from([0.0, 0.5, 1.0, 1.5]))
    def end(self, which: Any, share: float) -> None:
        call = self.open.pop(which.randrange(len(self.open)))
        used = int(call.tokens * share)
        call.used = min(call.used, used)  # what goes beyond the estimate was not asked for, and is only charged
        for store, said in zip(self.stores, call.said, strict=True):
            store.correct(said, used)

    @precondition(lambda self: len(self.calls) > 1)
    @rule()
    def nothing_was_exceeded(self) -> None:
        for limit in self.limits:
            for scope in (ADA, BOB) if limit.per == ("user",) else (None,):
                calls = [call for call in self.calls if scope is None or call.caller is scope]
                if limit.requests_per_minute is not None:
                    _within(limit.requests_per_minute, [(call.at, 1) for call in calls])
                if limit.tokens_per_minute is not None:
                    _within(limit.tokens_per_minute, [(call.at, call.used) for call in calls])

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            if self.calls:
                self.nothing_was_exceeded()
            for store in self.stores:
                store.close()


def _within(per_minute: int, calls: list[tuple[float, int]]) -> None:
    """Within any t seconds at most `burst + rate * t`: tried between every two calls."""
    for i, (start, _) in enumerate(calls):
        used = 0
        for at, cost in calls[i:]:
            used += cost
            assert used <= per_minute + (at - start) * per_minute / 60 + EDGE


def test_every_store_lets_in_the_same_and_never_more_than_burst_and_rate() -> None:
    run_state_machine_as_test(Limited, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
