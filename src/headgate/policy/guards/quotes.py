"""Facts against given sources: every quotation in an answer has to stand in one of them, word for word."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

MAX_FOUND = 10
MAX_SOURCES = 8_000_000
"""Characters of all sources together that are looked at."""

# What is longer than 2,000 characters between two marks is taken for no quotation.
# Straight marks are the same at both ends: they open before a word and close behind one. Typographic ones tell.
_QUOTED = (
    re.compile(r"(?<![\w\"])\"(?=[^\s\"])([^\"\n]{1,2000})(?<=\S)\"(?![\w\"])"),
    re.compile("“([^“”]{1,2000})[”“]"),
    re.compile("„([^„“”]{1,2000})[“”]"),
    re.compile("«([^«»]{1,2000})»"),
    re.compile("»([^«»]{1,2000})«"),
    re.compile("「([^「」]{1,2000})」"),
)
_LEFT_OUT = re.compile(r"\[?(?:\.\.\.|…)\]?|\[[^\]]{0,80}\]")
_WORD = re.compile(r"\w+")
_SINGLE = str.maketrans({"’": "'", "‘": "'", "‚": "'", "`": "'", "´": "'", "‐": "-", "‑": "-", "–": "-", "—": "-"})


def quotations(text: str) -> Iterator[str]:
    """What stands between quotation marks."""
    for pattern in _QUOTED:
        for found in pattern.finditer(text):
            yield found[1]


def words(text: str) -> str:
    """A text as it is compared: its words, in one case, with one space between; punctuation does not count."""
    plain = unicodedata.normalize("NFKC", text).translate(_SINGLE).casefold()
    return " ".join(_WORD.findall(plain))


def unfounded(texts: Sequence[str], sources: Sequence[str], least: int) -> list[tuple[str, str]]:
    """The quotations that stand in no source: (place, detail), at most `MAX_FOUND`.

    Where a quotation leaves words out ("a … b", "a [sic] b"), its parts are looked for in turn, in one source.

    Args:
        texts: of the answer.
        least: words that a quotation needs to be looked at, >= 1.
    """
    wanted: dict[str, tuple[int, list[str]]] = {}
    number = 0
    for text in texts:
        for quoted in quotations(text):
            number += 1
            parts = [part for part in map(words, _LEFT_OUT.split(quoted)) if part]
            if sum(part.count(" ") + 1 for part in parts) >= least:
                wanted.setdefault(quoted, (number, parts))
    if not wanted:
        return []
    known = [f" {words(source)} " for source in _bounded(sources)]
    missing = [
        (f"quotation {place}", f"no source says: {quoted[:200]}")
        for quoted, (place, parts) in wanted.items()
        if not any(_holds(source, parts) for source in known)
    ]
    return missing[:MAX_FOUND]


def _holds(source: str, parts: Sequence[str]) -> bool:
    at = 0
    for part in parts:
        found = source.find(f" {part} ", at)
        if found < 0:
            return False
        at = found + len(part) + 1
    return True


def _bounded(sources: Sequence[str]) -> Iterator[str]:
    left = MAX_SOURCES
    for source in sources:
        if left <= 0:
            return
        yield source[:left]
        left -= len(source)
