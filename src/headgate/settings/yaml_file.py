"""headgate.yaml to nodes, from PyYAML's events: no tags, no recursion, aliases and sizes bounded, duplicates seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from headgate.settings.secrets import looks_live
from headgate.settings.tree import Items, Mistakes, Node, Scalar, Table, Where, shown

if TYPE_CHECKING:
    import yaml

MAX_FILE_BYTES = 1024 * 1024
MAX_NODES = 20_000
"""Values in one file, with aliases expanded: an alias bomb stops here."""
MAX_DEPTH = 20

_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_SKIP = object()


class _Mark(Protocol):
    """A place in the text, from 0; PyYAML has two classes of it."""

    line: int
    column: int


class _Stopped(Exception):
    """The file cannot be read further; the reason is among the mistakes."""


def read_yaml(data: bytes, source: str, mistakes: Mistakes) -> Table | None:
    """The file's mapping, or None where there is none or it cannot be read; mistakes are noted, never raised."""
    try:
        return _Builder(source, mistakes).build(_decode(data, source, mistakes))
    except _Stopped:
        return None


def read_flow(text: str, source: str, mistakes: Mistakes) -> Node | None:
    """One YAML value from an environment variable: ``[{per: user, usd: 10}]``."""
    try:
        return _Builder(source, mistakes, lines=False).root(text)
    except _Stopped:
        return None


def _decode(data: bytes, source: str, mistakes: Mistakes) -> str:
    if len(data) > MAX_FILE_BYTES:
        mistakes.add(Where(source), "", f"larger than {MAX_FILE_BYTES} bytes: is this a headgate.yaml?")
        raise _Stopped
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        mistakes.add(Where(source, 1, 1), "", "this is UTF-16: save the file as UTF-8")
        raise _Stopped
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        mistakes.add(_at(source, before), "", f"byte 0x{data[error.start]:02x} is not UTF-8: save the file as UTF-8")
        raise _Stopped from None


def _at(source: str, before: str) -> Where:
    line, _, last = before.count("\n"), None, before.rpartition("\n")[2]
    return Where(source, line + 1, len(last) + 1)


class _Builder:
    """Turns events into nodes with a stack of open collections."""

    def __init__(self, source: str, mistakes: Mistakes, *, lines: bool = True) -> None:
        self.source = source
        self.mistakes = mistakes
        self.lines = lines
        self.open: list[tuple[Items | Table, str | None]] = []  # with the anchor
        self.keys: list[object] = []  # the key that waits for its value, per open collection
        self.key_marks: list[Where] = []
        self.anchors: dict[str, Node] = {}
        self.seen = 0

    def build(self, text: str) -> Table | None:
        root = self.root(text)
        if root is None or (isinstance(root, Scalar) and root.null):
            return None
        if not isinstance(root, Table):
            kind = "a list" if isinstance(root, Items) else "a single value"
            self.mistakes.add(root.where, "", f"expected a mapping of settings (`retry: ...`), not {kind}")
            return None
        return root

    def root(self, text: str) -> Node | None:
        import yaml

        root: Node | None = None
        documents = 0
        for event in self._events(text):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._stop(event, "a second document (---): a headgate.yaml holds one")
                continue
            node = self._node(event)
            if node is not None and not self.open:
                root = node
            elif node is not None:
                self._attach(node)
        return root

    def _events(self, text: str) -> Iterator[yaml.Event]:
        import yaml

        try:
            yield from yaml.parse(text, Loader=yaml.SafeLoader)
        except yaml.reader.ReaderError as error:
            where = _at(self.source, text[: error.position]) if self.lines else Where(self.source)
            self.mistakes.add(where, "", "a control character: remove it")
            raise _Stopped from None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.mistakes.add(self._where(mark), "", _explain(error))
            raise _Stopped from None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # PyYAML lets a bad escape ("\UFFFFFFFF") or an absurd version number out as it is.
            self.mistakes.add(Where(self.source), "", f"not YAML: {type(error).__name__}")
            raise _Stopped from None

    def _node(self, event: yaml.Event) -> Node | None:
        """The node that this event completes."""
        import yaml

        if isinstance(event, yaml.ScalarEvent):
            return self._anchored(self._scalar(event), event.anchor)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if isinstance(event, yaml.CollectionStartEvent):
            self._check(event)
            where = self._where(event.start_mark)
            made = Table(where) if isinstance(event, yaml.MappingStartEvent) else Items(where)
            self.open.append((made, event.anchor))
            self.keys.append(None)
            self.key_marks.append(where)
            if len(self.open) > MAX_DEPTH:
                raise self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
            return None
        if isinstance(event, yaml.CollectionEndEvent):
            closed, anchor = self.open.pop()
            self.keys.pop()
            self.key_marks.pop()
            return self._anchored(closed, anchor)
        return None

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        self._check(event)
        text = event.value.rstrip("\n")
        where = self._where(event.start_mark)
        if _CONTROL.search(text):
            self.mistakes.add(where, "", "control characters or several lines in one value: no setting has any")
            return Scalar("", where, live=True)
        live = looks_live(text)
        if live:
            self.mistakes.add(
                where,
                self._path(),
                "this looks like a live key: never write one in a file. Revoke it if the file was shared, and refer "
                "to it, like env:NAME",
            )
        return Scalar(text, where, plain=event.style is None, live=live)

    def _path(self) -> str:
        names: list[str] = []
        for (node, _), key in zip(self.open, self.keys, strict=True):
            if isinstance(node, Items):
                if names:
                    names[-1] += f"[{len(node.items)}]"
            elif isinstance(key, str):
                names.append(key)
        return ".".join(names)

    def _check(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        self.seen += 1
        if self.seen > MAX_NODES:
            raise self._stop(event, f"more than {MAX_NODES} values: is this a headgate.yaml?")
        if event.tag not in (None, "!"):
            where = self._where(event.start_mark)
            self.mistakes.add(where, self._path(), "YAML tags (!...) are not supported: write the value as it is")

    def _alias(self, event: yaml.AliasEvent) -> Node:
        self.seen += 1
        node = self.anchors.get(event.anchor or "")
        if node is None:
            name = shown(event.anchor or "")
            raise self._stop(
                event, f"the alias {name} refers to nothing before it: a text that starts with * is quoted"
            )
        return node

    def _anchored(self, node: Node, anchor: str | None) -> Node:
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def _attach(self, node: Node) -> None:
        parent, _ = self.open[-1]
        parent.size += node.size
        if parent.size > MAX_NODES:
            self.mistakes.add(parent.where, self._path(), f"more than {MAX_NODES} values with its aliases expanded")
            raise _Stopped
        if isinstance(parent, Items):
            parent.items.append(node)
            return
        key, self.keys[-1] = self.keys[-1], None
        if key is None:
            self.keys[-1] = self._key(parent, node)
            self.key_marks[-1] = node.where
        elif isinstance(key, str):
            parent.put(key, node, self.key_marks[-1])

    def _key(self, parent: Table, node: Node) -> object:
        """The key, or `_SKIP` where its value has no place."""
        path = self._path()
        if not isinstance(node, Scalar):
            self.mistakes.add(node.where, path, "a key must be a name, not a mapping or a list")
        elif node.live or node.text == "<<":
            if not node.live:
                self.mistakes.add(node.where, path, "merge keys (<<) are not supported: write the keys out")
        elif node.text in parent.keys:
            first = parent.keys[node.text]
            self.mistakes.add(
                node.where, path, f"duplicate key {shown(node.text)}: the first is at {first}; remove one"
            )
        else:
            return node.text
        return _SKIP

    def _where(self, mark: _Mark | None) -> Where:
        if mark is None or not self.lines:
            return Where(self.source)
        return Where(self.source, mark.line + 1, mark.column + 1)

    def _stop(self, event: yaml.Event, what: str) -> _Stopped:
        self.mistakes.add(self._where(event.start_mark), "", what)
        return _Stopped()


def _explain(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's problem in words for people; never its excerpt, which may hold a key."""
    problem = error.problem or "cannot be read"
    if "'\\t'" in problem:
        return "a tab: YAML is indented with spaces"
    hints = {
        "mapping values are not allowed here": "a second `: ` on this line: quote the value, or fix the indentation",
        "could not find expected ':'": "a key without `:` behind it",
        "expected <block end>": "does not line up with what is above it: fix the indentation",
        "expected ',' or": "a bracket that is not closed, or a comma that is missing",
        "found unexpected end of stream": "a quote that is not closed",
        "found unknown escape character": "an escape that YAML does not know: use single quotes",
        "that cannot start any token": "a character that cannot start a value: quote the value",
        "found duplicate anchor": "an anchor used twice",
    }
    for start, hint in hints.items():
        if start in problem:
            return hint
    return f"not YAML: {problem}"
