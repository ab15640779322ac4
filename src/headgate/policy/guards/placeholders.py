"""Values taken out of a text and put back: ``[EMAIL_1]`` in place of an address, and the address again in the answer.

One `Redactor` per exchange. It holds the values, so it lives no longer than the exchange and is never logged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from headgate.core.guards import Span
from headgate.policy.guards.pii import find_pii
from headgate.policy.guards.secrets import find_secrets
from headgate.policy.guards.spans_resolved import resolved

# As written, and as models write it back: "[EMAIL 1]", "[email_1]", "[EMAIL\_1]" (Markdown), "[ EMAIL_1 ]".
_WRITTEN = re.compile(
    r"\[ ?([A-Za-z][A-Za-z0-9]{0,15}(?:\\?[_ \-][A-Za-z][A-Za-z0-9]{0,15}){0,4})\\?[_ \-]([1-9][0-9]{0,5}) ?\]"
)
_MAY_BECOME = re.compile(r"\[ ?(?:[A-Za-z][A-Za-z0-9]{0,15}(?:\\?[_ \-][A-Za-z0-9]{0,15}){0,6}\\?)? ?\Z")
_BREAK = re.compile(r"\\?[_ \-]")
LONGEST = 96
"""Characters of a placeholder as a model may write it, at most: a stream holds back no more."""

_LITERAL = "TEXT"
_NOT_A_LETTER = re.compile(r"[^A-Z0-9]+")


class Redactor:
    """Replaces spans by placeholders, the same value of the same type by the same one, and puts the values back.

    A placeholder that a caller's own text happens to hold is never taken for one of ours: its number is not used, and
    where it is used already, the caller's words become a value themselves (``[TEXT_1]``) and come back as they were.

    Args:
        texts: what the exchange holds, as far as it is known beforehand: names that occur there are not given.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._given: dict[tuple[str, str], tuple[str, int]] = {}  # (name, value) -> (name, number)
        self._values: dict[tuple[str, int], str] = {}
        self._taken: set[tuple[str, int]] = set()
        self._last: dict[str, int] = {}
        for text in texts:
            self._avoid(text)

    def __bool__(self) -> bool:
        """Whether it has replaced anything: if not, there is nothing to put back."""
        return bool(self._values)

    def __repr__(self) -> str:
        return f"Redactor({len(self._values)} values)"

    def redact(self, text: str, spans: Iterable[Span]) -> str:
        """The text with its spans replaced.

        Args:
            spans: of this text, in any order; where two overlap, they become one over both.
        """
        self._avoid(text)
        ours = [
            Span(found.start(), found.end(), _LITERAL)
            for found in _WRITTEN.finditer(text)
            if _key(found) in self._values
        ]
        parts: list[str] = []
        place = 0
        # Spans of the caller come first: one that overlaps a literal takes it along.
        for span in resolved([*_within(spans, len(text)), *ours], lambda kind: kind == _LITERAL):
            parts += (text[place : span.start], self._placeholder(span.type, text[span.start : span.end]))
            place = span.end
        parts.append(text[place:])
        return "".join(parts)

    def restore(self, text: str, *, in_json: bool = False) -> str:
        """The text with the values back in it. Placeholders that were never given stay.

        Args:
            in_json: the text is part of a JSON document: the values are escaped as its strings are.
        """
        if not self._values or "[" not in text:
            return text
        return _WRITTEN.sub(lambda found: self._value(found, in_json), text)

    def restorer(self, *, in_json: bool = False) -> StreamRestorer:
        """`restore` for a text that comes in pieces."""
        return StreamRestorer(self, in_json=in_json)

    def may_become(self, end: str) -> bool:
        """Whether the end of a text, from its last "[" on, could be the beginning of a placeholder that was given."""
        if _MAY_BECOME.match(end) is None:
            return False
        begun = _BREAK.sub("_", end[1:].strip(" ")).upper().rstrip("_\\")
        return any(f"{name}_{number}".startswith(begun) for name, number in self._values)

    def _value(self, found: re.Match[str], in_json: bool) -> str:
        value = self._values.get(_key(found))
        if value is None:
            return found.group()
        return json.dumps(value, ensure_ascii=False)[1:-1] if in_json else value

    def _avoid(self, text: str) -> None:
        if "[" in text:
            self._taken.update(key for key in map(_key, _WRITTEN.finditer(text)) if key not in self._values)

    def _placeholder(self, kind: str, value: str) -> str:
        name = _name(kind)
        key = self._given.get((name, value))
        if key is None:
            number = self._last.get(name, 0) + 1
            while (name, number) in self._taken:
                number += 1
            self._last[name] = number
            key = self._given[name, value] = (name, number)
            self._values[key] = value
        return f"[{key[0]}_{key[1]}]"


class StreamRestorer:
    """`Redactor.restore` on a text that comes in pieces: what it gives out, put together, is the whole text restored.

    It holds back only what could be the beginning of a placeholder, at most `LONGEST` characters.
    """

    def __init__(self, redactor: Redactor, *, in_json: bool = False) -> None:
        self._redactor = redactor
        self._in_json = in_json
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may leave after this piece."""
        text = self._held + piece
        self._held = ""
        begun = text.rfind("[", max(0, len(text) - LONGEST))
        if begun >= 0 and self._redactor.may_become(text[begun:]):
            text, self._held = text[:begun], text[begun:]
        return self._redactor.restore(text, in_json=self._in_json)

    def end(self) -> str:
        """What was held back; call it once, after the last piece."""
        text, self._held = self._held, ""
        return self._redactor.restore(text, in_json=self._in_json)


def scrub(text: str) -> str:
    """The text for a log: personal data and secrets replaced by what they were, ``[email]``, ``[card]``. For good."""
    parts: list[str] = []
    place = 0
    secrets = find_secrets(text)
    secret_kinds = {span.type for span in secrets}
    # A secret is the more specific: what is in one (an address in a URL's user) goes with it.
    for span in resolved([*find_pii(text), *secrets], lambda kind: kind not in secret_kinds):
        parts += (text[place : span.start], f"[{span.type}]")
        place = span.end
    parts.append(text[place:])
    return "".join(parts)


def _within(spans: Iterable[Span], length: int) -> Iterable[Span]:
    return (Span(max(0, span.start), min(span.end, length), span.type) for span in spans)


def _name(kind: str) -> str:
    parts = [part[:15] for part in _NOT_A_LETTER.split(kind.upper()) if part][:5]
    return "_".join(part if part[0].isalpha() else f"N{part}" for part in parts) or "VALUE"


def _key(found: re.Match[str]) -> tuple[str, int]:
    return _BREAK.sub("_", found.group(1)).upper(), int(found.group(2))
