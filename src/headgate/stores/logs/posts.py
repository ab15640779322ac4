"""Which rows of a segment have what: bitmaps, made once when a segment is full, and combined when one searches.

A segment is 16,384 places; a row's number is its segment times that, plus its place. A key names what a row may have:
its shape, or a kind and a hash of the value. A hash may mean others, too, so whoever searches compares the rows found.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
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
    """What the rows of one segment have, as it is stored: a key, and places."""

    __slots__ = ("_many", "_named")

    def __init__(self) -> None:
        self._many: dict[int, list[int]] = defaultdict(list)
        self._named: dict[int, list[int]] = {kind: [] for kind in NAMES}

    def add(
        self,
        place: int,
        shape: int,
        names: tuple[str, str, str, str],
        cost: int,
        latency: float | None,
        more: Iterable[int] = (),
    ) -> None:
        """Add a row: `names` are its request id, correlation id, session and user; `more` are other keys."""
        many = self._many
        many[shape].append(place)
        many[bucket_key(COST, cost if cost > 0 else 0)].append(place)
        if latency is not None:
            many[bucket_key(LATENCY, int(latency))].append(place)
        for kind, name in zip(_IN_ORDER, names, strict=True):
            if name:
                self._named[kind].append(crc32(name.encode("utf-8", "surrogatepass")) << BITS | place)
        for key in more:
            many[key].append(place)

    def clear(self) -> None:
        """Begin another segment."""
        self._many.clear()
        for each in self._named.values():
            each.clear()

    def shapes(self) -> list[int]:
        """The shapes of its rows."""
        return [key for key in self._many if key < 1 << 32]

    def stored(self) -> list[tuple[int, int | bytes]]:
        """(key, places) as they are stored, by key."""
        named = [(-kind, array("Q", sorted(found)).tobytes()) for kind, found in self._named.items() if found]
        return sorted(named) + [(key, packed(places)) for key, places in sorted(self._many.items())]


_IN_ORDER = (REQUEST, CORRELATION, SESSION, USER)


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
