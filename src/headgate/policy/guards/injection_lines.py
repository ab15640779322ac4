"""A sentence as a *line of kinds*: what the rules read.

One letter per word: which kind of `injection_words` it is, ``_`` for any other word, ``,`` for a mark. "Ignore all
previous instructions" and "Ignoriere alle vorherigen Anweisungen" are both ``OEPR``. So a rule says the same in every
language there, and holds for sentences nobody has seen.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

from headgate.policy.guards.injection_words import KINDS, LETTERS

_MARKS = "\u0610-\u061a\u064b-\u065f\u0900-\u0dff\u0e30-\u0e4e"
# Runs of one class are matched at the speed of C. They are never followed by anything, so nothing is tried twice.
_TOKEN = re.compile(rf"(?:[^\W\d_]+|[{_MARKS}]+)+|\d+|[<>\[\]{{}}!?:\"#*|=/]")
_ASCII_TOKEN = re.compile(r"[a-z]+|[0-9]+|[<>\[\]{}!?:\"#*|=/]")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_ACCENTS = re.compile("[\u0300-\u036f]+")
_END = re.compile(r"[.!?\u3002\uff01\uff1f\u061f\u0964\n]+")
_SHORTEST, _LONGEST = 12, 240  # characters of a sentence
_REMEMBERED = 20_000  # words, for the whole process
_STEM = 4  # letters, at least, of a stem
_FLOOD = 24  # words of three letters and more in a sentence, of which few differ

FLOOD = "~"
"""The letter behind a line whose words are the same few over and over."""

TURNED, BACKWARDS = "<", ">"
"""The letters of words that are known ones in rot13, and from behind."""

_exact: dict[str, str] = {}
_stems: dict[str, list[tuple[str, str]]] = {}  # by their first letters
_phrases: dict[str, dict[str, list[tuple[list[str], str]]]] = {}  # by their first and second word
_runs: dict[str, list[tuple[str, str]]] = {}
_known: dict[str, str] = {}


def fold(text: str) -> str:
    """Lower case; Latin, Greek and Cyrillic letters without accents."""
    text = text.lower()
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text)))


def _build() -> None:
    for kind, words in KINDS.items():
        for raw in words.split():
            _learn(fold(raw), LETTERS[kind])
    for seconds in _phrases.values():
        for phrases in seconds.values():
            phrases.sort(key=lambda each: -len(each[0]))
    for stems in _stems.values():
        stems.sort(key=lambda each: -len(each[0]))
    for runs in _runs.values():
        runs.sort(key=lambda each: -len(each[0]))


def _learn(word: str, letter: str) -> None:
    parts = [part for part in word.split("_") if part]
    if not word.isascii() and _UNSPACED.match(word):
        joined = "".join(parts)
        _runs.setdefault(joined[0], []).append((joined, letter))
    elif len(parts) > 1:
        _phrases.setdefault(parts[0], {}).setdefault(parts[1], []).append((parts[1:], letter))
    elif word.endswith("*"):
        _stems.setdefault(word[:_STEM], []).append((word[:-1], letter))
    else:
        _exact.setdefault(word, letter)


def _learn_disguises() -> None:
    whole = [stem for stems in _stems.values() for stem, _ in stems if len(stem) > 4]
    real = {*_exact, *_COMMON, *whole}
    words = [word for word in (*_exact, *_COMMON, *whole) if len(word) > 2 and word.isascii() and word.isalpha()]
    for word in words:
        for letter, made in ((TURNED, codecs.encode(word, "rot13")), (BACKWARDS, word[::-1])):
            if made not in real:
                _known_always.setdefault(made, letter)


_build()
_starts = frozenset((*_phrases, *_runs))
_COMMON_WORDS = (
    "the and that this with for have from are was not but they what when there which were been their would could should"
    " will can about into than then them these other some more only over also after back because way even most"
)
_COMMON = frozenset(_COMMON_WORDS.split())
_known_always: dict[str, str] = {}
_learn_disguises()


def knows(word: str) -> bool:
    """Whether a folded word is one of `injection_words` as it stands, and of more than two letters."""
    return len(word) > 2 and word in _exact


def _know(word: str) -> str:
    letter = _exact.get(word, "")
    if not letter:
        for stem, kind in _stems.get(word[:_STEM], ()):
            if word.startswith(stem):
                letter = kind
                break
        else:
            letter = _known_always.get(word) or ("_" if word[0].isalnum() else ",")
    if len(_known) >= _REMEMBERED:
        _known.clear()
    _known[word] = letter
    return letter


def sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Where the sentences of a part of a text are: of 12 to 240 characters, the last one may be shorter."""
    found: list[tuple[int, int]] = []
    at = start
    while at < end:
        stop = min(end, at + _LONGEST)
        if close := _END.search(text, min(stop, at + _SHORTEST), stop):
            stop = close.end()
        elif stop < end and (space := text.rfind(" ", at + _LONGEST // 2, stop)) > 0:
            stop = space
        found.append((at, stop))
        at = stop
    return found


def _tokens(folded: str) -> list[str]:
    """Words, numbers and the marks that matter. Scripts without spaces go by letters."""
    if folded.isascii():
        return _ASCII_TOKEN.findall(folded)
    found = _TOKEN.findall(folded)
    if not _UNSPACED.search(folded):
        return found
    spread: list[str] = []
    for each in found:
        if _UNSPACED.match(each):
            spread.extend(each)
        else:
            spread.append(each)
    return spread


def line(folded: str) -> str:
    """A folded sentence's line of kinds."""
    words = _tokens(folded)
    out: list[str] = []
    add = out.append
    get, starts = _known.get, _starts
    if starts.isdisjoint(words):
        out = [get(word) or _know(word) for word in words]
    else:
        free = 0  # words before this place belong to a phrase already
        for place, word in enumerate(words):
            if place < free:
                continue
            if word in starts:
                letter, length = _longest(words, place)
                if length:
                    add(letter)
                    free = place + length
                    continue
            add(get(word) or _know(word))
    if len(words) >= _FLOOD:
        long = [word for word in words if len(word) > 2]  # codes and tables repeat their digits and bars
        if len(long) >= _FLOOD and len(set(long)) * 5 < len(long):
            out.append(FLOOD)
    return "".join(out)


def _longest(words: list[str], place: int) -> tuple[str, int]:
    """The kind and the length, in words, of the longest phrase that begins here; 0 where there is none."""
    word = words[place]
    if (seconds := _phrases.get(word)) is not None and place + 1 < len(words):
        for parts, letter in seconds.get(words[place + 1], ()):
            if words[place + 1 : place + 1 + len(parts)] == parts:
                return letter, 1 + len(parts)
    for run, letter in _runs.get(word, ()):
        if words[place : place + len(run)] == list(run):
            return letter, len(run)
    return "", 0


def places(folded: str) -> list[tuple[int, int]]:
    """For each letter of a folded sentence's line, where its words are in the sentence."""
    tokens: list[tuple[str, int, int]] = []
    for found in _TOKEN.finditer(folded):
        word, start = found.group(), found.start()
        if _UNSPACED.match(word):
            tokens.extend((letter, start + n, start + n + 1) for n, letter in enumerate(word))
        else:
            tokens.append((word, start, found.end()))
    words = [word for word, _, _ in tokens]
    out: list[tuple[int, int]] = []
    place = 0
    while place < len(words):
        length = _longest(words, place)[1] or 1
        out.append((tokens[place][1], tokens[place + length - 1][2]))
        place += length
    return out
