"""The beginnings of a prompt that a provider's cache can keep, and the splices that mark them (decisions 15, 17).

Anthropic's order is tools, system, messages (wire-formats 1.8). Beginnings are told apart by digests of their raw
bytes: spelled differently, the same text is another prefix here, which costs a hit and no more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headgate.policy.prompt_caching import LONG, Prefix
from headgate.wire import jsontext
from headgate.wire.jsontext import Span
from headgate.wire.splicing import splice_bytes

BYTES_PER_TOKEN = 4
MOST_PREFIXES = 48
"""That are told of one prompt: the first and the last ones of a long conversation."""
_IMAGE_TOKENS = 1_600
_MARKABLE = frozenset({"text", "image", "document", "tool_use", "tool_result"})
_OWN = b"cache_control"
_DATA = re.compile(rb'"data"\s*:\s*"[A-Za-z0-9+/=]{256,}"')
_BLANK = re.compile(rb'"(?:[ \t]|\\[ntr])*"')
_LEADING = (b'"system"', b'"developer"')
_MARKS = {False: b'{"type":"ephemeral"}', True: b'{"type":"ephemeral","ttl":"1h"}'}


@dataclass(slots=True)
class Prompt:
    """A prompt's prefixes, ascending, and where the block stands that each of them ends with.

    Attributes:
        blocks: None = no mark can stand there.
        messages: which of them are whole messages, whose last block it is.
    """

    found: list[Prefix]
    blocks: list[Span | None]
    messages: frozenset[int] = frozenset()


class _Block(msgspec.Struct, gc=False):
    type: Any = None
    text: Any = None


class _Message(msgspec.Struct, gc=False):
    content: str | list[_Block] | None = None


# One pass over all of them; where a mark would stand is looked for only where one is made.
_messages = msgspec.json.Decoder(list[_Message])


def _ends_markable(content: str | list[_Block] | None) -> bool:
    """Thinking takes no mark, nor does an empty text."""
    if isinstance(content, str):
        return bool(content.strip())
    if not content:
        return False
    last = content[-1]
    if last.type == "text":
        return isinstance(last.text, str) and bool(last.text.strip())
    return isinstance(last.type, str) and last.type in _MARKABLE


def blocks_of(body: bytes, message: Span) -> list[Span]:
    """The blocks of a message; its string, where its content is one."""
    for name, span in jsontext.members(body[message.start : message.end]):
        if name == "content":
            content = Span(message.start + span.start, message.start + span.end)
            return jsontext.elements(body, content) if body[content.start : content.start + 1] == b"[" else [content]
    return []


class _Reader:
    """Goes through one body in cache order."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.hash = hashlib.blake2b(digest_size=16)
        self.tokens = 0
        self.found: list[Prefix] = []
        self.blocks: list[Span | None] = []
        self.whole: list[int] = []

    def add(self, span: Span) -> None:
        piece = self.body[span.start : span.end]
        self.hash.update(b"%d:" % len(piece))
        self.hash.update(piece)
        self.tokens += _tokens(piece)

    def end(self, block: Span | None, *, leading: bool = False, last: bool = False) -> None:
        digest = self.hash.digest()
        self.found.append(Prefix(digest, self.tokens, leading, last, block is not None))
        self.blocks.append(block)

    def tools(self, tools: Span) -> None:
        self.hash.update(b"tools")
        self.add(tools)
        each = jsontext.elements(self.body, tools)
        last = each[-1] if each else None
        if last is not None and b"defer_loading" in self.body[last.start : last.end]:
            last = None  # such a tool is not in the prompt, and takes no mark
        self.end(last, leading=True)

    def system(self, system: Span) -> None:
        self.hash.update(b"system")
        if self.body[system.start : system.start + 1] == b"[":
            for block in jsontext.elements(self.body, system):
                self.add(block)
                self.end(self.markable(block), leading=True)
        elif self.body[system.start : system.start + 1] == b'"':
            self.add(system)
            self.end(self.markable(system), leading=True)

    def messages(self, messages: Span) -> None:
        each = jsontext.elements(self.body, messages)
        told = _messages.decode(memoryview(self.body)[messages.start : messages.end])
        self.hash.update(b"messages")
        for n, message in enumerate(each):
            first, last = n == 0, n == len(each) - 1
            content = told[n].content
            if (first or last) and isinstance(content, list) and len(content) > 1:
                self.inside(blocks_of(self.body, message)[:-1][: MOST_PREFIXES // 4])
            self.add(message)
            if first or last or n < MOST_PREFIXES // 2 or n >= len(each) - MOST_PREFIXES // 4:
                self.whole.append(len(self.found))
                self.end(message if _ends_markable(content) else None, last=last)

    def inside(self, blocks: Sequence[Span]) -> None:
        """Within a message: what comes behind it is hashed as whole messages, so this leads away from there."""
        kept, tokens = self.hash.copy(), self.tokens
        for block in blocks:
            self.add(block)
            self.end(self.markable(block))
        self.hash, self.tokens = kept, tokens

    def markable(self, block: Span) -> Span | None:
        """The block, if a mark can stand in it: thinking takes none, nor does an empty text."""
        if self.body[block.start : block.start + 1] == b'"':
            return None if _BLANK.fullmatch(self.body, block.start, block.end) else block
        members = dict(jsontext.members(self.body[block.start : block.end]))
        kind, text = members.get("type"), members.get("text")
        if kind is None:
            return None
        named = self.body[block.start + kind.start + 1 : block.start + kind.end - 1].decode("utf-8", "replace")
        if named not in _MARKABLE:
            return None
        if named == "text" and (
            text is None or _BLANK.fullmatch(self.body, block.start + text.start, block.start + text.end)
        ):
            return None
        return block


def prefixes(body: bytes) -> Prompt | None:
    """The prefixes of an Anthropic Messages body that the dialect's `read_request` has accepted.

    None where the caller marks its own prompt (we move none of that, and add none, decisions 17), and where the body
    cannot be read well enough. Never raises.
    """
    if _OWN in body:
        return None
    try:
        members = jsontext.members(body)
        top = dict(members)
        if len(top) != len(members):
            return None  # a key is there twice: readers differ in which one they take
        reader = _Reader(body)
        if "tools" in top and jsontext.elements(body, top["tools"]):
            reader.tools(top["tools"])
        if "system" in top:
            reader.system(top["system"])
        if "messages" in top:
            reader.messages(top["messages"])
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None
    return Prompt(reader.found, reader.blocks, frozenset(reader.whole)) if reader.found else None


def marked(body: bytes, prompt: Prompt, at: Sequence[tuple[int, float]]) -> bytes:
    """The body with marks: (index of a prefix, lifetime in seconds). Everything else keeps its bytes."""
    edits: list[tuple[int, int, bytes]] = []
    for n, ttl in at:
        block = prompt.blocks[n]
        if block is None:
            continue
        if n in prompt.messages:
            block = blocks_of(body, block)[-1]
        mark = _MARKS[ttl == LONG]
        if body[block.start : block.start + 1] == b'"':  # a string cannot carry a mark, a block of text can
            edits.append((block.start, block.start, b'[{"type":"text","text":'))
            edits.append((block.end, block.end, b',"cache_control":%b}]' % mark))
        else:
            edits.append((block.end - 1, block.end - 1, b',"cache_control":%b' % mark))
    return splice_bytes(body, edits) if edits else body


@dataclass(slots=True)
class Leading:
    """What an OpenAI prompt begins with: its tools and instructions. `tokens` is an estimate."""

    digest: bytes
    tokens: int


def leading(endpoint: str, body: bytes) -> Leading | None:
    """Of a Chat Completions or Responses body; None where the caller has set a `prompt_cache_key`, and where there is
    nothing that it begins with. Never raises."""
    if b"prompt_cache_key" in body:
        return None
    try:
        top = dict(jsontext.members(body))
        hasher, tokens = hashlib.blake2b(digest_size=16), 0
        spans = [top[name] for name in ("tools", "instructions") if name in top]
        for message in jsontext.elements(body, top["messages"]) if "messages" in top else ():
            members: dict[str, Any] = dict(jsontext.members(body[message.start : message.end]))
            role = members.get("role")
            if role is None or body[message.start + role.start : message.start + role.end] not in _LEADING:
                break
            spans.append(message)
    except (ValueError, RecursionError, msgspec.DecodeError):
        return None
    for span in spans:
        piece = body[span.start : span.end]
        hasher.update(b"%d:" % len(piece))
        hasher.update(piece)
        tokens += _tokens(piece)
    return Leading(hasher.digest(), tokens) if tokens else None


def keyed(body: bytes, key: str) -> bytes:
    """The body with a `prompt_cache_key`, which it does not have."""
    return jsontext.insert(body, b"prompt_cache_key", msgspec.json.encode(key))


def _tokens(piece: bytes) -> int:
    """About as many tokens; a picture's bytes say nothing of its tokens."""
    if len(piece) < 1024 or b'"data"' not in piece:
        return len(piece) // BYTES_PER_TOKEN
    plain = _DATA.subn(b"", piece)
    return len(plain[0]) // BYTES_PER_TOKEN + plain[1] * _IMAGE_TOKENS
