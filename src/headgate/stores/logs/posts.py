"""Which rows of a segment have what: bitmaps, made once when a segment is full, and combined when one searches.

A segment is 16,384 places; a row's number is its segment times that, plus its place. A key names what a row may have:
its shape, or a kind and a hash of the value. A hash may mean others, too, so whoever searches compares the rows found.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

BITS = 14
PLACES = 1 << BITS
_BITMAP_BYTES = PLACES // 8
_SPARSE = 1000

REQUEST, CORRELATION, SESSION, USER, GUARD, TAG, EXTRA, COST, LATENCY = range(1, 10)
NAMES = frozenset({REQUEST, CORRELATION, SESSION, USER})
"""Kinds of keys; a shape's is its number. Of `NAMES` there are nearly as many as rows: all of a kind are one sorted
list of hashes and places, under minus the kind."""


def key_of(kind: int, value: str) -> int:
    """The key of a value."""
    return kind << 32 | crc32(value.encode("utf-8", "surrogatepass"))


def bucket_key(kind: int, size: int) -> int:
    """The key of an amount's order of magnitude."""
    return kind << 32 | size.bit_length()


def packed(places: Sequence[int]) -> int | bytes:
    """Places in a segment as they are stored: one as itself, some as a list, many as a bitmap."""
    if len(places) == 1:
        return places[0]
    if len(places) <= _SPARSE:
        return array("H", places).tobytes()
    bits = bytearray(_BITMAP_BYTES)
    for place in places:
        bits[place >> 3] |= 1 << (place & 7)
    return bytes(bits)


def unpacked(stored: int | bytes) -> int:
    """As one number, bit by place."""
    if isinstance(stored, int):
        return 1 << stored
    if len(stored) == _BITMAP_BYTES:
        return int.from_bytes(stored, "little")
    places = array("H")
    places.frombytes(stored)
    bits = bytearray(_BITMAP_BYTES)
    for place in places:
        bits[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(bits, "little")


def places_of(bits: int) -> list[int]:
    """The places, ascending."""
    found = []
    for index, byte in enumerate(bits.to_bytes(_BITMAP_BYTES, "little")):
        if byte:
            found += [index << 3 | bit for bit in _SET[byte]]
    return found


_SET = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256))


class Posts:
    """What the rows of one segment have, as it is stored: a key, and places.

    Rows are kept as they come, column by column, and looked at once, when their segment is full.
    """

    __slots__ = ("_columns", "_more", "_places")

    def __init__(self) -> None:
        self._places: list[int] = []
        self._columns: tuple[list[Any], ...] = tuple([] for _ in _POSTED)
        self._more: dict[int, list[int]] = defaultdict(list)

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows as `log_rows` has them, but for what they have `more`."""
        columns = tuple(zip(*rows, strict=True))
        self._places += map(_PLACE.__and__, columns[0])
        for mine, place in zip(self._columns, _POSTED, strict=True):
            mine += columns[place]

    def add_more(self, place: int, keys: Iterable[int]) -> None:
        """Add other keys of a row."""
        for key in keys:
            self._more[key].append(place)

    def clear(self) -> None:
        """Begin another segment."""
        self._places.clear()
        self._more.clear()
        for each in self._columns:
            each.clear()

    def shapes(self) -> set[int]:
        """The shapes of its rows."""
        return set(self._columns[0])

    def stored(self) -> list[tuple[int, int | bytes]]:
        """(key, places) as they are stored, by key."""
        shapes, costs, latencies, *names = self._columns
        many: dict[int, list[int]] = defaultdict(list)
        for place, shape, cost, latency in zip(self._places, shapes, costs, latencies, strict=True):
            many[shape].append(place)
            many[_COST_KEY | (cost.bit_length() if cost > 0 else 0)].append(place)
            if latency is not None:
                many[_LATENCY_KEY | int(latency).bit_length()].append(place)
        many.update(self._more)
        named = []
        for kind, column in zip(_IN_ORDER, names, strict=True):
            hashes = map(crc32, map(_as_bytes, column))
            found = sorted(
                [
                    hashed << BITS | place
                    for place, hashed, name in zip(self._places, hashes, column, strict=True)
                    if name
                ]
            )
            if found:
                named.append((-kind, array("Q", found).tobytes()))
        return sorted(named) + [(key, packed(places)) for key, places in sorted(many.items())]


_PLACE = PLACES - 1
_IN_ORDER = (REQUEST, CORRELATION, SESSION, USER)
_POSTED = (2, 14, 12, 4, 5, 6, 7)
"""Of `rows.COLUMNS`: shape, cost and latency, and the names in order."""
_COST_KEY, _LATENCY_KEY = COST << 32, LATENCY << 32


def _as_bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def stored_under(key: int) -> int:
    """The key that a key's places are stored under."""
    kind = key >> 32
    return -kind if kind in NAMES else key


def places_under(key: int, stored: int | bytes) -> int:
    """A key's places, as one number, from what is stored under `stored_under`."""
    if isinstance(stored, int) or key >> 32 not in NAMES:
        return unpacked(stored)
    hashes = memoryview(stored).cast("Q")
    first = (key & 0xFFFFFFFF) << BITS
    bits = 0
    for index in range(bisect_left(hashes, first), len(hashes)):
        found = hashes[index]
        if found >= first + PLACES:
            break
        bits |= 1 << (found & PLACES - 1)
    return bits
