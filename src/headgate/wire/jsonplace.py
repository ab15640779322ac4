"""Changes deep inside of raw JSON: values by their paths, replaced in the bytes (decisions 15)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from headgate.wire.jsontext import Span, members

Path = tuple[str | int, ...]
"""Keys and places in arrays, from the top: ("choices", 0, "delta", "content")."""

_SPACE = re.compile(rb"[ \t\n\r]*+")
_OPEN = re.compile(rb"[ \t\n\r]*+\[")
_COMMA = re.compile(rb"[ \t\n\r]*+,")
_raws = msgspec.json.Decoder(list[Raw])


def dump(value: Any) -> bytes:
    """`value` as JSON. A lone surrogate, which some providers send, is escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def decoded(data: bytes) -> dict[str, Any] | None:
    """A JSON object, read as leniently as anybody does; None for what is none."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return None
    except RecursionError:
        return None
    return found if isinstance(found, dict) else None


def place(text: bytes, path: Path) -> Span | None:
    """Where the value at `path` stands; None where there is none. Of a key that is there twice, the last one.

    Raises:
        ValueError: what leads there is not JSON.
    """
    start, end = 0, len(text)
    for step in path:
        part = text[start:end]
        span = _member(part, step) if isinstance(step, str) else _element(part, step)
        if span is None:
            return None
        start, end = start + span.start, start + span.end
    return Span(start, end)


def put(text: bytes, changes: Mapping[Path, bytes]) -> bytes:
    """`text` with other values at these paths, none of which lies inside another. A path that is not there is left out.

    Args:
        changes: the new values, as JSON.
    """
    try:
        return _spliced(text, changes)
    except (ValueError, RecursionError):
        return _encoded(text, changes)  # it has been read by a more lenient reader


def _spliced(text: bytes, changes: Mapping[Path, bytes]) -> bytes:
    spans = sorted((span, value) for path, value in changes.items() if (span := place(text, path)) is not None)
    return b"".join(_pieces(text, spans))


def _pieces(text: bytes, spans: list[tuple[Span, bytes]]) -> Iterator[bytes]:
    at = 0
    for span, value in spans:
        yield text[at : span.start]
        yield value
        at = span.end
    yield text[at:]


def _encoded(text: bytes, changes: Mapping[Path, bytes]) -> bytes:
    loaded = json.loads(text)
    for path, value in changes.items():
        inside: Any = loaded
        try:
            for step in path[:-1]:
                inside = inside[step]
            if isinstance(inside, list) or (isinstance(inside, dict) and path[-1] in inside):
                inside[path[-1]] = json.loads(value)  # type: ignore[index]  # the wrong kind of step raises
        except (LookupError, TypeError):
            continue  # a path that is not there is left out
    return json.dumps(loaded, separators=(",", ":")).encode()


def _member(text: bytes, key: str) -> Span | None:
    if not text.startswith(b"{") and not text.lstrip(b" \t\n\r").startswith(b"{"):
        return None
    found = None
    for name, span in members(text):
        if name == key:
            found = span
    return found


def _element(text: bytes, index: int) -> Span | None:
    opening = _OPEN.match(text)
    if opening is None:
        return None
    at = opening.end()
    for number, raw in enumerate(_raws.decode(text)):
        value = bytes(raw)
        at = _after(_SPACE, text, at)
        end = at + len(value)
        if text[at:end] != value:
            raise ValueError("not where it was expected")
        if number == index:
            return Span(at, end)
        comma = _COMMA.match(text, end)
        if comma is None:
            return None
        at = comma.end()
    return None


def _after(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
