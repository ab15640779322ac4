"""Periods of budgets: every moment is in exactly one, and days are the zone's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.periods import FOR_GOOD, PERIODS, period

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo", "Asia/Beirut"]
moments = st.floats(min_value=0, max_value=4_000_000_000, allow_nan=False)


@given(moments, st.sampled_from(PERIODS), st.sampled_from(ZONES))
def test_every_moment_is_in_its_own_period(at: float, every: str, name: str) -> None:
    start, end = period(every, at, ZoneInfo(name))
    assert start <= at < end


@given(moments, st.sampled_from(["day", "week", "month", "year"]), st.sampled_from(ZONES))
def test_a_period_ends_where_the_next_one_begins(at: float, every: str, name: str) -> None:
    zone = ZoneInfo(name)
    start, end = period(every, at, zone)
    assert period(every, end, zone)[0] == end
    assert period(every, start, zone) == (start, end)
    assert period(every, end - 0.001, zone) == (start, end)


def _at(text: str, zone: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("every", "at", "zone", "first", "next_"),
    [
        ("day", "2026-03-29T12:00", "Europe/Berlin", "2026-03-29T00:00", "2026-03-30T00:00"),
        ("day", "2026-10-25T12:00", "Europe/Berlin", "2026-10-25T00:00", "2026-10-26T00:00"),
        ("week", "2026-11-22T23:59", "UTC", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("month", "2026-12-31T23:59", "Asia/Kolkata", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("year", "2024-02-29T01:00", "UTC", "2024-01-01T00:00", "2025-01-01T00:00"),
        ("hour", "2026-11-21T10:59", "Asia/Kolkata", "2026-11-21T10:00", "2026-11-21T11:00"),
    ],
)
def test_a_period_begins_and_ends_on_the_zones_clock(every: str, at: str, zone: str, first: str, next_: str) -> None:
    assert period(every, _at(at, zone), ZoneInfo(zone)) == (_at(first, zone), _at(next_, zone))


def test_the_day_on_which_the_clocks_go_back_has_25_hours() -> None:
    start, end = period("day", _at("2026-10-25T12:00", "Europe/Berlin"), ZoneInfo("Europe/Berlin"))
    assert timedelta(seconds=end - start) == timedelta(hours=25)


def test_without_a_period_it_is_for_good() -> None:
    assert period("", 1.0, UTC) == FOR_GOOD
