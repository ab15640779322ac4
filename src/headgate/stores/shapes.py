"""The numbers of shapes: what thousands of exchanges have in common is written once (`schema.SHAPE_COLUMNS`)."""

from __future__ import annotations

from collections.abc import Sequence

from headgate.stores.statements import Row

REMEMBERED_SHAPES = 4096
"""About 2 MB. One that was forgotten gets a second row when it comes again."""


class Shapes:
    """Which number a shape has. One session's, which gives the numbers out."""

    __slots__ = ("_known", "_last")

    def __init__(self, last: int) -> None:
        """
        Args:
            last: the first new shape gets the number after it.
        """
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

    def remember(self, fresh: dict[Row, int]) -> None:
        """They are durable."""
        if len(self._known) + len(fresh) > REMEMBERED_SHAPES:
            self._known.clear()  # those in use are written once more
        self._known.update(fresh)
