"""What one connection may take: sizes and times. And the short JSON answers given when it takes more."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. Every time is kept by one sweeper, so it fires up to `tick` seconds late.

    `header_seconds` counts from a request's first byte and more bytes do not extend it (slowloris).
    `body_idle_seconds` is the longest gap between two pieces of a body; on top of it a body has to average
    `body_bytes_per_second` once `body_grace_seconds` have passed. Time that we do not read (back-pressure) is free.
    `write_seconds` is how long a caller may take nothing of what we have ready for it.
    """

    header_bytes: int = 64 * 1024  # the whole header block, request line included
    header_count: int = 100
    url_bytes: int = 8 * 1024  # RFC 9112 section 3 recommends at least 8000
    body_bytes: int = 32 * 1024 * 1024  # of a body that is read whole, as `read_whole` says
    upload_bytes: int = 1024 * 1024 * 1024  # of any other, which goes through piece by piece
    pipelined: int = 32  # requests waiting behind the one being answered
    connections: int = 10_000
    header_seconds: float = 10.0
    body_idle_seconds: float = 30.0
    body_grace_seconds: float = 30.0
    body_bytes_per_second: float = 512.0
    write_seconds: float = 60.0
    keep_alive_seconds: float = 75.0
    linger_seconds: float = 5.0  # how long a refused caller may go on sending before it is dropped
    tick: float = 0.5

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"Limits.{name} must be above 0")


_WHOLE_ENDS = (
    b"/messages",
    b"/count_tokens",
    b"/chat/completions",
    b"/responses",
    b"/responses/compact",
    b"/input_tokens",
    b"/embeddings",
    b"/moderations",
)
_OURS = (b"/admin/", b"/health/")


def read_whole(target: bytes) -> bool:
    """Whether the body sent to a request target is read whole before it goes on: those that decide about money, and
    ours. An app that reads another one whole has to bound it itself."""
    path = target.partition(b"?")[0].rstrip(b"/")
    return path.endswith(_WHOLE_ENDS) or path.startswith(_OURS)


@dataclass(frozen=True, slots=True)
class Problem:
    """A request that is refused before any app sees it. `message` is for people and holds nothing of the request."""

    status: int
    code: str
    message: str


BAD_REQUEST = Problem(400, "bad_http", "The bytes sent are not a well-formed HTTP/1.1 request.")
BAD_HOST = Problem(400, "bad_host", "An HTTP/1.1 request needs exactly one Host header.")
BAD_FRAMING = Problem(400, "bad_framing", "The body's length is not stated in one unmistakable way.")
CHUNK_OVERHEAD = Problem(400, "bad_framing", "The chunked body carries far more framing than content.")
TOO_DEEP = Problem(400, "too_many_pipelined", "Too many requests were pipelined on one connection.")
TIMED_OUT = Problem(408, "request_timeout", "The request was not sent in time, or too slowly.")
URL_TOO_LONG = Problem(414, "url_too_long", "The URL is too long.")
HEADERS_TOO_LARGE = Problem(431, "headers_too_large", "The request's headers are too large or too many.")
NO_CODING = Problem(501, "unsupported_coding", "The only transfer coding served is chunked.")
NO_TUNNEL = Problem(501, "unsupported_method", "CONNECT is not served.")
NO_VERSION = Problem(505, "unsupported_version", "The HTTP versions served are 1.1 and 1.0.")
FAILED = Problem(500, "internal_error", "Headgate failed on this request. Its log has the cause.")
TOO_MANY = Problem(503, "too_many_connections", "Headgate has too many connections open. Try again later.")
STOPPING = Problem(503, "headgate_unavailable", "Headgate is shutting down. Send the request again.")

_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    500: "api_error",
    501: "api_error",
    503: "api_error",
}


def body_too_large(limit: int) -> Problem:
    """413, with the limit in bytes named."""
    return Problem(413, "request_too_large", f"The request body is larger than the {limit} bytes allowed here.")


def error_body(status: int, code: str, message: str) -> bytes:
    """An error both official SDKs can read: Anthropic's outer `type`, `error.type` and `error.message`, and `code`."""
    import json

    kind = _ERROR_TYPES.get(status, "invalid_request_error")
    return json.dumps({"type": "error", "error": {"type": kind, "message": message, "code": code}}).encode()


def error_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """Headers of an `error_body`. A refusal of ours is not for SDKs to retry (decisions 12)."""
    return [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-should-retry", b"false"),
    ]


def status_line(status: int) -> bytes:
    """``HTTP/1.1 404 Not Found`` with its CRLF; without a known phrase the space stays (RFC 9112 section 4)."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


def error_response(problem: Problem, date: bytes) -> bytes:
    """The whole response, last of its connection. `date` is a header line or b""."""
    body = error_body(problem.status, problem.code, problem.message)
    lines = b"".join(b"%s: %s\r\n" % field for field in error_headers(body))
    return b"".join((status_line(problem.status), date, lines, b"connection: close\r\n\r\n", body))
