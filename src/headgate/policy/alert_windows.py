"""Counts that only grow, looked at over windows of time. Pure."""

from __future__ import annotations

import marshal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from math import inf, nextafter

Place = tuple[str, ...]

STEP_SECONDS = 10.0
"""Snapshots are kept so far apart, at least."""
FINE_SECONDS = 600.0
COARSE_SECONDS = 60.0
"""Of those that are older than `FINE_SECONDS`, so far apart: a longer window may be so much longer than told."""
LONGEST_SECONDS = 3_600.0
"""The longest window."""
BASELINE_STEP = 900.0
BASELINE_SECONDS = 86_400.0
"""What is usual is looked for in the day before, in steps of a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a process has counted since it began.

    Attributes:
        exchanges, failed: by provider; `failed` are the provider's fault or its operator's, and reached the caller. At
            "" are failures of calls that had no attempt and cannot be laid at one provider, among all exchanges.
        attempts, errors, down: by provider; `down` are 5xx, time-outs and broken connections.
        latency, ttft: by provider and model: how many in each bucket.
        calls, tokens: exchanges that were answered, and what they took.
        dropped: lines of the log.
    """

    exchanges: Mapping[Place, float] = field(default_factory=dict)
    failed: Mapping[Place, float] = field(default_factory=dict)
    attempts: Mapping[Place, float] = field(default_factory=dict)
    errors: Mapping[Place, float] = field(default_factory=dict)
    down: Mapping[Place, float] = field(default_factory=dict)
    latency: Mapping[Place, Sequence[int]] = field(default_factory=dict)
    ttft: Mapping[Place, Sequence[int]] = field(default_factory=dict)
    calls: float = 0.0
    tokens: float = 0.0
    dropped: float = 0.0


def between(old: Counted, new: Counted) -> Counted:
    """What came between two of them. What has shrunk was counted anew since."""
    return Counted(
        _less(old.exchanges, new.exchanges),
        _less(old.failed, new.failed),
        _less(old.attempts, new.attempts),
        _less(old.errors, new.errors),
        _less(old.down, new.down),
        _less_each(old.latency, new.latency),
        _less_each(old.ttft, new.ttft),
        max(0.0, new.calls - old.calls),
        max(0.0, new.tokens - old.tokens),
        max(0.0, new.dropped - old.dropped),
    )


def _less(old: Mapping[Place, float], new: Mapping[Place, float]) -> dict[Place, float]:
    return {place: max(0.0, value - old.get(place, 0.0)) for place, value in new.items()}


def _less_each(old: Mapping[Place, Sequence[int]], new: Mapping[Place, Sequence[int]]) -> dict[Place, list[int]]:
    found = {}
    for place, counts in new.items():
        before = old.get(place, ())
        found[place] = (
            [max(0, a - b) for a, b in zip(counts, before, strict=True)] if len(before) == len(counts) else list(counts)
        )
    return found


class Windows:
    """Snapshots of the last hour, and coarser ones of a day. With many models one is large: they are kept as bytes."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, bytes]] = deque()
        self._older: deque[tuple[float, bytes]] = deque()  # than `FINE_SECONDS`
        self._usual: deque[tuple[float, float, float]] = deque()  # when, calls, tokens

    def __len__(self) -> int:
        """Of the snapshots of the last hour."""
        return len(self._recent) + len(self._older)

    def add(self, now: float, counted: Counted) -> None:
        """What is counted now."""
        recent, older = self._recent, self._older
        if not recent or now - recent[-1][0] >= STEP_SECONDS:
            recent.append((now, _packed(counted)))
        while now - recent[0][0] > FINE_SECONDS and len(recent) > 1:
            left = recent.popleft()
            if not older or left[0] - older[-1][0] >= COARSE_SECONDS:
                older.append(left)
        while len(older) > 1 and now - older[1][0] >= LONGEST_SECONDS:
            older.popleft()
        if not self._usual or now - self._usual[-1][0] >= BASELINE_STEP:
            self._usual.append((now, counted.calls, counted.tokens))
            while len(self._usual) > 2 and now - self._usual[1][0] >= BASELINE_SECONDS:
                self._usual.popleft()

    def over(self, window: float, now: float, counted: Counted) -> Counted:
        """What was counted in the last `window` seconds, or since the first snapshot where that is later."""
        begin: bytes | None = None
        for when, each in chain(self._older, self._recent):
            if begin is not None and when > now - window:
                break
            begin = each
        return between(counted if begin is None else _unpacked(begin), counted)

    def usual(self, until: float) -> tuple[float, float]:
        """(calls, tokens) of the day before `until`."""
        before = [each for each in self._usual if each[0] <= until]
        if len(before) < 2:
            return 0.0, 0.0
        return max(0.0, before[-1][1] - before[0][1]), max(0.0, before[-1][2] - before[0][2])


def _packed(counted: Counted) -> bytes:
    told = (getattr(counted, name) for name in _FIELDS)
    return marshal.dumps([{(*place,): n for place, n in x.items()} if isinstance(x, Mapping) else x for x in told])


def _unpacked(packed: bytes) -> Counted:
    """Only what this process has packed."""
    return Counted(*marshal.loads(packed))  # noqa: S302 -- see above


_FIELDS = tuple(each.name for each in fields(Counted))


def percentile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float:
    """The value that `share` of all are not above, between two bounds in proportion; above the last bound a hair more
    than that: how much more is not known.

    Args:
        counts: one more than `bounds`, ascending.
        share: 0 to 1.
    """
    total = sum(counts)
    if not total:
        return 0.0
    wanted, before = share * total, 0
    for number, count in enumerate(counts):
        if count and before + count >= wanted:
            if number >= len(bounds):
                break
            low = bounds[number - 1] if number else 0.0
            return low + (bounds[number] - low) * max(0.0, wanted - before) / count
        before += count
    return nextafter(bounds[-1], inf)
