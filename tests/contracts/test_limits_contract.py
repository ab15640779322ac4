"""What callers' limits promise, whatever they are kept in: in one process's memory, or in Redis for many replicas."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from limits_store import ADA, BOB, LIMIT_STORES, Store

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Figure, Limit

Open = Callable[..., Store]


@pytest.fixture(params=LIMIT_STORES, ids=lambda made: made.__name__)
def limited(request: pytest.FixtureRequest, run: Any) -> Iterator[Open]:
    opened: list[Store] = []

    def open_(*limits: Limit) -> Store:
        opened.append(request.param(limits, run))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def requests(per_minute: int, *per: str, **more: Any) -> Limit:
    return Limit(per, requests_per_minute=per_minute, **more)


def tokens(per_minute: int, *per: str, **more: Any) -> Limit:
    return Limit(per, tokens_per_minute=per_minute, **more)


def refused(said: object) -> Exceeded:
    assert isinstance(said, Exceeded)
    return said


def bools(asked: Sequence[object]) -> list[bool]:
    return [bool(each) for each in asked]


def test_a_minutes_worth_goes_at_once_and_then_one_for_each_part_of_a_minute(limited: Open) -> None:
    store = limited(requests(3, "user"))
    assert bools([store.ask() for _ in range(4)]) == [True, True, True, False]
    assert refused(store.ask()).retry_after == pytest.approx(20, abs=1e-5)
    store.now += 19.9
    assert not store.ask()
    store.now += 0.1
    assert bools([store.ask(), store.ask()]) == [True, False]


def test_each_value_has_a_bucket_of_its_own(limited: Open) -> None:
    store = limited(requests(1, "user"))
    assert bools([store.ask(ADA), store.ask(BOB), store.ask(ADA)]) == [True, True, False]


def test_a_call_takes_from_all_limits_or_from_none(limited: Open) -> None:
    store = limited(requests(1, "user"), requests(10, "tenant"), tokens(100, "tenant"))
    assert store.ask(ADA, 10)
    for _ in range(5):
        said = refused(store.ask(ADA, 10))
        assert said.scope == "ada"
    assert refused(store.ask(BOB, 91)).unit == "tokens"
    assert store.ask(BOB, 90)
    assert store.left(Caller(tenant="acme"), "requests") == 7


def test_of_several_limits_that_say_no_the_one_that_takes_longest_is_named(limited: Open) -> None:
    store = limited(requests(2, "user", source="short"), requests(2, "tenant", source="long"))
    store.ask(BOB)
    store.now += 10
    store.ask(ADA)
    store.now += 1
    said = refused(store.ask(ADA))
    assert (said.limit.source, said.unit, said.scope) == ("long", "requests", "acme")
    assert said.retry_after == pytest.approx(19, abs=1e-5)


def test_a_limit_does_not_apply_to_a_call_that_lacks_its_dimension(limited: Open) -> None:
    store = limited(requests(1, "user", "tenant"), requests(1, "address"), requests(1, "tag:team"))
    assert bools([store.ask(Caller(user="ada")) for _ in range(3)]) == [True, True, True]
    assert store.ask(Caller(user="ada")).figures == ()
    assert bools([store.ask(Caller(), address="::1"), store.ask(Caller(), address="::1")]) == [True, False]
    tagged = Caller(tags={"team": "red"})
    assert bools([store.ask(tagged), store.ask(tagged)]) == [True, False]


def test_a_limit_for_some_applies_to_those_alone(limited: Open) -> None:
    store = limited(requests(1, "user", only=(("tenant", "acme"),)))
    assert bools([store.ask(ADA), store.ask(ADA)]) == [True, False]
    other = Caller(user="ada", tenant="other")
    assert bools([store.ask(other), store.ask(other)]) == [True, True]


def test_two_limits_of_the_same_dimensions_both_hold(limited: Open) -> None:
    store = limited(requests(60, "user"), requests(2, "user"))
    assert bools([store.ask() for _ in range(3)]) == [True, True, False]
    assert refused(store.ask()).limit.requests_per_minute == 2
    assert store.left(Caller(user="bob"), "requests") == 1


def test_a_call_that_alone_is_larger_than_a_limit_is_told_no_time(limited: Open) -> None:
    store = limited(tokens(100, "user"), requests(5, "user"))
    assert refused(store.ask(ADA, 101)).retry_after is None
    assert store.ask(ADA, 100)


def test_a_call_without_tokens_needs_no_room_in_a_limit_of_tokens(limited: Open) -> None:
    store = limited(tokens(100, "user"))
    assert bools([store.ask(ADA, 100), store.ask(ADA, 0), store.ask(ADA, 1)]) == [True, True, False]


def test_figures_are_those_right_after_the_call(limited: Open) -> None:
    store = limited(requests(60, "user"), tokens(6000, "user"), requests(120, "tenant"))
    said = store.ask(ADA, 600)
    assert said.figures == (
        Figure("requests", 60, 59, pytest.approx(1.0, abs=1e-5)),
        Figure("tokens", 6000, 5400, pytest.approx(6.0, abs=1e-5)),
    )
    store.now += 3
    assert store.ask(ADA, 0).figures[1] == Figure("tokens", 6000, 5700, pytest.approx(3.0, abs=1e-5))
    assert refused(store.ask(ADA, 5701)).figures[1].remaining == 5700


def test_tokens_that_a_call_left_are_there_again_once(limited: Open) -> None:
    store = limited(tokens(100, "user"), tokens(1000, "tenant"))
    said = store.taken(ADA, 100)
    figures = said.figures
    store.correct(said, 40)
    assert said.figures == figures
    assert store.left() == 60
    store.correct(said, 0)
    assert store.left() == 60
    assert store.left(Caller(tenant="acme")) == 960


def test_a_call_that_used_more_is_charged_up_to_another_minutes_worth(limited: Open) -> None:
    store = limited(tokens(100, "user"))
    store.correct(store.taken(ADA, 10), 60)
    assert store.left() == 40
    store.correct(store.taken(ADA, 10), 10_000)
    assert refused(store.ask(ADA, 1)).retry_after == pytest.approx(60.6, abs=1e-4)


def test_a_call_that_was_let_in_without_tokens_is_charged_what_it_used(limited: Open) -> None:
    store = limited(tokens(100, "user"))
    store.correct(store.taken(ADA, 0), 70)
    assert store.left() == 30


def test_what_has_filled_up_meanwhile_is_not_given_back_as_well(limited: Open) -> None:
    store = limited(tokens(60, "user"))
    unused = store.taken(ADA, 60)
    store.now += 60
    assert store.ask(ADA, 60)
    store.correct(unused, 0)
    assert not store.ask(ADA, 1)


def test_several_calls_are_not_given_back_the_same_room(limited: Open) -> None:
    store = limited(tokens(60, "user"))
    first, second, third = (store.taken(ADA, 10) for _ in range(3))
    store.now += 5
    store.correct(third, 0)
    store.correct(first, 0)
    assert store.left() == 45
    store.now += 15
    store.taken(ADA, 1)
    store.correct(second, 0)
    assert store.left() == 59


def test_a_clock_that_is_set_back_opens_nothing(limited: Open) -> None:
    store = limited(requests(60, "user"))
    for _ in range(60):
        assert store.ask()
    store.now -= 3600
    assert not store.ask()
    store.now += 1
    assert bools([store.ask(), store.ask()]) == [True, False]


NAMES = ["x" * 100_000, "{headgate}:limit", "\ud800", "ada\x00", "('ada',)", "ü\n ; 0"]


def test_any_name_is_a_bucket_of_its_own(limited: Open) -> None:
    store = limited(requests(1, "user"), requests(1, "user", "tenant"))
    for name in NAMES:
        caller = Caller(user=name)
        assert bools([store.ask(caller), store.ask(caller)]) == [True, False]
    assert bools([store.ask(Caller(tenant="a")), store.ask(Caller(tenant="a"))]) == [True, True]


def test_single_tokens_of_a_very_large_limit_are_not_lost_to_rounding(limited: Open) -> None:
    store = limited(tokens(10**12, "user"))
    store.taken(ADA, 10**12)
    store.now += 30
    said = store.taken(ADA, 1)
    store.taken(ADA, 1)
    assert said.figures[0].remaining - store.left() == 1
