"""Output caps by what a task is for, and how often answers run into them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DEFAULT_CAPS: Mapping[str, int] = MappingProxyType(
    {
        "sentiment": 50,
        "extraction": 300,
        "summary": 400,
        "document_summary": 800,
        "code": 2_000,
        "conversation": 600,
    }
)
"""Tokens of visible text, by the task's name. Room for thinking comes on top."""

TRUNCATED = frozenset({"max_tokens", "length", "max_output_tokens"})
"""Stop reasons of answers that ran into their cap, in all dialects."""

OFTEN, ENOUGH_CALLS = 0.1, 20
"""From this share of so many calls on a cap is too low, and that is told."""
MOST_TASKS = 1_000


class Truncation:
    """Counts answers that ran into their caps, by task. Not locked: its owner is."""

    __slots__ = ("_counts", "_told")

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}  # calls, truncated
        self._told: set[str] = set()

    def count(self, task: str, stop_reason: str) -> tuple[int, int] | None:
        """Add an answer. Returns (calls, truncated ones) once per task, when its cap turns out to be too low."""
        counts = self._counts.get(task)
        if counts is None:
            if len(self._counts) >= MOST_TASKS:
                return None
            counts = self._counts[task] = [0, 0]
        counts[0] += 1
        if stop_reason not in TRUNCATED:
            return None
        counts[1] += 1
        calls, truncated = counts
        if calls < ENOUGH_CALLS or truncated < OFTEN * calls or task in self._told:
            return None
        self._told.add(task)
        return calls, truncated

    def rates(self) -> dict[str, float]:
        """The share of each task's answers that ran into a cap, 0 to 1."""
        return {task: truncated / calls for task, (calls, truncated) in self._counts.items()}
