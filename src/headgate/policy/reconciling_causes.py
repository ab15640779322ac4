"""Why the ledger and the provider's report may differ: the usual suspects, each with what speaks for it.

Sentences are for people, codes for programs. A row may have several causes; what explains more comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from fractions import Fraction

from headgate.core.money import usd_text
from headgate.policy.reconciling import CLASSES, WRITES, Cause, Reconciliation, Row, within

_FACTORS = (
    (Fraction(1, 2), "half of ours, as batch and flex are"),
    (Fraction(11, 10), "1.1 times ours, as `inference_geo: us` is"),
    (Fraction(2), "twice ours, as fast mode and the priority tier are"),
)
_CLOSE = Fraction(1, 200)
_PICO_PER_USD = 10**12
_WORDS = {
    "input_tokens": "input tokens",
    "cache_read_tokens": "cache reads",
    "cache_write_tokens": "cache writes",
    "cache_write_long_tokens": "long cache writes",
    "output_tokens": "output tokens",
    "web_searches": "web searches",
}


def explain(found: Reconciliation) -> None:
    """Fill in `causes` of every row that is out of tolerance."""
    by_place = {(row.day, row.model, row.key): row for row in found.rows}
    for row in found.differing:
        around = [by_place.get((_shifted(row.day, by), row.model, row.key)) for by in (-1, 1)]
        beside = [each for each in found.differing if (each.day, each.key) == (row.day, row.key) and each is not row]
        row.causes = tuple(causes(row, [each for each in around if each is not None], found.tolerance, beside))


def _shifted(day: str, by: int) -> str:
    try:
        return (date.fromisoformat(day) + timedelta(days=by)).isoformat()
    except (ValueError, OverflowError):
        return ""


def causes(row: Row, around: Sequence[Row], tolerance: Fraction, beside: Sequence[Row] = ()) -> list[Cause]:
    """The likely causes of one row's differences.

    Args:
        around: the rows of the same model and key on the days before and after.
        beside: those of other models of the same day and key that differ.
    """
    nested = _nested(row, beside, tolerance)
    found = [
        *_midnight(row, around, tolerance),
        *_writes(row, tolerance),
        *_estimates(row),
        *(nested or [*_missing_here(row), *_missing_there(row)]),
        *_kinds_of_service(row),
        *_prices(row, tolerance),
        *_apart(row),
    ]
    if row.names and found:
        found.append(Cause("model_names", f"one model under several names: {', '.join(row.names)}"))
    return found or [Cause("unknown", "no usual cause fits: compare the calls of that day one by one")]


def _more(row: Row) -> list[str]:
    """The classes of which the provider has more."""
    return [name for name in CLASSES if name in row.off and row.differs(name) > 0]


def _less(row: Row) -> list[str]:
    return [name for name in CLASSES if name in row.off and row.differs(name) < 0]


def _midnight(row: Row, around: Sequence[Row], tolerance: Fraction) -> list[Cause]:
    for other in around:
        names = [name for name in row.off if name in CLASSES]
        if names and all(
            row.differs(name) * other.differs(name) < 0
            and within(row.differs(name), -other.differs(name), max(tolerance, _CLOSE))
            for name in names
        ):
            text = f"the same tokens are missing on {other.day}, the other way round: calls around midnight UTC"
            return [Cause("day_boundary", text)]
    if row.ours.late:
        text = f"{_many(row.ours.late, 'call')} began on this day and ended on the next"
        return [Cause("day_boundary", f"{text}: the provider may count them there")]
    return []


def _nested(row: Row, beside: Sequence[Row], tolerance: Fraction) -> list[Cause]:
    """What one model lacks another one has, or several together: a row of the ledger has all tokens of its answer."""
    names = [name for name in row.off if name in CLASSES and name != "web_searches"]
    if not names:
        return []
    others = [each for each in beside if any(row.differs(name) * each.differs(name) < 0 for name in names)]
    for several in [*([each] for each in others), others]:
        there = [-sum(each.differs(name) for each in several) for name in names]
        if all(within(row.differs(name), of, max(tolerance, _CLOSE)) for name, of in zip(names, there, strict=True)):
            models = ", ".join(sorted(each.model for each in several))
            text = f"the same tokens are missing of {models}, the other way round: hops of an answer under another"
            return [Cause("nested_usage", f"{text} model (advisor, fallback) are in the row of the one that answered")]
    return []


def _writes(row: Row, tolerance: Fraction) -> list[Cause]:
    ours = sum(row.ours.counts.get(name, 0) for name in WRITES)
    theirs = sum(row.theirs.counts.get(name, 0) for name in WRITES)
    if not any(name in row.off for name in WRITES) or not within(ours, theirs, tolerance):
        return []
    text = "as many cache writes on both sides, but not for as long: short ones on one side are long on the other"
    return [Cause("cache_write_ttl", text)]


def _estimates(row: Row) -> list[Cause]:
    ours, found = row.ours, []
    plain, plain_nano = ours.estimated - ours.killed, ours.estimated_nano - ours.killed_nano
    if ours.killed:
        text = f"{_many(ours.killed, 'attempt')} of a killed process: charged the most possible"
        found.append(Cause("killed", f"{text}, ${usd_text(ours.killed_nano)}, because nobody saw the answer"))
    if plain > 0:
        text = f"{_many(plain, 'attempt')} without final usage (cut, left, timed out), charged by estimate"
        found.append(Cause("estimated", f"{text}: ${usd_text(plain_nano)}, never below the bill by intent"))
    if ours.open:
        text = f"{_many(ours.open, 'attempt')} on the way or not yet swept, up to ${usd_text(ours.open_nano)}"
        found.append(Cause("open", f"{text}: not in the ledger's sums yet"))
    return found


def _missing_here(row: Row) -> list[Cause]:
    """The provider has what we have not."""
    more, ours, theirs = _more(row), row.ours, row.theirs
    if not more or ours.open:
        return []
    # Of a killed process's attempts the ledger has money and no tokens: enough of it, and nothing is missing.
    if ours.killed and (row.cost_differs or 0) <= 0:
        return []
    if theirs.batch_tokens:
        text = (
            f"{theirs.batch_tokens:,} of the provider's tokens are of batches: of those that bypass Headgate, or whose "
            "lines are settled on a later day"
        )
        return [Cause("batch", text)]
    if theirs.requests is not None and theirs.requests <= ours.requests:
        text = f"{_listed(more)} of the same number of requests: the answers told less than was billed"
        return [Cause("usage_untold", text)]
    missing = "" if theirs.requests is None else f" ({_many(theirs.requests - ours.requests, 'request')} more)"
    text = f"the provider has {_listed(more)} that the ledger has not{missing}: calls that bypass Headgate"
    keys = ", ".join(f"{key} {tokens:,}" for key, tokens in sorted(theirs.keys.items(), key=lambda each: -each[1]))
    return [
        Cause("not_through_headgate", f"{text}, or another ledger of yours{f'; tokens by key: {keys}' if keys else ''}")
    ]


def _missing_there(row: Row) -> list[Cause]:
    """We have what the provider has not."""
    if row.ours.requests and not any(row.theirs.counts.values()) and not row.theirs.cost_nano:
        text = (
            "the provider reports nothing of this model on this day: its report is behind (minutes at Anthropic, "
            "hours at OpenAI), or the calls went out with another organization's key"
        )
        return [Cause("not_reported", text)]
    if _less(row) and not row.ours.estimated:
        text = f"the ledger has {_listed(_less(row))} that the provider has not"
        return [Cause("not_reported", f"{text}: its report may be behind, or leave a key out")]
    return []


def _kinds_of_service(row: Row) -> list[Cause]:
    if "cost" not in row.off or not row.theirs.tiers:
        return []
    told = ", ".join(f"{tokens:,} tokens of tier {tier}" for tier, tokens in sorted(row.theirs.tiers.items()))
    text = f"the provider counts {told}"
    if any(tier.startswith("priority") for tier in row.theirs.tiers):
        text += "; Anthropic's cost report leaves the priority tier out"
    return [Cause("service_tier", text)]


def _prices(row: Row, tolerance: Fraction) -> list[Cause]:
    """As many tokens, another cost."""
    theirs, ours = row.theirs.cost_nano, row.ours.cost_nano
    tokens_differ = any(name in CLASSES for name in row.off)
    if "cost" not in row.off or theirs is None or tokens_differ or row.ours.killed or row.theirs.tiers:
        return []
    theirs -= row.theirs.cost_by_class.get("code_execution", 0)
    if within(ours, theirs, tolerance):
        return []
    rates = [text for name in CLASSES if (text := _rate(row, name, tolerance))]
    ratio = Fraction(theirs, ours) if ours else None
    if rates:
        detail = "; ".join(rates)
    elif ratio is not None:
        factor = next(
            (words for value, words in _FACTORS if abs(ratio - value) <= _CLOSE), f"{float(ratio):.4g} times ours"
        )
        detail = f"its cost is {factor}"
    else:
        detail = f"it charges ${usd_text(theirs)}, and ours is free"
    text = (
        f"as many tokens at another price: {detail}. See `prices:`, a discount of your contract, or an old price file"
    )
    return [Cause("price", text)]


def _rate(row: Row, name: str, tolerance: Fraction) -> str:
    """What differs in the rate of one class, "" where nothing does or it cannot be told."""
    count, told = row.theirs.counts.get(name, 0), row.theirs.cost_by_class.get(name)
    ours = row.ours.rates.get(name)
    if told is None or ours is None or not count:
        return ""
    theirs = told * 1_000 // count
    if within(theirs, ours, max(tolerance, _CLOSE)):
        return ""
    per, unit = (10**3, "1,000") if name == "web_searches" else (10**6, "million")

    def shown(pico: int) -> str:
        return f"${float(Fraction(pico * per, _PICO_PER_USD)):.6g}"

    return f"{_WORDS[name]} cost {shown(theirs)} per {unit} there and {shown(ours)} here"


def _apart(row: Row) -> list[Cause]:
    found = []
    ran = row.theirs.cost_by_class.get("code_execution", 0)
    if ran:
        found.append(Cause("code_execution", f"${usd_text(ran)} is for running code, which no usage of a call tells"))
    if "web_searches" in row.off:
        there, here = (side.counts.get("web_searches", 0) for side in (row.theirs, row.ours))
        text = f"{there:,} web searches there, {here:,} here"
        found.append(Cause("web_searches", f"{text}: each is billed beside the tokens"))
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_WORDS[name] for name in names)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
