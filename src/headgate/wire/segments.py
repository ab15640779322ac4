"""The texts of a request's body: whose words each of them is, and where it stands, so that it can be spliced.

Objects of kinds that are not known are gone through all the same: a text that a model may see is not passed over
because its block is newer than we are. Media are passed over, and so is what providers have encrypted; but text files
in base64 are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from headgate.core.guards import TAINTED
from headgate.policy.guards.provenance import Marks, parts
from headgate.wire.coded_text import Coded, coded_text
from headgate.wire.located import LONE, Members, byte_places, literal_text, loads, locate
from headgate.wire.splicing import splice as splice  # one door for those who read and change texts

PROSE, FIELD, SIGNED = "prose", "field", "signed"
"""What may be done to a text: anything; anything but put something around it, because it is a title, an argument, or
text that citations count characters of; nothing, because a signature is over it."""

_MAX_DEPTH = 32  # of lists and objects within a content; no dialect has half as many
_TRUSTED = frozenset({"system", "user"})  # in these a marked part is somebody else's
_MOST_PARTS = 100
_SHORT_SOURCE = 12  # characters; a longer one may be words that are not to pass unseen


Path = tuple[Any, int] | None
"""The way to a node: that to what holds it, and its place among the members or elements. Linked, so that many strings
that are deep in a body do not each cost their depth."""


class _Origin:
    """A body, and its structure once somebody asks where a text stands."""

    __slots__ = ("_tree", "body")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self._tree: Any = None

    def literal(self, path: Path) -> tuple[int, int]:
        """Where the string at `path` stands."""
        places = []
        while path is not None:
            path, place = path
            places.append(place)
        node = self._tree
        if node is None:
            node = self._tree = locate(self.body)
        for place in reversed(places):
            node = node[place][1] if type(node) is Members else node[place]
        start, end = node
        return start, end


@dataclass(slots=True, eq=False)
class Segment:
    """One text of a body. Immutable by convention.

    Attributes:
        channel: one of `core.guards.CHANNELS`.
        place: where, for people: "messages[2].content[0]".
        text: as it stands in the body, its escapes resolved; a lone surrogate is U+FFFD.
        message: the index of its message or input item; -1 where it is in none.
        form: `PROSE`, `FIELD` or `SIGNED`.
        marks: of a part that `headgate.untrusted` has marked; its text is between the delimiters. Or how it is coded.
    """

    channel: str
    place: str
    text: str = field(repr=False)
    message: int
    form: str
    _origin: _Origin = field(repr=False)
    _path: Path = field(repr=False)
    marks: Marks | Coded | None = None
    _within: tuple[int, int] | None = field(default=None, repr=False)  # characters, of a part of a string

    @property
    def plain(self) -> str:
        """The text to look at: without what was done to mark it."""
        return self.text if self.marks is None else self.marks.plain(self.text)

    def written(self, plain: str) -> str:
        """What to splice in, so that the text is `plain` to those who look at it."""
        return plain if self.marks is None else self.marks.written(plain)

    @property
    def span(self) -> tuple[int, int]:
        """Where it stands in the body, in bytes: its JSON string with the quotes, or the part of one that it is.

        Found when it is first asked for, for all segments of the body together.
        """
        start, end = self._origin.literal(self._path)
        if self._within is None:
            return start, end
        first, last = byte_places(self._origin.body, start, end, self._within)
        return first, last

    @property
    def literal(self) -> tuple[int, int]:
        """Where the JSON string stands that it is, or is a part of, in bytes with the quotes."""
        return self._origin.literal(self._path)

    @property
    def whole(self) -> str:
        """All of that string."""
        return self.text if self._within is None else literal_text(self._origin.body, *self.literal)

    @property
    def start(self) -> int:
        """See `span`."""
        return self.span[0]

    @property
    def end(self) -> int:
        """See `span`; exclusive."""
        return self.span[1]


def segments(dialect: str, endpoint: str, body: bytes) -> list[Segment]:
    """The texts of a body that the dialect's `read_request` has accepted, in the order of its bytes, not overlapping.

    Nothing where the endpoint takes no texts that a model reads. Never raises.

    Args:
        dialect, endpoint: as in `core.exchange.Request`.
    """
    members = _MEMBERS.get(_shape(dialect, endpoint))
    if members is None:
        return []
    try:
        top = loads(body)
    except (ValueError, RecursionError):
        return []  # no provider reads it either
    if type(top) is not Members:
        return []
    walk = _Walk(body)
    for place, (name, value) in enumerate(top):
        if name in members:
            _TOP[members[name]](walk, value, (None, place), name)
    return walk.found


def _shape(dialect: str, endpoint: str) -> str:
    if endpoint == "count_tokens":
        return "messages" if dialect == "anthropic" else "responses"
    return endpoint


# Of each endpoint: the members that hold texts, and how they are read.
_MEMBERS: dict[str, dict[str, str]] = {
    "messages": {"system": "system", "messages": "messages", "tools": "tools", "output_config": "schema"},
    "chat": {
        "messages": "messages",
        "tools": "tools",
        "functions": "tools",
        "prediction": "user",
        "response_format": "schema",
    },
    "responses": {
        "instructions": "system",
        "input": "items",
        "tools": "tools",
        "prompt": "user",
        "text": "schema",
    },
    "embeddings": {"input": "document"},
    "moderations": {"input": "user"},
}
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool_result",
    "function": "tool_result",
}
# The content of objects of these types is not their holder's words.
_DOCUMENTS = frozenset({"document", "search_result", "file", "input_file"})
_OUTPUTS = ("_output", "_result")
# Of tools that the caller runs. What the provider's own tools have left it may compare with what it has kept.
_CALLERS_RESULTS = frozenset({"tool_result", "function_call_output", "custom_tool_call_output"})
_TOOLS_OF = {"mcp_list_tools": "tool_result", "additional_tools": "system", "tool_search_output": "system"}
_ANSWERS = frozenset({"output", "outputs", "results", "result", "error"})  # of tools
# Keys of blocks and items whose values are no texts for a model, or no texts at all.
_PASSED_OVER = frozenset(
    {
        *("type", "id", "role", "name", "status", "detail", "format", "media_type", "cache_control", "caller"),
        *("tool_use_id", "call_id", "tool_call_id", "file_id", "item_id", "server_label", "server_name", "namespace"),
        *("signature", "encrypted_content", "encrypted_index", "encrypted_stdout", "image_url", "input_audio", "url"),
        *("file_url", "audio", "logprobs", "phase", "annotations", "approval_request_id", "container_id", "version"),
    }
)
# In the definitions of tools and the schemas of answers: what a model reads as words.
_DESCRIBING = frozenset({"description", "server_description", "title", "default", "const", "enum", "examples"})
_NAME = re.compile(r"[a-z_]{1,40}")


class _Walk:
    """Collects segments. Paths are places of members and elements, which `_Origin` follows."""

    def __init__(self, body: bytes) -> None:
        self.origin = _Origin(body)
        self.found: list[Segment] = []
        self.surrogates = b"\\ud" in body or b"\\uD" in body
        self.message = -1
        self.depth = 0

    def text(self, text: str, channel: str, path: Path, place: str, form: str = PROSE) -> None:
        """A string."""
        if not text:
            return
        if self.surrogates:
            text = LONE.sub("\ufffd", text)
        if "<untrusted-" in text and channel != "assistant":
            self._parts(text, channel, path, place, form)
        else:
            self.found.append(Segment(channel, place, text, self.message, form, self.origin, path))

    def _parts(self, text: str, channel: str, path: Path, place: str, form: str) -> None:
        """A string and the parts of it that are marked, each found from the string's beginning on. So only so many of
        them are told apart, and what is behind those is a third party's altogether."""
        theirs, of = ("document", FIELD) if channel in _TRUSTED else (channel, form)
        told = list(islice(parts(text), _MOST_PARTS))
        at = 0
        for part in told:
            self._part(text, channel, path, place, form, (at, part.outer), None)
            if len(part.marks.source) > _SHORT_SOURCE:
                self._part(text, theirs, path, place, of, part.named, None)
            self._part(text, theirs, path, place, of, (part.start, part.end), part.marks)
            at = part.after
        if len(told) == _MOST_PARTS and "<untrusted-" in text[at:]:
            channel, form = theirs, of
        self._part(text, channel, path, place, form, (at, len(text)), None)

    def _part(
        self,
        text: str,
        channel: str,
        path: Path,
        place: str,
        form: str,
        within: tuple[int, int],
        marks: Marks | None,
    ) -> None:
        start, end = within
        if start == 0 and end == len(text) and marks is None:
            self.found.append(Segment(channel, place, text, self.message, form, self.origin, path))
        elif start < end:
            piece = text[start:end]
            self.found.append(Segment(channel, place, piece, self.message, form, self.origin, path, marks, within))

    def content(self, node: Any, channel: str, path: Path, place: str, form: str = PROSE) -> None:
        """A string, or blocks."""
        kind = type(node)
        if kind is str:
            self.text(node, channel, path, place, form)
        elif isinstance(node, list) and self.depth >= _MAX_DEPTH:
            for key, text, at in _strings(node, path):
                if key not in _PASSED_OVER:
                    self.text(text, channel, at, place, FIELD)
        elif isinstance(node, list):
            self.depth += 1
            if isinstance(node, Members):
                self.block(node, channel, path, place, form)
            else:
                for n, each in enumerate(node):
                    if type(each) is not float:  # tokens, of which there may be many
                        self.content(each, channel, (path, n), f"{place}[{n}]", form)
            self.depth -= 1

    def block(self, node: Members, channel: str, path: Path, place: str, form: str) -> None:
        """A message, an item or a block of one."""
        kind = node.get("type")
        if type(kind) is str and kind != "text":
            channel, form = _of_kind(node, kind, channel, form)
        for n, (name, value) in enumerate(node):
            if name not in _PASSED_OVER and isinstance(value, (str, list)):
                if name == "text":
                    self.content(value, channel, (path, n), place, form)
                else:
                    self._member(node, name, value, channel, (path, n), place, form)

    def _member(self, node: Members, name: str, value: Any, channel: str, path: Path, place: str, form: str) -> None:
        place = f"{place}.{name}" if _NAME.fullmatch(name) and len(place) < 200 else place
        if name == "content" or (name == "source" and type(value) is not str):
            self.content(value, channel, path, place, form)
        elif name in ("input", "arguments") and channel == "assistant":
            # Of any shape. Its keys are a model's words too, and no part of the place: a place is written to the log.
            for _, text, at in _strings(value, path):
                self.text(text, channel, at, place, FIELD)
        elif name == "data":
            if ("type", "text") in node:  # a document's own; other data are media
                self.content(value, channel, path, place, form)
            elif channel in TAINTED and type(value) is str:
                self._coded(value, channel, path, place)
        elif name == "file_data":
            if type(value) is str and value.startswith("data:") and ";base64" not in value[:256]:
                self.text(value, "document", path, place, FIELD)
            elif type(value) is str:
                self._coded(value, "document", path, place)
        elif name in _ANSWERS:
            if ("type", "image_generation_call") not in node:
                self.content(value, "tool_result", path, place, form if channel == "tool_result" else FIELD)
        elif name in ("citations", "cited_text"):
            self.content(value, "document", path, place, FIELD)
        elif name == "tools" and (owner := _TOOLS_OF.get(str(node.get("type")))):
            self.tools(value, path, place, owner)
        elif name == "variables" and type(value) is Members:
            for n, (_, each) in enumerate(value):
                self.content(each, channel, (path, n), place, FIELD)
        else:
            self.content(value, channel, path, place, form if form == SIGNED else FIELD)

    def _coded(self, written: str, channel: str, path: Path, place: str) -> None:
        """A file: a text, if it is one."""
        coded = coded_text(written)
        if coded is not None:
            self.found.append(Segment(channel, place, written, self.message, FIELD, self.origin, path, coded))

    def tools(self, node: Any, path: Path, place: str, channel: str = "system") -> None:
        """Definitions of tools: what describes them and their parameters, at any depth."""
        for n, each in enumerate(node if type(node) is list else ()):
            self.schema(each, (path, n), f"{place}[{n}]", channel)

    def schema(self, node: Any, path: Path, place: str, channel: str = "system") -> None:
        """A definition or a JSON Schema: its words, and not what programs read in it (names, types, patterns)."""
        for key, text, at in _strings(node, path):
            if key in _DESCRIBING:
                self.text(text, channel, at, f"{place}.{key}", FIELD)

    def messages(self, node: Any, path: Path, place: str) -> None:
        """A list of messages, or of input items, of which those without a role are blocks of their own."""
        if type(node) is not list:
            self.content(node, "user", path, place)
            return
        for n, each in enumerate(node):
            self.message = n
            channel = _channel_of(each) if type(each) is Members else "user"
            self.content(each, channel, (path, n), f"{place}[{n}]")
        self.message = -1


def _strings(node: Any, path: Path) -> Iterator[tuple[str, str, Path]]:
    """All strings of a JSON value in order: (the key it is under, the string, its path)."""
    open_nodes = [("", node, path)]
    while open_nodes:
        key, node, path = open_nodes.pop()
        kind = type(node)
        if kind is str:
            yield key, node, path
        elif kind is Members:
            open_nodes += [(name, value, (path, n)) for n, (name, value) in enumerate(node)][::-1]
        elif kind is list:
            open_nodes += [(key, each, (path, n)) for n, each in enumerate(node)][::-1]


def _channel_of(message: Members) -> str:
    """The channel of its role. Where it has several roles, readers differ in which they take: it is the user's. An item
    without a role is the model's, or what a tool has answered, as its type says."""
    roles = {str(value) for name, value in message if name == "role"}
    if roles:
        return _ROLES.get(roles.pop(), "user") if len(roles) == 1 else "user"
    kind = str(message.get("type"))
    return "assistant" if kind.endswith("_call") or kind == "reasoning" else "user"


def _of_kind(node: Members, kind: str, channel: str, form: str) -> tuple[str, str]:
    """Channel and form of a block of that type. A type makes nothing more trustworthy than its holder is."""
    if kind in _DOCUMENTS:
        return "document" if channel != "tool_result" else channel, _form_of(node, form)
    if kind.endswith(_OUTPUTS):
        return "tool_result", form if kind in _CALLERS_RESULTS else FIELD
    if channel == "assistant":
        return channel, SIGNED if kind == "thinking" else form if kind in ("message", "output_text") else FIELD
    return channel, form


def _form_of(document: Members, form: str) -> str:
    """A document that is cited from has its characters counted."""
    citations = document.get("citations")
    return FIELD if type(citations) is Members and citations.get("enabled") is True else form


def _system(walk: _Walk, node: Any, path: Path, place: str) -> None:
    walk.content(node, "system", path, place)


def _user(walk: _Walk, node: Any, path: Path, place: str) -> None:
    walk.content(node, "user", path, place)


def _document(walk: _Walk, node: Any, path: Path, place: str) -> None:
    walk.content(node, "document", path, place, FIELD)


_TOP: dict[str, Callable[[_Walk, Any, Path, str], None]] = {
    "system": _system,
    "user": _user,
    "document": _document,
    "tools": _Walk.tools,
    "schema": _Walk.schema,
    "items": _Walk.messages,
    "messages": _Walk.messages,
}


def tainted(found: Sequence[Segment]) -> list[Segment]:
    """The segments whose words are third parties': empty, where a conversation is not tainted."""
    return [each for each in found if each.channel in TAINTED]
