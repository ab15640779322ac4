"""A table with a bound, where what was asked for lately stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most `size` entries; what was not asked for the longest goes. Two generations instead of an order: a look-up
    of what was asked for lately is a dictionary's, and moves nothing.

    Threads may share one where it does no harm that two of them, at the same moment, forget half of it.

    Attributes:
        new: what was asked for lately, for look-ups where a call is too much: what is not in there, `get` finds.
            Another dictionary from time to time.
    """

    __slots__ = ("_half", "_old", "new")

    def __init__(self, size: int) -> None:
        """`size` >= 2."""
        self._half = size // 2
        self.new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The entry, which is recent from now on."""
        found = self.new.get(key)
        if found is None and self._old:
            found = self._old.pop(key, None)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        """Add what `get` did not find."""
        if len(self.new) >= self._half:
            self._old, self.new = self.new, {}
        self.new[key] = value

    def turn(self, keep: Callable[[V], bool] | None = None) -> None:
        """Forget what was not asked for since the last turn, but what `keep` wants. Done now and then, the table is as
        large as what is in use, and not as it may be."""
        kept = {} if keep is None else {key: value for key, value in self._old.items() if keep(value)}
        self._old, self.new = kept | self.new if kept else self.new, {}

    def forget_old(self) -> None:
        """Forget what is not in `new`."""
        self._old = {}

    def values(self) -> Iterator[V]:
        """All of them, the recent first."""
        yield from self.new.values()
        yield from self._old.values()

    def clear(self) -> None:
        """Forget everything."""
        self.new, self._old = {}, {}

    def __contains__(self, key: K) -> bool:
        """Without making it recent."""
        return key in self.new or key in self._old

    def __len__(self) -> int:
        return len(self.new) + len(self._old)
