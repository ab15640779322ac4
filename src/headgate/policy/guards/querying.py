"""What a caller's queries look like taken together: those of somebody who copies a model, or reads out what it was
trained on. It only flags: each of these calls alone is harmless, and batch jobs look alike.

Looked for, in a sliding window of ten minutes and for each caller apart:

- `enumeration`: many different short texts that are the same but for their numbers.
- `template`: many different short texts that begin with the same words, and are most of what the caller sends.
- `probing`: many different short texts that ask for probabilities, or for exact continuations.
- `logprobs`: many calls that ask for log-probabilities of several answers or of many tokens (Carlini et al. 2024,
  "Stealing part of a production language model").
"""

from __future__ import annotations

import re
import threading
from array import array
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from headgate.core.guards import Finding, Verdict

WINDOW = 600.0
"""Seconds. Two halves are counted: the one that runs, and the one before."""

MOST_CALLERS = 10_000
"""Callers that are remembered; the one that has been silent for longest is forgotten. Each takes up to 2 KB, most a
tenth of that."""

SHORT = 400
"""Characters of a text that such a query has at most."""

_ENUMERATED, _TEMPLATED, _PROBED, _LOGPROBS = 100, 300, 50, 100
_DOMINATES = 0.6  # of all different short texts: a caller with many subjects fills every bucket
_FEW = 32
_BUCKETS = 64
_BOTH = 2 * _BUCKETS  # places of beginnings, and behind those of shapes; behind both of texts
_SEEN_BITS = 2_048
_HEAD_WORDS = 4
_NUMBER = re.compile(r"\d+")
_PROBES = re.compile(
    r"(?i)\b(?:log[- ]?prob\w*|log[- ]?likelihood|probabilit(?:y|ies) (?:of|for|that)|token[- ]by[- ]token|perplexity"
    r"|verbatim|word[- ]for[- ]word|(?:continue|complete) (?:the|this) (?:\w+ )?(?:text|passage|sentence|excerpt|code)"
    r"|training (?:data|set|corpus)|memori[sz]ed|repeat (?:\S+ ){1,4}forever)\b"
)


@dataclass(frozen=True, slots=True)
class Features:
    """What a call asks for beside its text.

    Attributes:
        logprobs: it wants log-probabilities; `top` of them for each token.
        choices: answers wanted (OpenAI's n).
        batch: the caller has said that it is one of many: templates are what is to be expected then.
    """

    logprobs: bool = False
    top: int = 0
    choices: int = 1
    batch: bool = False


_PLAIN = Features()


class _Half:
    """What was counted in one half of a window. Different texts are told apart by one place each of a digest, so that
    very many look like fewer, never like more. Most callers send few: of the first there is a list of their places.

    Attributes:
        few: of the first `_FEW` texts; None: there are none, or more.
        seen, buckets: of more, places of texts as bits, and how many texts there are at each other place.
    """

    __slots__ = ("buckets", "different", "few", "logprobs", "probes", "seen")

    def __init__(self) -> None:
        self.different = self.probes = self.logprobs = self.seen = 0
        self.few: array[int] | None = None
        self.buckets: array[int] | None = None

    def has(self, text: int) -> bool:
        """Whether a text of this place was counted."""
        return bool(self.seen >> text & 1) if self.few is None else text in self.few

    def count(self, bucket: int) -> int:
        """Texts at this place."""
        if self.few is not None:
            return self.few.count(bucket)
        return 0 if self.buckets is None else self.buckets[bucket]

    def add(self, marks: _Marks) -> None:
        """Count a text that was not."""
        self.different += 1
        self.probes += marks.probes
        places = [each for each in (marks.text, marks.head, marks.shape) if each is not None]
        if self.different <= _FEW:
            self.few = array("H", [*(self.few or ()), *places])
            return
        if self.buckets is None:
            self.buckets = array("H", bytes(2 * _BOTH))
            places, self.few = [*(self.few or ()), *places], None
        for place in places:
            if place < _BOTH:
                self.buckets[place] += 1
            else:
                self.seen |= 1 << place


class _Caller:
    __slots__ = ("before", "begun", "now", "told")

    def __init__(self, now: float) -> None:
        self.begun = now
        self.before: _Half | None = None
        self.now = _Half()
        self.told: dict[str, float] = {}  # by reason: when it was flagged last

    def turn(self, now: float) -> None:
        """Begin another half, where this one is over."""
        age = now - self.begun
        if age >= WINDOW / 2:
            self.before = self.now if age < WINDOW else None
            self.now, self.begun = _Half(), now


class Queries:
    """Watches the queries of all callers. Safe to share between threads; bounded in memory."""

    def __init__(self, most_callers: int = MOST_CALLERS) -> None:
        self._most = most_callers
        self._callers: OrderedDict[str, _Caller] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, caller: str, text: str, now: float, features: Features = _PLAIN) -> Finding | None:
        """Count one call. What it shows is told once in a window for each reason, not with every call.

        Args:
            caller: whose it is: the key, the user and the tenant, joined.
            text: what the user has said last; only its first characters are looked at.
            now: seconds, of any clock that does not run backwards.
        """
        marks = _marks(text)
        with self._lock:
            known = self._callers.get(caller)
            if known is None:
                known = self._callers[caller] = _Caller(now)
                if len(self._callers) > self._most:
                    self._callers.popitem(last=False)
            else:
                self._callers.move_to_end(caller)
            known.turn(now)
            reasons = [
                reason for reason in _count(known, marks, features) if now - known.told.get(reason, -WINDOW) >= WINDOW
            ]
            known.told.update(dict.fromkeys(reasons, now))
        return Finding("extraction", Verdict.FLAG, tuple(reasons), 0.5, (), "user") if reasons else None


@dataclass(frozen=True, slots=True)
class _Marks:
    """What is kept of a text: its places. No two of them are the same number."""

    text: int
    shape: int | None  # None: it has no number
    head: int
    probes: bool


def _marks(text: str) -> _Marks | None:
    """None, where it is no short text."""
    text = text[: SHORT + 1].strip()
    if not text or len(text) > SHORT:
        return None
    words = text.lower().split()
    plain = " ".join(words)
    shape = _NUMBER.sub("0", plain)
    return _Marks(
        text=_BOTH + _digest(plain) % _SEEN_BITS,
        shape=_BUCKETS + _digest(shape) % _BUCKETS if shape != plain else None,
        head=_digest(" ".join(words[:_HEAD_WORDS])) % _BUCKETS,
        probes=_PROBES.search(plain) is not None,
    )


def _count(known: _Caller, marks: _Marks | None, features: Features) -> list[str]:
    """Count a call, and tell what it shows together with those before it."""
    half, before = known.now, known.before
    reasons = []
    if features.logprobs and (features.choices > 1 or features.top >= 5):
        half.logprobs += 1
        if half.logprobs + (before.logprobs if before else 0) >= _LOGPROBS:
            reasons.append("logprobs")
    if marks is None or half.has(marks.text) or (before is not None and before.has(marks.text)):
        return reasons
    half.add(marks)
    if not features.batch:
        if marks.shape is not None and _dominates(half, before, marks.shape, _ENUMERATED):
            reasons.append("enumeration")
        if _dominates(half, before, marks.head, _TEMPLATED):
            reasons.append("template")
    if marks.probes and half.probes + (before.probes if before else 0) >= _PROBED:
        reasons.append("probing")
    return reasons


def _dominates(half: _Half, before: _Half | None, bucket: int, least: int) -> bool:
    count, different = half.count(bucket), half.different
    if before is not None:
        count, different = count + before.count(bucket), different + before.different
    return count >= least and count >= _DOMINATES * different


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())
