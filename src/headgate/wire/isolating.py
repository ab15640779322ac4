"""Isolation of what third parties say in a request: marks around documents and tool results, and a note that tells the
model what the marks mean (decisions 17). Spliced into the raw bytes; whatever is not marked keeps its own.

The note stands behind the application's system prompt, so that the prefix that a provider has cached of it stays as it
is; blocks that carry a `cache_control` are not touched. Where a request has no system prompt to stand behind, the note
opens the last user turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headgate.core.guards import TAINTED
from headgate.policy.guards.provenance import Delimiters, mark, note
from headgate.wire import jsontext
from headgate.wire.jsontext import Span
from headgate.wire.segments import PROSE, Segment
from headgate.wire.splicing import spelled, splice_bytes

ISOLATED = frozenset({"messages", "chat", "responses", "count_tokens"})
"""Endpoints whose prompts are isolated. What is embedded or moderated is looked at as it is."""

_LEADING = ("system", "developer")
_SOURCES = {"document": "document", "tool_result": "tool"}
_Edit = tuple[int, int, bytes]


def isolate(dialect: str, endpoint: str, body: bytes, found: Sequence[Segment], mode: str, by: Delimiters) -> bytes:
    """The body with its documents and tool results marked.

    The same body, where it has neither, nor tools that could bring some: a conversation has the note from its first
    call on, and not only once a tool has answered.

    Args:
        dialect, endpoint: as in `core.exchange.Request`.
        found: the body's own `segments`. Marked are those that stand for themselves (`PROSE`): no titles or arguments,
            no documents that are cited from, whose characters are counted, and no part that the application has marked
            in its own prompt. Marks that are in a document are its own words.
        mode: one of `policy.guards.provenance.MARKINGS`.
    """
    if endpoint not in ISOLATED:
        return body
    marked: dict[int, _Edit] = {}  # by where the string begins: it may be of several segments
    for each in found:
        if each.channel in TAINTED and each.form == PROSE:
            start, end = each.literal
            if start not in marked:
                text = mark(each.whole, _SOURCES[each.channel], mode, by)
                marked[start] = start, end, spelled(body, start, end, text)
    edits = list(marked.values())
    if not edits and not any(each.place.startswith("tools[") for each in found):
        return body
    words = note(mode, by)
    if not any(words in each.text for each in found if each.channel == "system"):
        edits += _noted(dialect, endpoint, body, found, words)
    return splice_bytes(body, edits)


def _noted(dialect: str, endpoint: str, body: bytes, found: Sequence[Segment], words: str) -> list[_Edit]:
    """Where the note goes."""
    try:
        top = dict(jsontext.members(body))
    except (ValueError, RecursionError):  # it has been read by a more lenient reader
        return _opening(body, found, words)
    if endpoint == "chat":
        holder = _last_leading(body, top.get("messages"))
        edit = None if holder is None else _behind(body, holder, words)
        return _opening(body, found, words) if edit is None else [edit]
    name = "system" if dialect == "anthropic" else "instructions"
    if name in top:
        edit = None if _is_list_of_items(name, body, top[name]) else _behind(body, top[name], words)
        if edit is not None:
            return [edit]
    elif "prompt" not in top:  # a stored prompt has instructions of its own
        first = next(iter(top.values()), None)
        at = body.index(b"{") + 1
        member = b'"%b":%b' % (name.encode(), msgspec.json.encode(words))
        return [(at, at, member + (b"," if first else b""))]
    return _opening(body, found, words)


def _is_list_of_items(name: str, body: bytes, value: Span) -> bool:
    return name == "instructions" and body[value.start : value.start + 1] == b"["


def _behind(body: bytes, value: Span, words: str) -> _Edit | None:
    """The note behind a system prompt: a string grows, a list of blocks gets another one, null is replaced."""
    start, end = value
    kind = body[start : start + 1]
    if kind == b'"':
        gap = b"\\n\\n" if end - start > 2 else b""
        return end - 1, end - 1, gap + msgspec.json.encode(words)[1:-1]
    if kind == b"[":
        block = b'{"type":"text","text":%b}' % msgspec.json.encode(words)
        empty = not body[start + 1 : end - 1].strip()
        return end - 1, end - 1, block if empty else b"," + block
    if body[start:end] == b"null":
        return start, end, msgspec.json.encode(words)
    return None


def _last_leading(body: bytes, messages: Span | None) -> Span | None:
    """The content of the last of the system and developer messages that a chat begins with; None where it has none."""
    found = None
    for span in jsontext.elements(body, messages) if messages else ():
        try:
            message = dict(jsontext.members(body[span.start : span.end]))
        except ValueError:
            break
        role, content = message.get("role"), message.get("content")
        if role is None or body[span.start + role.start + 1 : span.start + role.end - 1].decode() not in _LEADING:
            break
        found = None if content is None else Span(span.start + content.start, span.start + content.end)
    return found


def _opening(body: bytes, found: Sequence[Segment], words: str) -> list[_Edit]:
    """The note at the beginning of the last user turn; nowhere, where there is none."""
    users = [each for each in found if each.channel == "user" and each.form == PROSE]
    if not users:
        return []
    last = next(each for each in users if each.message == users[-1].message)
    start, end = last.span
    at = start + (body[start : start + 1] == b'"' and end - start > 1)
    return [(at, at, msgspec.json.encode(words + "\n\n")[1:-1])]
