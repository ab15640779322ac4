"""Requests that follow an answer which will not do, and an answer made of two.

The caller's bytes stay: turns are put behind the last one, so that what a provider has cached of the prompt serves.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.errors import BadRequest
from headgate.wire import jsontext
from headgate.wire.lenient import table

GO_ON = (
    "Your answer was cut off because it was too long. Continue it exactly where it stopped, with the very next "
    "character. Repeat nothing, begin nothing anew, and write no comment."
)
MAX_QUOTED = 60_000
"""Characters of an answer that are sent back to be repaired."""

_MEMBER = {"messages": "messages", "chat": "messages", "responses": "input"}
_encode = msgspec.json.encode


def can_follow(endpoint: str, body: bytes) -> bool:
    """Whether turns can be put behind a request's: not in a conversation that its provider keeps, which would keep
    them too."""
    if endpoint not in _MEMBER:
        return False
    return endpoint != "responses" or (b'"conversation"' not in body and b'"prompt"' not in body)


def going_on(endpoint: str, body: bytes, said: str) -> bytes:
    """The request for the rest of an answer that was cut off behind `said`.

    A last turn of the assistant would be gone on with by older models, and is refused by the newest (wire-formats
    1.3): so the user asks for it.

    Raises:
        BadRequest: nothing can be put behind it.
    """
    return _with_turns(endpoint, body, said, GO_ON)


def repairing(endpoint: str, body: bytes, said: str, note: str) -> bytes:
    """The request for a corrected answer. Raises as `going_on`.

    Args:
        said: the answer that will not do.
        note: what is wrong with it.
    """
    quoted = said if len(said) <= MAX_QUOTED else f"{said[:MAX_QUOTED]}…"
    return _with_turns(endpoint, body, quoted, note)


def _with_turns(endpoint: str, body: bytes, said: str, asked: str) -> bytes:
    turns: list[dict[str, Any]] = [{"role": "assistant", "content": said}] if said.strip() else []
    turns.append({"role": "user", "content": asked})
    more = b",".join(map(_encode, turns))
    member = _MEMBER[endpoint]
    value = jsontext.get_member(body, member)
    if value is None:
        raise BadRequest(f"the request body has no `{member}`")
    value = value.strip()
    if value[:1] == b'"':
        value = b'[{"role":"user","content":' + value + b"}]"
    if value[:1] != b"[" or value[-1:] != b"]":
        raise BadRequest(f"`{member}` is no list")
    inside = value[1:-1].strip()
    return jsontext.set_members(body, {member: b"[" + (inside + b"," if inside else b"") + more + b"]"})


def with_text(endpoint: str, body: bytes, said: str) -> bytes:
    """A whole answer with its text in place of its own: the last of several attempts, with what all of them have said.

    Its usage stays that of the last attempt, as its provider has told it.
    """
    answer = table(msgspec.json.decode(body))
    if endpoint == "messages":
        _keep_one(answer["content"], "text", said)
    elif endpoint == "chat":
        answer["choices"][0]["message"]["content"] = said
    else:
        for item in answer["output"]:
            if item.get("type") == "message":
                _keep_one(item["content"], "output_text", said)
                break
    return _encode(answer)


def _keep_one(parts: list[dict[str, Any]], kind: str, said: str) -> None:
    """The first part of this kind says it all; the others of it go."""
    first = next(part for part in parts if part.get("type") == kind)
    first["text"] = said
    parts[:] = [part for part in parts if part.get("type") != kind or part is first]


def asked_schema(endpoint: str, body: bytes) -> str:
    """The JSON Schema that a request asks its provider for, as JSON text: an object of any shape where it
    asks for some JSON object, "" where it asks for none."""
    try:
        asked = table(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return ""
    if endpoint == "messages":
        told = table(table(asked.get("output_config")).get("format") or asked.get("output_format"))
    elif endpoint == "chat":
        told = table(asked.get("response_format"))
        told = {**told, **table(told.get("json_schema"))}
    else:
        told = table(table(asked.get("text")).get("format"))
    if isinstance(told.get("schema"), dict):
        return _encode(told["schema"]).decode()
    return '{"type":"object"}' if told.get("type") == "json_object" else ""
