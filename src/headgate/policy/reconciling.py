"""The ledger against the provider's own report: what differs, per day, model and key, and what it is likely to be.

Both sides are added up into rows of the same kind, then compared class by class. A model's dated name
(``claude-haiku-4-5-20251001``) and its undated one are one row; so are two names of a day that have exactly the same
counts. `causes` guesses why a row differs; it never changes a number.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction

from headgate.policy.invoicing import shares

CLASSES = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_long_tokens",
    "output_tokens",
    "web_searches",
)
"""What is counted, as in `core.usage.Usage`: `input_tokens` is what came from no cache."""

WRITES = ("cache_write_tokens", "cache_write_long_tokens")
Counts = Mapping[str, int]
"""By the names in `CLASSES`; absent is 0."""


@dataclass(slots=True)
class Ours:
    """What the ledger says of one day, model and key.

    Attributes:
        day: "2026-11-20", UTC, when the attempts began.
        model: that served, else that was asked for.
        key: our provider's name, "" where all of them are one.
        requests: attempts that cost or counted something.
        cost_nano: nano-dollars, `estimated_nano` and `killed_nano` (the part of it that is whole bounds) included.
        late: attempts that ended on another day than they began.
        open, open_nano: attempts on their way, in no other number, and the most they can cost.
        rates: our price, pico-dollars per token or per search, by class; {} where there is none.
    """

    day: str
    model: str
    key: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    cost_nano: int = 0
    estimated: int = 0
    estimated_nano: int = 0
    killed: int = 0
    killed_nano: int = 0
    late: int = 0
    open: int = 0
    open_nano: int = 0
    rates: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Told:
    """Usage as the provider tells it.

    Attributes:
        key: the provider's id of the key, "" where it tells none.
        requests: None where it tells none.
        tier: the service tier, "" or "standard" or "default" for the ordinary one.
        split: False where cache writes are told without how long they are kept; all are then `cache_write_tokens`.
    """

    day: str
    model: str
    key: str = ""
    counts: Counts = field(default_factory=dict)
    requests: int | None = None
    tier: str = ""
    batch: bool = False
    split: bool = True


@dataclass(frozen=True, slots=True)
class ToldCost:
    """Cost as the provider tells it. `kind`: one of `CLASSES`, "code_execution", or "" where it is not told."""

    day: str
    model: str
    nano: int
    key: str = ""
    kind: str = ""
    tier: str = ""


@dataclass(slots=True)
class Theirs:
    """What the provider says of one day, model and key, added up. None: it does not tell."""

    counts: dict[str, int] = field(default_factory=dict)
    requests: int | None = None
    cost_nano: int | None = None
    cost_by_class: dict[str, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)  # tokens by the provider's id of the key
    tiers: dict[str, int] = field(default_factory=dict)  # tokens outside the ordinary tier
    batch_tokens: int = 0
    split: bool = True


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a row may differ: a stable word for programs, and a sentence for people."""

    code: str
    text: str


@dataclass(slots=True)
class Row:
    """One day, model and key on both sides. Differences are theirs minus ours."""

    day: str
    model: str
    key: str
    ours: Ours
    theirs: Theirs
    names: tuple[str, ...] = ()  # the model's names where they differ
    off: tuple[str, ...] = ()  # the classes out of tolerance, and "cost"
    causes: tuple[Cause, ...] = ()

    def differs(self, name: str) -> int:
        """Theirs minus ours, of one class."""
        return self.theirs.counts.get(name, 0) - self.ours.counts.get(name, 0)

    @property
    def cost_differs(self) -> int | None:
        """Theirs minus ours in nano-dollars, None where the provider tells no cost."""
        told = self.theirs.cost_nano
        return None if told is None else told - self.ours.cost_nano


@dataclass(slots=True)
class Reconciliation:
    """Every row of the time asked for, by day, model and key; `foreign` are the provider's rows of other keys."""

    rows: list[Row]
    tolerance: Fraction
    foreign: list[Told] = field(default_factory=list)

    @property
    def differing(self) -> list[Row]:
        """Rows out of tolerance."""
        return [row for row in self.rows if row.off]


_DATED = re.compile(r"-(?:20\d{6}|20\d{2}-\d{2}-\d{2})$")


def plain_name(model: str) -> str:
    """A model's name in lower case and without its date: what two sides can agree on."""
    return _DATED.sub("", model.lower())


def within(ours: int, theirs: int, tolerance: Fraction) -> bool:
    """Whether two amounts are as good as equal: the difference is at most `tolerance` of the larger one."""
    return abs(ours - theirs) <= tolerance * max(abs(ours), abs(theirs))


_Key = tuple[str, str, str]
_NUMBERS = tuple(each.name for each in fields(Ours) if each.type == "int")


def compare(
    ours: Iterable[Ours],
    told: Iterable[Told],
    costs: Iterable[ToldCost] | None,
    *,
    tolerance: Fraction = Fraction(1, 1000),
    keys: Mapping[str, str] | None = None,
) -> Reconciliation:
    """Put both sides together.

    Args:
        costs: None where the provider's costs were not asked for; then only tokens are compared.
        tolerance: a share of the larger side, for each class and for the cost of each row.
        keys: the provider's key ids that Headgate uses, and the name of our provider with that key. Rows of other keys
            are then set apart. None: all keys together.
    """
    mine: dict[_Key, Ours] = {}
    names: defaultdict[_Key, set[str]] = defaultdict(set)
    for one in ours:
        at = (one.day, plain_name(one.model), one.key if keys else "")
        names[at].add(one.model)
        mine[at] = _joined(mine[at], one) if at in mine else one
    theirs: defaultdict[_Key, Theirs] = defaultdict(Theirs)
    foreign: list[Told] = []
    for usage in told:
        if keys and usage.key not in keys:
            foreign.append(usage)
            continue
        at = (usage.day, plain_name(usage.model), keys[usage.key] if keys else "")
        names[at].add(usage.model)
        _count(theirs[at], usage)
    if costs is not None:
        _charge(theirs, names, list(costs), keys, {(one.day, plain_name(one.model)) for one in foreign})
    _pair_renamed(mine, theirs, names)
    # A day of ours that the provider knows nothing of cost nothing there, if it tells costs at all.
    nothing = Theirs(cost_nano=None if costs is None else 0)
    rows = [_row(at, mine.get(at), theirs.get(at, nothing), names[at], tolerance) for at in sorted({*mine, *theirs})]
    return Reconciliation(rows, tolerance, foreign)


def _joined(one: Ours, other: Ours) -> Ours:
    summed = Ours(one.day, one.model, one.key, rates=one.rates or other.rates)
    summed.counts = {name: one.counts.get(name, 0) + other.counts.get(name, 0) for name in CLASSES}
    for name in _NUMBERS:
        setattr(summed, name, getattr(one, name) + getattr(other, name))
    return summed


def _tokens(counts: Counts) -> int:
    return sum(count for name, count in counts.items() if name != "web_searches")


def _count(to: Theirs, usage: Told) -> None:
    for name, count in usage.counts.items():
        to.counts[name] = to.counts.get(name, 0) + count
    if usage.requests is not None:
        to.requests = (to.requests or 0) + usage.requests
    tokens = _tokens(usage.counts)
    if usage.key:
        to.keys[usage.key] = to.keys.get(usage.key, 0) + tokens
    if usage.batch or usage.tier == "batch":
        to.batch_tokens += tokens
    elif usage.tier not in ("", "standard", "default"):
        to.tiers[usage.tier] = to.tiers.get(usage.tier, 0) + tokens
    to.split &= usage.split


def _charge(
    theirs: defaultdict[_Key, Theirs],
    names: defaultdict[_Key, set[str]],
    costs: Sequence[ToldCost],
    keys: Mapping[str, str] | None,
    foreign: set[tuple[str, str]],
) -> None:
    """Add the costs. A cost that names no key belongs to the day's only key; with several it is nobody's.

    Where a provider tells costs at all, a row without one cost nothing.
    """
    by_key = any(cost.key for cost in costs)
    for at, row in theirs.items():
        alone = sum(other[:2] == at[:2] for other in theirs) == 1 and at[:2] not in foreign
        row.cost_nano = 0 if by_key or alone or not keys else None
    for cost in _searches_shared(theirs, costs):
        if keys and cost.key and cost.key not in keys:
            continue
        model = plain_name(cost.model)
        if not keys:
            at = (cost.day, model, "")
        elif cost.key:
            at = (cost.day, model, keys[cost.key])
        else:
            same = [other for other in theirs if other[:2] == (cost.day, model)]
            if len(same) > 1 or (cost.day, model) in foreign:
                continue
            at = same[0] if same else (cost.day, model, "")
        if cost.model:
            names[at].add(cost.model)
        row = theirs[at]
        row.cost_nano = (row.cost_nano or 0) + cost.nano
        if cost.kind:
            row.cost_by_class[cost.kind] = row.cost_by_class.get(cost.kind, 0) + cost.nano


def _searches_shared(theirs: Mapping[_Key, Theirs], costs: Sequence[ToldCost]) -> list[ToldCost]:
    """Costs of web searches name no model at Anthropic: share them by the day's searches, which do."""
    found: list[ToldCost] = []
    for cost in costs:
        if cost.kind != "web_searches" or cost.model:
            found.append(cost)
            continue
        on_day = [(key, row.counts.get("web_searches", 0)) for key, row in theirs.items() if key[0] == cost.day]
        searched = [(key, count) for key, count in on_day if count > 0]
        if not searched:
            found.append(cost)
            continue
        parts = shares(max(0, cost.nano), [count for _, count in searched])
        found += [
            ToldCost(cost.day, key[1], part, cost.key, cost.kind, cost.tier)
            for (key, _), part in zip(searched, parts, strict=True)
        ]
    return found


def _pair_renamed(mine: dict[_Key, Ours], theirs: dict[_Key, Theirs], names: dict[_Key, set[str]]) -> None:
    """Two names of one day and key with exactly the same counts, one on each side, are one model."""
    lonely: defaultdict[tuple[str, str, tuple[int, ...]], list[_Key]] = defaultdict(list)
    for at, row in mine.items():
        counts = tuple(row.counts.get(name, 0) for name in CLASSES)
        if at not in theirs and any(counts):
            lonely[at[0], at[2], counts].append(at)
    for at in [at for at in theirs if at not in mine]:
        counts = tuple(theirs[at].counts.get(name, 0) for name in CLASSES)
        same = lonely.get((at[0], at[2], counts), [])
        if len(same) == 1:
            ours = same.pop()
            theirs[ours] = theirs.pop(at)
            names[ours] |= names.pop(at)


def _row(at: _Key, ours: Ours | None, theirs: Theirs, names: set[str], tolerance: Fraction) -> Row:
    ours = ours or Ours(at[0], "", at[2])
    if not theirs.split:  # then ours have to be taken together, too
        counts = dict(ours.counts)
        counts["cache_write_tokens"] = sum(counts.pop(name, 0) for name in WRITES)
        ours.counts = counts
    off = [name for name in CLASSES if not within(ours.counts.get(name, 0), theirs.counts.get(name, 0), tolerance)]
    if theirs.cost_nano is not None and not within(ours.cost_nano, theirs.cost_nano, tolerance):
        off.append("cost")
    several = tuple(sorted(name for name in names if name))
    shown = ours.model if ours.model else several[0] if several else at[1]
    return Row(at[0], shown, at[2], ours, theirs, several if len(several) > 1 else (), tuple(off))
