"""Errors in one shape: `application/problem+json` (RFC 9457) for programs, a page for people."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from headgate.core.errors import ConfigError, HeadgateError, RateExceeded
from headgate.gateway.cycle import log_failure

MEDIA = "application/problem+json"

_FAILED = "The admin API failed on this request. The gateway's log has the cause."


class Conflict(HeadgateError):
    """What is asked cannot be done as things are: a name is taken, a decision was made before."""

    code = "conflict"
    status_hint = 409


def problem(status: int, code: str, detail: str, **more: Any) -> dict[str, Any]:
    """The body: `type`, `title`, `status`, `detail`, and `code` for programs."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code, **more}


def problem_response(status: int, code: str, detail: str, *, retry_after: float | None = None, **more: Any) -> Response:
    """A response with that body."""
    headers = {} if retry_after is None else {"retry-after": str(max(1, round(retry_after + 0.5)))}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(
        json.dumps(problem(status, code, detail, **more)), status_code=status, headers=headers, media_type=MEDIA
    )


def told(error: Exception) -> tuple[int, str, str, float | None]:
    """(status, code, a sentence, seconds to wait) of an error. What was not raised on purpose is logged, not shown."""
    if isinstance(error, ConfigError):  # of a service: a name or a value that is none
        return 400, "invalid_request", "; ".join(error.mistakes), None
    if isinstance(error, HeadgateError):
        wait = error.retry_after if isinstance(error, RateExceeded) else None
        return error.status_hint, error.code, error.told, wait
    log_failure("the admin API", error)
    return 500, "internal_error", _FAILED, None


def as_problem(_request: Request, error: Exception) -> Response:
    """Starlette's exception handler."""
    status, code, detail, wait = told(error)
    return problem_response(status, code, detail, retry_after=wait)
