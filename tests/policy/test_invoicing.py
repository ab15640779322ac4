"""Invoices: the lines are the total, whatever the markup and the minimum."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.invoicing import Invoice, Pending, Work, added, make, markup_of, shares

START, END = 1_793_491_200.0, 1_796_083_200.0  # November 2026
NANO = st.integers(0, 10**15)


def invoice(works: list[Work], **more: object) -> Invoice:
    told: dict[str, object] = {
        "tenant": "acme",
        "month": "2026-11",
        "zone": "UTC",
        "start": START,
        "end": END,
        "issued": END,
        "by": ("model",),
        **more,
    }
    return make(works, **told)  # type: ignore[arg-type]  # a test's keywords, checked where they are used


@given(NANO, st.lists(NANO, min_size=1, max_size=40))
def test_shares_add_up_and_each_is_within_one_of_its_exact_one(amount: int, weights: list[int]) -> None:
    found = shares(amount, weights)
    assert sum(found) == amount
    if sum(weights):
        for share, weight in zip(found, weights, strict=True):
            assert abs(share - Fraction(amount * weight, sum(weights))) < 1
            assert weight or not share


def test_of_equal_remainders_the_earlier_line_gets_the_odd_nano_dollar() -> None:
    assert shares(2, [1, 1, 1]) == [1, 1, 0]
    assert shares(5, [0, 0]) == [5, 0]
    assert shares(0, []) == []
    with pytest.raises(ValueError):
        shares(1, [])


@given(NANO, st.integers(0, 100_000))
def test_the_markup_is_the_nearest_nano_dollar_and_a_half_goes_up(cost: int, points: int) -> None:
    exact = Fraction(cost * points, 10_000)
    assert -Fraction(1, 2) < markup_of(cost, points) - exact <= Fraction(1, 2)


@given(
    st.lists(st.tuples(NANO, st.integers(0, 100)), max_size=30),
    st.integers(0, 100_000),
    NANO,
)
def test_the_lines_and_the_minimum_add_up_to_the_total(told: list[tuple[int, int]], points: int, minimum: int) -> None:
    works = [
        Work((str(i),), 1, cost_nano=cost, estimated_nano=cost * share // 100) for i, (cost, share) in enumerate(told)
    ]
    made = invoice(works, markup_basis_points=points, minimum_nano=minimum)
    cost = sum(work.cost_nano for work in works)
    assert made.sum.cost_nano == cost == made.sum.reported_nano + made.sum.estimated_nano
    assert sum(line.markup_nano for line in made.lines) == made.markup_nano == markup_of(cost, points)
    assert made.total_nano == sum(line.amount_nano for line in made.lines) + made.top_up_nano
    assert made.total_nano == max(cost + made.markup_nano, minimum)
    assert made.top_up_nano == 0 or made.total_nano == minimum


def test_no_markup_and_no_minimum_is_the_ledger_itself() -> None:
    made = invoice([Work(("a",), 1, cost_nano=7), Work(("b",), 1, cost_nano=0)])
    assert (made.total_nano, made.markup_nano, made.top_up_nano) == (7, 0, 0)
    assert invoice([]).total_nano == 0


def test_a_month_without_use_costs_the_minimum_and_a_month_to_come_costs_nothing() -> None:
    assert invoice([], minimum_nano=5_000_000_000).total_nano == 5_000_000_000
    assert invoice([], minimum_nano=5_000_000_000, issued=START - 1).total_nano == 0


def test_it_is_provisional_until_the_month_is_over_and_nothing_is_on_its_way() -> None:
    assert not invoice([]).provisional
    assert invoice([], issued=END - 1).provisional
    assert invoice([], pending=Pending(1, 5)).provisional


@pytest.mark.parametrize("wrong", [{"markup_basis_points": -1}, {"minimum_nano": -1}])
def test_a_negative_markup_or_minimum_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        invoice([], **wrong)


def test_sums_have_every_count() -> None:
    one = Work(("a",), *range(1, 13))
    assert added([one, one]) == Work((), *(2 * n for n in range(1, 13)))
