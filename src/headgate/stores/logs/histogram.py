"""Histograms of durations: eight buckets to a doubling, the same everywhere, so that they add up.

A bucket `b` holds what is over ``2^((b-1)/8)`` ms and at most ``2^(b/8)`` ms; bucket 0 holds everything up to 1 ms.
What is read from one is at most 9 % above the true value.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from math import ceil

PER_DOUBLING = 8
LAST = 24 * PER_DOUBLING
"""Of 4.6 hours and more."""


def upper(bucket: int) -> float:
    """The longest duration of a bucket, in milliseconds."""
    return float(2.0 ** (bucket / PER_DOUBLING))


BOUNDS = [upper(bucket) for bucket in range(LAST)]
"""The longest duration of each bucket but the last: `bisect_left` finds the bucket of a duration in it."""


def percentile(histogram: Mapping[int, int], q: float) -> float | None:
    """The duration in milliseconds that a share `q` (0..1) of them does not exceed; None of an empty histogram."""
    total = sum(histogram.values())
    if not total:
        return None
    wanted = max(1, ceil(total * q))
    seen = 0
    for bucket in sorted(histogram):
        seen += histogram[bucket]
        if seen >= wanted:
            return upper(bucket)
    raise AssertionError("counts below zero")


def added(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """One histogram of all."""
    found: dict[int, int] = {}
    for each in histograms:
        for bucket, count in each.items():
            found[bucket] = found.get(bucket, 0) + count
    return found


def packed(histogram: Mapping[int, int]) -> bytes:
    """As it is stored: the buckets, then their counts, 8 bytes each."""
    if not histogram:
        return b""
    flat = array("q", histogram)
    flat.extend(histogram.values())
    return flat.tobytes()


def unpacked(raw: bytes | None) -> dict[int, int]:
    """What was packed; None is an empty one."""
    if not raw:
        return {}
    flat = array("q")
    flat.frombytes(raw)
    half = len(flat) // 2
    return dict(zip(flat[:half], flat[half:], strict=True))
