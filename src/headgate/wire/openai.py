"""The OpenAI dialect, and that of compatible providers (wire-formats 2 and 3). Chat Completions are read here."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from headgate.core.exchange import Facts, Headers
from headgate.wire import bodies, embeddings, jsontext, lenient, openai_plain, openai_usage, responses, sse
from headgate.wire.dialect import Answer, Meter, ProviderError
from headgate.wire.errors import our_error, status_of
from headgate.wire.lenient import table, text
from headgate.wire.media import images
from headgate.wire.openai_stream import ChatMeter
from headgate.wire.responses_stream import ResponsesMeter
from headgate.wire.state import referred
from headgate.wire.stream import PassingMeter

_ENDPOINTS = {
    ("POST", "/chat/completions"): "chat",
    ("POST", "/responses"): "responses",
    ("POST", "/responses/compact"): "responses",  # the same question and the same counts
    ("POST", "/responses/input_tokens"): "count_tokens",
    ("POST", "/embeddings"): "embeddings",
    ("POST", "/moderations"): "moderations",
    ("GET", "/models"): "models",
}
# What the provider keeps: told of in small JSON bodies. Contents of files pass unread.
_STORED = ("/responses/", "/conversations", "/files", "/uploads", "/batches", "/containers", "/vector_stores")
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_MEDIA = re.compile(
    rb'"type"\s*:\s*"(?:image_url|input_image|image|input_audio|audio_url|file|input_file|document_url|video_url)"'
)
_LEADING = ("system", "developer")
_CALLERS_TOOLS = frozenset({"function", "custom"})

_NAMED = frozenset({"moderations", "count_tokens"})  # requests of which only the model matters

_Cap = Annotated[int, Meta(ge=0)] | None


class _Create(bodies.Conversation):
    stream: bool | None = None
    max_completion_tokens: _Cap = None
    max_tokens: _Cap = None
    n: Annotated[int, Meta(ge=1)] | None = None
    user: Any = None
    safety_identifier: Any = None
    stream_options: Any = None
    web_search_options: Any = None
    search_parameters: Any = None  # xAI
    modalities: Any = None
    plugins: Any = None  # OpenRouter
    functions: Any = None  # the older name of tools
    conversation: Any = None
    previous_response_id: Any = None


class _AnswerMessage(msgspec.Struct):
    content: Any = None
    refusal: Any = None


class _Answer(msgspec.Struct):
    choices: Raw = Raw()
    model: Any = None
    usage: Any = None
    error: Any = None
    service_tier: Any = None
    x_groq: Any = None


class _Choice(msgspec.Struct):
    index: Any = None
    finish_reason: Any = None
    message: Raw = Raw()
    error: Any = None


# What most requests have nothing of.
_closer_looks = attrgetter(
    "functions", "user", "safety_identifier", "modalities", "search_parameters", "plugins", "conversation",
    "previous_response_id",
)  # fmt: skip
_NO_FACTS = vars(Facts())
_new = object.__new__

_create = msgspec.json.Decoder(_Create)
_answer = msgspec.json.Decoder(_Answer)
_plain_answer = msgspec.json.Decoder(openai_plain.Plain)
_choices = msgspec.json.Decoder(list[_Choice])
_answer_message = msgspec.json.Decoder(_AnswerMessage)


def _larger(newer: int | None, older: int | None) -> int | None:
    """The cap where both are given: some providers know the older name only, others the newer one first."""
    return newer if older is None else older if newer is None else max(newer, older)


def _cap_member(endpoint: str, *, newest: bool) -> str:
    """Where an endpoint takes its output cap. Others than OpenAI itself know the older name of chat's for certain."""
    if endpoint == "responses":
        return "max_output_tokens"
    return "max_completion_tokens" if newest else "max_tokens"


def _caps_above(endpoint: str, body: bytes, cap: int) -> list[str]:
    """The members of a body that allow more output than `cap`. Which of two a provider goes by is its affair."""
    names = ("max_output_tokens",) if endpoint == "responses" else ("max_completion_tokens", "max_tokens")
    told = ((name, jsontext.get_member(body, name, known=bodies.REQUIRED)) for name in names)
    return [name for name, value in told if value not in (None, b"null") and float(value or 0) > cap]


class OpenAI:
    """See `dialect.Dialect`. The base URL ends with `/v1`; a path that repeats it is understood as well."""

    name = "openai"

    def endpoint(self, method: str, path: str) -> str:
        """See `Dialect.endpoint`."""
        path = path.removeprefix("/v1").rstrip("/")
        known = _ENDPOINTS.get((method, path))
        if known is not None:
            return known
        if method == "GET" and path.startswith("/models/"):
            return "models"
        if path.startswith(_STORED):
            return "other" if path.endswith("/content") else "stored"
        return "other"

    def read_request(self, endpoint: str, body: bytes, *, keep_text: bool = False) -> Facts:
        """See `Dialect.read_request`. `has_media` may be true of a body that only looks like it."""
        if endpoint != "chat":
            return _other_request(endpoint, body, keep_text)
        request = bodies.decode(_create, body)
        if (
            request.web_search_options is None
            and not any(_closer_looks(request))
            and not (request.typed and request.tools and not bodies.tool_types(request.tools) <= _CALLERS_TOOLS)
            and not (request.typed and bodies.search_typed(_MEDIA, body, request))
        ):
            facts = _new(Facts)
            facts.__dict__ = _NO_FACTS.copy()
            facts.model = request.model
            if request.stream:
                facts.stream = True
            newer, older = request.max_completion_tokens, request.max_tokens
            facts.max_output_tokens = older if newer is None else newer if older is None else max(newer, older)
            if request.n:
                facts.choices = request.n
            facts.system = _system(request.messages)
            if request.tools:
                facts.has_tools = True
            if request.stream_options:
                facts.include_usage = table(request.stream_options).get("include_usage") is True
            if keep_text:
                facts.user_message = bodies.last_user_text(request.messages)
            return facts
        has_media, server_side = _has_media(request, body), _server_side(request)
        count, size = images(body, _MEDIA, request.messages) if has_media else (0, 0)
        return Facts(
            model=request.model,
            stream=bool(request.stream),
            max_output_tokens=_larger(request.max_completion_tokens, request.max_tokens),
            choices=request.n or 1,
            user=text(request.safety_identifier) or text(request.user),
            system=_system(request.messages),
            include_usage=table(request.stream_options).get("include_usage") is True,
            has_media=has_media,
            images=count,
            image_bytes=size,
            server_side=server_side,
            state=referred(body) if has_media or server_side else (),
            has_tools=bool(request.tools or request.functions),
            user_message=bodies.last_user_text(request.messages) if keep_text else "",
        )

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

        Other members of an existing `stream_options` object stay as they are.
        """
        changes: dict[str, bytes] = {}
        if model is not None:
            changes["model"] = msgspec.json.encode(model)
        if ask_usage:
            changes["stream_options"] = _with_usage(body)
        if output_cap is not None:
            for name in _caps_above(endpoint, body, output_cap) or (_cap_member(endpoint, newest=newest),):
                changes[name] = b"%d" % output_cap
        return jsontext.set_members(body, changes, known=bodies.REQUIRED) if changes else body

    def read_answer(self, endpoint: str, body: bytes, *, keep_text: bool = False) -> tuple[Answer, str]:
        """See `Dialect.read_answer`. A body that is not a JSON object is an error of type "malformed_answer"."""
        if endpoint == "responses":
            return responses.read_answer(body, keep_text=keep_text)
        if endpoint != "chat":
            return embeddings.read_answer(body) if endpoint == "embeddings" else Answer(), ""
        try:
            plain = _plain_answer.decode(body)
        except (ValueError, RecursionError):
            pass  # out of the ordinary: read again, with care
        else:
            usage = openai_plain.usage(plain)
            if usage is not None:
                choice = plain.choices[0]
                words = _answer_text(choice.message) if keep_text else ""
                return Answer(usage, plain.model, choice.finish_reason or ""), words
        answer = lenient.decode(_answer, body)
        if answer is None:
            return Answer(error=ProviderError(type="malformed_answer", message="the answer is not a JSON object")), ""
        if answer.error:
            return Answer(error=lenient.error_body(body)), ""
        fields = openai_usage.reported(answer.usage, answer.x_groq) or {}
        first = _first_choice(answer.choices)
        return (
            Answer(
                usage=openai_usage.reported_whole(fields, answer.service_tier),
                model=text(answer.model),
                stop_reason=text(first.finish_reason),
                error=lenient.error_value({"error": first.error}) if first.error else None,
            ),
            _answer_text(first.message) if keep_text else "",
        )

    def meter(self, endpoint: str, facts: Facts, *, keep_text: bool = False, strict: bool = False) -> Meter:
        """See `Dialect.meter`. The usage chunk is hidden unless the caller asked for it."""
        if endpoint != "chat":
            return ResponsesMeter(keep_text=keep_text) if endpoint == "responses" else PassingMeter()
        hide = not facts.include_usage
        return ChatMeter(hide_usage=hide, choices=facts.choices, keep_text=keep_text, strict=strict)

    def read_error(self, body: bytes) -> ProviderError:
        """See `Dialect.read_error`."""
        return lenient.error_body(body)

    def request_id(self, headers: Headers) -> str:
        """The `x-request-id` header."""
        return lenient.header(headers, b"x-request-id", b"request-id")

    def error_body(self, status: int, code: str, message: str, exchange_id: str, *, unit: str = "") -> bytes:
        """See `Dialect.error_body`. The code is at `error.code`, the SDK's `.code`, and at `headgate.code`.

        OpenAI's own errors about rates have the unit as their type.
        """
        return our_error({"error": _error(status, code, message, unit)}, code, exchange_id)

    def error_event(self, code: str, message: str, exchange_id: str, *, behind: Meter | None = None) -> bytes:
        """See `Dialect.error_event`. The SDK raises it as `APIError`."""
        behind = getattr(behind, "metered", behind)  # the one behind a gate
        if isinstance(behind, ResponsesMeter):
            return behind.error_event(_error(status_of(code), code, message), code, exchange_id)
        return sse.encode(self.error_body(status_of(code), code, message, exchange_id))


def _error(status: int, code: str, message: str, kind: str = "") -> dict[str, Any]:
    kind = kind or _ERROR_TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"message": message, "type": kind, "param": None, "code": code}


def _other_request(endpoint: str, body: bytes, keep_text: bool) -> Facts:
    if endpoint == "responses":
        return responses.read_request(body, keep_text=keep_text)
    if endpoint == "embeddings":
        return embeddings.read_request(body)
    return embeddings.read_named(body) if endpoint in _NAMED else Facts()


def _system(messages: list[Raw]) -> bytes:
    """The raw contents of the leading system and developer messages, one per line."""
    leading: list[bytes] = []
    for raw in messages:
        message = bodies.message_of(raw)
        if message is None or message.role not in _LEADING:
            break
        leading.append(bytes(message.content))
    return b"\n".join(leading)


def _server_side(request: _Create) -> bool:
    if (
        request.web_search_options is not None
        or request.search_parameters
        or request.plugins
        or request.conversation
        or request.previous_response_id
    ):
        return True
    if not request.tools or not request.typed:
        return False
    return not bodies.tool_types(request.tools) <= _CALLERS_TOOLS


def _has_media(request: _Create, body: bytes) -> bool:
    if bodies.search_typed(_MEDIA, body, request):
        return True
    # Audio of an earlier answer can only be sent to a model that speaks.
    return bool(request.modalities) and any(message.audio for message in bodies.messages(request.messages))


def _with_usage(body: bytes) -> bytes:
    """What `stream_options` becomes: the caller's, with `include_usage` true."""
    present = jsontext.get_member(body, "stream_options", known=bodies.REQUIRED)
    if present is None or present[:1] != b"{":
        return b'{"include_usage":true}'
    return jsontext.set_members(present, {"include_usage": b"true"})


def _first_choice(raw: Raw) -> _Choice:
    try:
        return min(_choices.decode(raw), key=lambda choice: choice.index if type(choice.index) is int else 0)
    except (ValueError, RecursionError):  # null, an empty array, or something else
        return _Choice()


def _answer_text(raw: Raw) -> str:
    try:
        message = _answer_message.decode(raw)
    except (ValueError, RecursionError):
        return ""
    return text(message.content) or text(message.refusal)


OPENAI = OpenAI()
