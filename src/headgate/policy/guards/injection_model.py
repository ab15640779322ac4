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
DISGUISED = 0.8
"""Log-odds that a disguise adds to what is read under it: few have a reason to disguise their words."""
_FREE_BLOCKS = 8  # a longer text has more chances to look odd by accident

KINDS_OF_TEXT = ("user", "document")
"""What weights and thresholds are learned for: what somebody says to a model, and what it is given to read."""

NEVER = math.inf
"""The threshold of a channel that is never flagged."""


@dataclass(frozen=True, slots=True)
class Model:
    """What was learned.

    Attributes:
        weights: "user" and "document" to the weights of each rule (as `NAMES`), of each of `CONTEXT`, and the bias.
        thresholds: "user" and "document" to (flag, block), as scores of 0 to 1.
        provenance: date, rows, licences, seed, as trained.
    """

    weights: Mapping[str, tuple[tuple[float, ...], tuple[float, ...], float]]
    thresholds: Mapping[str, tuple[float, float]]
    provenance: Mapping[str, Any]

    def logit(self, reading: Reading, kind: str) -> tuple[float, int, int]:
        """The log-odds of the most suspicious block, and its sentences. Minus infinity for an empty text."""
        rules, contexts, bias = self.weights[kind]
        best, where, count = -math.inf, (0, 0), 0
        for first, last in reading.blocks():
            count += 1
            if first == last:
                continue
            hits, context = reading.of(first, last)
            sum_ = bias + sum(rules[rule] * times for rule, times in hits.items())
            sum_ += sum(weight * value for weight, value in zip(contexts, context, strict=True))
            if sum_ > best:
                best, where = sum_, (first, last)
        return best - math.log(max(1.0, count / _FREE_BLOCKS)), *where


def score(logit: float) -> float:
    """Log-odds to 0..1, at a third of their steepness: else all that is blocked would be 0.99999 and more."""
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, logit / 3))))


@lru_cache(maxsize=1)
def shipped() -> Model:
    """The weights that come with Headgate."""
    return model(json.loads(FILE.read_text(encoding="utf-8")))


def model(told: Mapping[str, Any]) -> Model:
    """A model as `scripts/train_guard.py` writes it. A rule without a weight counts nothing."""
    return Model(
        {kind: _weights(told["weights"][kind]) for kind in KINDS_OF_TEXT},
        {kind: (float(flag), float(block)) for kind, (flag, block) in told["thresholds"].items()},
        told.get("provenance", {}),
    )


def _weights(told: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    rules, context = told["rules"], told["context"]
    return (
        tuple(float(rules.get(name, 0.0)) for name in NAMES),
        tuple(float(context.get(name, 0.0)) for name in CONTEXT),
        float(told["bias"]),
    )
