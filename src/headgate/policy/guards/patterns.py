"""Patterns over names and argument values, in time that is linear in the text whatever the pattern.

Python's `re` backtracks: a pattern that somebody has written without care, and a value that a model has been talked
into writing, would stop the gateway. Here a regular expression is run as a set of states (Thompson 1968), and each
character is looked at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_STATES = 500
MAX_REPEAT = 255
_MAX_KNOWN = 4_096  # transitions that are remembered per pattern

_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_BOUNDS = re.compile(r"\{([0-9]{1,3})(,?)([0-9]{0,3})\}")
_LETTERS = frozenset("dDwWsSntrfv")  # escapes that are letters and stand for one character


class Glob:
    """A name's pattern: `*` stands for any characters, also none; everything else for itself."""

    __slots__ = ("_first", "_last", "_middle", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        parts = text.split("*")
        self._first = parts[0]
        self._last: str | None = parts[-1] if len(parts) > 1 else None
        self._middle = tuple(part for part in parts[1:-1] if part)

    def __repr__(self) -> str:
        return f"Glob({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Glob) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def plain(self) -> bool:
        """It stands for itself alone."""
        return self._last is None

    def fits(self, text: str) -> bool:
        """Whether all of `text` is as the pattern says."""
        if self._last is None:
            return text == self._first
        if len(text) < len(self._first) + len(self._last):
            return False
        if not (text.startswith(self._first) and text.endswith(self._last)):
            return False
        at, end = len(self._first), len(text) - len(self._last)
        for part in self._middle:  # the leftmost place leaves the most to the others
            at = text.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


class Unlinear(ValueError):
    """A pattern that cannot be run in linear time, or none at all. `str()` says what and where."""


class Regex:
    """A regular expression that has to fit all of a text.

    It knows literals, `.`, classes, `\\d \\w \\s` and their opposites, groups, `|`, and the quantifiers `* + ? {m,n}`;
    `(?i)` at its beginning ignores case, and `.` stands for any character. It knows no anchors (it is anchored), no
    references, no look-around and no lazy or possessive quantifiers.

    Raises:
        Unlinear: it is something else, or larger than 500 states.
    """

    __slots__ = ("_begin", "_known", "_next", "_tests", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        body, flags = (text[4:], re.IGNORECASE) if text.startswith("(?i)") else (text, re.NOFLAG)
        parser = _Parser(body, flags)
        self._tests, self._next = parser.states()
        self._begin = self._closed(parser.start)
        self._known: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def __repr__(self) -> str:
        return f"Regex({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regex) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def fits(self, text: str) -> bool:
        """Whether all of `text` is as the pattern says."""
        states, known = self._begin, self._known
        for char in text:
            found = known.get((states, char))
            if found is None:
                found = self._step(states, char)
                if len(known) >= _MAX_KNOWN:
                    known.clear()
                known[states, char] = found
            if not found:
                return False
            states = found
        return _END in states

    def _step(self, states: frozenset[int], char: str) -> frozenset[int]:
        reached: set[int] = set()
        for state in states:
            test = self._tests.get(state)
            if test is not None and test.fullmatch(char):
                reached |= self._closed(self._next[state][0])
        return frozenset(reached)

    def _closed(self, state: int) -> frozenset[int]:
        """The states that are reached from one without a character: those that wait for one, and the end."""
        found, seen, left = set(), {state}, [state]
        while left:
            one = left.pop()
            if one == _END or one in self._tests:
                found.add(one)
                continue
            for other in self._next[one]:
                if other not in seen:
                    seen.add(other)
                    left.append(other)
        return frozenset(found)


_END = 0


@dataclass(frozen=True, slots=True)
class _One:
    """One character that fits."""

    test: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Many:
    part: _Part
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class _Row:
    parts: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Either:
    parts: tuple[_Part, ...]


_Part = _One | _Many | _Row | _Either
_MAX_DEPTH = 50


class _Parser:
    """Text to states."""

    def __init__(self, text: str, flags: re.RegexFlag) -> None:
        self._text = text
        self._flags = flags
        self._at = 0
        self._tests: dict[int, re.Pattern[str]] = {}
        self._next: dict[int, tuple[int, ...]] = {}
        self._made = 0
        self._built = 0
        parsed = self._either(0)
        if self._at < len(text):
            raise self._wrong("a ) without its (")
        self.start = self._build(parsed, _END)

    def states(self) -> tuple[dict[int, re.Pattern[str]], dict[int, tuple[int, ...]]]:
        """(what a state's character has to fit, where a state leads to)."""
        return self._tests, self._next

    def _wrong(self, what: str) -> Unlinear:
        return Unlinear(f"{what}, at character {self._at + 1}")

    def _either(self, depth: int) -> _Part:
        if depth > _MAX_DEPTH:
            raise self._wrong(f"groups more than {_MAX_DEPTH} deep")
        parts = [self._row(depth)]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._row(depth))
        return parts[0] if len(parts) == 1 else _Either(tuple(parts))

    def _row(self, depth: int) -> _Part:
        parts: list[_Part] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._quantified(self._atom(depth)))
        return _Row(tuple(parts))

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _atom(self, depth: int) -> _Part:
        text, at = self._text, self._at
        char = text[at]
        if char == "(":
            return self._group(depth)
        if char in "*+?{":
            raise self._wrong(f"nothing is before {char}")
        if char in "^$":
            raise self._wrong(f"{char} is not known: all of the value has to fit anyway; write \\{char} for the sign")
        if char == "[":
            found = _CLASS.match(text, at)
            if found is None:
                raise self._wrong("a [ without its ]")
            self._at = found.end()
            return self._one(found[0])
        if char == "\\":
            self._at += 2
            escaped = text[at + 1 : at + 2]
            if not escaped or (escaped.isalnum() and escaped not in _LETTERS):
                self._at = at
                raise self._wrong(f"\\{escaped} is not known")
            return self._one(text[at : at + 2])
        self._at += 1
        return self._one("." if char == "." else re.escape(char))

    def _one(self, text: str) -> _One:
        try:
            return _One(re.compile(text, self._flags | re.DOTALL))
        except re.error as error:
            raise self._wrong(f"{text!r} is no set of characters ({error.msg})") from None

    def _group(self, depth: int) -> _Part:
        if self._text.startswith("(?", self._at) and not self._text.startswith("(?:", self._at):
            raise self._wrong("(? is not known but for (?:...): look-around and references are not linear")
        self._at += 3 if self._text.startswith("(?:", self._at) else 1
        inside = self._either(depth + 1)
        if self._peek() != ")":
            raise self._wrong("a ( without its )")
        self._at += 1
        return inside

    def _quantified(self, part: _Part) -> _Part:
        char = self._peek()
        if char == "{":
            found = _BOUNDS.match(self._text, self._at)
            if found is None:
                raise self._wrong("{ has to be followed by m}, m,} or m,n}; write \\{ for the character")
            low = int(found[1])
            high = low if not found[2] else int(found[3]) if found[3] else None
            if max(low, high or 0) > MAX_REPEAT or (high is not None and high < low):
                raise self._wrong(f"a repetition goes from m up to n, at most {MAX_REPEAT}")
            self._at = found.end()
        elif char and char in "*+?":
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
            self._at += 1
        else:
            return part
        if self._peek() and self._peek() in "*+?{":
            raise self._wrong("a quantifier of a quantifier")
        return _Many(part, low, high)

    def _state(self, test: re.Pattern[str] | None, following: tuple[int, ...]) -> int:
        self._made += 1
        if self._made > MAX_STATES:
            raise Unlinear(f"the pattern has more than {MAX_STATES} states: repeat less in it")
        if test is not None:
            self._tests[self._made] = test
        self._next[self._made] = following
        return self._made

    def _build(self, part: _Part, then: int) -> int:
        """The state that `part` begins with, where `then` follows it."""
        self._built += 1
        if self._built > 10 * MAX_STATES:  # groups of nothing make no states, and may be repeated and repeated
            raise Unlinear("the pattern repeats too much")
        if isinstance(part, _One):
            return self._state(part.test, (then,))
        if isinstance(part, _Row):
            for each in reversed(part.parts):
                then = self._build(each, then)
            return then
        if isinstance(part, _Either):
            return self._state(None, tuple(self._build(each, then) for each in part.parts))
        if part.high is None:
            loop = self._state(None, ())
            self._next[loop] = (self._build(part.part, loop), then)
            then = loop
        else:
            end = then
            for _ in range(part.high - part.low):
                then = self._state(None, (self._build(part.part, then), end))
        for _ in range(part.low):
            then = self._build(part.part, then)
        return then
