"""What the guards say of the texts of a request: injection, secrets and personal data together.

Goes through the texts in slices, so that a long one never holds an event loop up (decisions 23), and remembers what it
has found by the digest of each text: a conversation is sent again with every turn, and only its newest texts are new.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from headgate.core.guards import Finding, Span, Verdict, Words
from headgate.policy.guards.injection import Look, Suspicion, thresholds
from headgate.policy.guards.pii import find_pii
from headgate.policy.guards.rules import BLOCK, FLAG, OFF, REDACT, GuardRules
from headgate.policy.guards.secrets import find_secrets

SLICE = 4096
"""Characters that are looked at in one go: a few milliseconds."""
OVERLAP = 256
"""Characters that two slices share, where no line ends between them: no number or key is longer."""
REMEMBERED = 4096
IN_SYSTEM_PROMPT = "system_prompt"
"""Beside the kinds of secrets: where they were found. `headgate doctor` looks for it in the log."""

_WATCHED = frozenset({"user", "document", "tool_result"})
"""Channels that may hold an instruction that is not the application's."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be said of one text, whatever the rules make of it. None and () where a guard did not look."""

    suspicion: Suspicion | None = None
    pii: tuple[Span, ...] = ()
    secrets: tuple[Span, ...] = ()


NOTHING = Found()


class Memory:
    """What was found in texts, by their digests. Thread-safe; the texts themselves are not kept."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._found: OrderedDict[bytes, Found] = OrderedDict()
        self._lock = threading.Lock()
        self._size = size

    def get(self, key: bytes) -> Found | None:
        """What was found, if it is still known."""
        with self._lock:
            found = self._found.get(key)
            if found is not None:
                self._found.move_to_end(key)
            return found

    def put(self, key: bytes, found: Found) -> None:
        """Remember it, and forget what was not asked for longest."""
        with self._lock:
            self._found[key] = found
            if len(self._found) > self._size:
                self._found.popitem(last=False)


class Incoming:
    """One request's texts under one caller's rules. Go through `slices`, then read the rest.

    Attributes:
        findings: in the order of the texts.
        redactions: (place among the texts, spans to be taken out of it).
        suspicion: the highest score of injection, 0 to 1, whether or not it is enough for a finding.
        blocked: the finding that keeps the request from being sent; the first of them.
    """

    __slots__ = ("_memory", "_rules", "_texts", "blocked", "findings", "redactions", "suspicion")

    def __init__(self, rules: GuardRules, texts: Sequence[Words], memory: Memory) -> None:
        self._rules = rules
        self._texts = texts
        self._memory = memory
        self.findings: list[Finding] = []
        self.redactions: list[tuple[int, tuple[Span, ...]]] = []
        self.suspicion = 0.0
        self.blocked: Finding | None = None

    @property
    def size(self) -> int:
        """Characters in all."""
        return sum(len(words.plain) for words in self._texts)

    def slices(self) -> Iterator[None]:
        """Look at everything, a few milliseconds at a time."""
        for number, words in enumerate(self._texts):
            if words.plain:
                found = yield from self._look(words)
                self._decide(number, words, found)

    def _look(self, words: Words) -> Generator[None, None, Found]:
        rules, text = self._rules, words.plain
        watched = rules.injection != OFF and words.channel in _WATCHED
        pii, secrets = rules.pii != OFF, rules.secrets != OFF
        if not (watched or pii or secrets):
            return NOTHING
        about = f"{words.channel}/{rules.rule_set if watched else ''}/{pii:d}{secrets:d}/"
        key = blake2b(about.encode() + text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        found = self._memory.get(key)
        if found is None:
            suspicion = None
            if watched:
                look = Look(text, words.channel, rules=rules.rule_set)
                while not look.step(SLICE):
                    yield
                suspicion = look.suspicion()
            found = Found(
                suspicion,
                (yield from in_pieces(find_pii, text)) if pii else (),
                (yield from in_pieces(find_secrets, text)) if secrets else (),
            )
            self._memory.put(key, found)
        return found

    def _decide(self, number: int, words: Words, found: Found) -> None:
        rules = self._rules
        if found.suspicion is not None:
            self._suspect(words, found.suspicion)
        spans: list[Span] = []
        for guard, mode, seen in (("pii", rules.pii, found.pii), ("secrets", rules.secrets, found.secrets)):
            if not seen or mode == OFF:
                continue
            verdict = _VERDICTS[mode]
            kinds = tuple(dict.fromkeys(span.type for span in seen))
            if guard == "secrets" and words.channel == "system":
                kinds = (*kinds, IN_SYSTEM_PROMPT)
            self._add(Finding(guard, verdict, kinds, 1.0, seen, words.channel, words.place))
            if verdict is Verdict.REDACT:
                spans += seen
        if spans:
            self.redactions.append((number, tuple(sorted(spans))))

    def _suspect(self, words: Words, suspicion: Suspicion) -> None:
        self.suspicion = max(self.suspicion, suspicion.score)
        flag, block = thresholds(words.channel)
        if suspicion.score < flag:
            return
        blocks = self._rules.injection == BLOCK and (suspicion.score >= block or self._rules.strict)
        verdict = Verdict.BLOCK if blocks else Verdict.FLAG
        self._add(
            Finding(
                "injection",
                verdict,
                suspicion.reasons,
                suspicion.score,
                suspicion.spans,
                words.channel,
                words.place,
            )
        )

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)
        if finding.verdict is Verdict.BLOCK and self.blocked is None:
            self.blocked = finding


def in_pieces(find: Callable[[str], list[Span]], text: str) -> Generator[None, None, tuple[Span, ...]]:
    """What `find` finds in a text, a few milliseconds at a time. Pieces end where a line does, if one does; else they
    share `OVERLAP` characters, and of what two of them have found the longer stands."""
    if len(text) <= SLICE:
        return tuple(find(text))
    spans: dict[tuple[int, str], Span] = {}
    at = 0
    while at < len(text):
        end = min(len(text), at + SLICE)
        following = end
        if end < len(text):
            line = text.rfind("\n", at + SLICE // 2, end)
            end, following = (line + 1, line + 1) if line >= 0 else (end, end - OVERLAP)
        for span in find(text[at:end]):
            here = Span(at + span.start, at + span.end, span.type)
            known = spans.get((here.start, here.type))
            if known is None or known.end < here.end:
                spans[here.start, here.type] = here
        yield
        at = following
    return tuple(_apart(sorted(spans.values())))


def _apart(spans: list[Span]) -> Iterator[Span]:
    """Spans that do not overlap: of two that do, the longer one."""
    last: Span | None = None
    for span in spans:
        if last is None:
            last = span
        elif span.start >= last.end:
            yield last
            last = span
        elif span.end - span.start > last.end - last.start:
            last = span
    if last is not None:
        yield last


_VERDICTS = {
    FLAG: Verdict.FLAG,
    "redact-logs": Verdict.ALLOW,  # nothing happens to the call itself
    REDACT: Verdict.REDACT,
    BLOCK: Verdict.BLOCK,
}
