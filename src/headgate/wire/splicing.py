"""Splices of texts in a request's body: new texts by their spans, what else is put in by its bytes (decisions 15)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from headgate.wire.located import LONE

_QUOTE = 34


def splice(body: bytes, edits: Iterable[tuple[int, int, str]]) -> bytes:
    """The body with new texts in the place of old ones; everything else keeps its bytes.

    Args:
        edits: (start, end, new text) by the spans of segments, in any order, not overlapping.

    Raises:
        ValueError: they overlap, or are outside the body.
    """
    return splice_bytes(body, [(start, end, spelled(body, start, end, text)) for start, end, text in edits])


def splice_bytes(body: bytes, edits: Iterable[tuple[int, int, bytes]]) -> bytes:
    """As `splice`, with JSON in the place of texts. Where one begins and ends at the same byte, it is put in there."""
    pieces: list[bytes] = []
    at = 0
    for start, end, new in sorted(edits):
        if not at <= start <= end <= len(body):
            raise ValueError(f"edits overlap at byte {start}, or are outside the body")
        pieces += (body[at:start], new)
        at = end
    pieces.append(body[at:])
    return b"".join(pieces)


def spelled(body: bytes, start: int, end: int, text: str) -> bytes:
    """A text as JSON in the place of what is at [start, end): a whole string, or part of one. Inside of a string there
    is no quote without a backslash, so the first byte tells which it is."""
    literal = msgspec.json.encode(LONE.sub("\ufffd", text))
    return literal if end - start > 1 and body[start] == _QUOTE else literal[1:-1]
