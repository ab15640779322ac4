"""The simulator's own tokenizer: simple, deterministic, and additive.

A token is a run of up to four ASCII characters, or one other character; characters beyond U+FFFF (emoji) are two
tokens. The count never exceeds the text's UTF-8 bytes, and cutting a text between pieces changes no count: what a
cut stream has shown can be billed exactly.
"""

from __future__ import annotations

import re

_PIECE = re.compile(r"[\x00-\x7f]{1,4}|[^\x00-\x7f]")
_BEYOND_BMP = re.compile(r"[^\x00-\uffff]")


def count(text: str) -> int:
    """Tokens in `text`."""
    if text.isascii():
        return (len(text) + 3) // 4
    return len(_PIECE.findall(text)) + len(_BEYOND_BMP.findall(text))


def pieces(text: str) -> list[str]:
    """`text` cut into its pieces; ``"".join(pieces(text)) == text``."""
    return _PIECE.findall(text)


def weight(piece: str) -> int:
    """Tokens in one piece of :func:`pieces`: 1, or 2 beyond U+FFFF."""
    return 2 if piece > "\uffff" else 1
