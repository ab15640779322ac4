"""Which alerts are open: readings in, changes out. Pure, deterministic, bounded.

An alert opens once its rule has been broken for as long as the rule says, and ends once it has been well below the
threshold for a while. However often something happens, that is one alert.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from headgate.policy.alert_rules import CLEAR_AT, CLEAR_SECONDS, MOST_SCOPES, AlertRule

OTHERS = "others"
"""The scope that counts those beyond `MOST_SCOPES`."""


class Reading(NamedTuple):
    """What was seen of one rule in one place.

    Attributes:
        scope: see `core.alerts.Alert`.
        value: against the rule's `over`; of a rule without a unit any number above 0 breaks it.
        calls: that it is made from, against the rule's `minimum`.
        summary, evidence: see `core.alerts.Alert`.
        threshold: in place of the rule's, for the summary; None = the rule's.
        critical: it is critical, whatever the rule says.
        until: of something that has happened: it counts up to then, in seconds since the epoch. `calls` are how often.
    """

    rule: str
    scope: str
    value: float
    calls: int = 0
    summary: str = ""
    evidence: str = ""
    threshold: float | None = None
    critical: bool = False
    until: float = 0.0


class Change(NamedTuple):
    """What has become of an alert. `id`: of one that was told before it could be recorded; "" = it has none yet."""

    what: Literal["opened", "seen", "resolved"]
    rule: AlertRule
    reading: Reading
    since: float
    times: int
    id: str = ""


@dataclass(slots=True)
class _Place:
    reading: Reading
    since: float  # broken without a break
    open: bool = False
    count: int = 0
    clear: float | None = None  # below the threshold since


class States:
    """All alerts of this process. Not thread-safe.

    Args:
        rules: by name; those that are off are not looked at.
    """

    def __init__(self, rules: Mapping[str, AlertRule]) -> None:
        self._rules = rules
        self._places: dict[tuple[str, str], _Place] = {}

    def __len__(self) -> int:
        """Places that are remembered."""
        return len(self._places)

    def step(self, readings: Iterable[Reading], now: float) -> list[Change]:
        """Take in what is seen now; what is not among it is taken for well. Time never goes back: it stands still.

        Returns:
            Alerts that have opened or ended, and those that are still open ("seen").
        """
        changes: list[Change] = []
        met: set[tuple[str, str]] = set()
        for reading in self._grouped(readings):
            rule = self._rules.get(reading.rule)
            if rule is None or not rule.on:
                continue
            key = reading.rule, reading.scope
            met.add(key)
            change = self._take(key, rule, reading, now)
            if change is not None:
                changes.append(change)
        for key in [key for key in self._places if key not in met]:
            change = self._well(key, None, now)
            if change is not None:
                changes.append(change)
        return changes

    def _grouped(self, readings: Iterable[Reading]) -> Iterable[Reading]:
        """Of each rule's broken places the first `MOST_SCOPES`, those that are open before others; and one more that
        counts the rest."""
        more: dict[str, list[Reading]] = {}
        taken: dict[str, int] = {}
        found = list(readings)
        found.sort(key=lambda each: (each.rule, each.scope) not in self._places)
        for reading in found:
            rule = self._rules.get(reading.rule)
            if rule is None or not _breaks(rule, reading):
                yield reading
                continue
            taken[reading.rule] = taken.get(reading.rule, 0) + 1
            if taken[reading.rule] <= MOST_SCOPES:
                yield reading
            else:
                more.setdefault(reading.rule, []).append(reading)
        for each in more.values():
            worst = max(each, key=lambda reading: reading.value)
            yield worst._replace(scope=OTHERS, summary=f"{len(each)} more places; the worst of them: {worst.summary}")

    def _take(self, key: tuple[str, str], rule: AlertRule, reading: Reading, now: float) -> Change | None:
        place = self._places.get(key)
        if not _breaks(rule, reading):
            return None if place is None else self._well(key, reading, now)
        if place is None:
            place = self._places[key] = _Place(reading, now)
        place.reading, place.clear = reading, None
        place.count = reading.calls if reading.until else place.count + 1
        if place.open:
            return Change("seen", _as_read(rule, reading), reading, place.since, place.count)
        if now - place.since < rule.lasts:
            return None
        place.open = True
        return Change("opened", _as_read(rule, reading), reading, place.since, place.count)

    def _well(self, key: tuple[str, str], reading: Reading | None, now: float) -> Change | None:
        """It is not broken now; `reading`: what is seen there, where that is anything."""
        place, rule = self._places[key], self._rules[key[0]]
        if not place.open:
            del self._places[key]  # it has not lasted
            return None
        if reading is not None and rule.unit and reading.calls >= rule.minimum and reading.value > _clear_at(rule):
            place.clear = None  # not above, but not well below either
            return Change("seen", _as_read(rule, place.reading), place.reading, place.since, place.count)
        if place.clear is None:
            place.clear = now
        if now - place.clear < CLEAR_SECONDS:
            return Change("seen", _as_read(rule, place.reading), place.reading, place.since, place.count)
        del self._places[key]
        return Change("resolved", _as_read(rule, place.reading), place.reading, place.since, place.count)


def _breaks(rule: AlertRule, reading: Reading) -> bool:
    if rule.unit == "days":
        return reading.value <= rule.over
    return reading.calls >= rule.minimum and reading.value > rule.over


def _clear_at(rule: AlertRule) -> float:
    return rule.over * CLEAR_AT if rule.unit != "days" else float("inf")


def _as_read(rule: AlertRule, reading: Reading) -> AlertRule:
    return replace(rule, severity="critical") if reading.critical else rule
