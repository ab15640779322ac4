"""What a page adds up of a stretch is what its minutes add up to."""

from __future__ import annotations

from pathlib import Path

import pytest
from log_world import LogWorld, log_exchange

from headgate.pages.figures import between, total

HOUR, DAY = 3600, 86_400


@pytest.mark.parametrize("tenant", [None, "acme"])
def test_whole_hours_with_minutes_at_the_ends_are_the_sum_of_all_minutes(tmp_path: Path, tenant: str | None) -> None:
    world = LogWorld(tmp_path)
    now = world.now = (world.now // DAY + 2) * DAY
    exchanges = [
        log_exchange(n, at=now - 30 * HOUR + n * 397, tenant=("acme", "other")[n % 3 == 0], user=f"u{n % 5}")
        for n in range(30 * HOUR // 397)
    ]
    try:
        world.stored(*exchanges)
        reader = world.reader
        for since, until in (
            (now - DAY, now),
            (now - DAY + 60 * 17, now - 60 * 13),
            (now - 5 * HOUR, now - 60),
            (now - 90 * 60, now - 70 * 60),  # within an hour
            (now - 90 * 60, now - 30 * 60),  # over the turn of one
        ):
            minutes = total(reader.rollup(since, until, "minute", None, tenant))
            assert minutes.exchanges > 0
            assert between(reader, since, until, tenant, now) == minutes
    finally:
        world.close()


def test_where_minutes_are_gone_the_hour_of_an_end_belongs_to_the_later_stretch(tmp_path: Path) -> None:
    world = LogWorld(tmp_path)
    now = world.now = (world.now // DAY + 20) * DAY + 1800.0
    try:
        world.stored(*(log_exchange(n, at=now - 10 * DAY + n * 600) for n in range(60)))
        middle = now - 10 * DAY + 3 * HOUR
        earlier = between(world.reader, middle - 3 * HOUR, middle, None, now)
        later = total(world.reader.rollup(middle, now, "hour"))
        assert (earlier.exchanges + later.exchanges, earlier.exchanges > 0) == (60, True)
    finally:
        world.close()
