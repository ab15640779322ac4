"""Spans of several recognisers made one list: in the order of the text, none overlapping another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headgate.core.guards import Span

SEEN_BACK = 64
"""Characters. How far back from its end a text that grows is held, at most (decisions 16)."""


def resolved(spans: Iterable[Span], rank: Callable[[str], int]) -> list[Span]:
    """The spans without overlaps, sorted.

    Spans that overlap become one over all of them, so that nothing that any recogniser has seen stays uncovered. Its
    type is that of the most specific, and of these the longest.

    Args:
        rank: how specific a type is: the lower, the more.
    """
    made: list[Span] = []
    best = (0, 0)
    for span in sorted(spans):
        if span.end <= span.start:
            continue
        weight = (rank(span.type), span.start - span.end)
        if made and span.start < made[-1].end:
            last = made[-1]
            kind = span.type if weight < best else last.type
            best = min(best, weight)
            made[-1] = Span(last.start, max(last.end, span.end), kind)
        else:
            made.append(span)
            best = weight
    return made
