"""Which rows of a segment have what: bitmaps, made once when a segment is full, and combined when one searches.

A segment is 16,384 places; a row's number is its segment times that, plus its place. A key names what a row may have:
its shape, or a kind and a hash of the value. A hash may mean others, too, so whoever searches compares the rows found.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from zlib import crc32

BITS = 14
PLACES = 1 << BITS
_BITMAP_BYTES = PLACES // 8
_SPARSE = 1000

REQUEST, CORRELATION, SESSION, USER, GUARD, TAG, EXTRA, COST, LATENCY = range(1, 10)
"""Kinds of keys; a shape's is its number."""


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


def falling(bits: int) -> Iterator[int]:
    """The places, the highest first."""
    return reversed(places_of(bits))
