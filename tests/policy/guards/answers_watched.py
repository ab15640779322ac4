"""An answer under `Watch`, piece by piece: what goes out of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.core.guards import Edit
from headgate.policy.guards.rules import GuardRules
from headgate.policy.guards.watch import Watch, Watching


@dataclass
class Words:
    channel: str
    plain: str
    place: str = ""


@dataclass
class Out:
    """What came of an answer."""

    text: str
    watch: Watch
    most_held: int
    edits: list[Edit] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        return [f"{each.verdict}:{each.guard}:{reason}" for each in self.watch.findings for reason in each.reasons]


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def watching(rules: GuardRules, *, system: str = "", user: str = "", document: str = "", **more: Any) -> Watching:
    texts = [Words("system", system), Words("user", user), Words("document", document)]
    return Watching(rules, [each for each in texts if each.plain], **more)


def answer(made: Watching, said: Iterable[str], place: str = "content[0]") -> Out:
    """Play the gate: make the edits, keep what is cleared."""
    watch = made()
    whole, cleared, held = "", 0, 0
    edits: list[Edit] = []
    told = [*((piece, False) for piece in said), ("", True)]
    for piece, final in told:
        whole += piece
        seen = watch.text(place, piece, final=final)
        assert cleared <= seen.cleared <= len(whole)
        for edit in seen.edits:
            assert (edits[-1].end if edits else 0) <= edit.start <= edit.end <= seen.cleared
            assert edit.start >= cleared
            edits.append(edit)
        cleared = seen.cleared
        if watch.stopped is not None:
            break
        held = max(held, len(whole) - cleared)
    return Out(applied(whole[:cleared], edits), watch, held, edits)


def applied(text: str, edits: Sequence[Edit]) -> str:
    for edit in reversed(edits):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
