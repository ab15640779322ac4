"""The audit: where the money goes, and what each change would have saved on these very calls.

The changes are made one after the other, in the order of `KINDS`, each to what the ones before it have left, so that
their savings add up to the whole and nothing is counted twice. Every number is a call priced again by the price book.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from headgate.policy.audit.calls import Advice, Call, Kept, Prices, start
from headgate.policy.audit.requests import caps, exact_cache, length_limits, pruning
from headgate.policy.audit.services import batches, cheaper_model, prompt_caching
from headgate.policy.pricebook import PriceBook

KINDS = {
    "cache": "Exact cache",
    "model": "Cheaper model",
    "pruning": "Shorter history",
    "length": "Input limits",
    "caps": "Output caps",
    "batch": "Batches",
    "prompt_caching": "Prompt caching",
}
"""In the order in which they are applied: first what need not be asked, then who answers, then what is sent and how
long the answer may be, then the rates it is sent at. Prompt caching comes last, on what is not sent in batches."""

DIMENSIONS = ("task", "model", "feature", "tenant", "hour")


@dataclass(frozen=True, slots=True)
class Options:
    """What to look for.

    Attributes:
        kinds: of `KINDS`.
        cheap: by provider, the model that simple tasks would go to.
        batch_tasks: nobody waits for these.
        zone: whose hours of the day.
    """

    kinds: frozenset[str] = frozenset(KINDS)
    cheap: Mapping[str, str] = field(default_factory=dict)
    batch_tasks: frozenset[str] = frozenset()
    zone: tzinfo = UTC


@dataclass(slots=True)
class Part:
    """Where money went: one value of a dimension."""

    name: str
    calls: int = 0
    cost_nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found. Money is nano-dollars.

    Attributes:
        first, last: when the first and the last call were made, seconds since the epoch; 0.0 where there are none.
        charged_nano: what the record says was charged; None where it does not say so of every call.
        before_nano: the same calls at the price book's prices: what savings are measured against.
        after_nano: with all advice taken.
        unpriced: calls whose model has no price; they keep what they were charged.
        fixed: calls whose cost follows from more than is on record; they stay as they are.
        parts: by dimension, the dearest first (hours in order).
        advice: in the order applied.
        gaps: what is not on record, and what therefore could not be looked for.
        version: of the price book.
    """

    calls: int
    first: float
    last: float
    charged_nano: int | None
    before_nano: int
    after_nano: int
    unpriced: int
    fixed: int
    parts: Mapping[str, list[Part]]
    advice: list[Advice]
    gaps: list[str]
    version: str

    @property
    def saved_nano(self) -> int:
        """All advice together."""
        return self.before_nano - self.after_nano

    def saved_by(self, kind: str) -> int:
        """What is saved by all advice of one kind."""
        return sum(each.saved_nano for each in self.advice if each.kind == kind)


def audit(calls: Iterable[Call], book: PriceBook, options: Options | None = None) -> Audit:
    """Look at calls, in any order; they are held in memory, some 700 bytes each."""
    told = options or Options()
    prices = Prices(book)
    kept, unpriced = start(calls, prices)
    before = sum(each.nano for each in kept)
    parts = {name: _parts(kept, name, told.zone) for name in DIMENSIONS}
    gaps = _gaps(kept, told.kinds)
    advice: list[Advice] = []
    for kind, step in _steps(told).items():
        if kind in told.kinds:
            advice += sorted(step(kept, prices), key=lambda each: -each.saved_nano)
    times = [each.call.at for each in kept]
    charged = [each.call.charged_nano for each in kept if each.call.charged_nano is not None]
    return Audit(
        calls=len(kept),
        first=min(times, default=0.0),
        last=max(times, default=0.0),
        charged_nano=sum(charged) if len(charged) == len(kept) else None,
        before_nano=before,
        after_nano=sum(each.nano for each in kept),
        unpriced=unpriced,
        fixed=sum(each.call.fixed for each in kept) - unpriced,
        parts=parts,
        advice=advice,
        gaps=gaps,
        version=book.version,
    )


Step = Callable[[list[Kept], Prices], list[Advice]]


def _steps(told: Options) -> dict[str, Step]:
    return {
        "cache": exact_cache,
        "model": lambda kept, prices: cheaper_model(kept, prices, told.cheap),
        "pruning": pruning,
        "length": length_limits,
        "caps": caps,
        "batch": lambda kept, prices: batches(kept, prices, told.batch_tasks),
        "prompt_caching": prompt_caching,
    }


def _parts(kept: list[Kept], name: str, zone: tzinfo) -> list[Part]:
    found: dict[str, Part] = {}
    for each in kept:
        call = each.call
        value = f"{datetime.fromtimestamp(call.at, zone).hour:02d}" if name == "hour" else str(getattr(call, name))
        part = found.setdefault(value, Part(value))
        part.calls += 1
        part.cost_nano += each.nano
        part.input_tokens += call.usage.prompt_tokens
        part.output_tokens += call.usage.output_tokens
    if name == "hour":
        return [found[value] for value in sorted(found)]
    return sorted(found.values(), key=lambda part: (-part.cost_nano, part.name))


def _gaps(kept: list[Kept], kinds: frozenset[str]) -> list[str]:
    calls = [each.call for each in kept]
    if not calls:
        return []
    found = []
    if "cache" in kinds and not any(call.digest for call in calls):
        found.append("No call has a digest of its request: the exact cache could not be judged.")
    if "prompt_caching" in kinds and not any(call.system for call in calls):
        found.append("No call has a hash of its system prompt: prompt caching could not be judged.")
    elif "prompt_caching" in kinds and not any(call.system_tokens for call in calls):
        found.append("No call tells how long its system prompt is: prompt caching could not be judged.")
    if "pruning" in kinds and not any(call.session for call in calls):
        found.append("No call names a session: how conversations grow could not be seen.")
    if not any(call.task for call in calls):
        found.append("No call names a task: calls of different kinds could not be told apart.")
    if "batch" in kinds and not any(call.batch for call in calls):
        found.append("No call is of priority batch: name tasks that nobody waits for with --batch-task.")
    return found


def settings_of(advice: Iterable[Advice]) -> dict[str, object]:
    """What to write in headgate.yaml, as nested mappings. Of two values for one place the first stays."""
    found: dict[str, object] = {}
    for each in advice:
        for path in each.settings:
            place = found
            *keys, value = path
            for key in keys[:-1]:
                inner = place.setdefault(str(key), {})
                if not isinstance(inner, dict):
                    break
                place = inner
            else:
                place.setdefault(str(keys[-1]), value)
    return found
