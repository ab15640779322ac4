"""Text files that stand in a body in base64, as data URLs or without: what they say, and how to say other words."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

_PREFIX = re.compile(r"data:[^,]{0,256};base64,", re.IGNORECASE)
_SAMPLE = 4096  # characters of base64 that tell a text from anything else; a multiple of four
_BINARY = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f]")


@dataclass(frozen=True, slots=True)
class Coded:
    """A text and how it was written. See `wire.segments.Segment`, which has it in the place of marks."""

    prefix: str
    words: str = field(repr=False)

    def plain(self, written: str) -> str:
        """What it says."""
        return self.words

    def written(self, plain: str) -> str:
        """Other words, written as it was."""
        return self.prefix + base64.b64encode(plain.encode("utf-8", "replace")).decode()


def coded_text(written: str) -> Coded | None:
    """The text that base64 stands for; None where it is something else: a picture, a PDF, an archive.

    What it says it is (its media type) decides nothing: whoever writes it may write that, too.
    """
    prefix = _PREFIX.match(written)
    at = prefix.end() if prefix is not None else 0
    if not _is_text(_decoded(written[at : at + _SAMPLE]), whole=False):
        return None
    data = _decoded(written[at:])
    if data is None or not _is_text(data, whole=True):
        return None
    return Coded(written[:at], data.decode("utf-8"))


def _decoded(coded: str) -> bytes | None:
    try:
        return base64.b64decode(coded + "=" * (-len(coded) % 4))
    except (binascii.Error, ValueError):
        return None


def _is_text(data: bytes | None, *, whole: bool) -> bool:
    if not data or data.startswith(b"%PDF"):
        return False
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if whole or error.start < len(data) - 3:  # the sample may end within a character
            return False
        text = data[: error.start].decode("utf-8")
    return _BINARY.search(text) is None
