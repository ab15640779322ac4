"""What a new price file would change, and what of it nobody should take over without looking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime

from headgate.policy.pricefile import DAY, Entry, PriceFile, ProviderPrices, schedule
from headgate.policy.rates import Bands, Rates, Schedule, row_for

ABSURD = 10
"""A rate that becomes more than so many times dearer or cheaper is more likely a slip of units than a new price."""

PLAIN = {"input_audio": "input", "cache_read_audio": "cache_read", "output_audio": "output", "reasoning": "output"}
"""Classes that are a part of another one, and cost what it does unless the price says otherwise."""

CLASSES = tuple(each.name for each in fields(Rates))


@dataclass(frozen=True, slots=True)
class Change:
    """One rate of one model that would be another.

    Attributes:
        context: "" for the standard service; "priority", "flex", "fast mode", "batch", ...
        above: the rate is for prompts of more than so many tokens.
        kind: the field of `rates.Rates`.
        old, new: pico-dollars per token, per search or per request.
        since: from when on, seconds since the epoch; the moment of comparison for what would be so at once.
    """

    provider: str
    model: str
    context: str
    above: int
    kind: str
    old: int
    new: int
    since: float

    @property
    def absurd(self) -> bool:
        """More than `ABSURD` times dearer or cheaper; from or to nothing is that, too."""
        return max(self.old, self.new) > ABSURD * min(self.old, self.new)


@dataclass(slots=True)
class Difference:
    """What differs between two price files. Models are "provider/id"."""

    changes: list[Change] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)  # no longer priced, under no name that means them
    models: int = 0  # of the new file

    @property
    def absurd(self) -> list[Change]:
        """Changes that need a person's word."""
        return [change for change in self.changes if change.absurd]


def compare(old: PriceFile, new: PriceFile, at: float) -> Difference:
    """Compare what models cost at `at` (seconds since the epoch), and on every later day that either file names.

    A model that has another id in the new file, but is still found by its old one, has not vanished.
    """
    found = Difference()
    for name in old.providers:
        before, after = old.provider(name), new.provider(name)
        for entry in before.entries if before else ():
            if entry.periods is None:
                continue
            heir = _heir(entry, after)
            if heir is None or heir.periods is None:
                found.vanished.append(f"{name}/{entry.id}")
            else:
                found.changes += _changes(name, entry, heir, at)
    for name in new.providers:
        after, before = new.provider(name), old.provider(name)
        for entry in after.entries if after else ():
            found.models += 1
            known = _heir(entry, before)
            if entry.periods is not None and (known is None or known.periods is None):
                found.added.append(f"{name}/{entry.id}")
    return found


def _heir(entry: Entry, part: ProviderPrices | None) -> Entry | None:
    """The entry of the other file that means the same model."""
    if part is None:
        return None
    same = part.named(entry.id)
    return same if same is not None else part.match(entry.id.lower())


def _changes(provider: str, entry: Entry, heir: Entry, at: float) -> Iterator[Change]:
    told: set[tuple[str, int, str, int, int]] = set()
    for moment in _moments((entry, heir), at):
        old, new = schedule(entry, moment), schedule(heir, moment)
        if old is None or new is None:
            continue
        for context, before, after in _contexts(old, new):
            for above, kind, was, becomes in _unlike(before, after):
                rate = (above, kind, was, becomes)
                if ("", *rate) not in told and (context, *rate) not in told:  # what follows the standard, and repeats
                    told.add((context, *rate))
                    yield Change(provider, entry.id, context, above, kind, was, becomes, moment)


def _moments(entries: Iterable[Entry], at: float) -> list[float]:
    """`at`, the days after it on which a price begins, and a moment of each part of the day that has its own."""
    found = {at}
    for entry in entries:
        constraints = [constraint for constraint, _ in entry.periods or ()]
        constraints += [constraint for _, constraint, _ in entry.variants]
        for constraint in constraints:
            if isinstance(constraint, str):
                begins = datetime.combine(date.fromisoformat(constraint), datetime.min.time(), UTC).timestamp()
                if begins > at:
                    found.add(begins)
            elif constraint is not None:
                for clock in constraint:
                    hours, minutes, seconds = map(int, clock.split(":"))
                    found.add(at - at % DAY + hours * 3600 + minutes * 60 + seconds)
    return sorted(found, key=lambda moment: (moment != at, moment))


def _contexts(old: Schedule, new: Schedule) -> Iterator[tuple[str, Bands, Bands]]:
    """(name, bands before, bands after) of every context that either knows. One that only one of them knows is compared
    with what the other would charge for it."""
    yield "", old.standard, new.standard
    for tier in sorted(old.tiers | new.tiers):
        yield tier, old.bands(tier, "", False), new.bands(tier, "", False)
    for speed in sorted(old.speeds | new.speeds):
        yield f"{speed} mode", old.bands("", speed, False), new.bands("", speed, False)
    batches = old.bands("", "", True), new.bands("", "", True)
    if batches != (old.standard, new.standard):
        yield "batch", *batches


def _unlike(old: Bands, new: Bands) -> Iterator[tuple[int, str, int, int]]:
    """(above, class, old, new) of what differs, band by band of both; once where the next band differs alike."""
    if old == new:
        return
    last: dict[str, tuple[int, int]] = {}
    for above in sorted({above for rows in (old, new) for above, _ in rows}):
        was, becomes = row_for(old, above + 1), row_for(new, above + 1)
        for kind in CLASSES:
            rates = getattr(was, kind), getattr(becomes, kind)
            plain = PLAIN.get(kind, kind)
            if kind != plain and rates == (getattr(was, plain), getattr(becomes, plain)):
                continue  # it follows another class, which tells it
            if rates[0] != rates[1] and last.get(kind) != rates:
                yield above, kind, *rates
            last[kind] = rates
