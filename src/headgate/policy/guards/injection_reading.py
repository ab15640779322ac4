"""A text read sentence by sentence, and what its *blocks* of sixteen sentences have of the rules.

A planted instruction is a few sentences in a long document, so a document is as suspicious as its most suspicious
block. Blocks overlap by half, so that none falls between two.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from headgate.policy.guards.injection_lines import BACKWARDS, TURNED, fold, line, sentences
from headgate.policy.guards.injection_rules import LINES, STANDARD, TEXTS

BLOCK, STEP = 16, 8  # sentences
CONTEXT = ("about", "about_share", "length", "marks", "topic", "quoted", "fenced")
"""What a block is told by besides the rules: words such as "detect" and "example", its length, marks as in code, words
such as "injection" in it and around it, and sentences that meet a rule between quotes or in a fence of code."""

_MARKS = "{}[]=()<>#*|/"
_QUOTES = re.compile("[\"`\u201c\u201d\u00ab\u201e]|\\\\n|(?<![a-z])'|'(?![a-z])")
_FENCE = "```"
_BY_NEEDS: list[tuple[str, list[tuple[int, re.Pattern[str]]]]] = [
    (needs, [(number, rule.pattern) for number, rule in enumerate(LINES) if rule.needs == needs])
    for needs in sorted({rule.needs for rule in LINES})
]
_AROUND = 16  # sentences on each side of a block in which the topic is looked for
_COUNTED = 2  # times that a rule counts in one block


@dataclass(slots=True)  # not frozen: that takes three times as long to make
class Sentence:
    """Where it is in the text that was read, and what was found in it.

    Attributes:
        part: which part of the text it is in, and `start` and `end` are places in that part.
        hits: numbers of the rules met, in `injection_rules.STANDARD`, with repetitions of different sentences only.
    """

    part: int
    start: int
    end: int
    words: int
    about: int
    marks: int
    topic: int
    quoted: bool
    fenced: bool
    hits: tuple[int, ...]


class Reading:
    """What has been read of one text, part by part."""

    def __init__(self) -> None:
        self.sentences: list[Sentence] = []
        self.lines_read = 0

    def add(self, part: int, text: str) -> tuple[int, int]:
        """Read one part; how many words of it are known ones in rot13, and from behind."""
        spans = sentences(text, 0, len(text))
        folded = [fold(text[start:end]) for start, end in spans]
        lines = [line(each) for each in folded]
        hits = _met(lines, folded)
        fenced = False
        for n, ((start, end), kinds) in enumerate(zip(spans, lines, strict=True)):
            each = folded[n]
            if _FENCE in each:
                fenced ^= each.count(_FENCE) % 2 == 1
            met = tuple(hits.get(n, ()))
            quoted = bool(met) and _QUOTES.search(each) is not None
            self.sentences.append(
                Sentence(
                    part,
                    start,
                    end,
                    len(kinds),
                    kinds.count("b"),
                    sum(map(each.count, _MARKS)),
                    kinds.count("i"),
                    quoted,
                    fenced and bool(met),
                    met,
                )
            )
        self.lines_read += len(lines)
        joined = "".join(lines)
        return joined.count(TURNED), joined.count(BACKWARDS)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First sentence and the one behind the last, of each block."""
        count = len(self.sentences)
        if count <= BLOCK:
            yield 0, count
            return
        for first in range(0, count - BLOCK, STEP):
            yield first, first + BLOCK
        yield count - BLOCK, count

    def of(self, first: int, last: int) -> tuple[dict[int, int], tuple[float, ...]]:
        """A block's features: how often each rule was met, at most twice, and its context."""
        counts: dict[int, int] = {}
        words = about = marks = letters = quoted = fenced = 0
        for each in self.sentences[first:last]:
            words += each.words
            about += each.about
            marks += each.marks
            letters += each.end - each.start
            quoted += each.quoted
            fenced += each.fenced
            for rule in each.hits:
                counts[rule] = min(_COUNTED, counts.get(rule, 0) + 1)
        topic = sum(each.topic for each in self.sentences[max(0, first - _AROUND) : last + _AROUND])
        context = (
            min(about, 6) / 3,
            min(2.0, 20 * about / (words + 1)),
            math.log1p(words) / 5,
            min(2.0, 10 * marks / (letters + 1)),
            min(topic, 4) / 2,
            min(quoted, 3) / 1.5,
            min(fenced, 3) / 1.5,
        )
        return counts, context


def _met(lines: list[str], folded: list[str]) -> dict[int, set[int]]:
    """Which rules each sentence meets."""
    met: dict[int, set[int]] = {}
    having: dict[str, list[int]] = {}  # letter -> lines with it: most rules are about letters that few lines have
    for n, each in enumerate(lines):
        for letter in set(each):
            having.setdefault(letter, []).append(n)
    for needs, rules in _BY_NEEDS:
        if len(needs) == 1:
            chosen = having.get(needs, [])
        else:
            chosen = sorted({n for letter in needs for n in having.get(letter, ())})
        if not chosen:
            continue
        joined, starts = _join([lines[n] for n in chosen], "\n")
        for number, pattern in rules:
            for found in pattern.finditer(joined):
                met.setdefault(chosen[bisect_right(starts, found.start()) - 1], set()).add(number)
    text, starts = _join(folded, "")
    for number, rule in enumerate(TEXTS, start=len(LINES)):
        if any(mark in text for mark in rule.needs):
            for found in rule.pattern.finditer(text):
                met.setdefault(bisect_right(starts, found.start()) - 1, set()).add(number)
    return met


def _join(parts: list[str], between: str) -> tuple[str, list[int]]:
    starts: list[int] = []
    at = 0
    for part in parts:
        starts.append(at)
        at += len(part) + len(between)
    return between.join(parts), starts


NAMES = tuple(rule.name for rule in STANDARD)
