"""What the metrics have counted, as the rules look at it. Nothing is counted twice: calls pay nothing for alerts."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from headgate.policy.alert_windows import Counted, Place
from headgate.telemetry.cells import LATENCY, TTFT
from headgate.telemetry.families import Family

BOUNDS: Mapping[str, Sequence[float]] = {"latency": LATENCY, "ttft": TTFT}

_NOT_THEIRS = frozenset({"caller", "missing", "too_long"})
"""Kinds of failures that are the caller's own: no alert's matter."""
_DOWN = frozenset({"server", "overloaded", "timeout", "connect", "broken", "truncated"})
_ERRORS = _DOWN | {"busy", "money", "auth", "config", "saturated", "cut"}
_ENDED = frozenset({"complete", "failed", "cut"})
_NOBODY: Place = ("",)
"""In place of a provider: the call had no attempt of its own, and it is not known whose turn it was to be."""


def counted(families: Iterable[Family], dropped: float) -> Counted:
    """Args: `families`: of `telemetry.counting.Counts`; `dropped`: lines of the log."""
    by_name = {family.name: family for family in families}
    answered, calls = _exchanges(by_name["headgate_exchanges"])
    failures = by_name["headgate_exchange_failures"]
    failed = _failed(failures)
    exchanges = _sum(answered, _failed(failures, without=frozenset()))
    exchanges[_NOBODY] = sum(exchanges.values())  # 50 of a million calls are few
    attempts, errors, down = _attempts(by_name["headgate_attempts"])
    return Counted(
        exchanges,
        failed,
        attempts,
        errors,
        down,
        _times(by_name["headgate_exchange_duration_seconds"]),
        _times(by_name["headgate_time_to_first_content_seconds"]),
        calls,
        sum(by_name["headgate_tokens"].values.values()),
        dropped,
    )


def _exchanges(family: Family) -> tuple[dict[Place, float], float]:
    """Those that were answered, by provider; and how many have had an attempt or an answer, for all."""
    outcome = family.labels.index("outcome")
    answered: dict[Place, float] = {}
    calls = 0.0
    for labels, count in family.values.items():
        if labels[outcome] not in _ENDED or not labels[0]:
            continue
        calls += count
        if labels[outcome] == "complete":
            answered[labels[:1]] = answered.get(labels[:1], 0.0) + count
    return answered, calls


def _failed(family: Family, without: Container[str] = _NOT_THEIRS) -> dict[Place, float]:
    """By provider; `without`: kinds that are left out."""
    found: dict[Place, float] = {}
    for (provider, kind), count in family.values.items():
        if kind not in without:
            found[provider,] = found.get((provider,), 0.0) + count
    return found


def _sum(one: Mapping[Place, float], other: Mapping[Place, float]) -> dict[Place, float]:
    return {place: one.get(place, 0.0) + other.get(place, 0.0) for place in (*one, *other)}


def _attempts(family: Family) -> tuple[dict[Place, float], dict[Place, float], dict[Place, float]]:
    every: dict[Place, float] = {}
    errors: dict[Place, float] = {}
    down: dict[Place, float] = {}
    for (provider, _, outcome), count in family.values.items():
        place = (provider,)
        every[place] = every.get(place, 0.0) + count
        for kinds, into in ((_ERRORS, errors), (_DOWN, down)):
            if outcome in kinds:
                into[place] = into.get(place, 0.0) + count
    return every, errors, down


def _times(family: Family) -> dict[Place, tuple[int, ...]]:
    """Of calls that a provider was asked for: the others' times say nothing of any model."""
    return {place: tuple(each.counts) for place, each in family.distributions.items() if place[0]}
