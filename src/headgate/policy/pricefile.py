"""The price file, read: which entry a model's name means, and what that entry costs at a time.

The file is written by `scripts/compile_prices.py` and follows genai-prices, its match rules included. A provider's part
is decoded when the provider is first asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from headgate.policy.discounts import discounted
from headgate.policy.rates import RateMap, Schedule

FORMAT = 1
DAY = 86_400.0
ALWAYS = (float("-inf"), float("inf"))

_SURCHARGES = frozenset({"priority", "fast"})
_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")

Test = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the file. `periods` is None where the price is unknown (nothing that we count is priced)."""

    id: str
    periods: tuple[tuple[Any, RateMap], ...] | None  # (constraint, rates); the last active wins
    variants: tuple[tuple[Mapping[str, str], Any, RateMap], ...]  # (context, constraint, rates)
    context_window: int | None
    max_output_tokens: int | None


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600.0 + int(minutes) * 60.0 + int(seconds)


def _day(text: str) -> float:
    return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp()


def _active(constraint: Any, at: float) -> bool:
    """None: always; "2026-10-14": from that day on, UTC; ["01:00:00", "04:00:00"]: daily between, UTC."""
    if constraint is None:
        return True
    if isinstance(constraint, str):
        return at >= _day(constraint)
    start, end = _seconds(constraint[0]), _seconds(constraint[1])
    now = at % DAY
    return start <= now < end if start <= end else now >= start or now < end


def _changes(constraint: Any, at: float) -> Iterable[float]:
    """The times around `at` at which the constraint may change its mind."""
    if isinstance(constraint, str):
        yield _day(constraint)
    elif constraint is not None:
        today = at - at % DAY
        for midnight in (today - DAY, today, today + DAY):
            yield midnight + _seconds(constraint[0])
            yield midnight + _seconds(constraint[1])


def valid(entry: Entry, at: float) -> tuple[float, float]:
    """The span around `at`, from inclusive to exclusive, in which the entry's rates do not change."""
    start, end = ALWAYS
    constraints = [constraint for constraint, _ in entry.periods or ()]
    constraints += [constraint for _, constraint, _ in entry.variants]
    for constraint in constraints:
        for change in _changes(constraint, at):
            if change <= at:
                start = max(start, change)
            else:
                end = min(end, change)
    return start, end


def schedule(entry: Entry, at: float, *, foreign: bool = False, discount: int = 0) -> Schedule | None:
    """The rates of an entry at a time (seconds since the epoch), or None if they are unknown.

    Where no period is active the first counts, as in genai-prices. `foreign`: the model is another provider's (Azure
    serves OpenAI's): its standard rates hold, and of its contexts only those that cost more. `discount`: basis points
    off every rate, see `discounts.discounted`.
    """
    if entry.periods is None:
        return None
    standard = entry.periods[0][1]
    for constraint, rates in reversed(entry.periods):
        if _active(constraint, at):
            standard = rates
            break
    variants = [(when, rates) for when, constraint, rates in entry.variants if _active(constraint, at)]
    if foreign:
        variants = [(w, r) for w, r in variants if w.get("service_tier") in _SURCHARGES or w.get("speed") == "fast"]
    if discount:
        standard = discounted(standard, discount)
        variants = [(when, discounted(rates, discount)) for when, rates in variants]
    return Schedule(standard, variants)


def _test(rule: list[Any]) -> Test:
    """A match rule as a function of a lower-case name."""
    kind, *rest = rule
    if kind == "|" or kind == "&":
        tests = [_test(part) for part in rest]
        return (lambda name: any(t(name) for t in tests)) if kind == "|" else (lambda name: all(t(name) for t in tests))
    text: str = rest[0]
    if kind == "=":
        return lambda name: name == text
    if kind == "^":
        return lambda name: name.startswith(text)
    if kind == "$":
        return lambda name: name.endswith(text)
    if kind == "~":
        return lambda name: text in name
    if kind == "re":
        search = re.compile(text).search
        return lambda name: search(name) is not None
    raise ValueError(f"the price file holds a match rule this version does not know: {kind}")


def _split(rule: list[Any]) -> tuple[list[str], list[list[Any]]]:
    """The names that match exactly, and the rules that have to be tried."""
    if rule[0] == "=":
        return [rule[1]], []
    if rule[0] != "|":
        return [], [rule]
    names: list[str] = []
    rules: list[list[Any]] = []
    for part in rule[1:]:
        more_names, more_rules = _split(part)
        names += more_names
        rules += more_rules
    return names, rules


class ProviderPrices:
    """One provider's entries. The first entry, in the file's order, whose rule matches a name is its price."""

    __slots__ = ("_exact", "_rules", "entries", "fallback")

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.fallback: tuple[str, ...] = tuple(raw["fallback"])
        self.entries: list[Entry] = []
        self._exact: dict[str, int] = {}
        self._rules: list[tuple[int, Test]] = []
        for number, model in enumerate(raw["models"]):
            names, rules = _split(model["m"])
            for name in names:
                self._exact.setdefault(name, number)
            self._rules += [(number, _test(rule)) for rule in rules]
            self.entries.append(_entry(model))

    def named(self, entry: str) -> Entry | None:
        """The entry with this id."""
        return next((each for each in self.entries if each.id == entry), None)

    def match(self, name: str) -> Entry | None:
        """The entry for a lower-case model name."""
        best = self._exact.get(name, len(self.entries))
        for number, test in self._rules:
            if number >= best:
                break
            if test(name):
                best = number
                break
        return self.entries[best] if best < len(self.entries) else None


def _entry(model: Mapping[str, Any]) -> Entry:
    periods = model["p"]
    return Entry(
        id=model["id"],
        periods=None if periods is None else tuple((constraint, rates) for constraint, rates in periods),
        variants=tuple((when, constraint, rates) for when, constraint, rates in model.get("v", ())),
        context_window=model.get("c"),
        max_output_tokens=model.get("x"),
    )


def dashed(name: str) -> str:
    """``gpt-5.2-20251211`` as ``gpt-5.2-2025-12-11``: OpenRouter and others send the compact form."""

    def spread(found: re.Match[str]) -> str:
        year, month, day = found.groups()
        try:
            date(int(year), int(month), int(day))
        except ValueError:
            return found[0]
        return f"-{year}-{month}-{day}"

    return _COMPACT_DATE.sub(spread, name)


class PriceFile:
    """The whole file. Decoding costs a few milliseconds, and each provider's part about one more when first used.

    Raises:
        ValueError: the content is not a price file of this format.
    """

    __slots__ = ("_parts", "_providers", "date", "source")

    def __init__(self, content: bytes) -> None:
        import msgspec

        top = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        if msgspec.json.decode(top.get("format", b"0")) != FORMAT:
            raise ValueError(f"not a price file of format {FORMAT}")
        self.date: str = msgspec.json.decode(top["date"])
        self.source: str = msgspec.json.decode(top["source"])
        self._parts: dict[str, Any] = msgspec.json.decode(top["providers"], type=dict[str, msgspec.Raw])
        self._providers: dict[str, ProviderPrices] = {}

    def __contains__(self, provider: str) -> bool:
        return provider in self._parts

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of all providers in the file."""
        return tuple(self._parts)

    def provider(self, name: str) -> ProviderPrices | None:
        """One provider's entries, or None. Decoding twice at once is harmless."""
        found = self._providers.get(name)
        if found is None and name in self._parts:
            import msgspec

            found = ProviderPrices(msgspec.json.decode(self._parts[name]))
            self._providers[name] = found
        return found

    def match(self, provider: str, model: str) -> tuple[Entry, bool] | None:
        """The entry for a provider's model, and whether it stands with another provider.

        The other provider is one whose models this one is known to serve (Azure serves OpenAI's, Google Anthropic's);
        a provider that the file does not name has no such others.
        """
        home = self.provider(provider)
        if home is None:
            return None
        name = model.lower()
        forms = (name, dashed(name))
        for form in forms if forms[0] != forms[1] else forms[:1]:
            if entry := home.match(form):
                return entry, False
            for other in home.fallback:
                abroad = self.provider(other)
                if abroad and (entry := abroad.match(form)):
                    return entry, True
        return None
