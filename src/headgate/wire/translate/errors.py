"""A provider's errors in the caller's dialect, so that its SDK raises the class that stands for them.

Both SDKs choose the class by the status alone (wire-formats 1.6 and 2.3), so the status changes where the dialects
differ: money is 402 at Anthropic and 429 `insufficient_quota` at OpenAI; overload is 529 at Anthropic and 503 there.
"""

from __future__ import annotations

from typing import NamedTuple

from headgate.policy.failures import (
    MONEY_CODES,
    MONEY_TEXTS,
    STATUS_OF_TYPE,
    TOO_LONG_CODES,
    TOO_LONG_TEXT,
)
from headgate.wire import lenient, sse
from headgate.wire.dialect import ProviderError
from headgate.wire.translate import reading
from headgate.wire.translate.reading import Json

_OVERLOADED = (498, 503, 529)
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OPENAI_TYPES = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("not_found_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
}


class TranslatedError(NamedTuple):
    """A provider's error for the caller: its HTTP status may differ from the provider's."""

    status: int
    body: bytes


def translate_error(source: str, target: str, status: int, body: bytes) -> TranslatedError:
    """The answer to the caller for a provider's answer of `status` (>= 400). Never raises: every body is some error.

    Args:
        source: the caller's dialect.
        target: the provider's.
    """
    if source == target:
        return TranslatedError(status, body)
    told, error = _error(source, status, lenient.error_body(body))
    return TranslatedError(told, reading.dump(error))


def error_frame(source: str, error: ProviderError) -> bytes:
    """An error inside a stream as the caller's dialect has it."""
    status = STATUS_OF_TYPE.get(error.type) or STATUS_OF_TYPE.get(error.code) or 500
    body = reading.dump(_error(source, status, error)[1])
    return sse.encode(body, "error" if source == "anthropic" else "")


def _error(source: str, status: int, error: ProviderError) -> tuple[int, Json]:
    return _anthropic(status, error) if source == "anthropic" else _openai(status, error)


def _money(status: int, error: ProviderError) -> bool:
    return (
        status == 402 or error.code in MONEY_CODES or error.type in MONEY_CODES or error.message.startswith(MONEY_TEXTS)
    )


def _too_long(status: int, error: ProviderError) -> bool:
    return error.code in TOO_LONG_CODES or (status == 400 and TOO_LONG_TEXT in error.message)


def _anthropic(status: int, error: ProviderError) -> tuple[int, Json]:
    message = error.message or f"the provider answered {status}"
    if _money(status, error):
        status = 402
    elif _too_long(status, error):
        status = 400
        if TOO_LONG_TEXT not in message:
            message = f"{TOO_LONG_TEXT}: {message}"  # callers look for the words
    elif status in _OVERLOADED:
        status = 529
    kind = _ANTHROPIC_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
    inner: Json = {"type": kind, "message": message}
    if error.code:
        inner["details"] = {"error_code": error.code}
    return status, {"type": "error", "error": inner, "request_id": error.request_id or None}


def _openai(status: int, error: ProviderError) -> tuple[int, Json]:
    code: str | None
    if _money(status, error):
        status, kind, code = 429, "insufficient_quota", "insufficient_quota"
    elif _too_long(status, error):
        status, kind, code = 400, "invalid_request_error", "context_length_exceeded"
    else:
        status = 503 if status in _OVERLOADED else status
        other = ("server_error" if status >= 500 else "invalid_request_error", error.code or None)
        kind, code = _OPENAI_TYPES.get(status, other)
    message = error.message or f"the provider answered {status}"
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}
