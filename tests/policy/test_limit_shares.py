"""One replica's share of callers' limits."""

from __future__ import annotations

import pytest

from headgate.core.caller import Caller
from headgate.core.limits import Exceeded, Limit
from headgate.policy.limit_shares import ShareOfLimits

ADA = Caller(user="ada")
T0 = 1_795_000_000.0


def test_each_replica_lets_in_its_part_and_names_the_whole_limit() -> None:
    whole = Limit(("user",), requests_per_minute=10)
    share = ShareOfLimits([whole], 3)
    said = [share.ask(ADA, T0, tokens=0) for _ in range(4)]
    assert [bool(each) for each in said] == [True, True, True, False]
    assert isinstance(said[3], Exceeded)
    assert said[3].limit is whole
    assert said[3].retry_after == pytest.approx(20)
    assert said[3].figures[0].limit == 3


def test_a_share_is_never_less_than_one_per_minute() -> None:
    share = ShareOfLimits([Limit(("user",), requests_per_minute=2, tokens_per_minute=2)], 50)
    assert share.ask(ADA, T0, tokens=1)
    assert not share.ask(ADA, T0, tokens=0)
    assert share.ask(ADA, T0 + 60, tokens=1)


def test_a_call_that_fits_into_the_whole_limit_and_not_into_the_share_takes_the_whole_share() -> None:
    share = ShareOfLimits([Limit(("user",), tokens_per_minute=100), Limit((), tokens_per_minute=400)], 4)
    said = share.ask(ADA, T0, tokens=90)
    assert said
    share.correct(said, 90, T0)
    after = share.ask(ADA, T0, tokens=1)
    assert isinstance(after, Exceeded)
    assert after.retry_after == pytest.approx((90 - 25 + 1) * 60 / 25)


def test_a_call_that_is_larger_than_the_whole_limit_never_fits() -> None:
    share = ShareOfLimits([Limit(("user",), tokens_per_minute=100)], 4)
    said = share.ask(ADA, T0, tokens=101)
    assert isinstance(said, Exceeded)
    assert said.retry_after is None
