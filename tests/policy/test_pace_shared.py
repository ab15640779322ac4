"""What a process's pace says to the one that replicas share, and the buckets that they share, in memory."""

from __future__ import annotations

import pytest

from headgate.core.limits import Amount
from headgate.core.usage import Usage
from headgate.policy.pace import Pace
from headgate.policy.pace_cells import PaceCells
from headgate.policy.pace_need import Ceilings, Need
from headgate.policy.pace_shared import corrected, taken, told
from headgate.policy.rate_facts import LimitFacts, RateFacts

PLACE = ("anthropic:3f", "claude-haiku-4")
T0 = 1_795_000_000.0


def pace(**more: int) -> Pace:
    return Pace("anthropic", T0, ceilings=Ceilings(**more))


def test_an_attempt_names_all_kinds_and_the_limits_that_are_known() -> None:
    one = pace(requests_per_minute=60)
    one.observe(RateFacts(requests=LimitFacts(50, 49, 1.0)), 200, T0)
    need = Need(100, 20)
    assert one.ask(need, T0) == 0.0
    assert taken(one, need) == (
        Amount("requests", 1.0, 50.0, 50 / 60),
        Amount("input_tokens", 100.0),
        Amount("output_tokens", 20.0),
        Amount("tokens", 120.0),
        Amount("requests_ceiling", 1.0, 10.0, 1.0),
    )


def test_a_correction_is_what_was_counted_less_what_was_taken() -> None:
    one = pace(tokens_per_minute=6000)
    need = Need(100, 20)
    one.ask(need, T0)
    before = corrected(one, need, Usage(input_tokens=130, output_tokens=5))
    one.correct(need, Usage(input_tokens=130, output_tokens=5), T0)
    assert {each.kind: each.amount for each in before} == {
        "input_tokens": 30.0,
        "output_tokens": -15.0,
        "tokens": 15.0,
        "tokens_ceiling": 15.0,
    }
    assert corrected(one, need, None) == ()


def test_told_is_what_this_answer_told_and_no_ceiling() -> None:
    one = pace(requests_per_minute=60)
    one.observe(RateFacts(requests=LimitFacts(50, 9, 1.0)), 200, T0)
    one.observe(RateFacts(input_tokens=LimitFacts(30_000, 12_500, 9.0)), 200, T0 + 1)
    (said,) = told(one, T0 + 1)
    assert (said.kind, said.capacity, said.per_second) == ("input_tokens", 30_000.0, 500.0)
    assert 12_500 <= said.amount <= 12_501
    assert told(one, T0 + 2) == ()


def test_a_share_is_of_capacity_and_rate_and_never_less_than_one_per_minute() -> None:
    cells = PaceCells(share=0.25)
    amounts = [Amount("requests", 1.0, 40.0, 1.0)]
    assert [cells.take(PLACE, amounts, T0) for _ in range(10)] == [0.0] * 10
    assert cells.take(PLACE, amounts, T0) == pytest.approx(4.0, abs=0.01)
    least = PaceCells(share=0.001)
    assert least.take(PLACE, amounts, T0) == 0.0
    assert least.take(PLACE, amounts, T0) == pytest.approx(60.0, abs=0.01)


def test_places_are_bounded_and_those_used_the_longest_ago_go() -> None:
    cells = PaceCells(most=2)
    one = [Amount("requests", 1.0, 1.0, 1 / 60)]
    for name in ("a", "b", "a", "c"):
        cells.take((name, ""), one, T0)
    assert cells.take(("a", ""), one, T0) > 0
    assert cells.take(("b", ""), one, T0) == 0.0
