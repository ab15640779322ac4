"""Request bodies: one partial decode that says in words what is wrong, and cheap looks at what the body carries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Set
from operator import attrgetter
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import Raw

from headgate.core.errors import BadRequest
from headgate.policy.labels import SHORTEST, label
from headgate.wire import jsontext

T = TypeVar("T", bound="Body")
S = TypeVar("S")

_AT_BYTE = re.compile(r"^(?:JSON is malformed: )?(.*?) \(byte (\d+)\)$")
_EXPECTED = re.compile(r"^Expected (.+?)(?:, got `(\w+)`)?(?: - at `\$\.?(.*)`)?$")
_MISSING = re.compile(r"^Object missing required field `(\w+)`(?: - at `\$\.?(.*)`)?$")
_WORDS = {"str": "a string", "int": "an integer", "float": "a number", "bool": "true or false", "null": "null"}
_WORDS |= {"array": "an array", "object": "an object"}

REQUIRED = frozenset({"model"})
"""What a body that was accepted has at its top level, and may be rewritten."""

LONGEST_MODEL = 1024
"""Characters; several times those of the longest names that providers give, ARNs and fine-tuned models."""

# An ASCII letter written as an escape. No serializer does that; it would hide a `type` from the searches below.
_ESCAPED_LETTER = re.compile(rb"\\u00([46][1-9a-fA-F]|[57][0-9aA])")


class Body(msgspec.Struct, kw_only=True):
    """A request that names its model. Unknown fields are skipped.

    `typed` is set by `decode`: whether anything in the body may have a `type`.
    """

    model: str
    typed: Any = False

    def arrays(self) -> Iterable[Iterable[Raw]]:
        """The elements of its long arrays, see `jsontext.too_deep`."""
        return ()


class Conversation(Body):
    """What the requests of Messages and Chat Completions have in common."""

    messages: list[Raw]
    tools: list[Raw] | None = None

    def arrays(self) -> Iterable[Iterable[Raw]]:
        """See `Body.arrays`."""
        return filter(None, (self.messages, self.tools))


class Message(msgspec.Struct):
    """One message, as far as it matters."""

    role: Any = None
    content: Raw = Raw()
    audio: Any = None  # OpenAI: an earlier answer's audio, by id


class Tool(msgspec.Struct):
    """One tool, as far as it matters."""

    type: Any = None


class Part(msgspec.Struct):
    """One content part, as far as its visible text goes."""

    type: Any = None
    text: Any = None


_BACKSLASH = 92  # one byte is looked for several times faster as a number than as bytes
# Keys that decide about money or the route. A word of a prompt among them costs a closer look, nothing else.
# And `type`, of which there may be any number: where there is none, no content is media and no tool is special.
_LOOKED_FOR = re.compile(
    rb'"(?:model|max_tokens|stream|n|max_completion_tokens|max_output_tokens|tools|messages|system|speed|type)"'
)
_TYPE = b'"type"'
_parts = msgspec.json.Decoder(list[Part])
_string = msgspec.json.Decoder(str)
_message = msgspec.json.Decoder(Message)
_tool = msgspec.json.Decoder(Tool)
_type_of = attrgetter("type")
_NONE = {None}
_NOTHING: Set[str] = frozenset()


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a request body with a partial struct.

    Raises:
        BadRequest: bad UTF-8 or malformed JSON (with the byte), a wrong type or a missing field (with its name), or
            more than `jsontext.MAX_DEPTH` levels; a key that decides about money or the route twice; a model
            that is longer than any name, or a credential.
    """
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise BadRequest(f"the request body is not valid UTF-8 at byte {error.start}") from None
    try:
        decoded = decoder.decode(body)
        deep = body.count(b"{") + body.count(b"[") > jsontext.MAX_DEPTH and jsontext.too_deep(body, decoded.arrays())
    except msgspec.ValidationError as error:
        _wrong(str(error), body)
    except msgspec.DecodeError as error:
        _malformed(str(error), len(body))
    except RecursionError:
        deep = True
    if deep:
        raise BadRequest(f"the request body nests deeper than {jsontext.MAX_DEPTH} levels")
    if decoded.model not in _accepted_models:
        _check_model(decoded.model)
    found = _LOOKED_FOR.findall(body)
    keys = set(found)
    hidden = _BACKSLASH in body and b"\\u00" in body
    if hidden or _TYPE in keys:
        decoded.typed = True
        if hidden or len(found) - found.count(_TYPE) != len(keys) - 1:
            _check_once(body)
    elif len(found) != len(keys):
        _check_once(body)
    return decoded


_accepted_models: set[str] = set()  # names that have passed `_check_model`: callers ask for the same few
_MOST_MODELS = 256


def _check_model(model: str) -> None:
    if not model.strip():
        raise BadRequest("`model` is empty; name a model")
    if len(model) > LONGEST_MODEL:  # the look for keys takes a quarter of a second per megabyte
        raise BadRequest(f"`model` has {len(model)} characters; a model's name has at most {LONGEST_MODEL}")
    if len(model) >= SHORTEST and label(model) != model:  # it would be in every row, line and span of the call
        raise BadRequest("`model` holds what looks like a credential; name a model, and take that key for a leaked one")
    if len(_accepted_models) >= _MOST_MODELS:
        _accepted_models.clear()
    _accepted_models.add(model)


def _check_once(body: bytes) -> None:
    """Readers differ in which of two equal keys they take: what we have bounded might not be what is served."""
    top: list[tuple[str, object]] = []

    def keep(pairs: list[tuple[str, object]]) -> None:
        nonlocal top
        top = pairs  # the outermost object comes last

    # The standard library's reader tells of every pair, in C; numbers stay text, so that none is too long for it.
    json.loads(body, object_pairs_hook=keep, parse_int=str, parse_float=str)
    seen: set[str] = set()
    for name, _ in top:
        if name in seen:
            raise BadRequest(f"the request body has the key `{name[:64]}` more than once; send it once")
        seen.add(name)


def _malformed(found: str, length: int) -> NoReturn:
    at = _AT_BYTE.match(found)
    if at is not None:
        raise BadRequest(f"the request body is not valid JSON: {at[1]} at byte {at[2]}") from None
    raise BadRequest(f"the request body is not valid JSON: it ends too early, at byte {length}") from None


# By a field that is missing: what the body has instead, and where such bodies go.
_ELSEWHERE = {
    "max_tokens": ((b'"max_completion_tokens"', b'"role":"system"', b'"role": "system"'), "/v1/chat/completions"),
    "messages": ((b'"input"',), "/v1/responses"),
}


def _other_home(field: str, body: bytes) -> str:
    """A hint where the body is one of another endpoint."""
    marks, path = _ELSEWHERE.get(field, ((), ""))
    return f". It looks like a body for {path}" if any(mark in body for mark in marks) else ""


def _wrong(found: str, body: bytes) -> NoReturn:
    missing = _MISSING.match(found)
    if missing is not None:
        field = f"{missing[2]}.{missing[1]}" if missing[2] else missing[1]
        raise BadRequest(f"the request body has no `{field}`; it is required{_other_home(field, body)}") from None
    expected = _EXPECTED.match(found)
    if expected is None:
        raise BadRequest(f"the request body is not as it should be: {found}") from None
    place = f"`{expected[3]}`" if expected[3] else "the request body"
    wanted = " or ".join(_word(name) for name in expected[1].split(" | "))
    got = f", not {_word(expected[2])}" if expected[2] else ""
    raise BadRequest(f"{place} must be {wanted}{got}") from None


def _word(name: str) -> str:
    kind, _, bound = name.replace("`", "").partition(" ")
    return f"{_WORDS.get(kind, kind)} {bound}".rstrip()


def search_typed(pattern: re.Pattern[bytes], body: bytes, request: Body) -> bool:
    """Whether an object with a `type` that `pattern` knows is anywhere in the body.

    It looks at bytes, not at structure: something of that shape in a tool's schema counts too. Text that merely talks
    about it does not, because its quotes are escaped.
    """
    if not request.typed:
        return False
    if _BACKSLASH in body and b"\\u00" in body:
        body = _ESCAPED_LETTER.sub(lambda found: bytes((int(found[1], 16),)), body)
    return pattern.search(body) is not None


def message_of(raw: Raw) -> Message | None:
    """One message, or None for what is none."""
    try:
        return _message.decode(raw)
    except (ValueError, RecursionError):
        return None


def messages(raws: Iterable[Raw]) -> Iterator[Message]:
    """Messages one by one, decoded as they are asked for; what is no message is an empty one."""
    return (message_of(raw) or Message() for raw in raws)


def tool_types(raws: Iterable[Raw]) -> Set[str]:
    """The types of the tools that name one."""
    try:
        found = set(map(_type_of, map(_tool.decode, raws)))  # there are dozens of tools in an agent's requests
    except (ValueError, RecursionError, TypeError):  # not a tool, or no type: none of its business is known
        found = {tool.type for tool in (_each(_tool, raw) for raw in raws) if tool and isinstance(tool.type, str)}
    return {kind for kind in found if isinstance(kind, str)} if found != _NONE else _NOTHING


def last_user_text(raws: list[Raw]) -> str:
    """The text of the last message by the user that has any."""
    words = (text_of(message.content) for message in messages(reversed(raws)) if message.role == "user")
    return next(filter(None, words), "")


def _each(decoder: msgspec.json.Decoder[S], raw: Raw) -> S | None:
    try:
        return decoder.decode(raw)
    except (ValueError, RecursionError):
        return None


def text_of(content: Raw, separator: str = "\n") -> str:
    """The text of a message's content: a string, or the text parts of an array, joined; "" for anything else."""
    value = bytes(content)
    try:
        if value[:1] == b'"':
            return _string.decode(value)
        if value[:1] == b"[":
            parts = _parts.decode(value)
            return separator.join(p.text for p in parts if p.type == "text" and isinstance(p.text, str))
    except (ValueError, RecursionError):
        return ""
    return ""
