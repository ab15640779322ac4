"""Lines of batch files, in either dialect: Anthropic's `{custom_id, params}`, OpenAI's
`{custom_id, method, url, body}`; and lines of their results (wire-formats 1.7, 2.5)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from headgate.core.errors import BadRequest
from headgate.core.exchange import Facts
from headgate.wire.dialect import Dialect

Json = dict[str, Any]

MAX_LINE_BYTES = 32 * 1024 * 1024
"""The largest request that Anthropic takes; OpenAI's are smaller."""
MAX_CUSTOM_ID = 512

ENDPOINTS = {
    "/v1/messages": ("messages", "/v1/messages"),
    "/v1/chat/completions": ("chat", "/chat/completions"),
    "/v1/responses": ("responses", "/responses"),
    "/v1/embeddings": ("embeddings", "/embeddings"),
}
"""By the vendors' own paths: our name of the endpoint, and its path behind a base URL."""

_encode = msgspec.json.Encoder().encode
_sorted = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Line:
    """A request that can be run.

    Attributes:
        number: of the line in its file, from 1.
        custom_id: the caller's own name for it.
        url: one of `ENDPOINTS`.
        body: the call's JSON, as the endpoint takes it.
        facts: of that body.
        digest: SHA-256 of what is asked: equal ones ask the same, whatever the order of their keys.
    """

    number: int
    custom_id: str
    url: str
    body: bytes
    facts: Facts
    digest: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that cannot be run, and why, in words that repeat nothing of a body."""

    number: int
    custom_id: str
    reason: str


_NONE = msgspec.Raw()  # a `Raw` that may be null is none


def _of(raw: msgspec.Raw) -> bytes:
    """Its JSON; b"" where there is none."""
    told = bytes(raw)
    return b"" if told == b"null" else told


class _Told(msgspec.Struct):
    custom_id: Any = None
    params: msgspec.Raw = _NONE
    method: Any = None
    url: Any = None
    body: msgspec.Raw = _NONE


_decode = msgspec.json.Decoder(_Told).decode


def dialect_of(raw: bytes) -> str:
    """Whose line this is: "anthropic", "openai", or "" where it does not tell."""
    try:
        told = _decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
    return "openai" if _of(told.body) else "anthropic" if _of(told.params) else ""


def read_line(number: int, raw: bytes, dialect: Dialect, *, model: str = "") -> Line | Broken:
    """One line of a batch file.

    Args:
        number: from 1.
        raw: without its end.
        dialect: of the whole file.
        model: in place of the model that the line names, or names not; "" = the line's own.
    """
    if len(raw) > MAX_LINE_BYTES:
        return Broken(number, "", f"it has {len(raw)} bytes, and a request has {MAX_LINE_BYTES} at most")
    try:
        told = _decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return Broken(number, "", f"it is no JSON object with a request: {_plain(error)}")
    custom_id, reason = _custom_id(told.custom_id)
    if reason:
        return Broken(number, custom_id, reason)
    url, body, reason = _anthropics(told) if dialect.name == "anthropic" else _openais(told)
    if reason or body is None:
        return Broken(number, custom_id, reason)
    try:
        decoded = msgspec.json.decode(body)
        if not isinstance(decoded, dict):
            return Broken(number, custom_id, "its request is no JSON object")
        if model:
            decoded["model"] = model
            body = _encode(decoded)
        if decoded.get("stream"):
            return Broken(number, custom_id, "stream: a batch has no streams; leave it out")
        facts = dialect.read_request(ENDPOINTS[url][0], body)
        digest = hashlib.sha256(url.encode() + b"\0" + _sorted(decoded)).digest()
    except BadRequest as error:
        return Broken(number, custom_id, error.message)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        return Broken(number, custom_id, f"its request cannot be read: {_plain(error)}")
    return Line(number, custom_id, url, body, facts, digest)


def _custom_id(told: object) -> tuple[str, str]:
    if not isinstance(told, str) or not told:
        return "", "custom_id: expected a text, which tells its result from others"
    if len(told) > MAX_CUSTOM_ID:
        return told[:40], f"custom_id: it has {len(told)} characters, and may have {MAX_CUSTOM_ID}"
    try:
        told.encode()
    except UnicodeEncodeError:
        return "", "custom_id: it is no valid Unicode text"
    return told, ""


def _anthropics(told: _Told) -> tuple[str, bytes | None, str]:
    body = _of(told.params)
    if not body:
        why = "params: this is a request of OpenAI's, and others of this file are Anthropic's" if _of(told.body) else ""
        return "", None, why or "params: the request is missing"
    return "/v1/messages", body, ""


def _openais(told: _Told) -> tuple[str, bytes | None, str]:
    body = _of(told.body)
    if not body:
        why = "body: this is a request of Anthropic's, and others of this file are OpenAI's" if _of(told.params) else ""
        return "", None, why or "body: the request is missing"
    if told.method not in (None, "POST"):
        return "", None, "method: expected POST"
    url = told.url if isinstance(told.url, str) else ""
    known = [each for each in ENDPOINTS if each != "/v1/messages"]
    if url not in known:
        return "", None, f"url: expected one of {', '.join(known)}"
    return url, body, ""


def _plain(error: Exception) -> str:
    """A decoder's words, which name a place and a type, and never a value."""
    return " ".join(str(error).split())[:200]


def succeeded(dialect: str, custom_id: str, status: int, body: bytes, request_id: str) -> bytes:
    """The result line of an answer, without its end."""
    if dialect == "anthropic":
        told: Json = {"custom_id": custom_id, "result": {"type": "succeeded", "message": _raw(body)}}
    else:
        response = {"status_code": status, "request_id": request_id, "body": _raw(body)}
        told = {"id": request_id, "custom_id": custom_id, "response": response, "error": None}
    return _encode(told)


def errored(dialect: str, custom_id: str, status: int, body: bytes, request_id: str) -> bytes:
    """The result line of a provider's or our own error, in the dialect's error body."""
    if dialect == "anthropic":
        told: Json = {"custom_id": custom_id, "result": {"type": "errored", "error": _raw(body)}}
    else:
        response = {"status_code": status, "request_id": request_id, "body": _raw(body)}
        told = {"id": request_id, "custom_id": custom_id, "response": response, "error": None}
    return _encode(told)


def not_run(dialect: str, custom_id: str, kind: str, reason: str) -> bytes:
    """The result line of what was never answered.

    Args:
        kind: "canceled", "expired" or "invalid".
        reason: for a person.
    """
    if dialect != "anthropic":
        code = {"canceled": "batch_cancelled", "expired": "batch_expired"}.get(kind, "invalid_line")
        return _encode({"id": "", "custom_id": custom_id, "response": None, "error": {"code": code, "message": reason}})
    if kind != "invalid":
        return _encode({"custom_id": custom_id, "result": {"type": kind}})
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": reason}}
    return _encode({"custom_id": custom_id, "result": {"type": "errored", "error": error}})


def _raw(body: bytes) -> Any:
    """JSON as it is, on one line; anything else as a text."""
    try:
        if b"\n" not in body and b"\r" not in body:
            msgspec.json.decode(body, type=msgspec.Raw)
            return msgspec.Raw(body)
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Result:
    """A line of a provider's results.

    Attributes:
        custom_id: as it was sent.
        kind: "succeeded", "errored", "canceled" or "expired".
        status: of HTTP, as far as it is known.
        body: the answer, or the error's body; b"" where there is none.
        request_id: the provider's.
    """

    custom_id: str
    kind: str
    status: int
    body: bytes
    request_id: str = ""


class _Outcome(msgspec.Struct):
    type: str = ""
    message: msgspec.Raw = _NONE
    error: msgspec.Raw = _NONE


class _AnthropicResult(msgspec.Struct):
    custom_id: str
    result: _Outcome


class _Response(msgspec.Struct):
    status_code: int = 0
    request_id: str | None = None
    body: msgspec.Raw = _NONE


class _OpenAiError(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _OpenAiResult(msgspec.Struct):
    custom_id: str
    response: _Response | None = None
    error: _OpenAiError | None = None


_read_anthropic = msgspec.json.Decoder(_AnthropicResult).decode
_read_openai = msgspec.json.Decoder(_OpenAiResult).decode


def read_result(dialect: str, raw: bytes) -> Result | None:
    """A line of a provider's results; None where nobody can read it."""
    try:
        return _anthropic_result(_read_anthropic(raw)) if dialect == "anthropic" else _openai_result(_read_openai(raw))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _anthropic_result(told: _AnthropicResult) -> Result:
    found = told.result
    message = _of(found.message)
    if found.type == "succeeded" and message:
        return Result(told.custom_id, "succeeded", 200, message)
    if found.type in ("canceled", "expired"):
        return Result(told.custom_id, found.type, 0, b"")
    return Result(told.custom_id, "errored", 400, _of(found.error) or b"{}")


def _openai_result(told: _OpenAiResult) -> Result:
    response, error = told.response, told.error
    if response is None:
        code = (error.code if error is not None else "") or ""
        kind = "expired" if code == "batch_expired" else "canceled" if "cancel" in code else "errored"
        message = (error.message if error is not None else "") or code
        body = _encode({"error": {"message": message, "type": "batch_error", "param": None, "code": code or None}})
        return Result(told.custom_id, kind, 0, body)
    kind = "succeeded" if 200 <= response.status_code < 300 else "errored"
    return Result(told.custom_id, kind, response.status_code, _of(response.body) or b"{}", response.request_id or "")
