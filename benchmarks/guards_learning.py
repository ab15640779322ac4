"""Learning how much each rule of the injection guard counts, and from which score on it speaks: numpy, and no library.

A logistic regression on blocks (`headgate.policy.guards.injection_reading`), with three habits that help on sources it
has not seen: sources count by the square root of their rows; of an attack only its most suspicious block is taught,
since the rest of the document is harmless; and every rule begins with an imagined attack that meets it alone, so that a
rule whose attacks are all in the source left out is not forgotten. What it costs in false alarms is learned from data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headgate.policy.guards.injection import Look
from headgate.policy.guards.injection_model import DISGUISED, score
from headgate.policy.guards.injection_reading import CONTEXT, NAMES
from headgate.policy.guards.injection_rules import REASONS, STANDARD

Array = np.ndarray[Any, np.dtype[Any]]
IMAGINED = 15.0
"""How many attacks each rule's imagined one counts as."""
STRENGTH = 1.0
"""Inverse of the penalty on weights."""
DIFFERENCE = 0.7
"""How freely the weights for documents differ from the others."""
ROUNDS = 3
"""Of learning, each teaching the blocks that the one before thought worst."""
FLAGGED = {"user": (0.003, 0.015), "document": (0.006, 0.1)}
"""Shares of plain and of hard benign texts that the flag threshold lets be flagged, per channel. Below the targets
(0.5% and 2% together), because new sources do worse. Documents about injection are hard, and few."""
BLOCKED = {"user": (0.0003, 0.001), "document": (0.0003, 0.006)}
BLOCK_MARGIN = 2.0
"""Log-odds added to the block threshold: it is an estimate of the last few of thousands."""
FOLDS = 4
"""Parts of the training data, by source, that are left out in turn to choose the thresholds."""


@dataclass
class Rows:
    """The development data, and the features of its blocks.

    Attributes:
        owner: the row of each block.
        features: rules met, then context, per block.
        blocks: how many blocks the reading has that a block is of.
    """

    kind: Array
    source: Array
    tier: Array
    sub: Array
    cluster: Array
    text: list[str]
    owner: Array = field(default_factory=lambda: np.zeros(0))
    features: Array = field(default_factory=lambda: np.zeros((0, 0)))
    blocks: Array = field(default_factory=lambda: np.zeros(0))
    plainly: Array = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.text)

    @property
    def attack(self) -> Array:
        return ~np.isin(self.kind, ["benign", "benign_hard"])

    @property
    def document(self) -> Array:
        """Rows that are scanned as documents."""
        about = [sub.startswith(("document", "doc_about")) for sub in self.sub]
        return np.array(about, dtype=bool) | (self.kind == "indirect")

    @property
    def shippable(self) -> Array:
        """Rows under MIT, Apache-2.0, BSD, CC0 or CC-BY."""
        return np.array([_free(source, sub) for source, sub in zip(self.source, self.sub, strict=True)], dtype=bool)


def _free(source: str, sub: str) -> bool:
    if source.startswith("y0mingzhang") or source in ("XQuAD", "TaskTracker"):
        return False
    return source != "BIPIA" or "email" in sub  # its other contexts are CC-BY-SA


def load(data: Path) -> Rows:
    """Read attacks.jsonl and benign.jsonl.

    Raises:
        FileNotFoundError: they are not there.
    """
    told = [
        json.loads(line)
        for name in ("attacks.jsonl", "benign.jsonl")
        for line in (data / name).read_text(encoding="utf-8").split("\n")
        if line
    ]
    rows = Rows(
        *(np.array([row.get(key) or "" for row in told]) for key in ("kind", "source", "tier", "sub")),
        cluster=np.array([f"{row['cluster']}" for row in told]),
        text=[row["text"] for row in told],
    )
    rows.owner, rows.features, rows.blocks, rows.plainly = read(rows.text, rows.document)
    return rows


def read(texts: list[str], document: Array) -> tuple[Array, Array, Array, Array]:
    """The blocks of some texts, of everything that is read of them: owner, features, blocks beside it, undisguised."""
    owner, features, blocks, plainly = [], [], [], []
    for number, text in enumerate(texts):
        looking = Look(text, "document" if document[number] else "user")
        while not looking.step(1 << 30):
            pass
        for name, reading in looking.readings():
            spans = [span for span in reading.blocks() if span[0] < span[1]]
            for first, last in spans:
                hits, context = reading.of(first, last)
                row = np.zeros(len(NAMES) + len(CONTEXT))
                for rule, times in hits.items():
                    row[rule] = times
                row[len(NAMES) :] = context
                owner.append(number)
                features.append(row)
                blocks.append(len(spans))
                plainly.append(name == "")
    return np.array(owner), np.array(features), np.array(blocks), np.array(plainly)


def scores(rows: Rows, weights: Array) -> Array:
    """The log-odds of each row under some weights, as `learn` returns them."""
    each = _spread(rows.features, rows.document[rows.owner]) @ weights - np.log(np.maximum(1.0, rows.blocks / 8))
    each = each + DISGUISED * ~rows.plainly.astype(bool)
    best = np.full(len(rows), -60.0)
    np.maximum.at(best, rows.owner, each)
    return best


def twofold(rows: Rows) -> Array:
    """Rows with a block that has two reasons or more, of which an encoding is one: others are never blocked."""
    reasons = np.array([[rule.reason == reason for reason in REASONS] for rule in STANDARD], dtype=float)
    counted = (rows.features[:, : len(NAMES)] @ reasons > 0).sum(1) + ~rows.plainly.astype(bool)
    most = np.zeros(len(rows))
    np.maximum.at(most, rows.owner, counted)
    return np.asarray(most >= 2)


def learn(rows: Rows, taught: Array) -> Array:
    """Weights from some of the rows: rules, context, bias."""
    attack, explicit = rows.attack, rows.tier != "implicit"
    positive, negative = taught & attack & explicit, taught & ~attack
    weight = np.zeros(len(rows))
    weight[positive] = _by_source(rows.source[positive], 0.5)
    weight[negative] = _by_source(rows.source[negative], 0.25)
    owner, seen = rows.owner, rows.plainly
    document = rows.document[owner]
    imagined, imagined_document = _imagine(rows, seen & negative[owner])
    spread = _spread(rows.features, document)
    suspicion = rows.features[:, : len(NAMES)].sum(1)
    weights = np.zeros(spread.shape[1])
    for _ in range(ROUNDS):
        best = np.full(len(rows), -np.inf)
        np.maximum.at(best, owner[seen], suspicion[seen])
        chosen = seen & (negative[owner] | (positive[owner] & (suspicion == best[owner])))
        weights = _regress(
            np.vstack([spread[chosen], _spread(imagined, imagined_document)]),
            np.concatenate([attack[owner[chosen]], np.ones(len(imagined), dtype=bool)]),
            np.concatenate([weight[owner[chosen]], np.full(len(imagined), IMAGINED)]),
        )
        suspicion = spread @ weights
    return weights


def _imagine(rows: Rows, negative: Array) -> tuple[Array, Array]:
    """For what is said and for what is read, an attack per rule that meets it alone, in a usual context."""
    out = []
    for document in (False, True):
        usual = np.median(rows.features[negative & (rows.document[rows.owner] == document)], axis=0)[len(NAMES) :]
        out.append(np.hstack([np.eye(len(NAMES)), np.tile(usual, (len(NAMES), 1))]))
    return np.vstack(out), np.repeat([False, True], len(NAMES))


def _spread(features: Array, document: Array) -> Array:
    """Features and a one, then the same again for documents only: what differs between what is said and read."""
    ones = np.hstack([features, np.ones((len(features), 1))])
    return np.hstack([ones, DIFFERENCE * ones * document[:, None]])


def _by_source(source: Array, power: float) -> Array:
    _, inverse, count = np.unique(source, return_inverse=True, return_counts=True)
    weight = count[inverse].astype(float) ** -power
    return np.asarray(weight * len(source) / weight.sum())


def _regress(features: Array, label: Array, weight: Array) -> Array:
    """Newton's method; a penalty on every weight but the first bias."""
    x = features
    penalty = np.full(x.shape[1], 1 / STRENGTH)
    penalty[len(NAMES) + len(CONTEXT)] = 1e-6
    beta = np.zeros(x.shape[1])
    for _ in range(25):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        slope = x.T @ (weight * (p - label)) + penalty * beta
        curve = (x * (weight * p * (1 - p) + 1e-9)[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        beta -= step * min(1.0, 5.0 / max(1e-9, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-4:
            break
    return beta


def folds(rows: Rows, within: Array, count: int | None) -> list[list[str]]:
    """Sources in groups that are left out together: per attack source one, or so many groups of like size."""
    sizes = {str(name): int((rows.source[within] == name).sum()) for name in np.unique(rows.source[within])}
    hostile = sorted({str(name) for name in rows.source[within & rows.attack]}, key=lambda name: (-sizes[name], name))
    harmless = sorted(set(sizes) - set(hostile), key=lambda name: (-sizes[name], name))
    groups: list[list[str]] = [[name] for name in hostile] if count is None else [[] for _ in range(count)]
    for name in [] if count is None else hostile:
        min(groups, key=lambda group: sum(sizes[each] for each in group)).append(name)
    for name in harmless:
        min(groups, key=lambda group: sum(sizes[each] for each in group if each in harmless)).append(name)
    return groups


def left_out(rows: Rows, taught: Array, judged: Array, count: int | None = FOLDS) -> Array:
    """The log-odds of each judged row by weights that have not seen its source, nor its cluster."""
    out = np.full(len(rows), np.nan)
    for group in folds(rows, judged, count):
        test = judged & np.isin(rows.source, group)
        known = taught & ~test & ~np.isin(rows.cluster, rows.cluster[test & rows.attack])
        out[test] = scores(rows, learn(rows, known))[test]
    return out


def choose(rows: Rows, logits: Array, judged: Array, shares: dict[str, tuple[float, float]]) -> dict[str, float]:
    """The least log-odds, per channel, that no more than the given shares of plain and hard benign rows exceed."""
    out: dict[str, float] = {}
    for channel, (plain, hard) in shares.items():
        mine = judged & (rows.document == (channel == "document"))
        limits = [
            np.quantile(logits[mine & (rows.kind == kind)], 1 - share) if (mine & (rows.kind == kind)).any() else -60.0
            for kind, share in (("benign", plain), ("benign_hard", hard))
        ]
        out[channel] = float(max(limits))
    return out


def block_at(rows: Rows, logits: Array, judged: Array, flag: dict[str, float]) -> dict[str, float]:
    """The log-odds from which on a text is blocked, per channel; never below those of flagging."""
    block = choose(rows, logits, judged, BLOCKED)
    return {channel: max(flag[channel], block[channel] + BLOCK_MARGIN) for channel in flag}


def as_model(weights: Array, flag: dict[str, float], block: dict[str, float]) -> dict[str, Any]:
    """What the data file holds, but for its provenance."""
    half = len(weights) // 2
    both = {"user": weights[:half], "document": weights[:half] + DIFFERENCE * weights[half:]}
    return {
        "weights": {kind: _named(each) for kind, each in both.items()},
        "thresholds": {name: [_odds(flag[name]), _odds(block[name])] for name in flag},
    }


def _named(weights: Array) -> dict[str, Any]:
    names = len(NAMES)
    return {
        "rules": {name: round(float(each), 3) for name, each in zip(NAMES, weights[:names], strict=True)},
        "context": {name: round(float(each), 3) for name, each in zip(CONTEXT, weights[names:-1], strict=True)},
        "bias": round(float(weights[-1]), 3),
    }


def _odds(logit: float) -> float:
    return round(score(logit), 6)
