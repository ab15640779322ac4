"""The Anthropic Messages dialect (wire-formats 1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

from headgate.core.exchange import Facts, Headers
from headgate.core.usage import Usage
from headgate.wire import anthropic_usage, bodies, jsontext, lenient, sse
from headgate.wire.anthropic_stream import MessagesMeter
from headgate.wire.dialect import Answer, Meter, ProviderError
from headgate.wire.errors import our_error, status_of
from headgate.wire.lenient import table, text
from headgate.wire.media import images
from headgate.wire.state import referred
from headgate.wire.stream import PassingMeter

_ENDPOINTS = {
    ("POST", "/v1/messages"): "messages",
    ("POST", "/v1/messages/count_tokens"): "count_tokens",
    ("GET", "/v1/models"): "models",
}
# What the provider keeps: told of in small JSON bodies. Contents of files and results of batches pass unread.
_STORED = ("/v1/messages/batches", "/v1/files")
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_MEDIA = re.compile(rb'"type"\s*:\s*"(?:image|document|container_upload)"')
_CONTAINER_UPLOAD = re.compile(rb'"type"\s*:\s*"container_upload"')
_CUSTOM = frozenset({"custom"})
# Tools with a dated type that the caller's own code runs; every other type but "custom" runs on Anthropic's side.
_CALLERS_TOOLS = ("bash_", "text_editor_", "computer_", "memory_", "browser_")


class _Count(bodies.Conversation):
    """A count_tokens request, and what it shares with a Messages request."""

    system: Raw = Raw()
    metadata: Any = None


class _Create(_Count, kw_only=True):
    max_tokens: Annotated[int, Meta(ge=0)]
    stream: bool | None = None
    container: Any = None
    mcp_servers: Any = None
    thread: Any = None
    previous_message_id: Any = None
    fallbacks: Any = None
    compaction: Any = None
    speed: Any = None


class _Answer(msgspec.Struct):
    type: Any = None
    model: Any = None
    content: Raw = Raw()
    stop_reason: Any = None
    usage: Any = None
    error: Any = None


class _PlainAnswer(msgspec.Struct):
    type: Literal["message"]
    model: str
    usage: anthropic_usage.Plain
    stop_reason: str | None = None
    content: Raw = Raw()
    error: None = None


# What most requests have nothing of.
_closer_looks = attrgetter(
    "container", "mcp_servers", "thread", "previous_message_id", "fallbacks", "compaction", "speed"
)
_NO_FACTS = vars(Facts())
_new = object.__new__

_count = msgspec.json.Decoder(_Count)
_create = msgspec.json.Decoder(_Create)
_answer = msgspec.json.Decoder(_Answer)
_plain_answer = msgspec.json.Decoder(_PlainAnswer)


class Anthropic:
    """See `dialect.Dialect`. The base URL ends before `/v1`."""

    name = "anthropic"

    def endpoint(self, method: str, path: str) -> str:
        """See `Dialect.endpoint`."""
        path = path.rstrip("/")
        known = _ENDPOINTS.get((method, path))
        if known is not None:
            return known
        if method == "GET" and path.startswith("/v1/models/"):
            return "models"
        if path.startswith(_STORED):
            return "other" if path.endswith(("/content", "/results")) else "stored"
        return "other"

    def read_request(self, endpoint: str, body: bytes, *, keep_text: bool = False) -> Facts:
        """See `Dialect.read_request`. `has_media` and `server_side` may be true of a body that only looks like it."""
        if endpoint == "messages":
            created = bodies.decode(_create, body)
            typed = created.typed
            if not (
                any(_closer_looks(created))
                or (typed and created.tools and _hosted(created.tools))
                or (typed and bodies.search_typed(_MEDIA, body, created))
            ):
                facts = _new(Facts)
                facts.__dict__ = _NO_FACTS.copy()
                facts.model = created.model
                if created.stream:
                    facts.stream = True
                facts.max_output_tokens = created.max_tokens
                facts.system = bytes(created.system)
                if created.tools:
                    facts.has_tools = True
                if created.metadata:
                    facts.user = text(table(created.metadata).get("user_id"))
                if keep_text:
                    facts.user_message = bodies.last_user_text(created.messages)
                return facts
            request: _Count = created
        elif endpoint == "count_tokens":
            created = None
            request = bodies.decode(_count, body)
        else:
            return Facts()
        facts = Facts(
            request.model,
            created is not None and created.stream is True,
            created.max_tokens if created is not None else None,
            1,
            text(table(request.metadata).get("user_id")) if request.metadata is not None else "",
            bytes(request.system),
        )
        has_media = request.typed and bodies.search_typed(_MEDIA, body, request)
        server_side = _server_side(request) or (has_media and bodies.search_typed(_CONTAINER_UPLOAD, body, request))
        if has_media or server_side:
            facts.has_media, facts.server_side, facts.keeps = has_media, server_side, server_side
            facts.state = referred(body)
        if has_media:
            facts.images, facts.image_bytes = images(body, _MEDIA, request.messages)
        facts.has_tools = bool(request.tools)
        facts.fast = created is not None and created.speed == "fast"
        if keep_text:
            facts.user_message = bodies.last_user_text(request.messages)
        return facts

    def rewrite(
        self,
        endpoint: str,
        body: bytes,
        *,
        model: str | None = None,
        ask_usage: bool = False,
        output_cap: int | None = None,
        newest: bool = True,
    ) -> bytes:
        """See `Dialect.rewrite`. `body` is one that `read_request` has accepted.

        Anthropic always reports usage, so `ask_usage` changes nothing.
        """
        changes: dict[str, bytes] = {}
        if model is not None:
            changes["model"] = msgspec.json.encode(model)
        if output_cap is not None:
            changes["max_tokens"] = b"%d" % output_cap
        return jsontext.set_members(body, changes, known=bodies.REQUIRED) if changes else body

    def read_answer(self, endpoint: str, body: bytes, *, keep_text: bool = False) -> tuple[Answer, str]:
        """See `Dialect.read_answer`. A body that is not a JSON object is an error of type "malformed_answer"."""
        if endpoint != "messages":
            return Answer(), ""
        try:
            plain = _plain_answer.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # out of the ordinary: read again, with care
        else:
            usage = anthropic_usage.plain(plain.usage)
            if usage is not None:
                words = bodies.text_of(plain.content, separator="") if keep_text else ""
                return Answer(usage, plain.model, plain.stop_reason or ""), words
        answer = lenient.decode(_answer, body)
        if answer is None:
            return Answer(error=ProviderError(type="malformed_answer", message="the answer is not a JSON object")), ""
        if answer.error or answer.type == "error":
            return Answer(error=lenient.error_body(body)), ""
        fields = table(answer.usage)
        return (
            Answer(
                usage=_usage_of(fields),
                model=text(answer.model),
                stop_reason=text(answer.stop_reason),
            ),
            bodies.text_of(answer.content, separator="") if keep_text else "",
        )

    def meter(self, endpoint: str, facts: Facts, *, keep_text: bool = False, strict: bool = False) -> Meter:
        """See `Dialect.meter`."""
        return MessagesMeter(keep_text=keep_text) if endpoint == "messages" else PassingMeter()

    def read_error(self, body: bytes) -> ProviderError:
        """See `Dialect.read_error`. `code` is `error.details.error_code`."""
        return lenient.error_body(body)

    def request_id(self, headers: Headers) -> str:
        """The `request-id` header."""
        return lenient.header(headers, b"request-id", b"x-request-id")

    def error_body(self, status: int, code: str, message: str, exchange_id: str, *, unit: str = "") -> bytes:
        """See `Dialect.error_body`. The code is at `error.details.error_code` and at `headgate.code`."""
        kind = _ERROR_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
        error = {"type": kind, "message": message, "details": {"error_code": code}}
        return our_error({"type": "error", "error": error, "request_id": exchange_id or None}, code, exchange_id)

    def error_event(self, code: str, message: str, exchange_id: str, *, behind: Meter | None = None) -> bytes:
        """See `Dialect.error_event`. The SDK raises it as `APIStatusError` with status 200."""
        return sse.encode(self.error_body(status_of(code), code, message, exchange_id), "error")


def _usage_of(fields: anthropic_usage.Fields) -> Usage | None:
    """As reported; None where it is not all there, but for one that is wrong, which is told."""
    found = anthropic_usage.usage(fields)
    return found if found is not None and (found.bad or anthropic_usage.complete(fields)) else None


def _server_side(request: _Count) -> bool:
    if isinstance(request, _Create) and (
        request.container
        or request.mcp_servers
        or request.thread
        or request.previous_message_id
        or request.fallbacks
        or request.compaction
    ):
        return True
    if not request.tools or not request.typed:
        return False
    return _hosted(request.tools)


def _hosted(tools: Iterable[Raw]) -> bool:
    """Whether one of the tools runs on the provider's side."""
    kinds = bodies.tool_types(tools) - _CUSTOM
    return bool(kinds) and not all(kind.startswith(_CALLERS_TOOLS) for kind in kinds)


ANTHROPIC = Anthropic()
