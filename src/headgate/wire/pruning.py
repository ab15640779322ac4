"""Turns of a conversation, and bodies without the first of them: splices, in all dialects.

A turn begins with what a user says. What follows up to the next such message is its own: answers, tool calls, and what
tools have answered, so that no call is ever parted from its result and no conversation begins with an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headgate.wire import jsontext
from headgate.wire.jsontext import Span
from headgate.wire.lenient import table
from headgate.wire.splicing import splice_bytes

BYTES_PER_TOKEN = 4
_HOLDERS = {"messages": "messages", "chat": "messages", "responses": "input"}
_INSTRUCTIONS = ("system", "developer")
_SIGNED = b'thinking"'


@dataclass(slots=True)
class Turns:
    """A body's conversation.

    Attributes:
        spans: of all messages or items.
        starts: the index of each turn's first message, ascending; what is before the first one is always kept.
        stays: messages that are kept although their turn goes: instructions.
        pairs: (index of a tool call, index of its result) of those that are in different turns: a user may have said
            something in between.
    """

    spans: list[Span]
    starts: list[int]
    stays: frozenset[int]
    pairs: tuple[tuple[int, int], ...] = ()

    def tokens(self, turn: int) -> int:
        """About as many as a turn takes."""
        first = self.starts[turn]
        last = self.starts[turn + 1] if turn + 1 < len(self.starts) else len(self.spans)
        return (self.spans[last - 1].end - self.spans[first].start) // BYTES_PER_TOKEN

    @property
    def kept_tokens(self) -> int:
        """About as many as what stands before the first turn takes."""
        return sum(each.end - each.start for each in self.spans[: self.starts[0]]) // BYTES_PER_TOKEN


def turns(endpoint: str, body: bytes) -> Turns | None:
    """The turns of a body that its dialect's `read_request` has accepted; None where it has none that can be told, or
    instructions in the middle that its dialect does not take at the beginning. Never raises."""
    holder = _HOLDERS.get(endpoint)
    if holder is None:
        return None
    try:
        members = jsontext.members(body)
        top = dict(members)
        if holder not in top or len(top) != len(members):
            return None
        spans = jsontext.elements(body, top[holder])
        messages = [table(msgspec.json.decode(body[each.start : each.end])) for each in spans]
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None
    begins = _BEGINS[endpoint]
    starts = [n for n, each in enumerate(messages) if begins(each)]
    stays = frozenset(n for n, each in enumerate(messages) if each.get("role") in _INSTRUCTIONS)
    if not starts or (endpoint == "messages" and stays):
        return None
    return Turns(spans, starts, stays, _parted(messages, starts) if endpoint == "responses" else ())


def _parted(messages: Sequence[dict[str, Any]], starts: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Calls and results that a turn begins between. Only items of Responses may stand so: the others' results have to
    follow their calls at once."""
    calls: dict[str, int] = {}
    found = []
    for place, each in enumerate(messages):
        kind, name = str(each.get("type")), each.get("call_id")
        if not isinstance(name, str):
            continue
        if kind.endswith("_output"):
            call = calls.get(name)
            if call is not None and any(call < start <= place for start in starts):
                found.append((call, place))
        elif kind.endswith("_call"):
            calls[name] = place
    return tuple(found)


def whole_turns(found: Turns, drop: int) -> int:
    """How many turns can go, of `drop` that are to, without parting a call from its result."""
    while drop > 0 and any(call < found.starts[drop] <= result for call, result in found.pairs):
        drop -= 1
    return drop


def pruned(endpoint: str, body: bytes, found: Turns, drop: int) -> bytes:
    """The body without its first `drop` turns, which are not all of them. Everything else keeps its bytes.

    The same body where signed thinking would be left: on newer models its signature is over what came before it
    (wire-formats 1.3), and they refuse what has lost that.
    """
    drop = whole_turns(found, drop)
    if drop <= 0:
        return body
    first, after = found.starts[0], found.starts[drop]
    if endpoint == "messages" and _SIGNED in body[found.spans[after].start : found.spans[-1].end]:
        return body
    gone = [n for n in range(first, after) if n not in found.stays]
    return splice_bytes(body, [(found.spans[n].start, found.spans[n + 1].start, b"") for n in gone])


def _user(message: dict[str, Any]) -> bool:
    return message.get("role") == "user"


def _of_messages(message: dict[str, Any]) -> bool:
    """What tools have answered comes as a user's message, too, alone or in front of words."""
    if not _user(message):
        return False
    content = message.get("content")
    blocks: Sequence[Any] = content if isinstance(content, list) else ()
    return not any(str(table(each).get("type")).endswith("tool_result") for each in blocks)


_BEGINS: dict[str, Callable[[dict[str, Any]], bool]] = {"messages": _of_messages, "chat": _user, "responses": _user}
