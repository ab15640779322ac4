"""Images that are in a request's body: how many, and how many of its bytes they are.

A vendor counts an image by its size in pixels and never above a limit, while its bytes as text would bound it a
thousand times higher. That holds for an image that the vendor will see as one: so the body is walked by its structure,
and where anything in it looks like media and is not such an image, nothing is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw

_DATA_URL = b'"data:image/'


class _Source(msgspec.Struct):
    type: Any = None
    data: Raw = Raw()


class _Link(msgspec.Struct):
    url: Raw = Raw()


class _Part(msgspec.Struct):
    type: Any = None
    source: Raw = Raw()  # Anthropic
    content: Raw = Raw()  # of a tool's result
    image_url: Raw = Raw()  # OpenAI: {"url": ...} in chat, the URL itself in Responses


class _Holder(msgspec.Struct):
    content: Raw = Raw()


_parts = msgspec.json.Decoder(list[_Part])
_source = msgspec.json.Decoder(_Source)
_link = msgspec.json.Decoder(_Link)
_holder = msgspec.json.Decoder(_Holder)

_KINDS = frozenset({"image", "image_url", "input_image"})
_RESULTS = frozenset({"tool_result"})


def images(body: bytes, looks: re.Pattern[bytes], messages: Iterable[Raw]) -> tuple[int, int]:
    """(images, bytes of the body that are theirs); (0, 0) where there is media of other kinds, or elsewhere.

    Args:
        looks: finds what may be media, wherever it stands.
        messages: the objects whose `content` may hold images.
    """
    count = size = 0
    try:
        for message in messages:
            found, length = _in_content(_holder.decode(message).content, 0)
            count += found
            size += length
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        return 0, 0
    return (count, size) if count == len(looks.findall(body)) else (0, 0)


def _in_content(content: Raw, depth: int) -> tuple[int, int]:
    if depth > 2 or bytes(memoryview(content)[:1]) != b"[":
        return 0, 0
    count = size = 0
    for part in _parts.decode(content):
        if not isinstance(part.type, str):
            continue
        if part.type in _RESULTS:
            found, length = _in_content(part.content, depth + 1)
        elif part.type in _KINDS:
            found, length = _image(part)
        else:
            continue
        count += found
        size += length
    return count, size


def _image(part: _Part) -> tuple[int, int]:
    """(1, bytes) of an image that is in the body; (0, 0) of one that is elsewhere."""
    if part.type == "image":
        source = _source.decode(part.source)
        if source.type != "base64" or bytes(memoryview(source.data)[:1]) != b'"':
            return 0, 0
        return 1, memoryview(source.data).nbytes
    url = part.image_url
    if bytes(memoryview(url)[:1]) == b"{":
        url = _link.decode(url).url
    if bytes(memoryview(url)[: len(_DATA_URL)]).lower() != _DATA_URL:
        return 0, 0
    return 1, memoryview(url).nbytes
