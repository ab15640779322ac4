"""Personal data and secrets in an answer, and placeholders of the request that are put back into it."""

from __future__ import annotations

import re
from collections.abc import Callable

from headgate.core.guards import Finding, Span, Verdict
from headgate.policy.guards.answer_text import Hit, Told
from headgate.policy.guards.rules import BLOCK, FLAG

REACH = 128
"""Characters before a value in which the words stand that tell what it is."""

_BATCH = 32
"""Characters that are looked at together, and wait for it."""

KEPT_OUT = Finding("links", Verdict.REDACT, ("placeholder",))
"""A placeholder that stays one, because it stands in a link."""

_PLACEHOLDER = re.compile(r"\[[^\[\]\n]{2,94}\]")
_OPEN = re.compile(r"\[[^\[\]\n]{0,63}\Z")


class Values:
    """A `TextGuard`. What stands in the request is no finding: it goes back to whom it came from.

    Args:
        guard: "pii" or "secrets".
        find, tail_start: as `policy.guards.pii` and `policy.guards.secrets` have them.
        known: whether a value stands in the request.
    """

    __slots__ = ("_done", "_find", "_guard", "_known", "_mode", "_tail_start")

    def __init__(
        self,
        guard: str,
        mode: str,
        find: Callable[[str], list[Span]],
        tail_start: Callable[[str], int],
        known: Callable[[str], bool],
    ) -> None:
        self._guard = guard
        self._mode = mode
        self._find = find
        self._tail_start = tail_start
        self._known = known
        self._done = 0  # everything before it has been looked at for good

    def look(self, told: Told, *, final: bool) -> int:
        """See `TextGuard`."""
        buf, base = told.buf, told.base
        start = max(self._done - base, 0)
        if not final and len(buf) - start < _BATCH:
            return base + start
        low = max(start - REACH, 0)
        settled = len(buf) if final else low + self._tail_start(buf[low:])
        if settled > start:
            self._look(told, low, start, settled)
            self._done = base + settled
        return base + settled

    def _look(self, told: Told, low: int, start: int, settled: int) -> None:
        buf, base = told.buf, told.base
        for span in self._find(buf[low:settled]):
            first, last = low + span.start, low + span.end
            if last <= start or self._known(buf[first:last]):
                continue
            verdict = {FLAG: Verdict.FLAG, BLOCK: Verdict.BLOCK}.get(self._mode, Verdict.REDACT)
            text = f"[{span.type}]" if verdict is Verdict.REDACT else None
            told.hits.append(Hit(base + first, base + last, Finding(self._guard, verdict, (span.type,)), text))


class Restoring:
    """A `TextGuard` that puts values back where a model has written their placeholders.

    Args:
        restore: what stands for a placeholder; itself, where it was never given.
        leads_out: whether a place in a text is part of an address that leads to a strange host. A value that was kept
            from the provider is not put into one: a document can ask for such a link without knowing the value.
    """

    __slots__ = ("_leads_out", "_restore", "_scan")

    def __init__(self, restore: Callable[[str], str], leads_out: Callable[[str, int], bool]) -> None:
        self._restore = restore
        self._leads_out = leads_out
        self._scan = 0

    def look(self, told: Told, *, final: bool) -> int:
        """See `TextGuard`."""
        buf, base = told.buf, told.base
        at = max(self._scan - base, 0)
        for found in _PLACEHOLDER.finditer(buf, at):
            at = found.end()
            written = found.group()
            value = self._restore(written)
            if value == written:
                continue
            start, end = base + found.start(), base + found.end()
            if self._leads_out(buf, found.start()):
                told.hits.append(Hit(start, end, KEPT_OUT))
            else:
                told.hits.append(Hit(start, end, None, value))
        begun = None if final else _OPEN.search(buf, max(at, len(buf) - 64))
        waits = base + (begun.start() if begun else len(buf))
        self._scan = min(waits, max(base + at, told.end - 96))
        return waits
