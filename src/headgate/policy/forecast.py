"""What a period's spending comes to if it goes on as it has."""

from __future__ import annotations

LEAST_SHARE = 0.02
"""Of a period that has to be over before anything is told: the first minutes of a month say nothing about it."""


def forecast(spent: int, start: float, end: float, at: float) -> int | None:
    """What will be spent by the end, in the unit of `spent`: in a straight line from the period's beginning.

    Args:
        start, end: of the period, seconds since the epoch.
        at: now.

    Returns:
        None where it cannot be told: the period has no end, or has hardly begun.
    """
    length = end - start
    if length == float("inf") or length <= 0 or at < start + LEAST_SHARE * length:
        return None
    return spent if at >= end else round(spent * length / (at - start))


def runs_out_at(spent: int, cap: int, start: float, end: float, at: float) -> float | None:
    """When the cap will be spent, seconds since the epoch; None where it will not be before the end, or cannot be told.

    Arguments as `forecast`; `at` where it is spent already.
    """
    if spent >= cap:
        return at
    if spent <= 0 or forecast(spent, start, end, at) is None:
        return None
    when = start + (at - start) * cap / spent
    return when if when < end else None
