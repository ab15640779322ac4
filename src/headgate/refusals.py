"""Ours out of theirs: the refusal behind an SDK's typed error."""

from __future__ import annotations

import json
from typing import Any

from headgate.core import errors
from headgate.core.errors import RateExceeded, Refusal

_CLASSES: dict[str, type[Refusal]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, Refusal) and kind is not Refusal
}


_NO_PROVIDER = "provider_not_configured"
"""A refusal of ours, though it begins as the codes of providers' failures do: nothing was sent."""


def refusal(error: BaseException) -> Refusal | None:
    """Headgate's refusal behind an exception of an official SDK, or None if Headgate did not refuse.

    For a retry predicate of your own: what Headgate refused is not worth another try.

    Args:
        error: what `client.messages.create(...)` or its like raised, through the gateway or in process.
    """
    if isinstance(error, Refusal):
        return error
    response = getattr(error, "response", None)
    said = _said(getattr(error, "body", None)) or _said(_body(response))
    if said is None:
        return None
    code = str(said.get("code", ""))
    if code.startswith("provider_") and code != _NO_PROVIDER and code not in _CLASSES:
        return None  # the provider failed: an UpstreamError, not a refusal
    kind = _CLASSES.get(code, Refusal)
    found = kind(str(said.get("message") or error), code=code, status_hint=getattr(response, "status_code", None))
    found.exchange_id = str(said.get("exchange", ""))
    if isinstance(found, RateExceeded):
        found.retry_after = _retry_after(response)
    return found


def _retry_after(response: Any) -> float | None:
    """Seconds, of the answer's headers; None where it tells none."""
    headers = getattr(response, "headers", None)
    if headers is None:
        return None
    try:
        return float(headers["retry-after-ms"]) / 1000
    except (KeyError, TypeError, ValueError):
        return None


def _body(response: Any) -> Any:
    try:
        return json.loads(response.content)
    except (AttributeError, ValueError, RuntimeError):
        return None  # no response, no JSON, or a stream that was not read


def _said(body: Any) -> dict[str, Any] | None:
    if not isinstance(body, dict) or not isinstance(body.get("headgate"), dict):
        return None
    error = body.get("error")
    message = error.get("message", "") if isinstance(error, dict) else ""
    return {**body["headgate"], "message": message}
