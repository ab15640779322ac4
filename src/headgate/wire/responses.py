"""OpenAI's Responses: facts of a request and of a whole answer (wire-formats 2.1, 2.2). The stream: responses_stream.

An answer is generated from what the provider keeps where the request refers to earlier answers, to a conversation, to a
stored prompt, or to an item by its id: then its bytes do not bound it (`Facts.server_side`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw

from headgate.core.errors import BadRequest
from headgate.core.exchange import Facts
from headgate.core.usage import Usage
from headgate.wire import bodies, lenient, openai_usage
from headgate.wire.dialect import Answer, ProviderError
from headgate.wire.lenient import count, table, text
from headgate.wire.media import images
from headgate.wire.state import referred

_MEDIA = re.compile(
    rb'"type"\s*:\s*"(?:input_image|input_file|input_audio|input_video|computer_screenshot|image_generation_call)"'
)
# The caller's own code runs these; every other type runs on the provider's side. A namespace groups functions.
_CALLERS_TOOLS = frozenset(
    {"function", "custom", "namespace", "local_shell", "apply_patch", "computer", "computer_use_preview"}
)
_WITH_TOOLS = frozenset({"additional_tools", "tool_search_output"})  # items that bring tools with them
_LEADING = ("system", "developer")
_NOTHING = (b"", b"null")
_MOST_READ_ALONE = 5_000
_SEARCH_CALL = b'"web_search_call"'


class _Create(bodies.Body):
    input: Raw = Raw()
    instructions: Raw = Raw()
    tools: list[Raw] | None = None
    stream: bool | None = None
    background: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=0)] | None = None
    user: Any = None
    safety_identifier: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None
    search_parameters: Any = None  # xAI
    plugins: Any = None  # OpenRouter
    store: Any = None

    def arrays(self) -> Iterable[Iterable[Raw]]:
        """See `Body.arrays`."""
        if _opens_with(self.input, b"["):
            yield _raws.decode(self.input)
        if self.tools:
            yield self.tools


class _Item(msgspec.Struct):
    type: Any = None
    role: Any = None
    id: Any = None
    content: Raw = Raw()
    encrypted_content: Raw = Raw()
    tools: Any = None


class _Tool(msgspec.Struct):
    type: Any = None
    execution: Any = None
    environment: Any = None


class _Part(msgspec.Struct):
    type: Any = None
    text: Any = None
    refusal: Any = None


class _Answer(msgspec.Struct):
    status: Any = None
    model: Any = None
    usage: Any = None
    error: Any = None
    incomplete_details: Any = None
    service_tier: Any = None
    tool_usage: Any = None
    output: Raw = Raw()


_create = msgspec.json.Decoder(_Create)
_raws = msgspec.json.Decoder(list[Raw])
_items = msgspec.json.Decoder(list[_Item])
_item = msgspec.json.Decoder(_Item)
_tool = msgspec.json.Decoder(_Tool)
_parts = msgspec.json.Decoder(list[_Part])
_string = msgspec.json.Decoder(str)
_answer = msgspec.json.Decoder(_Answer)


def read_request(body: bytes, *, keep_text: bool) -> Facts:
    """See `Dialect.read_request`. `has_media` and `server_side` may be true of a body that only looks like it."""
    request = bodies.decode(_create, body)
    if bytes(request.input) in _NOTHING and not (
        request.prompt or request.previous_response_id or request.conversation
    ):
        hint = ". It looks like a body for /v1/chat/completions" if b'"messages"' in body else ""
        raise BadRequest(f"the request body has no `input`; it is required{hint}")
    items = _input_items(request.input)
    has_media = bodies.search_typed(_MEDIA, body, request)
    server_side = _server_side(request, items)
    inside = has_media and _opens_with(request.input, b"[")
    count, size = images(body, _MEDIA, _raws.decode(request.input)) if inside else (0, 0)
    return Facts(
        model=request.model,
        stream=bool(request.stream),
        max_output_tokens=request.max_output_tokens,
        user=text(request.safety_identifier) or text(request.user),
        system=_system(request.instructions, items),
        has_media=has_media,
        images=count,
        image_bytes=size,
        server_side=server_side,
        state=referred(body) if has_media or server_side else (),
        keeps=request.store is not False,
        has_tools=bool(request.tools),
        user_message=_last_user_text(request.input, items) if keep_text else "",
        background=bool(request.background),
    )


def read_answer(body: bytes, *, keep_text: bool) -> tuple[Answer, str]:
    """See `Dialect.read_answer`. The stop reason is why the answer is incomplete, else its status."""
    answer = lenient.decode(_answer, body)
    if answer is None:
        return Answer(error=ProviderError(type="malformed_answer", message="the answer is not a JSON object")), ""
    fields = openai_usage.of_responses(table(answer.usage))
    usage = openai_usage.reported_whole(fields, answer.service_tier, searches(answer))
    return (
        Answer(usage, text(answer.model), stop_reason(answer), failure(answer)),
        output_text(answer.output) if keep_text else "",
    )


def decode(raw: bytes | Raw) -> _Answer | None:
    """A response object, as far as it matters; None where it is none."""
    return lenient.decode(_answer, memoryview(raw))


def counted(fields: openai_usage.Fields, service_tier: Any, web_searches: int) -> Usage | None:
    """The counts of a response under the names of Chat Completions (`openai_usage.of_responses`)."""
    return openai_usage.usage(fields, service_tier, web_searches)


def stop_reason(answer: _Answer) -> str:
    """`incomplete_details.reason` (max_output_tokens, content_filter, ...) or else the status."""
    why = text(table(answer.incomplete_details).get("reason")) if answer.incomplete_details else ""
    return why or text(answer.status)


def failure(answer: _Answer) -> ProviderError | None:
    """Why there is no answer, if so."""
    if answer.error:
        return lenient.error_value({"error": answer.error})
    if answer.status == "failed":
        return ProviderError(type="server_error", message="the response failed, and does not say why")
    return None


def searches(answer: _Answer) -> int:
    """Billable web searches: as the response says, or else every search call it shows."""
    if answer.tool_usage:
        told = count(table(table(answer.tool_usage).get("web_search")).get("num_requests"))
        if told is not None:
            return told
    output = bytes(answer.output)
    if _SEARCH_CALL not in output:
        return 0
    return sum(item.type == "web_search_call" for item in _read_items(output))


def output_text(output: Raw) -> str:
    """The visible text of a response's output."""
    messages = (item for item in _read_items(bytes(output)) if item.type == "message")
    return "".join(_text_of(item.content, ("output_text", "refusal"), "") for item in messages)


def _opens_with(raw: Raw, mark: bytes) -> bool:
    return bytes(memoryview(raw)[:1]) == mark


def _input_items(raw: Raw) -> list[_Item]:
    if _opens_with(raw, b"["):
        return _read_items(bytes(raw))
    if not _opens_with(raw, b'"') and bytes(raw) not in _NOTHING:
        raise BadRequest("`input` must be a string or an array")
    return []


def _read_items(array: bytes) -> list[_Item]:
    try:
        return _items.decode(array)
    except (ValueError, RecursionError):
        return list(_each_item(array))


def _each_item(array: bytes) -> Iterator[_Item]:
    """Items one by one, where one of them cannot be read: what is no item is an empty one, and so is all that is behind
    the first thousands of them."""
    try:
        raws = _raws.decode(array)
    except (ValueError, RecursionError):
        return
    for raw in raws[:_MOST_READ_ALONE]:
        yield lenient.decode(_item, memoryview(raw)) or _Item()
    if len(raws) > _MOST_READ_ALONE:
        yield _Item(type="item_reference")  # for all we know


def _system(instructions: Raw, items: list[_Item]) -> bytes:
    """The raw instructions and leading system and developer messages, one per line."""
    leading = [] if bytes(instructions) in _NOTHING else [bytes(instructions)]
    for item in items:
        if item.role not in _LEADING:
            break
        leading.append(bytes(item.content))
    return b"\n".join(leading)


def _server_side(request: _Create, items: list[_Item]) -> bool:
    if (
        request.previous_response_id
        or request.conversation
        or request.prompt
        or request.context_management
        or request.search_parameters
        or request.plugins
    ):
        return True
    if any(map(_kept, items)):
        return True
    return any(_runs_there(lenient.decode(_tool, memoryview(raw))) for raw in request.tools or ())


def _kept(item: _Item) -> bool:
    """Whether an item stands for something that the provider keeps, or brings tools that it runs."""
    if item.type is None or item.type == "message":
        return item.role is None and item.id is not None  # `type` may be left out of a reference
    kind = text(item.type)
    if kind == "reasoning":
        return bytes(item.encrypted_content) in _NOTHING and bytes(item.content) in (*_NOTHING, b"[]")
    if kind in _WITH_TOOLS:
        tools = item.tools if isinstance(item.tools, list) else []
        return any(text(table(tool).get("type")) not in _CALLERS_TOOLS for tool in tools)
    return kind == "item_reference"


def _runs_there(tool: _Tool | None) -> bool:
    if tool is None or text(tool.type) in _CALLERS_TOOLS:
        return False
    if tool.type == "shell":
        return table(tool.environment).get("type") != "local"
    if tool.type == "tool_search":
        return bool(tool.execution != "client")
    return True


def _last_user_text(raw: Raw, items: list[_Item]) -> str:
    if _opens_with(raw, b'"'):
        return _plain(bytes(raw))
    words = (_text_of(item.content, ("input_text", "text"), "\n") for item in reversed(items) if item.role == "user")
    return next(filter(None, words), "")


def _text_of(content: Raw, kinds: tuple[str, ...], separator: str) -> str:
    if _opens_with(content, b'"'):
        return _plain(bytes(content))
    try:
        parts = _parts.decode(content)
    except (ValueError, RecursionError):
        return ""
    return separator.join(text(part.text) or text(part.refusal) for part in parts if part.type in kinds)


def _plain(value: bytes) -> str:
    try:
        return _string.decode(value)
    except ValueError:  # a lone surrogate
        return ""
