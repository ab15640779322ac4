"""Splices in raw JSON: find a top-level member's bytes, replace or insert it, touch nothing else (decisions 15).

Texts are `bytes` that hold one JSON object (RFC 8259). Nothing is ever re-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

import msgspec
from msgspec import Raw

from headgate.core.errors import BadRequest

MAX_DEPTH = 200

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_KEY = re.compile(rb"[ \t\n\r]*+(" + _STRING + rb")[ \t\n\r]*+:[ \t\n\r]*+", re.DOTALL)
_STRING_VALUE = re.compile(rb"[ \t\n\r]*+:[ \t\n\r]*+(" + _STRING + rb")", re.DOTALL)
_AFTER = re.compile(rb"[ \t\n\r]*+([,}])")
_OPEN = re.compile(rb"[ \t\n\r]*+\{")
_EMPTY = re.compile(rb"[ \t\n\r]*+\}")
_TOKEN = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|[^\s,\]}]++", re.DOTALL)
_ANY_STRING = re.compile(_STRING, re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # as signed bytes: one level down, one level up

_GAP = re.compile(rb"[ \t\n\r,]*+")
_raws = msgspec.json.Decoder(list[Raw])
_raw_members = msgspec.json.Decoder(dict[str, Raw])
_key_text = msgspec.json.Decoder(str)


class Span(NamedTuple):
    """A value's bytes: `text[start:end]`."""

    start: int
    end: int


def members(text: bytes) -> list[tuple[str, Span]]:
    """Every top-level member in order, duplicates kept: its key (escapes resolved) and its value's place.

    Raises:
        ValueError: `text` is not a JSON object.
    """
    raws = _raw_members.decode(text)
    found: list[tuple[str, Span]] = []
    opening = _OPEN.match(text)
    if opening is None:
        raise ValueError("not a JSON object")
    at = opening.end()
    if _EMPTY.match(text, at):
        return found
    while True:
        key = _KEY.match(text, at)
        if key is None:
            raise ValueError(f"not a JSON object (byte {at})")
        name = _key_name(key[1])
        end = _value_end(text, key.end(), raws.get(name))
        after = _AFTER.match(text, end)
        if after is None:
            raise ValueError(f"not a JSON object (byte {end})")
        found.append((name, Span(key.end(), end)))
        if after[1] == b"}":
            return found
        at = after.end()


def elements(text: bytes, array: Span) -> list[Span]:
    """The place of each element of an array at `array`; none, where it is no array."""
    found: list[Span] = []
    if text[array.start : array.start + 1] != b"[":
        return found
    at = array.start + 1
    for raw in _raws.decode(memoryview(text)[array.start : array.end]):
        gap = _GAP.match(text, at)
        start = gap.end() if gap else at
        at = start + memoryview(raw).nbytes
        found.append(Span(start, at))
    return found


def _key_name(quoted: bytes) -> str:
    return _key_text.decode(quoted) if b"\\" in quoted else quoted[1:-1].decode()


def _value_end(text: bytes, start: int, raw: Raw | None) -> int:
    """Where the value that starts at `start` ends: by the decoder's own slice if it is that value, else by scanning.

    The decoder keeps one value per key, so a duplicate key's slice may be another value's; equal bytes are as good.
    """
    if raw is not None:
        value = bytes(raw)
        end = start + len(value)
        if text[start:end] == value and _AFTER.match(text, end):
            return end
    if text[start : start + 1] not in (b"{", b"["):
        scalar = _SCALAR.match(text, start)
        return scalar.end() if scalar else start
    depth = 0
    for token in _TOKEN.finditer(text, start):
        kind = text[token.start()]
        if kind in b"{[":
            depth += 1
        elif kind in b"}]":
            depth -= 1
            if depth == 0:
                return token.end()
    return len(text)


def replace(text: bytes, span: Span, value: bytes) -> bytes:
    """`text` with `value`, itself JSON, in the place of the value at `span`."""
    return b"".join((text[: span.start], value, text[span.end :]))


def insert(text: bytes, key: bytes, value: bytes) -> bytes:
    """`text` with a new first member. `key` is without quotes and needs no escapes; the caller knows it is absent.

    Raises:
        ValueError: `text` does not open an object.
    """
    opening = _OPEN.match(text)
    if opening is None:
        raise ValueError("not a JSON object")
    at = opening.end()
    comma = b"" if _EMPTY.match(text, at) else b","
    return b"".join((text[:at], b'"', key, b'":', value, comma, text[at:]))


def set_members(text: bytes, changes: Mapping[str, bytes], *, known: Collection[str] = ()) -> bytes:
    """`text` with each key's value replaced by the given JSON, or inserted in front where the key is absent.

    Args:
        changes: plain keys, without escapes, and their new values as JSON.
        known: keys that are known to be members of the top level, because the text has been decoded before. Most texts
            then need not be decoded again.

    Raises:
        BadRequest: a key to change is there twice (providers differ in which one they take), or `text` is not a JSON
            object.
    """
    spans = _places(text, changes, known)
    for name, span in sorted(spans.items(), key=lambda item: item[1], reverse=True):
        text = replace(text, span, changes[name])  # from the back, so that the other spans stay right
    for name, value in changes.items():
        if name not in spans:
            text = insert(text, name.encode(), value)
    return text


def get_member(text: bytes, key: str, *, known: Collection[str] = ()) -> bytes | None:
    """A top-level member's raw value, or None where the key is absent. `known` as in `set_members`.

    Raises:
        BadRequest: as `set_members`.
    """
    span = _places(text, (key,), known).get(key)
    return text[span.start : span.end] if span else None


def _places(text: bytes, keys: Collection[str], known: Collection[str]) -> dict[str, Span]:
    spans: dict[str, Span] = {}
    if known and b"\\u" not in text:  # then a key stands in the text as it is
        open_keys = []
        for key in keys:
            quoted = b'"%b"' % key.encode()
            occurs = text.count(quoted)
            span = _after_key(text, quoted) if occurs == 1 and key in known else None
            if span is not None:
                spans[key] = span
            elif occurs:
                open_keys.append(key)
        if not open_keys:
            return spans
        spans.clear()
    try:
        found = members(text)
    except (ValueError, RecursionError):
        raise BadRequest("the request body is not a JSON object") from None
    for name, span in found:
        if name in keys:
            if name in spans:
                raise BadRequest(f"the request body has the key `{name}` more than once; send it once")
            spans[name] = span
    return spans


def _after_key(text: bytes, quoted: bytes) -> Span | None:
    """The string value behind the only occurrence of a quoted key; None where it is no string."""
    value = _STRING_VALUE.match(text, text.index(quoted) + len(quoted))
    return Span(*value.span(1)) if value else None


def too_deep(text: bytes, arrays: Iterable[Iterable[Raw]] = (), limit: int = MAX_DEPTH) -> bool:
    """Whether a JSON object nests deeper than `limit` arrays and objects, itself included. Never recurses.

    The number of opening brackets, in strings or not, is an upper bound on the depth and cheap to count. Where that
    does not settle it, it is counted for each element of the given arrays, and for all that is outside of them; only
    what is still open then is scanned exactly. So a long conversation costs one more pass.

    Args:
        arrays: the elements of arrays that are members of the top level.
    """
    outside = _opens(text)
    if outside <= limit:
        return False
    for array in arrays:
        outside -= 1
        for element in map(bytes, array):
            inside = _opens(element)
            outside -= inside
            if inside > limit - 2 and _exactly_too_deep(element, limit - 2):
                return True
    return outside > limit and _exactly_too_deep(text, limit)


def _opens(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[")


def _exactly_too_deep(text: bytes, limit: int) -> bool:
    steps = _ANY_STRING.sub(b"", text).translate(_STEPS, _NOT_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > limit
