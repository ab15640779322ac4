"""When a budget's period begins and ends: civil time in a named zone, so that "a day" is the customer's day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo

PERIODS = ("minute", "hour", "day", "week", "month", "year")
"""What `every` may say; "" is for good."""

FOR_GOOD = (0.0, float("inf"))
_SECONDS = {"minute": 60.0, "hour": 3600.0}


def period(every: str, at: float, zone: tzinfo = UTC) -> tuple[float, float]:
    """The period that a moment is in: (start, end), seconds since the epoch; the end is the next one's start.

    Days, weeks (from Monday, ISO 8601), months and years begin at local midnight, so that the day on which the clocks
    change has 23 or 25 hours. Where a zone skips midnight, the day begins when its clocks go on.

    Args:
        every: one of `PERIODS`, or "".
        at: seconds since the epoch.
        zone: an IANA zone, as `zoneinfo.ZoneInfo` gives it.
    """
    if not every:
        return FOR_GOOD
    local = datetime.fromtimestamp(at, zone)
    length = _SECONDS.get(every)
    if length is not None:
        offset = (local.utcoffset() or timedelta()).total_seconds()
        start = (at + offset) // length * length - offset
        return start, start + length
    first = _first_day(every, local.date())
    start, end = _midnight(first, zone), _midnight(_next(every, first), zone)
    return start, end


def _first_day(every: str, day: date) -> date:
    if every == "week":
        return day - timedelta(days=day.weekday())
    if every == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if every == "year" else day


def _next(every: str, first: date) -> date:
    if every == "week":
        return first + timedelta(days=7)
    if every == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first.replace(year=first.year + 1) if every == "year" else first + timedelta(days=1)


def _midnight(day: date, zone: tzinfo) -> float:
    # Of a midnight that comes twice the first one is meant (fold 0). One that is skipped has no moment of its own:
    # read with the offset from before the gap (fold 0) it is the moment at which the clocks go on.
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()
