"""Usage to money: exact integer arithmetic, rounded half-up once (decisions 7).

What is charged, with its source (wire-formats 1.4, 2.2, 2.5, 5):

- Every token class has its own rate; nothing is derived from a multiplier.
- The total prompt, cached or not, picks the length band, and the whole request pays that band.
- Fast mode and service tiers replace rates. The tier is the one *reported* in the response; one that the model has no
  rates for is charged at the dearest that it has (`doubts` says so).
- A batch pays the batch rates; where the price names none, the standard ones.
- `inference_geo: us` costs 1.1x on all token classes.
- Web searches cost per search, whatever else applies.
- `usage.iterations`: see `_iterated`.
"""

from __future__ import annotations

from collections.abc import Callable

from headgate.core.money import MOST_CHARGE
from headgate.core.text import printable
from headgate.core.usage import INSIDE, Iteration, Usage
from headgate.policy.rates import STANDARD_SPEEDS, STANDARD_TIERS, Bands, Schedule, row_for

MOST_TOKENS = 10**12
"""A count above this is nonsense and is charged as this much; a negative one as 0."""

SANE_BITS = 39
"""A count that has more is above `MOST_TOKENS`, near it, or below zero: all bits of such a one are set."""

MOST_NANO = MOST_CHARGE
TENTHS = 10
"""Sums are kept in tenths of a pico-dollar, in which the 1.1 of `inference_geo: us` is exact."""

_US = 11
_TENTHS_PER_NANO = TENTHS * 1_000


PlainBound = tuple[int, int, int, int, int]
"""Of a plain call's bound: the longest body that these rates hold for, `estimate.hidden_tokens`, and in tenths of a
pico-dollar, the 1.1 included, the dearest input and output token, and the request."""


class ModelPrice:
    """What one model of one provider costs at one time. Made by a `PriceBook`; immutable by convention.

    Attributes:
        provider: our provider's name.
        model: the model as it was asked for.
        entry: the price file's name for it, or the override's; "" for a ceiling.
        version: what every ledger row names: the book's version, "+ceiling" where the price is unknown.
        source: "data", "override" or "ceiling".
        schedule: the rates in every context.
        context_window, max_output_tokens: where known.
        since, until: the span of time in which this price holds, seconds since the epoch; `until` is exclusive.
        plain_bound: see `estimate.plain_bound`; None = not worked out yet.
    """

    __slots__ = (
        "_find",
        "context_window",
        "entry",
        "max_output_tokens",
        "model",
        "plain_bound",
        "provider",
        "schedule",
        "since",
        "source",
        "until",
        "version",
    )

    def __init__(
        self,
        *,
        provider: str,
        model: str,
        entry: str,
        version: str,
        source: str,
        schedule: Schedule,
        find: Callable[[str, float], ModelPrice],
        context_window: int | None = None,
        max_output_tokens: int | None = None,
        span: tuple[float, float] = (float("-inf"), float("inf")),
    ) -> None:
        self.provider = provider
        self.model = model
        self.entry = entry
        self.version = version
        self.source = source
        self.schedule = schedule
        self.context_window = context_window
        self.max_output_tokens = max_output_tokens
        self.since, self.until = span
        self._find = find
        self.plain_bound: PlainBound | None = None

    def of(self, model: str, at: float) -> ModelPrice:
        """The price of another model of this provider, or of this one ("") at another time.

        A model without a price is charged the unknown-price ceiling if one is set, else the dearest rates that this
        provider has: the tokens have been used, so refusing is too late, and nothing is ever free by accident.
        """
        if model in ("", self.model, self.entry):
            return self if self.since <= at < self.until else self._find(self.model, at)
        return self._find(model, at)


def _sane(count: int) -> int:
    return 0 if count < 0 else min(count, MOST_TOKENS)


def _tokens_pico(rows: Bands, usage: Usage) -> int:
    """The tokens of one request at the rates of its band, in pico-dollars."""
    plain, read = usage.input_tokens, usage.cache_read_tokens
    write, long, output = usage.cache_write_tokens, usage.cache_write_long_tokens, usage.output_tokens
    if (plain | read | write | long | output) >> SANE_BITS:
        plain, read, write, long, output = map(_sane, (plain, read, write, long, output))
    rates = rows[0][1] if len(rows) == 1 else row_for(rows, plain + read + write + long)
    pico = plain * rates.input + output * rates.output
    if read or write or long:
        pico += read * rates.cache_read + write * rates.cache_write + long * rates.cache_write_long
    if usage.input_audio_tokens or usage.cache_read_audio_tokens or usage.output_audio_tokens:
        # Audio is a part of its count: swap the rate for that part, and never for more than the whole.
        pico += min(_sane(usage.input_audio_tokens), plain) * (rates.input_audio - rates.input)
        pico += min(_sane(usage.cache_read_audio_tokens), read) * (rates.cache_read_audio - rates.cache_read)
        pico += min(_sane(usage.output_audio_tokens), output) * (rates.output_audio - rates.output)
    if rates.reasoning != rates.output:
        spoken = output - min(_sane(usage.output_audio_tokens), output)
        pico += min(_sane(usage.reasoning_tokens), spoken) * (rates.reasoning - rates.output)
    return pico


def _as_usage(entry: Iteration) -> Usage:
    return Usage(
        input_tokens=entry.input_tokens,
        cache_read_tokens=entry.cache_read_tokens,
        cache_write_tokens=entry.cache_write_tokens,
        cache_write_long_tokens=entry.cache_write_long_tokens,
        output_tokens=entry.output_tokens,
    )


def _iterated(price: ModelPrice, usage: Usage, at: float, batch: bool) -> int:
    """`usage.iterations`: the sum of the entries, each a request of its own under its own model, in pico-dollars.

    Compaction and advisor tokens are not in the top-level totals, and after a fallback the top level shows only the hop
    that served (wire-formats 1.4): the entries hold everything, so the totals are not added to them. Each entry's own
    prompt picks its band. Where the message entries do not account for the totals (which the API promises they do), the
    rest of the totals is charged too, under the answer's model, so that a partial list never makes a call cheaper.
    """
    pico = 0
    covered = [0, 0, 0, 0, 0]
    for entry in usage.iterations:
        counts = _as_usage(entry)
        hop = price if not entry.model else price.of(entry.model, at)
        pico += _tokens_pico(hop.schedule.bands(usage.service_tier, usage.speed, batch), counts)
        if entry.kind in INSIDE:
            for place, count in enumerate(_counts(counts)):
                covered[place] += count
    rest = [max(0, total - count) for total, count in zip(_counts(usage), covered, strict=True)]
    if any(rest):
        left = Usage(rest[0], rest[1], rest[2], rest[3], rest[4])
        pico += _tokens_pico(price.schedule.bands(usage.service_tier, usage.speed, batch), left)
    return pico


def _counts(usage: Usage) -> tuple[int, int, int, int, int]:
    return (
        _sane(usage.input_tokens),
        _sane(usage.cache_read_tokens),
        _sane(usage.cache_write_tokens),
        _sane(usage.cache_write_long_tokens),
        _sane(usage.output_tokens),
    )


def cost_tenths(price: ModelPrice, usage: Usage, *, at: float, batch: bool = False) -> int:
    """The exact cost in tenths of a pico-dollar: additive, before any rounding. Never negative.

    Args:
        price: the price of the model that answered.
        usage: what the provider reported, or an estimate.
        at: when the request was sent, seconds since the epoch; prices have dates and some have hours.
        batch: the call was part of a batch. Anthropic reports that itself (`service_tier: batch`), OpenAI does not.
    """
    if not price.since <= at < price.until:
        price = price.of("", at)
    rows = price.schedule.bands(usage.service_tier, usage.speed, batch)
    tokens = _iterated(price, usage, at, batch) if usage.iterations else _tokens_pico(rows, usage)
    rates = rows[0][1]
    pieces = rates.request
    if usage.web_searches > 0:
        pieces += _sane(usage.web_searches) * rates.web_search
    return tokens * (_US if usage.inference_geo == "us" else TENTHS) + pieces * TENTHS


def cost_pico(price: ModelPrice, usage: Usage, *, at: float, batch: bool = False) -> int:
    """The cost in pico-dollars, rounded half-up (only 1.1x can leave a fraction). For sums use `cost_tenths`."""
    return (cost_tenths(price, usage, at=at, batch=batch) + TENTHS // 2) // TENTHS


def cost_nano(price: ModelPrice, usage: Usage, *, at: float, batch: bool = False) -> int:
    """The cost in nano-dollars: the exact sum, rounded half-up once. At most `MOST_CHARGE`."""
    nano = (cost_tenths(price, usage, at=at, batch=batch) + _TENTHS_PER_NANO // 2) // _TENTHS_PER_NANO
    return nano if nano < MOST_NANO else MOST_NANO


_FALLBACK = "the ceiling of `unknown_price`, or else the dearest rates of its provider"


def doubts(price: ModelPrice, usage: Usage, *, at: float) -> tuple[str, ...]:
    """Where the price had to be guessed, each in a few words for the log; () in the ordinary case."""
    tier, speed = usage.service_tier, usage.speed
    if price.source != "ceiling" and tier in STANDARD_TIERS and speed in STANDARD_SPEEDS and not usage.iterations:
        return ()
    found: list[str] = []
    if price.source == "ceiling":
        found.append(f"no price is known for {_shown(price.model)}: charged {_FALLBACK}")
    if not price.schedule.knows(tier, speed):
        name = f"service tier {_shown(tier)}" if speed in STANDARD_SPEEDS else f"speed {_shown(speed)}"
        found.append(f"{_shown(price.model)} has no rates for {name}: charged its dearest")
    for model in dict.fromkeys(entry.model for entry in usage.iterations):
        if price.of(model, at).source == "ceiling":
            found.append(f"no price is known for {_shown(model)}, which an iteration names: charged {_FALLBACK}")
    return tuple(found)


def _shown(name: str) -> str:
    """A name from outside, fit for a log line."""
    return printable(name[:100])
