"""Paces' buckets as replicas share them, here in one process's memory. Pure: time is an argument.

The same rules as the scripts of `stores/redis_scripts.py`, which one suite of tests holds both to. Where Redis is gone,
each replica goes on with these, and with its share of every limit.
"""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.limits import Amount, Place
from headgate.policy.pace import MOST_BLOCKED

KEPT_SECONDS = 900.0
"""Seconds that limits are remembered without being asked for: a replica that has been told none yet goes by them."""
MARGIN = 0.001
"""Seconds added to a wait, so that it is not over a rounding error too early."""
NOTHING = 1e-6
"""What may be missing without a wait."""
LEAST_PER_SECOND = 1 / 60
"""Of any share: one per minute."""


class _Cell:
    __slots__ = ("capacity", "level", "rate")

    def __init__(self, capacity: float, rate: float) -> None:
        self.capacity = self.level = capacity
        self.rate = rate


class _Cells:
    __slots__ = ("at", "blocked", "of")

    def __init__(self, now: float) -> None:
        self.at = now
        self.blocked = now
        self.of: dict[str, _Cell] = {}


class PaceCells:
    """The buckets of all places. Not thread-safe.

    Args:
        share: of every limit that is ours, above 0 up to 1; never less than one per minute. May be set later.
        most: places kept, >= 1; of more, those used the longest ago go.
    """

    __slots__ = ("_kept", "_most", "share")

    def __init__(self, share: float = 1.0, most: int = 1000) -> None:
        self._kept: dict[Place, _Cells] = {}
        self.share = share
        self._most = most

    def take(self, place: Place, amounts: Sequence[Amount], now: float) -> float:
        """See `core.ports.SharedPace`."""
        cells = self._of(place, now)
        wait = cells.blocked - now
        found = []
        for amount in amounts:
            cell = self._cell(cells, amount)
            if cell is None:
                continue
            found.append((cell, amount.amount))
            missing = min(amount.amount, cell.capacity) - cell.level
            if missing > NOTHING:
                wait = max(wait, missing / cell.rate + MARGIN)
        if wait > 0:
            return wait
        for cell, more in found:
            cell.level -= more
        return 0.0

    def correct(self, place: Place, more: Sequence[Amount], now: float) -> None:
        """See `core.ports.SharedPace`; `give_back` is the same with what was taken, negative."""
        cells = self._of(place, now)
        for amount in more:
            cell = self._cell(cells, amount)
            if cell is not None:
                least = min(cell.level, -cell.capacity)
                cell.level = min(cell.capacity, max(least, cell.level - amount.amount))

    def learn(self, place: Place, told: Sequence[Amount], now: float) -> None:
        """See `core.ports.SharedPace`."""
        cells = self._of(place, now)
        for amount in told:
            cell = self._cell(cells, amount)
            if cell is not None:
                cell.level = min(cell.level, max(0.0, amount.amount * self.share))

    def block(self, place: Place, seconds: float, now: float) -> None:
        """See `core.ports.SharedPace`."""
        cells = self._of(place, now)
        cells.blocked = max(cells.blocked, now + min(seconds, MOST_BLOCKED))

    def _of(self, place: Place, now: float) -> _Cells:
        cells = self._kept.pop(place, None)
        if cells is None:
            cells = _Cells(now)
            while len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
        self._kept[place] = cells
        passed = max(0.0, now - cells.at)
        cells.blocked -= max(0.0, cells.at - now)  # the clock was set back: what was left is left still
        cells.at = now
        for cell in cells.of.values():
            cell.level = min(cell.capacity, cell.level + passed * cell.rate)
        return cells

    def _cell(self, cells: _Cells, amount: Amount) -> _Cell | None:
        """The amount's bucket, brought to the limit that it names; None where no limit is known."""
        cell = cells.of.get(amount.kind)
        if amount.capacity > 0:
            capacity = max(1.0, amount.capacity * self.share)
            rate = max(LEAST_PER_SECOND, amount.per_second * self.share)
            if cell is None:
                cell = cells.of[amount.kind] = _Cell(capacity, rate)
            else:
                cell.capacity, cell.rate = capacity, rate
                cell.level = min(capacity, cell.level)
        return cell
