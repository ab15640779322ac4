"""The numbers of shapes: what thousands of exchanges have in common is written once (`schema.SHAPE_COLUMNS`)."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.stores.schema import SHAPE_COLUMNS
from headgate.stores.statements import Row

REMEMBERED_SHAPES = 4096
"""About 2 MB. One that was forgotten gets a second row when it comes again."""

_WIDTH = len(SHAPE_COLUMNS) - 1  # without the owner; what is behind it is not the ledger's


class Shapes:
    """Which number a shape has. One session's, which gives the numbers out."""

    __slots__ = ("_known", "_last", "_owner")

    def __init__(self, owner: str, last: int) -> None:
        """
        Args:
            owner: of the session's rows.
            last: the first new shape gets the number after it.
        """
        self._owner = owner
        self._known: dict[Row, int] = {}
        self._last = last

    def restart(self, last: int) -> None:
        """Number new shapes from after `last`; those that are durable keep theirs."""
        self._last = last

    def number(self, shapes: Sequence[Row]) -> tuple[list[int], dict[Row, int]]:
        """(Their numbers in order, those among them that have to be written). Remembers nothing yet."""
        known, numbers = self._known, []
        fresh: dict[Row, int] = {}
        for shape in shapes:
            number = known.get(shape) or fresh.get(shape)
            if number is None:
                self._last += 1
                fresh[shape] = number = self._last
            numbers.append(number)
        return numbers, fresh

    def rows(self, fresh: dict[Row, int]) -> list[Row]:
        """As they are written."""
        return [(number, self._owner, *shape[:_WIDTH]) for shape, number in fresh.items()]

    def remember(self, fresh: dict[Row, int]) -> None:
        """They are durable."""
        if len(self._known) + len(fresh) > REMEMBERED_SHAPES:
            self._known.clear()  # those in use are written once more
        self._known.update(fresh)
