"""What was written, before anyone knows what it means: nodes that remember where they stand, and the mistakes.

Values stay text: each field reads its own, so YAML 1.1's guesses (`off` is false, `1:30` is 90, `010` is 8) never
happen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from headgate.settings.secrets import scrub

MAX_MISTAKES = 200
MAX_SHOWN = 60

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Where(NamedTuple):
    """A place. `line` and `column` start at 1; 0 means that the source has no lines (a variable, a flag)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(slots=True)
class Scalar:
    """One value, as text."""

    text: str
    where: Where
    plain: bool = True  # not quoted, not a block
    live: bool = False  # holds a live key, already reported
    variable: str = ""  # the environment variable that holds it
    size: int = 1

    @property
    def null(self) -> bool:
        """Nothing was written, or YAML's null."""
        return self.plain and self.text in _NULLS


@dataclass(slots=True)
class Items:
    """A list."""

    where: Where
    items: list[Node] = field(default_factory=list)
    size: int = 1


@dataclass(slots=True)
class Table:
    """A mapping. `keys` says where each key stands."""

    where: Where
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Where] = field(default_factory=dict)
    size: int = 1

    def put(self, key: str, node: Node, where: Where) -> None:
        """Set or replace one entry."""
        self.entries[key] = node
        self.keys[key] = where

    def copy(self) -> Table:
        """A copy whose entries may be replaced (an alias makes one table appear in two places)."""
        return Table(self.where, dict(self.entries), dict(self.keys), self.size)


Node = Scalar | Items | Table


def kind(node: Node) -> str:
    """What a node is, for messages."""
    if isinstance(node, Table):
        return "a mapping"
    if isinstance(node, Items):
        return "a list"
    return "nothing" if node.null else shown(node.text)


def shown(text: str) -> str:
    """A value for a message: quoted, short, never a key."""
    text = scrub(text)
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")


class Mistakes:
    """Everything that is wrong, in the order of the file. Bounded: the rest is counted."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, Where, str], None] = {}
        self._sources: dict[str, int] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._found)

    @property
    def full(self) -> bool:
        """No more will be kept: do not work for it."""
        return len(self._found) >= MAX_MISTAKES

    def add(self, where: Where, path: str, what: str) -> None:
        """Note one. `path` is dotted, "" for the file as a whole."""
        if self.full:
            self.dropped += 1
            return
        text = f"{where}: {path}: {what}" if path else f"{where}: {what}"
        order = self._sources.setdefault(where.source, len(self._sources))
        self._found[order, where, scrub(text)] = None

    def lines(self) -> list[str]:
        """One line each."""
        lines = [text for _, _, text in sorted(self._found)]
        if self.dropped:
            lines.append(f"and {self.dropped} more")
        return lines
