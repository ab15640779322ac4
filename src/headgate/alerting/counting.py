"""What the metrics have counted, as the rules look at it. Nothing is counted twice: calls pay nothing for alerts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headgate.policy.alert_windows import Counted, Place
from headgate.telemetry.cells import LATENCY, TTFT
from headgate.telemetry.families import Family

BOUNDS: Mapping[str, Sequence[float]] = {"latency": LATENCY, "ttft": TTFT}

_NOT_THEIRS = frozenset({"caller", "missing", "too_long"})
"""Kinds of failures that are the caller's own: no alert's matter."""
_DOWN = frozenset({"server", "overloaded", "timeout", "connect", "broken", "truncated"})
_ERRORS = _DOWN | {"busy", "money", "auth", "config", "saturated", "cut"}
_ENDED = frozenset({"complete", "failed", "cut"})


def counted(families: Iterable[Family], dropped: float) -> Counted:
    """Args: `families`: of `telemetry.counting.Counts`; `dropped`: lines of the log."""
    by_name = {family.name: family for family in families}
    exchanges, failed = _exchanges(by_name["headgate_exchanges"])
    attempts, errors, down, own = _attempts(by_name["headgate_attempts"])
    for place, count in own.items():
        # Their exchanges have failed as well, and nobody has to look after that.
        failed[place] = max(0.0, failed.get(place, 0.0) - count)
    return Counted(
        exchanges,
        failed,
        attempts,
        errors,
        down,
        _times(by_name["headgate_exchange_duration_seconds"]),
        _times(by_name["headgate_time_to_first_content_seconds"]),
        sum(exchanges.values()),
        sum(by_name["headgate_tokens"].values.values()),
        dropped,
    )


def _exchanges(family: Family) -> tuple[dict[Place, float], dict[Place, float]]:
    outcome = family.labels.index("outcome")
    every: dict[Place, float] = {}
    failed: dict[Place, float] = {}
    for labels, count in family.values.items():
        if labels[outcome] not in _ENDED or not labels[0]:
            continue
        place = labels[:1]
        every[place] = every.get(place, 0.0) + count
        if labels[outcome] != "complete":
            failed[place] = failed.get(place, 0.0) + count
    return every, failed


def _attempts(family: Family) -> tuple[dict[Place, float], dict[Place, float], dict[Place, float], dict[Place, float]]:
    every: dict[Place, float] = {}
    errors: dict[Place, float] = {}
    down: dict[Place, float] = {}
    own: dict[Place, float] = {}
    for (provider, _, outcome), count in family.values.items():
        place = (provider,)
        every[place] = every.get(place, 0.0) + count
        for kinds, into in ((_ERRORS, errors), (_DOWN, down), (_NOT_THEIRS, own)):
            if outcome in kinds:
                into[place] = into.get(place, 0.0) + count
    return every, errors, down, own


def _times(family: Family) -> dict[Place, tuple[int, ...]]:
    return {place: tuple(each.counts) for place, each in family.distributions.items()}
