"""Floods: texts that are the same thing over and over, made to fill a context or to spend money.

Repetition is what a compressor finds, so one is asked: windows of a text that shrink to a thirtieth are nothing that
anybody has written. Prose shrinks to a third or half, code and tables to an eighth, logs rarely to a fifteenth. What
repeats itself over a longer way than a window is found by its lines and sentences. Both are linear, and look at no
more than `MOST` characters of a text, taken from all over it.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from headgate.core.guards import Finding, Span, Verdict

MOST = 1 << 20
"""Characters of one text that are looked at."""

LEAST = 2_000
"""Characters of a text that may be a flood. A shorter one fills nothing and costs nothing."""

_WINDOW = 4_096
_SHRINKS = 30  # to such a part of it
_SHARE = 0.5  # of a text's windows: less of it is a table's rule, or padding
_MANY = 8  # windows, whatever their share: 32,000 characters of nothing
_UNITS = re.compile(r"[\n.!?;\u3002\uff01\uff1f]+")
_LEAST_UNITS, _DISTINCT = 100, 0.1
_LEAST_COPY, _COPIES = 200, 20


class Words(Protocol):
    """A text, as `wire.segments.Segment` has it."""

    @property
    def channel(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def text(self) -> str: ...


def flood(text: str) -> tuple[str, float]:
    """Why a text is a flood, and how sure that is (0.5 to 1); ("", 0.0) where it is none.

    Returns:
        "run": one character over and over; "repetition": something short; "stuffing": the same lines or sentences.
    """
    if len(text) < LEAST:
        return "", 0.0
    looked_at = text if len(text) <= MOST else _from_all_over(text)
    windows = [looked_at[at : at + _WINDOW] for at in range(0, len(looked_at), _WINDOW)]
    if len(windows) > 1 and len(windows[-1]) < LEAST:
        windows.pop()  # too short to tell
    dull = [window for window in windows if _is_dull(window)]
    share = len(dull) / len(windows)
    if share >= _SHARE or len(dull) >= _MANY:
        one = all(len(set(window.replace(" ", ""))) <= 1 for window in dull[:64])
        return "run" if one else "repetition", min(1.0, 0.5 + share / 2)
    units = [unit for each in _UNITS.split(looked_at) if (unit := each.strip())]
    if len(units) >= _LEAST_UNITS:
        longest = [unit for unit in units if len(unit) >= 8]  # short ones, such as brackets, repeat in all code
        distinct = len(set(longest)) / max(1, len(longest))
        if distinct <= _DISTINCT and sum(map(len, longest)) >= len(looked_at) / 2:
            return "stuffing", 1.0 - distinct
    return "", 0.0


def floods(texts: Iterable[Words], *, block: bool) -> list[Finding]:
    """What is a flood among the texts of a request.

    Args:
        block: the verdict is block, and not flag.
    """
    verdict = Verdict.BLOCK if block else Verdict.FLAG
    found = []
    seen: Counter[tuple[str, str]] = Counter()
    for each in texts:
        text = each.text
        reason, score = flood(text)
        if reason:
            spans = (Span(0, len(text), "flood"),)
            found.append(Finding("floods", verdict, (reason,), score, spans, each.channel, each.place))
        if len(text) >= _LEAST_COPY:
            seen[each.channel, text] += 1
    if seen:
        (channel, _), copies = seen.most_common(1)[0]
        if copies >= _COPIES:
            found.append(Finding("floods", verdict, ("copies",), 1.0, (), channel))
    return found


def _is_dull(window: str) -> bool:
    data = window.encode("utf-8", "replace")
    return len(zlib.compress(data, 1)) * _SHRINKS < len(data)


def _from_all_over(text: str) -> str:
    """As many windows as may be looked at, at equal distances, the first and the last among them."""
    count = MOST // _WINDOW
    step = (len(text) - _WINDOW) / (count - 1)
    return "".join(text[int(n * step) : int(n * step) + _WINDOW] for n in range(count))
