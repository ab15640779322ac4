"""One text of an answer while it comes in, and the guards that look at it.

Guards see every piece once, with what came before it, and say from where on the text has to wait: a finding that is
only complete with the next piece must still be there to be taken out. Nothing waits for longer than the look-behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headgate.core.guards import Edit, Finding, Seen, Verdict

KEPT = 4096
"""Characters of a text that are kept for guards to look back at, at least."""


@dataclass(frozen=True, slots=True)
class Hit:
    """What a guard has found in a text.

    Attributes:
        start, end: in characters from the text's beginning.
        finding: for the log; None: nothing to say, only to change. With the verdict block the answer ends at `start`.
        text: what goes out in its place; None: what is there.
    """

    start: int
    end: int
    finding: Finding | None = None
    text: str | None = None


class Told:
    """The end of a text so far. `buf` begins at `base`; from `fresh` on it is new."""

    __slots__ = ("base", "buf", "fresh", "hits")

    def __init__(self) -> None:
        self.buf = ""
        self.base = self.fresh = 0
        self.hits: list[Hit] = []

    @property
    def end(self) -> int:
        """How long the text is so far."""
        return self.base + len(self.buf)

    def add(self, piece: str, kept_from: int) -> None:
        """Another piece. What lies before `kept_from` may be forgotten."""
        self.fresh = self.base + len(self.buf)
        self.buf += piece
        if len(self.buf) > 3 * KEPT:
            drop = min(kept_from, self.fresh - KEPT) - self.base
            if drop > 0:
                self.buf = self.buf[drop:]
                self.base += drop


class TextGuard(Protocol):
    """Looks at one text; made anew for each."""

    def look(self, told: Told, *, final: bool) -> int:
        """Look at what is new; add to `told.hits`. Returns from where on the text has to wait, `told.end` = nowhere.

        Args:
            final: nothing comes behind this.
        """
        ...


class Watched:
    """A text and its guards.

    Attributes:
        cleared: characters that may have gone out.
    """

    __slots__ = ("_guards", "_look_behind", "_pending", "_place", "_told", "cleared")

    def __init__(self, place: str, guards: Sequence[TextGuard], look_behind: int) -> None:
        self._place = place
        self._guards = guards
        self._look_behind = look_behind
        self._told = Told()
        self._pending: list[Edit] = []
        self.cleared = 0

    def feed(self, piece: str, findings: list[Finding], *, final: bool) -> tuple[Seen, Finding | None]:
        """What may go out now, and what the answer has to end for. New findings are added to `findings`."""
        told = self._told
        told.add(piece, self.cleared)
        hold = end = told.end
        for guard in self._guards:
            waits = guard.look(told, final=final)
            if waits < hold:
                hold = waits
        hold = end if final else max(hold, end - self._look_behind, self.cleared)
        stopped = None
        if told.hits:
            stopped, before = self._sort_out(told.hits, findings)
            told.hits = []
            if stopped is not None:
                hold = max(self.cleared, min(hold, before))
        return self._seen(hold, stopping=stopped is not None), stopped

    def _sort_out(self, hits: list[Hit], findings: list[Finding]) -> tuple[Finding | None, int]:
        """(what the answer ends for, and where); edits are put among the pending ones."""
        stopped, before = None, 0
        for hit in hits:
            found = hit.finding
            if found is not None:
                found = _at(found, self._place)
                if found not in findings:
                    findings.append(found)
                if found.verdict is Verdict.BLOCK and (stopped is None or hit.start < before):
                    stopped, before = found, hit.start
            if hit.text is not None:
                self._pending.append(Edit(hit.start, hit.end, hit.text))
        self._pending.sort(key=lambda edit: (edit.start, -edit.end))
        return stopped, before

    def _seen(self, hold: int, *, stopping: bool) -> Seen:
        if not self._pending:
            self.cleared = hold
            return Seen(hold)
        edits: list[Edit] = []
        left: list[Edit] = []
        at = self.cleared
        for edit in self._pending:
            if edit.start >= hold:
                left.append(edit)
                continue
            start, end = max(edit.start, at), edit.end
            if end <= start:
                continue  # another guard has taken it out, or it has left
            edits.append(Edit(start, end, edit.text))
            at = end
            hold = max(hold, end)  # what goes out in its place is known, whatever else waits in it
        self._pending = [] if stopping else left
        self.cleared = hold
        return Seen(hold, tuple(edits))


def _at(finding: Finding, place: str) -> Finding:
    if finding.place:
        return finding
    return Finding(finding.guard, finding.verdict, finding.reasons, finding.score, finding.spans, "assistant", place)
