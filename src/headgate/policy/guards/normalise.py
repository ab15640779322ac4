"""A text without its disguise: hidden characters, look-alikes, and what was written in letters of another alphabet.

`clean` undoes what changes the look of single characters, and is the text that everything else reads. `disguises`
undoes what changes words: leetspeak, spaced letters, reversal, rot13. (`decodings` finds what is encoded.)
All are linear in the text's length.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headgate.policy.guards.homoglyphs import LATIN_LOOKS, LETTER_SIGNS, TO_LATIN
from headgate.policy.guards.injection_lines import knows

_HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_DROP = re.compile(f"[{_HIDDEN}]+")
_TAGS = re.compile("[\U000e0020-\U000e007e]")
_COVER = re.compile("(?<=[!-~])(?=[\U000e0020-\U000e007e])|(?<=[\U000e0020-\U000e007e])(?=[!-~])")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{2,6}\U000e007f")  # of England, Scotland, Wales
_FROM_TAGS = {0xE0000 + code: code for code in range(0x20, 0x7F)}
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{6,}")
_RUNS = re.compile(r"[\x00-\x7f]+|[^\x00-\x7f]")
_RARE = re.compile(f"[{_HIDDEN}\U0001f130-\U0001f189\U0001f1e6-\U0001f1ff]")
_LOOK_ALIKE = re.compile(f"[{re.escape(LATIN_LOOKS)}]+")
_WORD = re.compile(r"[^\W\d_]+")
_MIXED_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]*+[^\W\d_A-Za-z][^\W\d_]*+")
_LATIN = re.compile("[A-Za-z]+")
_TWO_ALPHABETS = re.compile(r"[A-Za-z][^\W\d_A-Za-z]|[^\W\d_A-Za-z][A-Za-z]")
_SIGNS = re.compile("[\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189\U0001f1e6-\U0001f1ff]")

_LEET: Final = str.maketrans("0134578@$!|+", "oieastbasilt")
# Gates begin with a class of rare characters: the engine then skips to the next of them at the speed of C.
_LEET_GATE = re.compile(r"[013457@$!|+](?<=[A-Za-z].)(?=[A-Za-z])")
_LEET_WORD = re.compile(r"(?<![\w@$!|+])(?=[\w@$!|+]{0,30}[A-Za-z])[\w@$!|+]{2,32}(?![\w@$|+])")
_SPACED = re.compile(r"(?<!\S)\S(?:[ \t]{1,3}\S(?!\S)){5,}|(?<!\w)(?:\w[ \t._*|/\-]{1,3}){5,}\w(?!\w)")
_SPACED_GATE = re.compile(r"[ \t._*|/\-][^\W\d_](?!\w)(?:[ \t._*|/\-]{1,3}[^\W\d_](?!\w)){3}")
_WIDE = re.compile(r"[ \t]{2,}")
_ONLY_SPACES = re.compile(r"\S(?:[ \t]+\S(?!\S))*")
_BETWEEN_LETTERS = re.compile(r"[ \t._*|/\-]")
_BETWEEN_WORDS = re.compile(r"[ \t._*|/\-]{2,}")


@dataclass(frozen=True, slots=True)
class Clean:
    """A text whose characters are what they look like.

    Attributes:
        text: NFKC, without hidden characters and look-alikes.
        source: the text it was made of.
        hidden: the text with what Unicode tags spell in its place, and what variation selectors spell; "" for nothing.
        changed: how many hidden characters and look-alikes there were.
    """

    text: str
    source: str
    hidden: str = ""
    changed: int = 0

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of `text` is in `source`. Exact to the character but for letters composed of several."""
        if self.text == self.source:
            return start, end
        if not self.text:
            return 0, len(self.source)
        first = self._back(start)[0]
        return first, max(first, self._back(max(start, end - 1))[1])

    def _back(self, place: int) -> tuple[int, int]:
        """The letter of `source` that a place in `text` comes from: where it begins and ends."""
        made, last = 0, (0, 0)
        for run in _RUNS.finditer(self.source):
            start, end = run.span()
            length = end - start if run.group().isascii() else len(_plain(run.group())[0])
            if made + length > place:
                inside = start + place - made if length == end - start else start
                return inside, inside + 1
            if length:
                last = end - 1, end
            made += length
        return last


def clean(text: str) -> Clean:
    """Undo hidden characters, compatibility forms and look-alike letters. An ASCII text comes back as it is."""
    if text.isascii():
        return Clean(text, text)
    letters = "".join(set(text))  # the expressions look for single characters, of which a text has few different ones
    if not _RARE.search(letters):
        hidden, plain, changed = "", unicodedata.normalize("NFKC", text), 0
    else:
        hidden = _spelled(text)
        plain, changed = _plain(text)
    if _LOOK_ALIKE.search(letters if plain == text else plain):
        plain, alike = _latin(plain)
        changed += alike
    return Clean(plain, text, hidden, changed)


def _plain(text: str) -> tuple[str, int]:
    """Without hidden characters and compatibility forms, and how many were hidden."""
    shown = _DROP.sub("", text)
    if _SIGNS.search(shown):
        shown = shown.translate(LETTER_SIGNS)
    return unicodedata.normalize("NFKC", shown), len(text) - len(shown)


def _spelled(text: str) -> str:
    """What tag characters and variation selectors say."""
    if text.isascii() or not _DROP.search(text):
        return ""
    parts = []
    if len(_TAGS.findall(_FLAG.sub("", text))) >= 4:  # in place: letters that have no tag stand between them
        inline = _COVER.sub("\n", text).translate(_FROM_TAGS)
        parts.append(unicodedata.normalize("NFKC", _DROP.sub("", inline)))
    for found in _SELECTORS.finditer(text):
        spelled = bytes(
            ord(letter) - 0xFE00 if ord(letter) < 0x10000 else ord(letter) - 0xE0100 + 16 for letter in found.group()
        )
        parts.append(spelled.decode("utf-8", "replace"))
    return "\n".join(parts)


def _latin(text: str) -> tuple[str, int]:
    """Look-alikes to Latin letters: in words of two alphabets, and in all words where most letters are Latin."""
    latin, alike, letters = (sum(map(len, each.findall(text))) for each in (_LATIN, _LOOK_ALIKE, _WORD))
    mostly = latin + alike >= 0.95 * letters and latin >= 0.2 * letters
    if not mostly and not _TWO_ALPHABETS.search(text):
        return text, 0
    changed = 0

    def word(found: re.Match[str]) -> str:
        nonlocal changed
        each = found.group()
        if not (mostly or _LATIN.search(each)):
            return each
        made = each.translate(TO_LATIN)
        changed += made != each
        return made

    return _MIXED_WORD.sub(word, text), changed


def disguises(text: str, turned: int, backwards: int) -> Iterator[tuple[str, str]]:
    """What a cleaned text says where its words are in disguise: (how, text) for each disguise there are signs of.

    Args:
        turned: how many of its words are known ones in rot13; one is a sign in a short text, and three in a longer one.
        backwards: how many are known ones from behind.
    """
    needed = min(3, 1 + len(text) // 200) + len(text) // 1000
    if turned >= needed:
        yield "rot13", codecs.encode(text, "rot13")
    if backwards >= needed:
        yield "reversed", text[::-1]
    if len(_LEET_GATE.findall(text, 0, 20_000)) >= 2:
        yield "leetspeak", _LEET_WORD.sub(lambda found: found.group().replace("11", "ll").translate(_LEET), text)
    if _SPACED_GATE.search(text):
        yield "spaced", _SPACED.sub(lambda found: _join(found.group()), text)


def _join(spaced: str) -> str:
    """Letters with gaps to words: a wider gap is the end of a word; without any, known words are looked for."""
    if _ONLY_SPACES.fullmatch(spaced):  # then a full stop is none of the gaps
        words = ["".join(word.split()) for word in _WIDE.split(spaced)]
        return _split(words[0]) if len(words) == 1 else " ".join(words)
    words = [_BETWEEN_LETTERS.sub("", word) for word in _BETWEEN_WORDS.split(spaced)]
    return _split(words[0]) if len(words) == 1 else " ".join(words)


def _split(run: str) -> str:
    """A run of letters to known words, the longest first from the left; the rest stays together."""
    words: list[str] = []
    rest = ""
    at = 0
    low = run.lower()
    while at < len(run):
        for length in range(min(16, len(run) - at), 1, -1):
            if knows(low[at : at + length]) or low[at : at + length] in _SHORT:
                if rest:
                    words.append(rest)
                    rest = ""
                words.append(run[at : at + length])
                at += length
                break
        else:
            rest += run[at]
            at += 1
    return " ".join([*words, rest] if rest else words)


_SHORT_WORDS = "the and you are was not for with that this now me my of to in is it as an or on do be by if so"
_SHORT = frozenset(_SHORT_WORDS.split())
