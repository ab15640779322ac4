"""What anything that finds spans in a text looks like."""

from __future__ import annotations

from typing import Protocol

from headgate.core.guards import Span


class Recogniser(Protocol):
    """Finds one or more kinds of span. Pure: the same text, the same spans."""

    @property
    def name(self) -> str:
        """For the log: "pii", "secrets", "presidio"."""
        ...

    def find(self, text: str) -> list[Span]:
        """The spans, sorted and without overlaps."""
        ...
