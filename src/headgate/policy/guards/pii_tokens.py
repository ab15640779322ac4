"""Words with a digit in them: most numbers that stand for somebody are one."""

from __future__ import annotations

import re

_FROM_DIGIT = re.compile(r"[0-9][A-Za-z0-9]*+(?:[-.+][A-Za-z0-9]++){0,6}")
_LETTERS_FIRST = 6
"""Letters before the first digit, at most: an Italian tax code has six."""

LONGEST = 24
"""Characters; no number that is known here is longer."""


def numbered_tokens(text: str) -> list[tuple[int, int]]:
    """Start and end of the words that hold a digit, of at most `LONGEST` characters; "-", "." and "+" join parts."""
    tokens: list[tuple[int, int]] = []
    for found in _FROM_DIGIT.finditer(text):
        start, end = found.span()
        if end - start > LONGEST or end - start < 4 or text[end : end + 1] == "_":
            continue
        low = max(0, start - _LETTERS_FIRST - 1)
        while start > low and text[start - 1].isascii() and text[start - 1].isalpha():
            start -= 1
        before = text[start - 1] if start else " "
        if not ((before.isascii() and before.isalnum()) or before in "_.") and end - start >= 6:
            tokens.append((start, end))
    return tokens
