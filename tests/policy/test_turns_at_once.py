"""A turn given in one step is the turn that the desk would have given, and leaves everything as the desk would."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import NoTurn, UpstreamBusy, UpstreamError
from headgate.core.exchange import Attempt
from headgate.core.usage import Usage
from headgate.policy.breaker import BreakerRules
from headgate.policy.pace_need import Ceilings
from headgate.policy.rate_facts import NO_FACTS, LimitFacts, RateFacts
from headgate.policy.turn import Turn, TurnRules
from headgate.policy.turns import Turns
from headgate.testing.fakes import World, route

ROUTE = route("anthropic", "claude-haiku-4-5")
START, LATE = 1000.0, 10_000.0
RULES = (
    TurnRules(),
    TurnRules(concurrency=2),
    TurnRules(ceilings=Ceilings(requests_per_minute=120)),
    TurnRules(breaker=BreakerRules(minimum_calls=2, window_calls=4, open_seconds=1.0)),
    TurnRules(pacing=False, concurrency=0, breaker=None),
)
TOLD = RateFacts(requests=LimitFacts(60, 3, 30.0))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "answer", "told", "end", "end", "fail", "busy"]),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.001, 0.2, 3.0, 70.0]),
    ),
    max_size=40,
)


class Bench:
    """A desk, and what was sent by it."""

    def __init__(self, rules: TurnRules, *, at_once: bool) -> None:
        self.desk = Turns(default=rules)
        self.at_once = at_once
        self.flying: list[tuple[Turn, float]] = []
        self.request = World().request()

    def step(self, what: str, which: int, now: float) -> object:
        if what == "ask":
            return self._ask(now)
        if not self.flying:
            return None
        turn, began = self.flying[which % len(self.flying)]
        if what == "answer":
            return len(self.desk.answered(turn, NO_FACTS, 200, "", now))
        if what == "told":
            return len(self.desk.answered(turn, TOLD, 200, "", now))
        self.flying.remove((turn, began))
        error: UpstreamError | None = None
        if what == "fail":
            error = UpstreamError("it failed", kind="server", status=500)
        elif what == "busy":
            error = UpstreamBusy("it is busy", kind="busy", status=429)
        attempt = Attempt(1, ROUTE, began, sent=True, error=error, status=200 if error is None else error.status)
        if error is None:
            attempt.first_content, attempt.usage = now, Usage(input_tokens=200 + which, output_tokens=10)
        told, changes = self.desk.end(turn, attempt, now, jitter=0.5, closes=error is None)
        for entry in told:
            if entry.turn is not None:
                self.flying.append((entry.turn, now))
        return len(told), [change.state for change in changes]

    def _ask(self, now: float) -> object:
        found: Any = None
        try:
            if self.at_once and not self.desk.waiting:
                found = self.desk.at_once(self.request, ROUTE, now)
            if found is None:
                found = self.desk.ask(self.request, ROUTE, LATE, now)
        except NoTurn as error:
            return error.kind, error.retry_after
        if isinstance(found, Turn):
            self.flying.append((found, now))
        return type(found).__name__

    def look(self, now: float) -> object:
        return self.desk.look(self.request, ROUTE, now), self.desk.rates(now), self.desk.waiting


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RULES), STEPS)
def test_a_turn_in_one_step_and_one_by_the_desk_leave_the_same_behind(
    rules: TurnRules, steps: list[tuple[str, int, float]]
) -> None:
    lane, desk = Bench(rules, at_once=True), Bench(rules, at_once=False)
    now = START
    for what, which, seconds in steps:
        now += seconds
        assert lane.step(what, which, now) == desk.step(what, which, now)
        assert lane.look(now) == desk.look(now)


def test_what_nothing_stands_in_the_way_of_goes_in_one_step() -> None:
    bench = Bench(TurnRules(), at_once=True)
    assert bench.desk.at_once(bench.request, ROUTE, START) is None  # the first has to find its way
    bench.step("ask", 0, START)
    assert isinstance(bench.desk.at_once(bench.request, ROUTE, START), Turn)
    assert bench.desk.at_once(bench.request, ROUTE, START) is None  # two until the first answer
