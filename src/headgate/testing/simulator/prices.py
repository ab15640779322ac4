"""The simulator's own price table and its own sum, typed by hand (wire-formats 1.4, 2.2, 2.5 and 5, as of 2026-11-20).

It shares nothing with the ledger's pricing, on purpose: the invoice is the other side of the comparison. Prices are
decimal USD per million tokens; a request is summed exactly as a fraction and rounded half-up once to nano-dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from types import MappingProxyType

_NANO_PER_MTOK_DOLLAR = 1000  # 1e9 nano-dollars per USD, 1e6 tokens per million
_HALF = Fraction(1, 2)
_US = Fraction(11, 10)


@dataclass(slots=True)
class Counts:
    """What one request used. Tokens, except `tier`, `speed` and `geo` as the response reports them.

    `input` is the uncached remainder; `output` includes `reasoning`. `batch`: it came through a batch API.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    tier: str = ""
    speed: str = ""
    geo: str = ""
    batch: bool = False

    @property
    def prompt(self) -> int:
        """Everything that went in, cached or not."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens, as decimal strings.

    `priority` multiplies every rate; `long` is (prompt tokens above which it applies, factor for input and cache,
    factor for output), for the whole request; `flex_cache_read` is what flex and batch charge for cached input up to
    there where that is not half the cached rate; `batch_cache_full`: a batch's cached input costs the whole of it.
    """

    input: str
    output: str
    cache_read: str
    cache_write: str = "0"
    cache_write_1h: str = "0"
    priority: str = "2"
    long: tuple[int, int | str, int | str] | None = None
    flex_cache_read: str = ""
    batch_cache_full: bool = False


_LONG = (272_000, 2, "1.5")


def _gpt(
    rates: tuple[str, str, str, str],
    *,
    priority: str = "2",
    long: bool = True,
    flex_cache_read: str = "",
    batch_cache_full: bool = False,
) -> Price:
    """`rates`: input, cached, write, output, in the order of OpenAI's page."""
    fresh, cached, write, output = rates
    return Price(
        fresh,
        output,
        cached,
        write,
        priority=priority,
        long=_LONG if long else None,
        flex_cache_read=flex_cache_read,
        batch_cache_full=batch_cache_full,
    )


PRICES: Mapping[str, Price] = MappingProxyType(
    {
        # input, output, cache read, write 5m, write 1h
        "claude-fable-5-2": Price("8", "40", "0.20", "10", "16"),
        "claude-mythos-5-2": Price("8", "40", "0.20", "10", "16"),
        "claude-fable-5-1": Price("10", "50", "0.25", "12.5", "20"),
        "claude-fable-5": Price("10", "50", "1", "12.5", "20"),
        "claude-opus-5-5": Price("4", "20", "0.20", "5", "8"),
        "claude-opus-5": Price("5", "25", "0.50", "6.25", "10"),
        "claude-opus-4-8": Price("5", "25", "0.50", "6.25", "10"),
        "claude-opus-4-7": Price("5", "25", "0.50", "6.25", "10"),
        "claude-opus-4-6": Price("5", "25", "0.50", "6.25", "10"),
        "claude-opus-4-5": Price("5", "25", "0.50", "6.25", "10"),
        "claude-sonnet-5-5": Price("2", "10", "0.10", "2.5", "4"),
        "claude-sonnet-5": Price("2", "10", "0.20", "2.5", "4"),
        "claude-sonnet-4-6": Price("3", "15", "0.30", "3.75", "6"),
        "claude-sonnet-4-5": Price("3", "15", "0.30", "3.75", "6"),
        "claude-haiku-5-5": Price("0.10", "0.50", "0.01", "0.125", "0.20", long=(100_000, 5, 5)),
        "claude-haiku-4-5": Price("1", "5", "0.10", "1.25", "2"),
        "gpt-6-astra": _gpt(("10", "1", "12.5", "50")),
        "gpt-6.1-sol": _gpt(("2", "0.10", "2.5", "10")),
        "gpt-6-sol": _gpt(("2", "0.20", "2.5", "10")),
        "gpt-6.1-terra": _gpt(("1", "0.05", "1.25", "5")),
        "gpt-6-luna": _gpt(("0.10", "0.01", "0.125", "0.50")),
        "gpt-5.6-sol": _gpt(("4", "0.4", "5", "20")),
        "gpt-5.6-terra": _gpt(("2", "0.2", "2.5", "12")),
        "gpt-5.6-luna": _gpt(("0.2", "0.02", "0.25", "1.2")),
        "gpt-5.5": _gpt(("5", "0.50", "0", "30"), priority="2.5"),
        # Half of 0.25 is published, and charged, as 0.13.
        "gpt-5.4": _gpt(("2.5", "0.25", "0", "15"), flex_cache_read="0.13"),
        "gpt-5.4-mini": _gpt(("0.75", "0.075", "0", "4.5"), long=False),
        "gpt-5": _gpt(("1.25", "0.125", "0", "10"), long=False),
        "gpt-4.1": _gpt(("2", "0.5", "0", "8"), priority="1.75", long=False, batch_cache_full=True),
        "gpt-4.1-mini": _gpt(("0.4", "0.1", "0", "1.6"), priority="1.75", long=False, batch_cache_full=True),
        "gpt-4o": _gpt(("2.5", "1.25", "0", "10"), priority="1.7", long=False, batch_cache_full=True),
        "gpt-4o-mini": _gpt(("0.15", "0.075", "0", "0.6"), priority="5/3", long=False, batch_cache_full=True),
        "text-embedding-3-small": Price("0.02", "0", "0"),
        "text-embedding-3-large": Price("0.13", "0", "0"),
        "omni-moderation-latest": Price("0", "0", "0"),
    }
)


_exact = cache(Fraction)


def cost_nano(price: Price, used: Counts) -> int:
    """What one request costs, in nano-dollars: an exact sum, rounded half-up once."""
    halved = used.batch or used.tier == "flex"
    long = price.long if price.long is not None and used.prompt > price.long[0] else None
    inwards = used.input * _exact(price.input)
    if used.cache_read:
        inwards += used.cache_read * _cache_read(price, used, halved=halved, long=long is not None)
    if used.cache_write or used.cache_write_1h:
        inwards += used.cache_write * _exact(price.cache_write) + used.cache_write_1h * _exact(price.cache_write_1h)
    outwards = used.output * _exact(price.output)
    if long is not None:
        inwards *= _exact(long[1])
        outwards *= _exact(long[2])
    dollars = inwards + outwards
    if halved:
        dollars *= _HALF
    elif used.tier == "priority":
        dollars *= _exact(price.priority)
    if used.speed == "fast":
        dollars *= 2  # every model sold in fast mode costs double (wire-formats 5)
    if used.geo == "us":
        dollars *= _US
    return (dollars * _NANO_PER_MTOK_DOLLAR + _HALF).__floor__()


def _cache_read(price: Price, used: Counts, *, halved: bool, long: bool) -> Fraction:
    """The rate of cached input before the halving of flex and batch: doubled where it is not to be halved."""
    if used.batch and price.batch_cache_full:
        return _exact(price.cache_read) * 2
    if halved and price.flex_cache_read and not long:
        return _exact(price.flex_cache_read) * 2
    return _exact(price.cache_read)


def parts(price: Price, used: Counts, *, long: bool) -> dict[str, Fraction]:
    """What each class of tokens costs beside the others, in proportion: discounts and surcharges on all are left out.

    `long`: the rates above `Price.long` apply; of a sum of requests, the counts do not tell.
    """
    halved = used.batch or used.tier == "flex"
    into = _exact(price.long[1]) if long and price.long is not None else 1
    out_of = _exact(price.long[2]) if long and price.long is not None else 1
    return {
        "input": used.input * _exact(price.input) * into,
        "cache_read": used.cache_read * _cache_read(price, used, halved=halved, long=long) * into,
        "cache_write": used.cache_write * _exact(price.cache_write) * into,
        "cache_write_1h": used.cache_write_1h * _exact(price.cache_write_1h) * into,
        "output": used.output * _exact(price.output) * out_of,
    }
