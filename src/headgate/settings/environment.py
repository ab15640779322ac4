"""HEADGATE_* variables and flags, laid over what the file says.

The rule: ``HEADGATE_<KEY>`` sets a top-level key, and ``__`` goes one level down (``HEADGATE_RETRY__ATTEMPTS=2``).
A value that starts with ``[`` or ``{`` is YAML; anything else is the text itself; an empty one counts as not set. Every
other ``HEADGATE_`` variable is nobody's: a warning, unless an ``env:`` reference names it.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal

from headgate.settings.tree import Items, Mistakes, Node, Scalar, Table, Where, kind
from headgate.settings.yaml_file import read_flow

PREFIX = "HEADGATE_"
CONFIG = "HEADGATE_CONFIG"
"""The path of the file, where no other is given."""

OVERRIDE = Where("override")


def overlay_env(root: Table, env: Mapping[str, str], top: Collection[str], mistakes: Mistakes) -> Table:
    """`root` with the variables' values in it. `root` itself is not changed."""
    for name, parts in _settings(env, top):
        text = env[name].strip()
        node: Node | None
        if text[:1] in ("[", "{"):
            node = read_flow(text, name, mistakes)
        else:
            node = Scalar(text, Where(name), plain=False, variable=name)
        if node is not None:
            root = put(root, parts, node, Where(name), mistakes)
    return root


def _settings(env: Mapping[str, str], top: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    for name in sorted(env):
        if name.startswith(PREFIX) and env[name].strip():
            parts = name.removeprefix(PREFIX).lower().split("__")
            if parts[0] in top and all(parts):
                yield name, parts


def overlay(root: Table, overrides: Mapping[str, object], mistakes: Mistakes) -> Table:
    """`root` with flags in it: plain Python values by dotted keys ("server.port"); None means that none was given."""
    for key, value in overrides.items():
        if value is not None:
            root = put(root, key.split("."), _node(value), OVERRIDE, mistakes)
    return root


def _node(value: object) -> Node:
    if isinstance(value, bool):
        return Scalar(str(value).lower(), OVERRIDE)
    if isinstance(value, str | int | float | Decimal):
        return Scalar(str(value), OVERRIDE, plain=False)
    if isinstance(value, Mapping):
        table = Table(OVERRIDE)
        for key, entry in value.items():
            if entry is not None:
                table.put(str(key), _node(entry), OVERRIDE)
        return table
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return Items(OVERRIDE, [_node(item) for item in value])
    raise TypeError(f"an override must be text, a number, a mapping or a sequence, not {type(value).__name__}")


def put(root: Table, parts: Sequence[str], node: Node, where: Where, mistakes: Mistakes) -> Table:
    """A copy of `root` with `node` at the path `parts`. What an alias shares stays as it is elsewhere."""
    root = root.copy()
    inner = root
    for depth, part in enumerate(parts[:-1]):
        key = _existing(inner, part)
        child = inner.entries.get(key)
        if child is None or (isinstance(child, Scalar) and child.null):
            child = Table(where)
        elif not isinstance(child, Table):
            path = ".".join(parts[: depth + 1])
            mistakes.add(where, path, f"nothing can be set inside it: {child.where} gives {kind_of(child)}")
            return root
        copied = child.copy()
        inner.put(key, copied, inner.keys.get(key, where))
        inner = copied
    inner.put(_existing(inner, parts[-1]), node, where)
    return root


def kind_of(node: Node) -> str:
    """What stands in the way, without its value."""
    return "one value" if isinstance(node, Scalar) else kind(node)


def _existing(table: Table, part: str) -> str:
    """The key that `part` means: names in variables have no upper case and no hyphens."""
    if part in table.entries:
        return part
    for key in table.entries:
        if key.lower().replace("-", "_") == part:
            return key
    return part


def stray(env: Mapping[str, str], top: Sequence[str], referenced: Collection[str]) -> list[str]:
    """One warning for each HEADGATE_ variable that nothing reads. Values are never shown."""
    used = {name for name, _ in _settings(env, top)} | set(referenced) | {CONFIG}
    found = []
    for name in sorted(env):
        if name.startswith(PREFIX) and name not in used and env[name].strip():
            found.append(f"{name} is not a setting, and no env: reference names it{_hint(name, top)}")
    return found


def _hint(name: str, top: Sequence[str]) -> str:
    word = name.removeprefix(PREFIX).lower()
    for key in top:
        rest = word.removeprefix(key + "_").lstrip("_")
        if word.startswith(key + "_") and rest:
            return f"; did you mean {PREFIX}{key.upper()}__{rest.upper()}?"
    close = difflib.get_close_matches(word[:64], top, n=1)
    return f"; did you mean {PREFIX}{close[0].upper()}?" if close else ""
