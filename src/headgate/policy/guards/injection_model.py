"""The learned part: how much each rule counts, and from which score on a text is flagged or blocked.

A logistic regression on the rules a block meets and on its context. The numbers are in ``data/injection.json``,
written by `scripts/train_guard.py`, and are read once, at the first look.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from headgate.policy.guards.injection_reading import CONTEXT, NAMES, Reading

FILE = Path(__file__).parents[2] / "data" / "injection.json"
_FREE_BLOCKS = 8  # a longer text has more chances to look odd by accident

NEVER = math.inf
"""The threshold of a channel that is never flagged."""


@dataclass(frozen=True, slots=True)
class Model:
    """What was learned.

    Attributes:
        rules: weight of each rule, in the order of `NAMES`.
        context: weight of each of `CONTEXT`.
        thresholds: "user" and "document" to (flag, block), as scores of 0 to 1.
        provenance: date, rows, licences, seed, as trained.
    """

    rules: tuple[float, ...]
    context: tuple[float, ...]
    bias: float
    thresholds: Mapping[str, tuple[float, float]]
    provenance: Mapping[str, Any]

    def logit(self, reading: Reading, document: bool) -> tuple[float, int, int]:
        """The log-odds of the most suspicious block, and its sentences. Minus infinity for an empty text."""
        best, where, count = -math.inf, (0, 0), 0
        for first, last in reading.blocks():
            count += 1
            if first == last:
                continue
            hits, context = reading.of(first, last, document)
            sum_ = self.bias + sum(self.rules[rule] * times for rule, times in hits.items())
            sum_ += sum(weight * value for weight, value in zip(self.context, context, strict=True))
            if sum_ > best:
                best, where = sum_, (first, last)
        return best - math.log(max(1.0, count / _FREE_BLOCKS)), *where


def score(logit: float) -> float:
    """Log-odds to 0..1."""
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit))))


@lru_cache(maxsize=1)
def shipped() -> Model:
    """The weights that come with Headgate."""
    return model(json.loads(FILE.read_text(encoding="utf-8")))


def model(told: Mapping[str, Any]) -> Model:
    """A model as `scripts/train_guard.py` writes it. A rule without a weight counts nothing."""
    return Model(
        tuple(float(told["rules"].get(name, 0.0)) for name in NAMES),
        tuple(float(told["context"].get(name, 0.0)) for name in CONTEXT),
        float(told["bias"]),
        {channel: (float(flag), float(block)) for channel, (flag, block) in told["thresholds"].items()},
        told.get("provenance", {}),
    )
