"""The pace that replicas share: the buckets in memory, and those in Redis, by the same rules."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits_store import PATIENT, T0
from redis_server import the_redis

from headgate.core.limits import Amount, Place
from headgate.core.ports import SharedPace
from headgate.engine.blocking import run_blocking
from headgate.policy.pace_cells import PaceCells
from headgate.stores.redis_link import RedisLink
from headgate.stores.redis_pace import RedisPace
from headgate.stores.redis_place import redis_place

HAIKU: Place = ("anthropic:3f", "claude-haiku-4")
OPUS: Place = ("anthropic:3f", "claude-opus-4")


def requests(amount: float, limit: float = 60.0) -> Amount:
    return Amount("requests", amount, limit, limit / 60 if limit else 0.0)


def tokens(amount: float, limit: float = 6000.0) -> Amount:
    return Amount("input_tokens", amount, limit, limit / 60 if limit else 0.0)


class InMemory:
    """:class:`SharedPace` over the buckets in memory: what a replica goes on with while Redis is gone."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self.now = T0
        self.cells = PaceCells()

    def take(self, place: Place, amounts: Sequence[Amount]) -> float:
        return self.cells.take(place, amounts, self.now)

    def move(self, doing: str, place: Place, *what: Any) -> None:
        if doing == "give_back":
            doing, what = "correct", ([each._replace(amount=-each.amount) for each in what[0]],)
        getattr(self.cells, doing)(place, *what, self.now)

    def close(self) -> None:
        """Nothing to close."""


class InRedis:
    def __init__(self, run: Callable[[Any], Any]) -> None:
        self.now = T0
        self.url = the_redis().url()
        self.lost: list[str] = []
        place = replace(redis_place(self.url), timeout=PATIENT)
        self.link = RedisLink(place, tell=lambda name, **_: self.lost.append(name), now=lambda: self.now)
        pace = RedisPace(self.link)
        self.port: SharedPace = pace.blocking() if run is run_blocking else pace.asynchronous()
        self._run = run

    def take(self, place: Place, amounts: Sequence[Amount]) -> float:
        found: float = self._run(self.port.take(place, amounts))
        return found

    def move(self, doing: str, place: Place, *what: Any) -> None:
        getattr(self.port, doing)(place, *what)

    def close(self) -> None:
        assert not self.lost
        self.link.close()


@pytest.fixture(params=[InMemory, InRedis])
def pace(request: pytest.FixtureRequest, run: Any) -> Iterator[Any]:
    made = request.param(run)
    yield made
    made.close()


def test_what_is_taken_comes_back_at_the_rate(pace: Any) -> None:
    assert [pace.take(HAIKU, [requests(1, 3)]) for _ in range(3)] == [0.0] * 3
    assert pace.take(HAIKU, [requests(1, 3)]) == pytest.approx(20, abs=0.01)
    pace.now += 20
    assert pace.take(HAIKU, [requests(1, 3)]) == 0.0
    assert pace.take(HAIKU, [requests(1, 3)]) > 0


def test_all_amounts_are_taken_or_none(pace: Any) -> None:
    assert pace.take(HAIKU, [requests(1), tokens(6000)]) == 0.0
    assert pace.take(HAIKU, [requests(1), tokens(100)]) == pytest.approx(1, abs=0.01)
    assert pace.take(HAIKU, [requests(59)]) == 0.0


def test_each_place_has_buckets_of_its_own(pace: Any) -> None:
    assert pace.take(HAIKU, [requests(60)]) == 0.0
    assert pace.take(OPUS, [requests(1)]) == 0.0
    assert pace.take(HAIKU, [requests(1)]) > 0


def test_a_replica_that_has_been_told_no_limit_goes_by_what_others_were_told(pace: Any) -> None:
    unknown = [requests(1, 0), tokens(50, 0)]
    assert [pace.take(HAIKU, unknown) for _ in range(3)] == [0.0] * 3
    pace.move("learn", HAIKU, [requests(1, 2)])
    assert [pace.take(HAIKU, unknown) > 0 for _ in range(3)] == [False, True, True]


def test_more_than_a_full_bucket_goes_when_it_is_full_and_is_owed(pace: Any) -> None:
    assert pace.take(HAIKU, [tokens(9000)]) == 0.0
    assert pace.take(HAIKU, [tokens(9000)]) == pytest.approx(90, abs=0.01)
    pace.now += 90.01
    assert pace.take(HAIKU, [tokens(9000)]) == 0.0


def test_what_was_not_sent_is_there_again(pace: Any) -> None:
    pace.take(HAIKU, [requests(2, 2), tokens(10)])
    pace.move("give_back", HAIKU, [requests(1, 2), tokens(10)])
    assert [pace.take(HAIKU, [requests(1, 2)]) > 0 for _ in range(2)] == [False, True]


def test_a_correction_charges_more_or_less_and_fills_no_bucket_above_its_brim(pace: Any) -> None:
    pace.take(HAIKU, [tokens(1000)])
    pace.move("correct", HAIKU, [tokens(2000)])
    assert pace.take(HAIKU, [tokens(3001)]) > 0
    pace.move("correct", HAIKU, [tokens(-9000)])
    assert pace.take(HAIKU, [tokens(6000)]) == 0.0
    assert pace.take(HAIKU, [tokens(1)]) > 0
    pace.move("correct", HAIKU, [tokens(10**9)])
    assert pace.take(HAIKU, [tokens(1)]) == pytest.approx(60.01, abs=0.01)


def test_what_is_told_only_ever_takes_away(pace: Any) -> None:
    pace.take(HAIKU, [requests(50)])
    pace.move("learn", HAIKU, [requests(40)])
    assert pace.take(HAIKU, [requests(11)]) > 0
    pace.move("learn", HAIKU, [requests(3)])
    assert pace.take(HAIKU, [requests(4)]) > 0
    assert pace.take(HAIKU, [requests(3)]) == 0.0


def test_a_limit_that_has_become_smaller_holds_at_once(pace: Any) -> None:
    pace.take(HAIKU, [requests(1, 60)])
    assert pace.take(HAIKU, [requests(1, 6)]) == 0.0
    assert pace.take(HAIKU, [requests(6, 6)]) == pytest.approx(10, abs=0.01)
    assert pace.take(HAIKU, [requests(5, 60)]) == 0.0


def test_nobody_goes_before_a_block_is_over_and_a_shorter_one_does_not_end_it(pace: Any) -> None:
    pace.move("block", HAIKU, 7.5)
    pace.move("block", HAIKU, 1.0)
    assert pace.take(HAIKU, [requests(1, 0)]) == pytest.approx(7.5)
    assert pace.take(OPUS, [requests(1, 0)]) == 0.0
    pace.now += 7.5
    assert pace.take(HAIKU, [requests(1, 0)]) == 0.0


def test_a_block_is_an_hour_at_most(pace: Any) -> None:
    pace.move("block", HAIKU, 1e9)
    assert pace.take(HAIKU, [requests(1)]) == pytest.approx(3600)


def test_a_clock_that_is_set_back_opens_nothing_and_stops_nothing(pace: Any) -> None:
    pace.take(HAIKU, [requests(60)])
    pace.now -= 5000
    assert pace.take(HAIKU, [requests(1)]) == pytest.approx(1, abs=0.01)
    pace.now += 1.001
    assert pace.take(HAIKU, [requests(1)]) == 0.0


AMOUNTS = st.lists(
    st.builds(
        lambda kind, amount, limit: Amount(kind, amount, limit, limit / 60),
        st.sampled_from(["requests", "input_tokens", "tokens_ceiling"]),
        st.integers(0, 90).map(float) | st.floats(0, 90),
        st.sampled_from([0.0, 30.0, 60.0]),
    ),
    max_size=3,
    unique_by=lambda amount: amount.kind,
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "give_back", "correct", "learn", "block"]),
        st.sampled_from([HAIKU, OPUS]),
        AMOUNTS,
        st.integers(0, 40_000),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_both_say_the_same_whatever_happens(steps: list[tuple[str, Place, list[Amount], int]]) -> None:
    both: list[Any] = [InMemory(run_blocking), InRedis(run_blocking)]
    for doing, place, amounts, milliseconds in steps:
        waits = []
        for each in both:
            each.now += milliseconds / 1000
            if doing == "take":
                waits.append(each.take(place, amounts))
            else:
                each.move(doing, place, milliseconds / 10_000 if doing == "block" else amounts)
        if waits and abs(waits[0] - waits[1]) > 1e-4:
            assert max(waits) < 0.01  # on the edge, where fractions are counted in another order
            return
    both[1].close()


def test_keys_tell_nothing_of_the_account(run: Any) -> None:
    made = InRedis(run)
    made.take(("anthropic:secret-ish", "claude-haiku-4"), [requests(1)])
    keys = the_redis().keys(made.url)
    made.close()
    (key,) = (key for key in keys if ":pace:" in key)
    assert set(key.rpartition(":")[2]) <= set(string.hexdigits)
    assert 900 < the_redis().run("TTL", key) <= 910
