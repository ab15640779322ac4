"""Reading one mapping of the configuration: known keys, types, defaults, and where each value came from."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from headgate.settings.secrets import SecretRef, parse_reference
from headgate.settings.tree import Items, Mistakes, Node, Scalar, Table, Where, kind, shown
from headgate.settings.units import Unfit

T = TypeVar("T")

DEFAULT = "default"


@dataclass(slots=True)
class Context:
    """What every reader shares."""

    env: Mapping[str, str]
    mistakes: Mistakes
    base: str = ""  # the directory of the file, "" = the working directory
    origins: dict[str, str] = field(default_factory=dict)
    places: dict[str, Where] = field(default_factory=dict)  # where each value stands, for checks across sections
    keys: dict[str, Where] = field(default_factory=dict)  # where each name stands
    variables: set[str] = field(default_factory=set)  # environment variables that are referred to
    warnings: list[str] = field(default_factory=list)

    def wrong(self, path: str, what: str) -> None:
        """Note a mistake at the value that `path` was read from."""
        self.mistakes.add(self.places.get(path, Where("settings")), path, what)

    def wrong_name(self, path: str, what: str) -> None:
        """Note a mistake at the key that `path` ends with."""
        self.mistakes.add(self.keys.get(path, Where("settings")), path, what)


def suggestion(word: str, known: Sequence[str], *, label: str = "known") -> str:
    """``; did you mean 'x'?``, or the list where nothing is close."""
    close = difflib.get_close_matches(word[:64].lower(), known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    listed = ", ".join(known[:20])
    return f"; {label}: {listed}" if listed else ""


def complaint(error: ValueError, text: str) -> str:
    """What was expected, what was found, and what may have been meant."""
    if not isinstance(error, Unfit):
        return str(error)
    close = difflib.get_close_matches(text[:64].lower(), error.choices, n=1)
    return f"{error}, not {shown(text)}" + (f"; did you mean {close[0]!r}?" if close else "")


class Section:
    """One mapping with known keys. Unknown ones are mistakes; missing ones are defaults."""

    def __init__(self, context: Context, node: Node | None, path: str, known: Sequence[str]) -> None:
        self.context = context
        self.path = path
        self.where = node.where if node is not None else Where("settings")
        self.table = self._as_table(node)
        self.given = bool(self.table.entries)
        for key in self.table.entries:
            if key not in known and not context.mistakes.full:
                hint = suggestion(key, known, label="known keys")
                context.mistakes.add(self.table.keys[key], path, f"unknown key {shown(key)}{hint}")

    def _as_table(self, node: Node | None) -> Table:
        if isinstance(node, Table):
            return node
        silent = node is None or (isinstance(node, Scalar) and (node.null or node.live))
        if node is not None and not silent:
            what = kind(node) if isinstance(node, Items) else "a single value"
            self.context.mistakes.add(node.where, self.path, f"expected a mapping ({{key: value}}), not {what}")
        return Table(self.where)

    def at(self, key: str) -> str:
        """The dotted path of a key."""
        return f"{self.path}.{key}" if self.path else key

    def wrong(self, key: str, what: str) -> None:
        """Note a mistake at a key's value, or at the mapping where the key is missing."""
        node = self.table.entries.get(key)
        self.context.mistakes.add(self.where if node is None else node.where, self.at(key), what)

    def node(self, key: str) -> Node | None:
        """What is written at `key`, and note its origin; None where nothing is."""
        path = self.at(key)
        node = self.table.entries.get(key)
        if node is None:
            self.context.origins[path] = DEFAULT
            return None
        self.context.origins[path] = str(self.table.keys[key])
        self.context.places[path] = node.where
        return node

    def scalar(self, key: str, expected: str) -> Scalar | None:
        """The value at `key`; None where nothing usable is, with the mistake noted."""
        node = self.node(key)
        if node is None or (isinstance(node, Scalar) and node.live):
            return None
        if not isinstance(node, Scalar):
            self.wrong(key, f"{expected}, not {kind(node)}")
        elif node.null:
            self.wrong(key, f"{expected}, and nothing is here: give it a value or remove the key")
        else:
            return node
        return None

    def take(self, key: str, read: Callable[[str], T], default: T, *, show: bool = True) -> T:
        """The value at `key` as `read` understands it, or `default`.

        Args:
            show: repeat a wrong value in the message. False for whatever may hold a credential.
        """
        node = self.scalar(key, "expected one value")
        if node is None:
            return default
        try:
            return read(node.text)
        except ValueError as error:
            self.wrong(key, complaint(error, node.text) if show else str(error))
            return default

    def take_url(self, key: str, read: Callable[[str], str], default: str) -> str:
        """Like `take` for a URL: never shown, and ``env:NAME`` stands for what that variable holds now."""
        return self.take(key, lambda text: read(self.expand(text)), default, show=False)

    def expand(self, text: str) -> str:
        """The text, or the variable's value where it is ``env:NAME``. Raises ValueError where that is not set."""
        if not text.startswith("env:"):
            return text
        name = parse_reference(text).name
        self.context.variables.add(name)
        value = self.context.env.get(name, "").strip()
        if not value:
            raise ValueError(f"the environment variable {name} is not set")
        return value

    def secret(self, key: str, default: SecretRef | None = None) -> SecretRef | None:
        """A reference to a secret. No value at this key is ever shown.

        A literal in an environment variable is no literal in a file: it becomes a reference to that variable.
        """
        node = self.scalar(key, "expected a reference to a secret, like env:NAME")
        if node is None:
            return default
        return self._reference(node, self.at(key), literal=node.variable) or default

    def secrets(self, key: str, default: SecretRef | None = None) -> SecretRef | tuple[SecretRef, ...] | None:
        """One reference to a secret, as `secret`, or a list of different ones."""
        node = self.table.entries.get(key)
        if not isinstance(node, Items):
            return self.secret(key, default)
        found: list[SecretRef] = []
        for item, at in self.items(key):
            if not isinstance(item, Scalar) or item.null:
                self.context.wrong(at, f"expected a reference to a secret, like env:NAME, not {kind(item)}")
                continue
            one = None if item.live else self._reference(item, at)
            if one in found:
                self.context.wrong(at, "refers to the same secret as an earlier one")
            elif one is not None:
                found.append(one)
        if not node.items:
            self.wrong(key, "expected at least one reference to a secret, like [env:NAME, env:OTHER]")
        return tuple(found) if len(found) > 1 else found[0] if found else default

    def _reference(self, node: Scalar, path: str, *, literal: str = "") -> SecretRef | None:
        """`literal`: the variable whose whole value this is, and which may hold the secret itself."""
        where = f"{node.where}: {path}"
        try:
            reference = parse_reference(node.text, base="" if node.variable else self.context.base, where=where)
        except ValueError as error:
            if literal:
                return SecretRef("env", literal, where=where)
            self.context.wrong(path, str(error))
            return None
        if reference.scheme == "env":
            self.context.variables.add(reference.name)
        return reference

    def section(self, key: str, known: Sequence[str]) -> Section:
        """The mapping at `key`; an empty one where nothing is."""
        return Section(self.context, self.node(key), self.at(key), known)

    def named(self, key: str) -> Iterator[tuple[str, Node, str]]:
        """The entries of a mapping whose keys are names: (name, node, path)."""
        node = self.node(key)
        table = Section(self.context, node, self.at(key), tuple(node.entries) if isinstance(node, Table) else ())
        for name, entry in table.table.entries.items():
            table.node(name)
            self.context.keys[table.at(name)] = table.table.keys[name]
            yield name, entry, table.at(name)

    def items(self, key: str) -> Iterator[tuple[Node, str]]:
        """The items of the list at `key`: (node, path)."""
        return read_items(self.context, self.node(key), self.at(key))

    def texts(self, key: str, read: Callable[[str], T]) -> tuple[T, ...]:
        """The list of single values at `key`."""
        return read_texts(self.context, self.node(key), self.at(key), read)


def read_items(context: Context, node: Node | None, path: str) -> Iterator[tuple[Node, str]]:
    """The items of a list: (node, path). Nothing, with the mistake noted, where it is none."""
    if isinstance(node, Items):
        for number, item in enumerate(node.items):
            at = f"{path}[{number}]"
            context.origins[at] = str(item.where)
            context.places[at] = item.where
            yield item, at
    elif node is not None and not (isinstance(node, Scalar) and (node.null or node.live)):
        context.mistakes.add(node.where, path, f"expected a list ([a, b], or one `- ` line each), not {kind(node)}")


def read_texts(context: Context, node: Node | None, path: str, read: Callable[[str], T]) -> tuple[T, ...]:
    """A list of single values, each as `read` understands it."""
    found: list[T] = []
    for item, at in read_items(context, node, path):
        if context.mistakes.full:
            break
        if not isinstance(item, Scalar) or item.null:
            context.wrong(at, f"expected one value, not {kind(item)}")
        elif not item.live:
            try:
                found.append(read(item.text))
            except ValueError as error:
                context.wrong(at, complaint(error, item.text))
    return tuple(found)
