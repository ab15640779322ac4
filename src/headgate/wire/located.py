"""Where everything stands in a JSON text: its structure with byte offsets, for those who splice (decisions 15).

One pass at the speed of `bytes.find` over strings, without recursion, so that neither depth nor size can hurt. The text
has been decoded by others before: what is here tells places, and is no validator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_GAP = re.compile(rb"[ \t\n\r,:]*+")
_SCALARS = re.compile(rb'[^"\[\]{}]++')  # in an array: numbers and words, with the commas between them
_SCALAR = re.compile(rb"[^\s,\]}]++")
_ESCAPE = re.compile(
    rb'\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]', re.DOTALL
)
LONE = re.compile("[\ud800-\udfff]")
"""A lone surrogate: JSON can spell it, and no text holds it."""
_QUOTE, _BACKSLASH, _OPEN_OBJECT = b'"\\{'
_OPENING, _CLOSING = b"{[", b"}]"

_string = msgspec.json.Decoder(str)


Literal = tuple[int, int]
"""A JSON string's bytes, quotes included: [start, end)."""

Node = Any
"""A `Literal`, a list, `Members`, or None for numbers, true, false and null."""


class Members(list[tuple[str, Any]]):
    """The members of a JSON object in order, duplicates kept."""

    def get(self, key: str) -> Any:
        """The last value under a key, as most readers have it; None where there is none."""
        found = None
        for name, value in self:
            if name == key:
                found = value
        return found


def loads(text: bytes) -> Any:
    """A JSON text with its objects as `Members`. All numbers are floats: none is too long for it.

    Raises:
        ValueError: it is no JSON, or no UTF-8.
        RecursionError: it is deeper than any provider reads.
    """
    return json.loads(text.decode(), object_pairs_hook=Members, parse_int=float, strict=False)


def locate(text: bytes) -> Node:
    """The structure of a JSON text, the same as `loads` has it, with literals in the place of strings.

    Raises:
        ValueError: it is so malformed that its structure cannot be told.
    """
    top: list[Node] = []
    stack: list[list[Any]] = []
    here: list[Any] = top
    keyed = False  # `here` is an object
    at, size = _end_of(_GAP, text, 0), len(text)
    name = ""
    while at < size:
        first = text[at]
        if first in _CLOSING:
            if not stack:
                raise ValueError(f"not JSON (byte {at})")
            here = stack.pop()
            keyed = type(here) is Members
            at = _end_of(_GAP, text, at + 1)
            continue
        if keyed:
            end = _string_end(text, at)
            name = literal_text(text, at, end)
            at = _end_of(_GAP, text, end)
            first = text[at] if at < size else 0
        node: Node = None
        opens = False
        if first == _QUOTE:
            end = _string_end(text, at)
            node, at = (at, end), end
        elif first in _OPENING:
            node, at, opens = (Members() if first == _OPEN_OBJECT else []), at + 1, True
        elif keyed:
            at = _end_of(_SCALAR, text, at)
        else:
            end = _end_of(_SCALARS, text, at)
            run, at = text[at:end], end
            here.extend([None] * (run.count(b",") + (not run.rstrip().endswith(b","))))
            continue
        here.append((name, node) if keyed else node)
        if opens:
            stack.append(here)
            here, keyed = node, first == _OPEN_OBJECT
        at = _end_of(_GAP, text, at)
    if stack or len(top) != 1:
        raise ValueError("not JSON: it ends too early")
    return top[0]


def _string_end(text: bytes, start: int) -> int:
    """The end of the string that begins at `start`. Finding a quote is many times faster than matching a pattern, and
    most strings have no backslash in front of their first one."""
    if text[start] == _QUOTE:
        end = text.find(b'"', start + 1) + 1
        if end and text[end - 2] != _BACKSLASH:
            return end
    return _end_of(_STRING, text, start)


def _end_of(pattern: re.Pattern[bytes], text: bytes, start: int) -> int:
    found = pattern.match(text, start)
    if found is None:
        raise ValueError(f"not JSON (byte {start})")
    return found.end()


def literal_text(text: bytes, start: int, end: int) -> str:
    """The string whose literal is at [start, end). A lone surrogate, which no text holds, is U+FFFD in it; what is no
    proper literal is read as well as can be. Never raises."""
    inside = text[start + 1 : end - 1]
    if _BACKSLASH not in inside:
        return inside.decode("utf-8", "replace")
    try:
        return _string.decode(text[start:end])
    except (ValueError, msgspec.DecodeError):
        return _lone_replaced(inside)


def _lone_replaced(inside: bytes) -> str:
    pieces = []
    at = 0
    for escape in _ESCAPE.finditer(inside):
        pieces.append(inside[at : escape.start()].decode("utf-8", "replace"))
        pieces.append(LONE.sub("\ufffd", json.loads(b'"%b"' % escape[0])))
        at = escape.end()
    pieces.append(inside[at:].decode("utf-8", "replace"))
    return "".join(pieces)


def byte_places(text: bytes, start: int, end: int, characters: Iterable[int]) -> list[int]:
    """Where characters of the string whose literal is at [start, end) stand in `text`, as byte offsets.

    Args:
        characters: ascending, each at most the string's length, which is where its closing quote stands.
    """
    first, last = start + 1, end - 1
    wanted = list(characters)
    found: list[int] = []
    at, seen = first, 0  # the byte and the character that everything before is done with
    for escape in (*_ESCAPE.finditer(text, first, last), None):
        stop = last if escape is None else escape.start()
        plain = text[at:stop].decode("utf-8", "replace")
        while len(found) < len(wanted) and wanted[len(found)] <= seen + len(plain):
            found.append(at + len(plain[: wanted[len(found)] - seen].encode()))
        if escape is None or len(found) == len(wanted):
            break
        seen += len(plain) + 1
        at = escape.end()
    return found + [last] * (len(wanted) - len(found))
