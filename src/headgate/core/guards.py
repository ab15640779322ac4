"""What guards say of a text: verdicts, spans and findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

CHANNELS = ("system", "user", "document", "tool_result", "assistant", "tool_call")
"""Whose words a text is. The first is the application's own and trusted; `document` and `tool_result` come from third
parties and are tainted; the last two are the model's."""

TAINTED = frozenset({"document", "tool_result"})
"""Channels whose words are data, and never an instruction."""


class Verdict(StrEnum):
    """What a guard says. The order is that of `severity`."""

    ALLOW = "allow"
    FLAG = "flag"  # it passes, and the log says why
    REDACT = "redact"  # it passes without the spans found
    BLOCK = "block"  # it does not pass

    @property
    def severity(self) -> int:
        """0 for allow up to 3 for block."""
        return _ORDER[self]


_ORDER = {each: place for place, each in enumerate(Verdict)}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most severe of them; allow, where there is none."""
    return max(verdicts, key=_ORDER.__getitem__, default=Verdict.ALLOW)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Part of a text, in characters of the text as it was given; `end` is exclusive.

    Attributes:
        type: what it is: "email", "card", "anthropic_key", "override", ...
    """

    start: int
    end: int
    type: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What one guard has to say of one text. It never holds the text.

    Attributes:
        guard: "injection", "pii", "secrets", "tools", "links", "leak", "moderation", "limits", ...
        verdict: allow where it is only told, as what is taken out of the log alone; a guard that has nothing to say
            makes no finding.
        reasons: short words for the log, the rules or kinds that were met: "override", "role_play", "email".
        score: 0 to 1, how sure it is; 1 where it is not a matter of degree.
        spans: where in the text.
        channel: one of `CHANNELS`, or "" where it is about the whole request.
        place: where in the request or the answer: "messages[2].content[0]"; "" = not told.
    """

    guard: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    score: float = 1.0
    spans: tuple[Span, ...] = ()
    channel: str = ""
    place: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """It in words for the log and for headers: ``guard:reason`` for each reason."""
        return tuple(f"{self.guard}:{reason}" for reason in self.reasons) or (self.guard,)


@dataclass(frozen=True, slots=True)
class Scan:
    """What all guards together say of a text (`headgate scan`, `headgate.guards.scan`).

    Attributes:
        verdict: the most severe.
        score: of injection, 0 to 1.
        reasons: as ``guard:reason``, the most severe first.
        spans: in the order of the text.
    """

    verdict: Verdict
    score: float
    reasons: tuple[str, ...]
    spans: tuple[Span, ...]


class Words(Protocol):
    """One text of a request: see `wire.segments.Segment`."""

    @property
    def channel(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def plain(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete call of a tool, as a model has written it.

    Attributes:
        id: the provider's.
        name: the tool's.
        arguments: JSON text, not checked: a model may write anything.
        place: where in the answer; unique in it, and in the order of the calls.
    """

    id: str
    name: str
    arguments: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Denied:
    """What stands in an answer in the place of a tool call that was not let through.

    Attributes:
        text: for the model and for a person: what was denied, and what can be done.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters of an answer's text, and what goes out in their place."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What an inspector says after another piece of a text. Offsets count from the text's beginning.

    Attributes:
        cleared: everything before it may go out now, with `edits` made.
        edits: in order, not overlapping, each of them before `cleared`, and each told once.
    """

    cleared: int
    edits: tuple[Edit, ...] = ()


class Inspector(Protocol):
    """Watches one answer while it goes by. `wire` cuts answers into texts and tool calls, and makes the changes.

    Attributes:
        tools: tool calls are held until they are complete, and shown to `tool`.
        stopped: set by a call of `text` or `tool`: the answer ends here, and nothing that is not cleared goes out.
        findings: what there is to say of it, `stopped` among it or not.
    """

    tools: bool
    stopped: Finding | None

    @property
    def findings(self) -> Sequence[Finding]: ...

    def text(self, place: str, piece: str, *, final: bool = False) -> Seen:
        """Another piece of a visible text of the answer; with `final` its last one.

        Args:
            place: which text, as the dialect counts its blocks, choices and items.
        """
        ...

    def tool(self, call: ToolCall) -> ToolCall | Denied:
        """A complete tool call: the same, an edited one, or what stands in its place."""
        ...
