"""Rates: what one token, one search and one request cost, by the length of the prompt and by the kind of service.

Everything is an integer: pico-dollars per token, per web search, per request (core/money.py says why).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

WEB_SEARCH_PICO = 10_000_000_000
"""$10 per 1,000 web searches (Anthropic, OpenAI), where a model's price names no other."""

_UNTOLD_INPUT = ("ii", "iv")  # image and video input: inside the input tokens, and no chat usage tells them apart
_UNTOLD_OUTPUT = ("oi", "ov", "oc")  # image, video and citation output


@dataclass(frozen=True, slots=True)
class Rates:
    """One row of rates, every class filled in. Pico-dollars per token; `web_search` and `request` per piece."""

    input: int
    cache_read: int
    cache_write: int  # the short kind: Anthropic 5 minutes, OpenAI 30 minutes
    cache_write_long: int  # Anthropic 1 hour, OpenAI 12 hours
    output: int
    input_audio: int
    cache_read_audio: int
    output_audio: int
    reasoning: int
    web_search: int
    request: int

    @property
    def dearest_input(self) -> int:
        """The most that one token of the prompt can cost, whatever class the provider puts it in."""
        return max(
            self.input,
            self.cache_read,
            self.cache_write,
            self.cache_write_long,
            self.input_audio,
            self.cache_read_audio,
        )

    @property
    def dearest_output(self) -> int:
        """The most that one token of the answer can cost."""
        return max(self.output, self.output_audio, self.reasoning)


Bands = tuple[tuple[int, Rates], ...]
"""Rates by the length of the prompt: (above, rates), ascending, the first above 0. The whole request pays the band of
its total prompt, cached or not; it is in a band when the prompt has *more* tokens than `above`."""

Dearest = tuple[tuple[int, tuple[int, int, int]], ...]
"""By the length of the prompt: the dearest input, output and request rate."""

RateMap = Mapping[str, "int | list[int | list[int]]"]
"""Class name of the price file -> rate, or [base, [above, rate], ...]. Absent: the class has no rate of its own."""


def _at(rate: int | list[int | list[int]] | None, above: int) -> int | None:
    """The rate in the band that starts above `above` tokens."""
    if rate is None or isinstance(rate, int):
        return rate
    found = rate[0]
    for step in rate[1:]:
        if isinstance(step, list) and step[0] <= above:
            found = step[1]
    return found if isinstance(found, int) else None


def fill(known: Mapping[str, int]) -> Rates:
    """A full row from the classes that have a rate of their own. `known` needs "i".

    A class without a rate is charged as what contains it (genai-prices does the same): a cache read, a cache write and
    audio as input, audio and reasoning output as output. Never $0. Two rules go beyond that, each to the dearer side:

    - A long cache write without a rate costs twice the short write or twice the input, whichever is more (Anthropic:
      2x input for 1 hour; OpenAI: 2x the 30-minute rate for 12 hours), if the model charges for writes at all.
    - Image, video and citation tokens are inside the counts of their direction and no chat usage tells them apart, so
      the dearest of them is the rate of the direction.
    """
    get = known.get
    text = known["i"]
    written = get("w")
    long = get("l")
    if long is None:
        long = text if written is None else max(2 * written, 2 * text)
    cached = max(get("r", text), get("ri", 0))
    heard = get("ia", text)
    output = max(get("o", 0), *(get(name, 0) for name in _UNTOLD_OUTPUT))
    return Rates(
        input=max(text, *(get(name, 0) for name in _UNTOLD_INPUT)),
        cache_read=cached,
        cache_write=text if written is None else written,
        cache_write_long=long,
        output=output,
        input_audio=heard,
        cache_read_audio=get("ra", cached if "r" in known else heard),
        output_audio=get("oa", output),
        reasoning=get("t", output),
        web_search=get("s", WEB_SEARCH_PICO),
        request=get("q", 0),
    )


def bands(rates: RateMap) -> Bands:
    """Bands of one set of rates. No rates at all mean an explicit price of nothing."""
    if not rates:
        return ((0, FREE),)
    above = {0}
    for rate in rates.values():
        if isinstance(rate, list):
            above.update(step[0] for step in rate[1:] if isinstance(step, list))
    rows: list[tuple[int, Rates]] = []
    for start in sorted(above):
        row = {name: value for name, rate in rates.items() if (value := _at(rate, start)) is not None}
        rows.append((start, fill(row)))
    return tuple(rows)


def row_for(rows: Bands, prompt_tokens: int) -> Rates:
    """The rates that a request with this prompt pays."""
    found = rows[0][1]
    for above, rates in rows[1:]:
        if prompt_tokens <= above:
            break
        found = rates
    return found


_NAMES = tuple(field.name for field in fields(Rates))


def dearest(choices: Iterable[Bands]) -> Bands:
    """The dearest of several prices, class by class and band by band. `choices` must not be empty."""
    several = list(choices)
    starts = sorted({above for rows in several for above, _ in rows})
    return tuple((start, _dearest_row([row_for(rows, start + 1) for rows in several])) for start in starts)


def _dearest_row(rows: list[Rates]) -> Rates:
    return Rates(**{name: max(getattr(row, name) for row in rows) for name in _NAMES})


FREE = Rates(*([0] * len(_NAMES)))
"""An explicit price of nothing (`price: free`)."""


STANDARD_TIERS = frozenset({"", "standard", "default", "auto", "on_demand"})
"""What providers call the service without a surcharge or a discount ("on_demand" is Groq's word)."""

STANDARD_SPEEDS = frozenset({"", "standard"})

_SAME_TIER = {"fast": "priority", "priority": "fast"}  # OpenAI renamed one to the other (wire-formats 2.5)
_MAX_CONTEXTS = 64  # tier names come from the provider, so they must not grow a cache without bound


def prompt_field(rates: RateMap) -> str:
    """The field of `Usage` in which prompt tokens of an unknown class are never charged too little.

    That is the dearest of the input classes which have a rate of their own.
    """
    costs = {
        "input_tokens": _at(rates.get("i"), 0) or 0,
        "cache_write_tokens": _at(rates.get("w"), 0) or 0,
        "cache_write_long_tokens": _at(rates.get("l"), 0) or 0,
    }
    return max(costs, key=lambda name: costs[name])  # the first of equals: plain input


class Schedule:
    """One model's rates in every context: service tier, speed, batch.

    Args:
        standard: the rates without any context.
        variants: (context, rates) in order; for each class the first whose context is fulfilled wins.

    Attributes:
        standard: the bands without any context: what almost every call pays.
        tiers, speeds: the names that have rates of their own.
        prompt_field: see the function of that name.
    """

    __slots__ = (
        "_bounds",
        "_contexts",
        "_dearest",
        "_standard",
        "_variants",
        "prompt_field",
        "speeds",
        "standard",
        "tiers",
    )

    def __init__(self, standard: RateMap, variants: Iterable[tuple[Mapping[str, str], RateMap]] = ()) -> None:
        self._standard = standard
        self._variants = tuple(variants)
        self.standard: Bands = bands(standard)
        self.prompt_field = prompt_field(standard)
        self.tiers = frozenset(when["service_tier"] for when, _ in self._variants if "service_tier" in when)
        self.speeds = frozenset(when["speed"] for when, _ in self._variants if "speed" in when)
        self._contexts: dict[tuple[str, str, bool], Bands] = {}
        self._dearest: Bands | None = None
        self._bounds: Dearest | None = None

    def bands(self, tier: str, speed: str, batch: bool) -> Bands:
        """The bands of a context as the provider reported it.

        "batch" as a tier is Anthropic's word for a batch. A tier or a speed that this model has no rates for is
        charged at the dearest that it has, never silently as standard; `knows` tells which.
        """
        if not batch and speed in STANDARD_SPEEDS and tier in STANDARD_TIERS:
            return self.standard
        key = (tier, speed, batch)
        found = self._contexts.get(key)
        if found is None:
            found = self._resolve(tier, speed, batch)
            if len(self._contexts) < _MAX_CONTEXTS:
                self._contexts[key] = found
        return found

    @property
    def simple(self) -> bool:
        """The same rates for every kind of service."""
        return not self._variants

    def contexts(self) -> Iterator[tuple[str, Bands]]:
        """Every context with rates of its own: "standard" first, tiers by their names, "fast mode", "batch"."""
        yield "standard", self.standard
        for tier in sorted(self.tiers):
            yield tier, self.bands(tier, "", False)
        for speed in sorted(self.speeds):
            yield f"{speed} mode", self.bands("", speed, False)
        if any("processing" in when for when, _ in self._variants):
            yield "batch", self.bands("", "", True)

    def knows(self, tier: str, speed: str) -> bool:
        """False where `bands` had to guess."""
        return (tier == "batch" or self._tier(tier) is not None) and (speed in STANDARD_SPEEDS or speed in self.speeds)

    @classmethod
    def fixed(cls, rows: Bands) -> Schedule:
        """The same bands in every context."""
        made = cls({})
        made.standard = rows
        return made

    @property
    def dearest(self) -> Bands:
        """The dearest rates of all contexts: for bounds."""
        if self._dearest is None:
            tiers = ("", *sorted(self.tiers))
            speeds = ("", *sorted(self.speeds))
            self._dearest = dearest(self._overlay(t, s, False) for t in tiers for s in speeds)
        return self._dearest

    @property
    def dearest_rates(self) -> Dearest:
        """`dearest` as far as a bound needs it; worked out once."""
        if self._bounds is None:
            rows = ((above, (r.dearest_input, r.dearest_output, r.request)) for above, r in self.dearest)
            self._bounds = tuple(rows)
        return self._bounds

    def _tier(self, tier: str) -> str | None:
        """The name of the tier's rates, "" for standard, None if there are none."""
        if tier in STANDARD_TIERS:
            return ""
        if tier in self.tiers:
            return tier
        same = _SAME_TIER.get(tier)
        return same if same in self.tiers else None

    def _resolve(self, tier: str, speed: str, batch: bool) -> Bands:
        if tier == "batch":
            tier, batch = "", True
        known = self._tier(tier)
        tiers: Iterable[str] = ("", *self.tiers) if known is None else (known,)
        speeds: Iterable[str] = (speed,) if speed in self.speeds or speed in STANDARD_SPEEDS else ("", *self.speeds)
        return dearest(self._overlay(t, s, batch) for t in tiers for s in speeds)

    def _overlay(self, tier: str, speed: str, batch: bool) -> Bands:
        if not self._variants:
            return self.standard
        context = {"service_tier": tier, "speed": speed, "processing": "batch" if batch else ""}
        rates = dict(self._standard)
        replaced: set[str] = set()
        for when, overrides in self._variants:
            if all(context.get(key) == value for key, value in when.items()):
                rates.update({name: rate for name, rate in overrides.items() if name not in replaced})
                replaced.update(overrides)
        return bands(rates)
