"""What ties a request to the model that began it: its signed thinking, or a turn of tools that is under way.

Looked for only where a call could go to another model, so an ordinary one pays nothing (decisions 14).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from headgate.wire import jsontext

# As bytes: something of that shape in a tool's schema counts too, text that talks about it does not (its quotes are
# escaped).
_THINKING = {
    "messages": re.compile(rb'"type"\s*:\s*"(?:redacted_)?thinking"'),
    "responses": re.compile(rb'"type"\s*:\s*"reasoning"'),
}
_RESULT = {
    "messages": re.compile(rb'"tool_result"'),
    "chat": re.compile(rb'"role"\s*:\s*"(?:tool|function)"'),
    "responses": re.compile(rb'"type"\s*:\s*"[a-z_]*_call_output"'),
}
_MEMBER = {"messages": "messages", "chat": "messages", "responses": "input"}


class _Entry(msgspec.Struct):
    type: Any = None
    role: Any = None
    content: Raw = Raw()


_raws = msgspec.json.Decoder(list[Raw])
_entry = msgspec.json.Decoder(_Entry)


def has_thinking(endpoint: str, body: bytes) -> bool:
    """Whether a request carries thinking that only the model which thought it may be given. May be true of a body
    that only looks like it.
    """
    found = _THINKING.get(endpoint)
    return found is not None and found.search(body) is not None


def in_tool_turn(endpoint: str, body: bytes) -> bool:
    """Whether a request ends in a tool's result: the model goes on from a call that it has made."""
    found = _RESULT.get(endpoint)
    if found is None or found.search(body) is None:
        return False
    entries = list(_entries(body, _MEMBER[endpoint]))
    if not entries:
        return False
    entry = _read(entries[-1])
    if endpoint == "chat":
        return entry.role in ("tool", "function")
    if endpoint == "responses":
        return isinstance(entry.type, str) and entry.type.endswith("_call_output")
    return any(_read(part).type == "tool_result" for part in _parts(entry.content))


def _entries(body: bytes, member: str) -> Iterator[Raw]:
    """The elements of a top-level array; nothing where it is none."""
    value = jsontext.get_member(body, member)
    return iter(()) if value is None else _list(value)


def _parts(content: Raw) -> Iterator[Raw]:
    return _list(bytes(content))


def _list(value: bytes) -> Iterator[Raw]:
    if not value.lstrip().startswith(b"["):
        return iter(())
    try:
        return iter(_raws.decode(value))
    except (ValueError, RecursionError):
        return iter(())


def _read(raw: Raw) -> _Entry:
    try:
        return _entry.decode(raw)
    except (ValueError, RecursionError):
        return _Entry()
