"""What the items are judged by: the configuration, and what the ledger and the log have of the last week."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from headgate.core.caller import Caller
from headgate.core.errors import HeadgateError
from headgate.policy.guards.rules import GuardRules
from headgate.settings.guards import guards_of
from headgate.stores.logs.histogram import added, percentile
from headgate.stores.logs.query import LogQuery, LogRow, RollupRow

if TYPE_CHECKING:
    from headgate.build import Built
    from headgate.settings.model import Settings
    from headgate.stores.logs.reader import LogReader
    from headgate.stores.reader import Reader
    from headgate.stores.usage_sums import Amounts

T = TypeVar("T")

WEEK = 7 * 86_400.0
SAMPLE = 200
"""Exchanges, the newest, that are looked at one by one."""
DEFAULT = "default"


@dataclass(slots=True)
class Facts:
    """Everything that an item may ask. What is asked twice is read once.

    Attributes:
        built: the parts of the gateway that runs in this process; None: there is none.
        reader, logs: the ledger and the log store; None: there is none, or it cannot be read.
        env: where `env:` references are read.
        now: seconds since the epoch.
    """

    settings: Settings
    built: Built | None
    reader: Reader | None
    logs: LogReader | None
    env: Mapping[str, str]
    now: float
    _kept: dict[str, object] = field(default_factory=dict)

    def at(self, path: str) -> str:
        """Where a setting was told: " (headgate.yaml:3:5)"; " (default)" where it was not."""
        return f" ({self.settings.origins.get(path, DEFAULT)})"

    def told(self, path: str) -> bool:
        """Whether a setting was told at all."""
        return self.settings.origins.get(path, DEFAULT) != DEFAULT

    def told_of(self, rules: Iterable[str]) -> list[str]:
        """The places under `alerts` that are told of all of these alert rules: each place has a least severity."""
        critical = all(self.settings.alert_rules[name].severity == "critical" for name in rules)
        return [each.name for each in self.settings.alerts if critical or each.severity != "critical"]

    @property
    def rules(self) -> GuardRules:
        """The guards of a caller that nothing is told of."""
        return self._once("rules", lambda: guards_of(self.settings)(Caller()))

    @property
    def spent(self) -> Amounts | None:
        """The ledger's sums of the last week; None: there is no ledger yet."""
        reader = self.reader
        if reader is None:
            return None
        return self._once("spent", lambda: _or_none(lambda: reader.usage(since=self.now - WEEK).total))

    @property
    def week(self) -> RollupRow | None:
        """The log's sums of the last week; None: nothing was logged."""
        return self._once("week", lambda: _sum(self._rollup(None)))

    def by(self, dimension: str) -> dict[str, RollupRow]:
        """The log's sums of the last week, by value of a dimension."""
        return self._once(f"by {dimension}", lambda: _grouped(self._rollup(dimension)))

    @property
    def sample(self) -> tuple[LogRow, ...]:
        """The newest exchanges of the last week."""
        return self._once("sample", lambda: self.find({}))

    def find(self, fields: Mapping[str, str]) -> tuple[LogRow, ...]:
        """Exchanges of the last week, the newest first."""
        logs = self.logs
        if logs is None:
            return ()
        query = LogQuery(fields=fields, since=self.now - WEEK, limit=SAMPLE)
        return _or_none(lambda: logs.search(query).rows) or ()

    def quantile(self, share: float) -> float | None:
        """The latency in seconds that a share of the last week's exchanges did not exceed."""
        week = self.week
        found = None if week is None else percentile(week.latency, share)
        return None if found is None else found / 1000

    def _rollup(self, dimension: str | None) -> list[RollupRow]:
        logs = self.logs
        if logs is None:
            return []
        return _or_none(lambda: logs.rollup(self.now - WEEK, self.now + 60.0, "hour", dimension)) or []

    def _once(self, name: str, make: Callable[[], T]) -> T:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]  # type: ignore[return-value]  # it is what `make` of this name has made


def _or_none(ask: Callable[[], T]) -> T | None:
    """None where the store is not there or cannot be read: `headgate doctor` says why."""
    try:
        return ask()
    except HeadgateError:
        return None


_COUNTS = (
    *("exchanges", "attempts", "failed", "refused", "blocked", "hits", "truncated", "cost_nano", "estimated_nano"),
    *("saved_nano", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens"),
)


def _sum(rows: list[RollupRow]) -> RollupRow | None:
    if not rows or not sum(row.exchanges for row in rows):
        return None
    counts = {name: sum(getattr(row, name) for row in rows) for name in _COUNTS}
    first = rows[0]
    return RollupRow(
        first.start, first.value, **counts, latency=added(r.latency for r in rows), ttft=added(r.ttft for r in rows)
    )


def _grouped(rows: list[RollupRow]) -> dict[str, RollupRow]:
    groups: dict[str, list[RollupRow]] = {}
    for row in rows:
        groups.setdefault(row.value, []).append(row)
    summed = {value: _sum(each) for value, each in groups.items()}
    return {value: each for value, each in summed.items() if each is not None}
