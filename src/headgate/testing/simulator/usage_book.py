"""What was billed, added up by minute: what the usage and cost reports of both vendors are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from headgate.testing.simulator.models import MODELS
from headgate.testing.simulator.prices import Counts, Price, parts

if TYPE_CHECKING:
    from headgate.testing.simulator.book import Record
    from headgate.testing.simulator.scenario import Reports

_MINUTE = 60
CLASSES = ("input", "cache_read", "cache_write", "cache_write_1h", "output")
"""The token classes, as `prices.Counts` names them."""


class Group(NamedTuple):
    """What is added up together. `credential` is a digest; `long`: the rates for long prompts apply."""

    minute: int
    dialect: str
    kind: str  # "chat" | "embedding"
    model_id: str
    model: str  # as the reports name it: the dated name
    credential: str
    tier: str
    batch: bool
    geo: str
    long: bool


@dataclass(slots=True)
class Sum:
    """Requests, tokens and nano-dollars of one group."""

    requests: int
    tokens: list[int]  # by CLASSES
    cost_nano: int


class UsageBook:
    """Everything billed since the last reset, however many requests that were."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices
        self._sums: dict[Group, Sum] = {}

    def add(self, record: Record, counts: Counts) -> None:
        """Add what was just billed."""
        model = MODELS[record.model_id]
        price = self._prices[record.model_id]
        long = price.long is not None and counts.prompt > price.long[0]
        batch = counts.batch or bool(record.batch)
        group = Group(
            *(int(record.at) // _MINUTE, record.dialect, model.kind, record.model_id, model.served),
            *(record.credential, counts.tier, batch, counts.geo, long),
        )
        tokens = (counts.input, counts.cache_read, counts.cache_write, counts.cache_write_1h, counts.output)
        found = self._sums.get(group)
        if found is None:
            self._sums[group] = Sum(1, list(tokens), record.cost_nano)
            return
        found.requests += 1
        found.cost_nano += record.cost_nano
        found.tokens = [a + b for a, b in zip(found.tokens, tokens, strict=True)]

    def rows(
        self, dialect: str, since: float, until: float, now: float, wrong: Reports, key_id: Callable[[str], str]
    ) -> list[tuple[Group, Sum]]:
        """What came in in [since, until), in order, as the reports of this scenario have it.

        Args:
            key_id: a credential's digest as the vendor's id of the key.
        """
        found: list[tuple[Group, Sum]] = []
        for group, summed in sorted(self._sums.items()):
            at = group.minute * _MINUTE
            if group.dialect != dialect or not since <= at < until or at > now - wrong.delay_seconds:
                continue
            hidden = any(fnmatchcase(key_id(group.credential), each) for each in wrong.hide_keys)
            if hidden or any(fnmatchcase(group.model, each) for each in wrong.hide_models):
                continue
            if wrong.percent != 100:
                tokens = [count * wrong.percent // 100 for count in summed.tokens]
                summed = Sum(summed.requests, tokens, summed.cost_nano * wrong.percent // 100)
            found.append((group, summed))
        return found

    def cost_by_class(self, group: Group, summed: Sum) -> dict[str, int]:
        """The cost of a group in nano-dollars by :data:`CLASSES`; the parts add up to it."""
        plain, read, write, long, output = summed.tokens
        counts = Counts(plain, read, write, long, output, tier=group.tier, batch=group.batch)
        weights = parts(self._prices[group.model_id], counts, long=group.long)
        whole = sum(weights.values())
        if not whole:
            return {}
        found, left = {}, summed.cost_nano
        for name, weight in weights.items():
            part = min(left, round(summed.cost_nano * weight / whole))
            found[name] = part
            left -= part
        largest = max(found, key=lambda name: found[name])
        found[largest] += left  # what rounding left over
        return {name: part for name, part in found.items() if part}
