"""Leaks of the system prompt and of canaries: as they are, encoded, and in other words.

Texts are compared *squashed*: letters and digits only, in lower case, so that spacing, case and punctuation hide
nothing. A canary in any form is certain. So is a long piece of the prompt, unless the caller's own words hold it too;
short prompts and quoted phrases are no leaks. The share of the prompt's word quadruples that an answer repeats flags,
and is certain only under `strict`.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from headgate.core.guards import Finding, Verdict
from headgate.policy.guards.answer_text import Hit, Told

GRAM = 16
"""Squashed characters: a piece of the prompt is noticed by one of these."""
LONG, LONG_STRICT = 80, 48
"""Squashed characters of a verbatim piece that is certainly one: about 16 words, and about 10."""
SHARE, SHARE_STRICT = 0.35, 0.2
"""Of the prompt's word quadruples, that an answer repeats in other words' company."""
FEWEST = 12
"""Quadruples: fewer say nothing."""
MOST = 50_000
"""Characters of a prompt that are compared."""
SHORTEST_CANARY = 8
MARKER = re.compile(r"canary-[0-9a-f]{20}")
"""What `headgate.canary()` makes; the application puts it into its system prompt."""

_PIECE = 16_384  # characters
_NOT_WORD = re.compile(r"[\W_]+")
_WORD = re.compile(r"[^\W_]+")
_BLOB = re.compile(r"[A-Za-z0-9+/_=-]{16,}")
_NOT_BLOB = re.compile(r"[^A-Za-z0-9+/_=-]")
_LONGEST_BLOB = 256  # characters of one that are decoded at once: it ends in what is new
_MORE = 24  # characters of one, after which it is decoded again
_STRIDE = 4  # a longer piece is met at one of these places, too
_BATCH = 96  # characters that are cut into words at once
_DEEPEST = 2  # encodings within encodings
_REMEMBERED = 64


def squashed(text: str) -> str:
    """Its letters and digits, in lower case."""
    if len(text) <= _PIECE:
        return _NOT_WORD.sub("", text.lower())
    # In pieces, between which other threads have their turn: a megabyte in one go would hold them up for long.
    return "".join([_NOT_WORD.sub("", text[at : at + _PIECE].lower()) for at in range(0, len(text), _PIECE)])


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A system prompt, made ready to be compared. Made once for each prompt.

    Attributes:
        forms: it squashed, as it is, by rot13, and backwards.
        grams: of all forms.
        quadruples: of its words.
    """

    forms: tuple[str, ...]
    grams: frozenset[str]
    quadruples: frozenset[str]


class Prompts:
    """Prompts that were made ready, by digest. Thread-safe; the oldest are forgotten."""

    def __init__(self, size: int = _REMEMBERED) -> None:
        self._known: OrderedDict[bytes, Prompt] = OrderedDict()
        self._lock = threading.Lock()
        self._size = size

    def of(self, text: str) -> Prompt:
        """The prompt, made ready."""
        key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        made = prompt_of(text)
        with self._lock:
            self._known[key] = made
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        return made


def prompt_of(text: str) -> Prompt:
    """A system prompt, made ready."""
    text = MARKER.sub("", text[:MOST])
    plain = squashed(text)
    forms = (plain, codecs.encode(plain, "rot13"), plain[::-1])
    grams = frozenset(form[at : at + GRAM] for form in forms for at in range(len(form) - GRAM + 1))
    return Prompt(forms, grams, frozenset(_quadruples(_WORD.findall(text.lower()))))


def _quadruples(words: Sequence[str]) -> Iterable[str]:
    return (" ".join(words[at : at + 4]) for at in range(len(words) - 3))


class Canaries:
    """Words that no answer may hold, in every form that is looked for."""

    __slots__ = ("longest", "pattern", "words")

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(words)
        needles = sorted({needle for word in self.words for needle in _needles(word)}, key=len, reverse=True)
        self.longest = len(needles[0]) if needles else 0
        self.pattern = re.compile("|".join(map(re.escape, needles))) if needles else None

    def __bool__(self) -> bool:
        return self.pattern is not None


def _needles(word: str) -> Iterable[str]:
    """Squashed forms of a canary: as it is, backwards, encoded; of base64 what does not depend on its neighbours."""
    if len(squashed(word)) < SHORTEST_CANARY:
        return
    plain = squashed(word)
    data = word.encode()
    yield from (plain, plain[::-1], codecs.encode(plain, "rot13"), data.hex(), data.hex()[::-1])
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data).decode()
        first = -(-before * 8 // 6)
        last = (before + len(data)) * 8 // 6
        yield squashed(encoded[first:last])


class Leaks:
    """A `TextGuard`.

    Args:
        prompt: None: there is none.
        known: squashed words of the caller: what is in them is no secret.
        blocks: what is certain ends the answer.
        strict: shorter pieces are certain.
    """

    __slots__ = (
        "_blob",
        "_canaries",
        "_count",
        "_decoded",
        "_known",
        "_met",
        "_prompt",
        "_said",
        "_squashed",
        "_strict",
        "_verdict",
        "_words",
    )

    def __init__(
        self, prompt: Prompt | None, canaries: Canaries, known: str = "", *, blocks: bool = True, strict: bool = False
    ) -> None:
        self._prompt = prompt
        self._canaries = canaries
        self._known = known
        self._verdict = Verdict.BLOCK if blocks else Verdict.FLAG
        self._strict = strict
        self._squashed = ""  # the end of the text
        self._words = ""  # the end of the text that has not been cut into words
        self._met: set[str] = set()  # of the prompt's quadruples
        self._said: set[str] = set()
        self._count = 0  # squashed characters so far
        self._blob = ""  # what may go on as something encoded
        self._decoded = 0  # how much of it has been looked at

    def look(self, told: Told, *, final: bool) -> int:
        """See `TextGuard`."""
        new = told.buf[told.fresh - told.base :]
        fresh = squashed(new)
        if fresh:
            self._count += len(fresh)
            self._squashed = (self._squashed + fresh)[-max(2 * LONG, self._canaries.longest + len(fresh), 4 * GRAM) :]
        if self._canaries and fresh:
            self._look_for_canaries(told, fresh)
        waits = told.end
        if self._prompt is not None:
            if fresh:
                waits = self._look_for_pieces(told, self._prompt, fresh)
            self._look_for_words(told, self._prompt, new, final=final)
        self._look_inside(told, new, final=final)
        return told.base if self._canaries and not final else waits

    def _hit(self, told: Told, why: str, verdict: Verdict, length: int) -> None:
        if why not in self._said:
            self._said.add(why)
            start = max(told.end - max(length, 1), 0)
            told.hits.append(Hit(start, told.end, Finding("leak", verdict, (why,))))

    def _look_for_canaries(self, told: Told, fresh: str) -> None:
        pattern = self._canaries.pattern
        assert pattern is not None
        found = pattern.search(self._squashed, max(0, len(self._squashed) - len(fresh) - self._canaries.longest))
        if found:
            self._hit(told, "canary", self._verdict, self._reach(told, len(self._squashed) - found.start()))

    def _reach(self, told: Told, count: int) -> int:
        """How many characters from the end hold the last `count` squashed ones."""
        buf, left, at = told.buf, count, len(told.buf)
        while at > 0 and left > 0:
            at -= 1
            left -= 0 if _NOT_WORD.match(buf[at]) else 1
        return len(buf) - at

    def _look_for_pieces(self, told: Told, prompt: Prompt, fresh: str) -> int:
        text = self._squashed
        at = max(len(text) - len(fresh) - GRAM + 1, 0)
        at += -(self._count - len(text) + at) % _STRIDE
        while at <= len(text) - GRAM:
            at = self._piece(told, prompt, text, at) if text[at : at + GRAM] in prompt.grams else at + _STRIDE
        # While a piece goes on, the text waits, as far as the look-behind allows.
        return told.base if text[-GRAM:] in prompt.grams else told.end

    def _piece(self, told: Told, prompt: Prompt, text: str, at: int) -> int:
        """A piece of the prompt, around a place; returns where the next one may be."""
        least = LONG_STRICT if self._strict else LONG
        behind = at + 1
        if "system_prompt" in self._said:
            return len(text)
        for form in prompt.forms:
            if text[at : at + GRAM] not in form:
                continue
            start, end = at, at + GRAM
            while end < len(text) and end - start < LONG and text[start : end + 1] in form:
                end += 1
            while start > 0 and end - start < LONG and text[start - 1 : end] in form:
                start -= 1
            if end - start >= least and text[start:end] not in self._known:
                self._hit(told, "system_prompt", self._verdict, self._reach(told, len(text) - start))
            behind = max(behind, end - GRAM + 1)
        return behind

    def _look_for_words(self, told: Told, prompt: Prompt, new: str, *, final: bool) -> None:
        if "paraphrase" in self._said or len(prompt.quadruples) < FEWEST:
            return
        self._words += new.lower()
        if not final and len(self._words) < _BATCH:
            return
        words = _WORD.findall(self._words)
        whole = words if final else words[:-1]  # the last one may go on
        before = len(self._met)
        self._met.update(each for each in _quadruples(whole) if each in prompt.quadruples)
        self._words = " ".join([*whole[-3:], *words[len(whole) :]]) + (" " if self._words[-1:].isspace() else "")
        if len(self._met) == before:
            return
        own = [each for each in self._met if each.replace(" ", "") not in self._known]
        if len(own) >= max(FEWEST, len(prompt.quadruples) * (SHARE_STRICT if self._strict else SHARE)):
            self._hit(told, "paraphrase", self._verdict if self._strict else Verdict.FLAG, 1)

    def _look_inside(self, told: Told, new: str, *, final: bool) -> None:
        """Decode what looks encoded, when it has come to its end or has gone on for some more."""
        *ended, rest = _NOT_BLOB.split(self._blob + new)
        back = len(told.buf) - len(self._blob) - len(new)
        for place, blob in enumerate((*ended, rest)):
            whole = place < len(ended) or final
            if len(blob) < self._decoded:
                self._decoded = 0
            if len(blob) >= GRAM and (whole or len(blob) - self._decoded >= _MORE):
                first = max(0, min(self._decoded, len(blob) - _LONGEST_BLOB // 2) - _LONGEST_BLOB // 2)
                self._decoded = len(blob)
                windows = (blob[at : at + _LONGEST_BLOB] for at in range(first, len(blob), _LONGEST_BLOB // 2))
                if any(self._tells(text) for window in windows for text in decodings(window)):
                    self._hit(told, "encoded", self._verdict, max(len(told.buf) - max(back, 0), 1))
                    return
            if place < len(ended):
                back += len(blob) + 1
                self._decoded = 0
        self._blob = rest[-_LONGEST_BLOB:]
        self._decoded = max(0, self._decoded - (len(rest) - len(self._blob)))

    def _tells(self, text: str) -> bool:
        inside = squashed(text)
        if self._canaries.pattern is not None and self._canaries.pattern.search(inside):
            return True
        if self._prompt is None:
            return False
        least = 2 * GRAM
        return any(
            inside[at : at + least] in form
            for form in self._prompt.forms
            for at in range(0, max(len(inside) - least + 1, 0), GRAM // 2)
        )


def decodings(blob: str, depth: int = _DEEPEST) -> Iterable[str]:
    """Texts that a run of base64 or hexadecimal characters may stand for, encodings within encodings too."""
    for data in _decoded(blob):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("utf-8", "ignore")
            if len(text) * 4 < len(data) * 3:
                continue
        yield text
        if depth > 1:
            for inner in _BLOB.findall(text):
                yield from decodings(inner, depth - 1)


def _decoded(blob: str) -> Iterable[bytes]:
    plain = blob.strip("=_-").replace("-", "+").replace("_", "/")
    if len(plain) >= GRAM and not _NOT_HEX.search(plain):
        yield bytes.fromhex(plain[: len(plain) // 2 * 2])
        yield bytes.fromhex(plain[1 : (len(plain) - 1) // 2 * 2 + 1])
    for skip in range(4):  # its beginning may have been cut off
        piece = plain[skip:].rstrip("=")
        try:
            yield base64.b64decode(piece[: len(piece) // 4 * 4])
        except (binascii.Error, ValueError):
            return


_NOT_HEX = re.compile("[^0-9A-Fa-f]")
