"""Reading what providers send: nothing here raises, and what cannot be read is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from headgate.core.exchange import Headers
from headgate.wire.dialect import ProviderError

T = TypeVar("T", bound=msgspec.Struct)

MAX_COUNT = 1 << 53
"""Token counts above this are not counts (the largest integer every JSON reader keeps exactly)."""

_MAX_PLAIN = 300  # characters kept of an error that is not JSON


def decode(decoder: msgspec.json.Decoder[T], data: bytes | memoryview) -> T | None:
    """Decode with a partial struct whose fields are all `Any` or `Raw`; None where `data` is not a JSON object.

    A number out of range or a lone surrogate makes msgspec refuse the whole text; the standard library reads both.
    """
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    except RecursionError:
        return None
    try:
        loaded = json.loads(bytes(data))
    except (ValueError, RecursionError):
        return None
    if not isinstance(loaded, dict):
        return None
    kind: type[T] = decoder.type
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return kind(
        **{
            name: msgspec.Raw(json.dumps(value).encode()) if known[name] is msgspec.Raw else value
            for name, value in loaded.items()
            if name in known
        }
    )


def count(value: object) -> int | None:
    """A token count, or None for what is not one: negative, fractional, absurd, or not a number."""
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if type(value) is float and value.is_integer() and 0 <= value <= MAX_COUNT:
        return int(value)
    return None


def miscounted(fields: dict[str, Any], names: Iterable[str]) -> bool:
    """Whether something stands in the place of one of these counts that is none. Missing and null are not wrong."""
    for name in names:
        value = fields.get(name)
        if value is not None and not (type(value) is int and 0 <= value <= MAX_COUNT) and count(value) is None:
            return True
    return False


def text(value: object) -> str:
    """`value` if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def table(value: object) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def header(headers: Headers, *names: bytes) -> str:
    """The first header of these (lower-case) names, by preference."""
    for name in names:
        for key, value in headers:
            if key == name:
                return value.decode("latin-1")
    return ""


def error_body(body: bytes) -> ProviderError:
    """Any provider's error body: an object, an array of one (Google), a string, or not JSON at all (a proxy's page)."""
    try:
        return error_value(json.loads(body))
    except (ValueError, RecursionError):
        return ProviderError(message=_plain(body))


def error_value(value: Any) -> ProviderError:
    """A decoded error body, in any of the shapes of wire-formats 1.6, 2.3 and 3."""
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict | str)), None)
    if isinstance(value, str):
        return ProviderError(message=value)
    outer = table(value)
    inner = outer.get("error")
    if isinstance(inner, list):
        inner = next(iter(inner), None)
    request_id = text(outer.get("request_id"))
    if isinstance(inner, dict):
        return _from_object(inner, request_id)
    if isinstance(inner, str):  # xAI: {"code": ..., "error": "a sentence"}; Ollama: {"error": "a sentence"}
        return ProviderError(code=_code(outer.get("code")), message=inner, request_id=request_id)
    if "detail" in outer and "message" not in outer:  # FastAPI: Mistral, vLLM
        return ProviderError(message=_detail(outer["detail"]), request_id=request_id)
    return _from_object(outer, request_id)


def error_alone(event: bytes) -> bytes:
    """An error event's JSON as an error body. Responses have theirs inside the response that failed, or loose in the
    event; everything else is an error body already, and stays as it is."""
    try:
        outer = table(json.loads(event))
    except (ValueError, RecursionError):
        return event
    inner = table(outer.get("response")).get("error")
    if inner is None and outer.get("type") == "error" and "error" not in outer:
        inner = {name: outer.get(name) for name in ("code", "message", "param")}
    return event if inner is None else json.dumps({"error": inner}).encode()


def _from_object(error: dict[str, Any], request_id: str) -> ProviderError:
    details = table(error.get("details"))
    return ProviderError(
        type=text(error.get("type")) or text(error.get("status")),
        code=_code(details.get("error_code")) or _code(error.get("code")),
        message=text(error.get("message")) or _detail(error.get("message")),
        request_id=request_id or text(error.get("request_id")),
    )


def _code(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else ""


def _detail(detail: Any) -> str:
    if isinstance(detail, str):
        return detail
    if isinstance(detail, dict) and "detail" in detail:
        return _detail(detail["detail"])
    items = detail if isinstance(detail, list) else []
    return "; ".join(filter(None, (text(table(item).get("msg")) for item in items)))


def _plain(body: bytes) -> str:
    start = " ".join(body[: 4 * _MAX_PLAIN].decode("utf-8", "ignore").split())[:_MAX_PLAIN]
    return "" if start.startswith("<") or not start.isprintable() else start
