"""Prompt injection, told from the text alone: score, reasons and spans.

The first of several layers, and the one that errs: text classifiers miss much, and what they miss is in
`docs/guards-injection.md`. What follows from a text that fools the model is for the layers behind it to prevent.

`look` reads a text in one go; `Look` in slices, so that a caller can run long texts off its event loop. Both are pure
and linear in the text's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from headgate.core.guards import CHANNELS, TAINTED, Span
from headgate.policy.guards.decodings import decoded
from headgate.policy.guards.injection_lines import fold, line, places
from headgate.policy.guards.injection_model import DISGUISED, NEVER, Model, score, shipped
from headgate.policy.guards.injection_reading import Reading
from headgate.policy.guards.injection_rules import LINES, RULE_SETS, STANDARD
from headgate.policy.guards.normalise import Clean, clean, disguises

SLICE: Final = 8192
"""Characters read at a time, where a text is longer."""

_DEPTH = 2  # encodings inside of each other
_EXPANSION = 3  # times the text's own length that decodings and disguises of it may be read
_SPANS = 20  # at most, the first ones
_SIGNS = (
    2  # reasons that blocking takes: shared prompts begin with "Ignore all previous instructions", and mean no harm
)
_DISGUISE = {"base64": "encoded", "hex": "encoded", "url": "encoded", "escapes": "encoded", "entities": "encoded"}
_DISGUISE |= {"binary": "encoded", "morse": "encoded", "rot13": "encoded", "": ""}


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What there is to say of a text.

    Attributes:
        score: 0 to 1; compare with `thresholds`.
        reasons: of `injection_rules.REASONS`, those that count most first; empty where nothing was met.
        spans: where, in the text as it was given, in order, not overlapping; their type is the reason.
    """

    score: float
    reasons: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()


@dataclass(slots=True)
class _Part:
    """A piece of text that was read: what it was made of, and where that is."""

    clean: Clean
    start: int
    end: int
    exact: bool  # places in it can be told; else all of it is meant


def look(text: str, channel: str = "user", *, rules: str = "standard", model: Model | None = None) -> Suspicion:
    """How much a text looks like a prompt injection.

    Args:
        channel: one of `headgate.core.guards.CHANNELS`. "system" is the application's own and never suspicious.
        rules: "standard", or "classic" for the seven expressions of many guides: they are met or not, 1 or 0.
        model: other weights than the shipped ones.

    Raises:
        ValueError: the channel or the set of rules does not exist.
    """
    looking = Look(text, channel, rules=rules, model=model)
    while not looking.step():
        pass
    return looking.suspicion()


def thresholds(channel: str = "user", *, model: Model | None = None) -> tuple[float, float]:
    """From which scores on a text of a channel is flagged, and blocked. Infinite for "system".

    Raises:
        ValueError: the channel does not exist.
    """
    _known(channel)
    if channel == "system":
        return NEVER, NEVER
    return (model or shipped()).thresholds[_kind(channel)]


def _known(channel: str) -> None:
    if channel not in CHANNELS:
        raise ValueError(f"channel {channel!r} is none of {', '.join(CHANNELS)}")


def _kind(channel: str) -> str:
    return "document" if channel in TAINTED or channel in ("assistant", "tool_call") else "user"


class Look:
    """A look at one text, in slices: call `step` until it is true, then `suspicion`.

    Raises:
        ValueError: the channel or the set of rules does not exist.
    """

    def __init__(
        self, text: str, channel: str = "user", *, rules: str = "standard", model: Model | None = None
    ) -> None:
        _known(channel)
        if rules not in RULE_SETS:
            raise ValueError(f"rule set {rules!r} is none of {', '.join(RULE_SETS)}")
        self._text = text
        self._kind = _kind(channel)
        self._classic = rules == "classic"
        self._model = model
        self._readings: dict[str, Reading] = {}
        self._parts: dict[str, list[_Part]] = {}
        self._left = _EXPANSION * len(text) + 4096
        self._hidden = False
        self._steps = iter(()) if channel == "system" or self._classic else self._slices()
        self._nothing = channel == "system"
        self._done = False
        self.read = 0
        """Characters read so far, of the text and of what was decoded from it."""

    def step(self, max_chars: int = SLICE) -> bool:
        """Read about so many characters more; whether all has been read. Costs at most about 1 ms per 1024 of them."""
        if self._done:
            return True
        until = self.read + max_chars
        for _ in self._steps:
            if self.read >= until:
                return False
        self._done = True
        return True

    def readings(self) -> Iterator[tuple[str, Reading]]:
        """What was read so far: the text itself (""), and what was found in it ("base64", "rot13", ...)."""
        yield from self._readings.items()

    def _slices(self) -> Iterator[None]:
        at = 0
        while at < len(self._text):
            end = _cut(self._text, at)
            yield from self._slice(at, end)
            at = end

    def _slice(self, at: int, end: int) -> Iterator[None]:
        source = self._text[at:end]
        made = clean(source)
        self._hidden = self._hidden or made.changed >= 3
        turned, backwards = self._read("", _Part(made, at, end, True))
        yield None
        for how, said in disguises(made.text, turned, backwards):
            if self._spend(said):
                self._read(how, _Part(Clean(said, said), at, end, False))
                yield None
        if made.hidden and self._spend(made.hidden):
            self._read("hidden", _Part(Clean(made.hidden, made.hidden), at, end, False))
        for how, first, last, said in decoded(made.text):
            place = made.span(first, last)
            yield from self._decoded(how, said, at + place[0], at + place[1], 1)

    def _decoded(self, how: str, said: str, start: int, end: int, depth: int) -> Iterator[None]:
        if not self._spend(said):
            return
        made = clean(said)
        turned, backwards = self._read(how, _Part(made, start, end, False))
        yield None
        if depth >= _DEPTH:
            return
        for other, inner in disguises(made.text, turned, backwards):
            yield from self._decoded(other, inner, start, end, _DEPTH)
        for other, _, _, inner in decoded(made.text):
            yield from self._decoded(other, inner, start, end, depth + 1)

    def _spend(self, said: str) -> bool:
        self._left -= len(said)
        return self._left >= 0

    def _read(self, how: str, part: _Part) -> tuple[int, int]:
        parts = self._parts.setdefault(how, [])
        parts.append(part)
        self.read += len(part.clean.text)
        return self._readings.setdefault(how, Reading()).add(len(parts) - 1, part.clean.text)

    def suspicion(self) -> Suspicion:
        """What was found. Call it when `step` has said true."""
        if self._nothing:
            return Suspicion(0.0)
        if self._classic:
            return _classic(self._text)
        model = self._model or shipped()
        best, how, first, last = NEVER, "", 0, 0
        for name, reading in self._readings.items():
            logit, begin, end = model.logit(reading, self._kind)
            logit += DISGUISED if name else 0.0
            if best is NEVER or logit > best:
                best, how, first, last = logit, name, begin, end
        if best is NEVER or first == last:
            return Suspicion(0.0)
        found = round(score(best), 6)
        reasons, spans = self._why(model, how, first, last)
        if len(reasons) < _SIGNS:
            found = min(found, model.thresholds[self._kind][1] - 1e-6)
        return Suspicion(found, reasons, spans)

    def _why(self, model: Model, how: str, first: int, last: int) -> tuple[tuple[str, ...], tuple[Span, ...]]:
        rules = model.weights[self._kind][0]
        counted: dict[str, float] = {}
        spans: list[Span] = []
        for sentence in self._readings[how].sentences[first:last]:
            strong = [rule for rule in sentence.hits if rules[rule] > 0]
            for rule in strong:
                reason = STANDARD[rule].reason
                counted[reason] = counted.get(reason, 0.0) + rules[rule]
            if strong:
                part = self._parts[how][sentence.part]
                top = max(strong, key=rules.__getitem__)
                spans.append(_span(part, sentence.start, sentence.end, top))
        reasons = sorted(counted, key=lambda each: -counted[each])
        if how:
            reasons.append("encoded" if how in _DISGUISE else "obfuscated")
        elif self._hidden:
            reasons.append("obfuscated")
        return tuple(dict.fromkeys(reasons)), _apart(spans)


def _cut(text: str, at: int) -> int:
    """Where the slice that begins here ends: behind a line or a space near its end, else where it is full."""
    end = at + SLICE
    if end >= len(text):
        return len(text)
    for mark in ("\n", ". ", " "):
        if (found := text.rfind(mark, at + SLICE // 2, end)) > 0:
            return found + len(mark)
    return end


def _span(part: _Part, start: int, end: int, rule: int) -> Span:
    reason = STANDARD[rule].reason
    if not part.exact:
        return Span(part.start, part.end, reason)
    folded = fold(part.clean.text[start:end])
    if len(folded) == end - start and (found := _found(folded, rule)):
        start, end = start + found[0], start + found[1]
    first, last = part.clean.span(start, end)
    return Span(part.start + first, min(part.end, part.start + last), reason)


def _found(folded: str, rule: int) -> tuple[int, int] | None:
    """Where in a folded sentence a rule is met."""
    if rule >= len(LINES):
        found = STANDARD[rule].pattern.search(folded)
        return found.span() if found else None
    found = STANDARD[rule].pattern.search(line(folded))
    where = places(folded)
    if found is None or not where or found.end() == found.start():
        return None
    return where[min(found.start(), len(where) - 1)][0], where[min(found.end(), len(where)) - 1][1]


def _apart(spans: list[Span]) -> tuple[Span, ...]:
    """In order, without overlaps: of two, the one that begins first."""
    kept: list[Span] = []
    for span in sorted(spans):
        if span.end > span.start and (not kept or span.start >= kept[-1].end):
            kept.append(span)
    return tuple(kept[:_SPANS])


def _classic(text: str) -> Suspicion:
    found = [
        Span(*hit.span(), rule.reason) for rule in RULE_SETS["classic"] for hit in [rule.pattern.search(text)] if hit
    ]
    reasons = tuple(dict.fromkeys(span.type for span in found))
    return Suspicion(1.0 if found else 0.0, reasons, _apart(found))
