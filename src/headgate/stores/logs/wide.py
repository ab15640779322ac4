"""Many counts side by side in one large number: two rows of them are added up as fast as two numbers.

Each exchange's sums go into some twenty cells, and a cell has four hundred counts.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence

from headgate.stores.logs.histogram import LAST

_BITS = 112
_HALF = 1 << _BITS - 1
_FIELD = (1 << _BITS) - 1
"""An amount is at most 2^62, and so many of them are never summed up in one go that 112 bits were too few."""
_BUCKETS = LAST + 1
_EMPTY = array("I", bytes(2 * _BUCKETS * array("I").itemsize))
_BYTES = len(_EMPTY) * _EMPTY.itemsize


def wide(amounts: Sequence[int]) -> int:
    """Amounts as one number; they may be negative."""
    found = 0
    for amount in reversed(amounts):
        found = (found << _BITS) + amount
    return found


def amounts_of(number: int, count: int) -> list[int]:
    """So many amounts out of a number."""
    found = []
    for _ in range(count):
        amount = number & _FIELD
        number >>= _BITS
        if amount & _HALF:  # it was negative, and has borrowed from the next
            amount -= _FIELD + 1
            number += 1
        found.append(amount)
    return found


def wide_times(latency: Mapping[int, int], ttft: Mapping[int, int]) -> int:
    """Two histograms as one number."""
    flat = _EMPTY[:]
    for bucket, count in latency.items():
        flat[bucket] = count
    for bucket, count in ttft.items():
        flat[_BUCKETS + bucket] = count
    return int.from_bytes(flat.tobytes(), sys.byteorder)


def times_of(number: int) -> tuple[dict[int, int], dict[int, int]]:
    """Two histograms out of a number."""
    if not number:
        return {}, {}
    flat = array("I")
    flat.frombytes(number.to_bytes(_BYTES, sys.byteorder))
    latency, ttft = flat[:_BUCKETS], flat[_BUCKETS:]
    return (
        {bucket: count for bucket, count in enumerate(latency) if count},
        {bucket: count for bucket, count in enumerate(ttft) if count},
    )
