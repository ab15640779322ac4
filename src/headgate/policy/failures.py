"""What a provider's failure means: the classification of wire-formats section 6, as one pure function per signal.

Both vendors return 429 for exhausted money, so the body's code decides before the status does.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from headgate.core.errors import UpstreamBroken, UpstreamBusy, UpstreamError, UpstreamRejected
from headgate.core.exchange import Headers
from headgate.policy.labels import label

MONEY_CODES = frozenset(
    {
        # Anthropic (wire-formats 1.6)
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "billing_error",
        # OpenAI (wire-formats 2.3): inspect code and type
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
    }
)
# Anthropic answers 400 for a spend limit that the account's owner has set: only the text tells (wire-formats 1.6).
MONEY_TEXTS = ("You have reached your specified API usage limits", "Your credit balance is too low")
TOO_LONG_CODES = frozenset({"context_length_exceeded"})
TOO_LONG_TEXT = "prompt is too long"

# The status that stands for an error type inside a stream or a 200 body, where no status tells.
STATUS_OF_TYPE = {
    "overloaded_error": 529,
    "server_is_overloaded": 529,
    "service_unavailable_error": 503,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "billing_error": 402,
    "request_too_large": 413,
    # OpenAI Responses: an answer that failed, by its code (wire-formats 2.4)
    "vector_store_timeout": 504,
    "invalid_prompt": 400,
    "data_residency_mismatch": 400,
    "bio_policy": 400,
    "misalignment_policy_violation": 400,
    "invalid_image": 400,
    "invalid_image_format": 400,
    "invalid_base64_image": 400,
    "invalid_image_url": 400,
    "invalid_image_mode": 400,
    "image_too_large": 400,
    "image_too_small": 400,
    "image_parse_error": 400,
    "image_content_policy_violation": 400,
    "image_file_too_large": 400,
    "unsupported_image_media_type": 400,
    "empty_image_file": 400,
    "failed_to_download_image": 400,
    "image_file_not_found": 400,
}

MAX_CODE = 64  # characters of a provider's error code


def retry_after_seconds(headers: Headers, now: float) -> float | None:
    """How long the provider told us to wait, in seconds (>= 0), or None.

    `retry-after-ms` first, then `Retry-After` as seconds or as an HTTP date (RFC 9110, section 10.2.3).
    """
    told = None
    for name, value in headers:
        if name == b"retry-after-ms":
            milliseconds = _number(value)
            if milliseconds is not None:
                return max(0.0, milliseconds / 1000)
        elif name == b"retry-after":
            told = _number(value)
            if told is None:
                told = _date(value, now)
    return None if told is None else max(0.0, told)


def failure(
    status: int,
    headers: Headers,
    body: bytes,
    *,
    type_: str = "",
    code: str = "",
    message: str = "",
    request_id: str = "",
    provider: str = "",
    now: float = 0.0,
) -> UpstreamError:
    """The error that a provider's answer of `status` (>= 300) stands for.

    Args:
        type_, code, message: as the body says, "" where it does not.
        now: seconds since the epoch, for a `Retry-After` date.
    """
    kind, retryable, elsewhere = _judge(status, type_, code, message)
    told = retry_after_seconds(headers, now)
    if kind == "money" and status == 402 and told is not None and not _spent(type_, code):
        retryable = True  # OpenRouter: 402 is retriable only with Retry-After (wire-formats 3)
    should = _should_retry(headers)
    if should is not None and kind != "money":
        retryable = should
    said = _word(code) or _word(type_)
    shown = said or "no error code"
    return _class_of(kind)(
        f"{provider or 'the provider'} answered {status} ({shown})",
        kind=kind,
        retryable=retryable,
        elsewhere=elsewhere,
        retry_after=told,
        status=status,
        headers=headers,
        body=body,
        provider_code=said,
        request_id=request_id,
    )


def failure_inside(
    body: bytes, headers: Headers, *, type_: str, code: str, message: str, request_id: str, provider: str, billed: bool
) -> UpstreamError:
    """The error that an error event in a stream, or an error body under a 200, stands for.

    `billed`: generation may have begun. The error's status is the one the same error has outside a stream.
    """
    status = STATUS_OF_TYPE.get(type_) or STATUS_OF_TYPE.get(code) or 0
    if not status and code.isdigit() and 400 <= int(code) <= 599:
        status = int(code)  # OpenRouter: error.code is the numeric status
    error = failure(
        status or 502, headers, body, type_=type_, code=code, message=message, request_id=request_id, provider=provider
    )
    error.maybe_billed = billed
    return error


def _judge(status: int, type_: str, code: str, message: str) -> tuple[str, bool, bool]:
    """(kind, retryable on the same route, worth another route)."""
    if status == 402 or _spent(type_, code) or message.startswith(MONEY_TEXTS):
        return "money", False, True
    if code in TOO_LONG_CODES or (status == 400 and TOO_LONG_TEXT in message):
        return "too_long", False, False
    if status in (401, 403):
        return "auth", False, True
    if status == 404:
        return "missing", False, True
    if status in (429, 498):
        return "busy", True, True
    if status in (408, 409):
        return "server", True, True
    if status in (503, 529):
        return "overloaded", True, True
    if status >= 500 and status != 501:
        return "server", True, True
    if status < 400 or status == 501:
        return "config", False, True
    return "caller", False, False


def _word(said: str) -> str:
    """A code or type, if it is a word: these go into ledger and log, and a sentence may repeat a credential. So may
    a word."""
    return label(said) if len(said) <= MAX_CODE and not any(c.isspace() for c in said) else ""


def _spent(type_: str, code: str) -> bool:
    return code in MONEY_CODES or type_ in MONEY_CODES


def _class_of(kind: str) -> type[UpstreamError]:
    if kind in ("busy", "overloaded"):
        return UpstreamBusy
    return UpstreamBroken if kind == "server" else UpstreamRejected


def _should_retry(headers: Headers) -> bool | None:
    for name, value in headers:
        if name == b"x-should-retry":
            return {b"true": True, b"false": False}.get(value.strip().lower())
    return None


def _number(value: bytes) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number == number and number not in (float("inf"), float("-inf")) else None


def _date(value: bytes, now: float) -> float | None:
    try:
        when = parsedate_to_datetime(value.decode("ascii"))
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)  # an HTTP date is universal time, whatever it says and wherever we are
        return when.timestamp() - now
    except (ValueError, TypeError, UnicodeDecodeError, OverflowError):
        return None
