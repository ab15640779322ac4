"""Batches: which way they go, how they are cut for a provider, and what their tokens cost there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from headgate.policy.pricing import ModelPrice
from headgate.policy.rates import Bands, Rates

DAY = 86_400.0
"""Seconds that both vendors give themselves for a batch (wire-formats 1.7, 2.5)."""

WORTHWHILE = 100
"""Lines from which `auto` takes a provider's batch: fewer are answered in minutes, and are worth no day of waiting."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VendorLimits:
    """What one batch may be, of one vendor; and what is held in memory to send it."""

    lines: int
    size: int  # bytes


VENDORS = {
    "anthropic": VendorLimits(100_000, 256_000_000),
    "openai": VendorLimits(50_000, 200_000_000),
}
"""wire-formats 1.7 and 2.5."""

IN_MEMORY = 24_000_000
"""Bytes of one shard, as we cut them: the file that is sent is in memory as a whole."""


def choose_via(lines: int, seconds_left: float | None, *, has_batches: bool) -> tuple[str, str]:
    """`auto`: "provider" or "paced", and why.

    Args:
        lines: that can be run.
        seconds_left: until the deadline; None = there is none.
        has_batches: every line's provider takes batches.
    """
    if not has_batches:
        return "paced", "not every line's provider takes batches"
    if lines < WORTHWHILE:
        return "paced", f"fewer than {WORTHWHILE} lines"
    if seconds_left is not None and seconds_left < DAY:
        return "paced", "the deadline is nearer than the 24 hours that a provider gives itself"
    return "provider", "half the price, within 24 hours"


def shards(items: Iterable[tuple[T, int]], limits: VendorLimits) -> Iterator[list[T]]:
    """Items with their sizes in bytes, cut so that each part is within the vendor's limits and fits in memory."""
    part: list[T] = []
    size, most = 0, min(limits.size, IN_MEMORY)
    for item, bytes_ in items:
        if part and (len(part) >= limits.lines or size + bytes_ > most):
            yield part
            part, size = [], 0
        part.append(item)
        size += bytes_
    if part:
        yield part


def batch_share(price: ModelPrice) -> tuple[int, int]:
    """The most that a batch pays of the standard price, as a fraction: (1, 2) for half; (1, 1) where it pays all."""
    standard, batch = price.schedule.bands("", "", False), price.schedule.bands("", "", True)
    return max(_shares(standard, batch), key=lambda share: share[0] / share[1], default=(1, 1))


def _shares(standard: Bands, batch: Bands) -> Iterator[tuple[int, int]]:
    if len(standard) != len(batch):
        yield 1, 1
        return
    for (_, full), (_, less) in zip(standard, batch, strict=True):
        for whole, part in zip(_rates(full), _rates(less), strict=True):
            if whole or part:
                yield (part, whole) if whole and part < whole else (1, 1)


def _rates(rates: Rates) -> Sequence[int]:
    return (rates.dearest_input, rates.output, rates.output_audio, rates.reasoning)


def at_share(nano: int, share: tuple[int, int]) -> int:
    """`nano` nano-dollars at that share of the price, rounded up."""
    return -(-nano * share[0] // share[1])


def poll_wait(asked: int) -> float:
    """Seconds before a batch is looked at again, having been looked at so many times: 5 s, and up to 5 minutes."""
    return float(min(300.0, 5.0 * 1.5**asked))
