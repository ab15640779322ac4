"""Images and documents between the dialects (wire-formats 4)."""

from __future__ import annotations

import base64
import binascii
import re

from headgate.core.errors import BadRequest
from headgate.wire.translate import reading
from headgate.wire.translate.reading import Json
from headgate.wire.translate.report import Report

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?:;[\w-]+=[^;,]*)*;base64,")
_PDF = "application/pdf"
_MEDIA_TYPES = {"image/jpg": "image/jpeg"}  # a common mistake that OpenAI takes and Anthropic does not


def image_to_openai(block: Json, where: str, report: Report) -> list[Json]:
    """An `image` block as content parts; none where it had to be dropped."""
    source = reading.table(block.get("source"), f"{where}.source")
    if block.get("transformations"):
        report.lose("image_detail", f"{where}.transformations")
    kind = source.get("type")
    if kind == "base64":
        media = reading.filled(source.get("media_type"), f"{where}.source.media_type")
        data = reading.text(source.get("data"), f"{where}.source.data")
        return [{"type": "image_url", "image_url": {"url": f"data:{media};base64,{data}"}}]
    if kind == "url":
        return [{"type": "image_url", "image_url": {"url": reading.filled(source.get("url"), f"{where}.source.url")}}]
    report.lose("files", f"{where}.source")
    return []


def document_to_openai(block: Json, where: str, report: Report) -> list[Json]:
    """A `document` block as content parts: a PDF as a file, text as text; its title and context as text before it."""
    source = reading.table(block.get("source"), f"{where}.source")
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        report.lose("citations", f"{where}.citations")
    title = block.get("title")
    kind = source.get("type")
    if kind == "base64":
        media = reading.filled(source.get("media_type"), f"{where}.source.media_type")
        data = reading.text(source.get("data"), f"{where}.source.data")
        name = title if isinstance(title, str) and title else "document.pdf"
        parts = [{"type": "file", "file": {"filename": name, "file_data": f"data:{media};base64,{data}"}}]
        return [*_heading(None, block.get("context")), *parts]
    if kind == "text":
        told = reading.text(source.get("data"), f"{where}.source.data")
        return [*_heading(title, block.get("context")), {"type": "text", "text": told}]
    if kind == "content":
        inner = source.get("content")
        blocks = [{"type": "text", "text": inner}] if isinstance(inner, str) else inner
        parts = _heading(title, block.get("context"))
        for index, each in enumerate(reading.array(blocks, f"{where}.source.content")):
            place = f"{where}.source.content.{index}"
            part = reading.table(each, place)
            if part.get("type") == "image":
                parts += image_to_openai(part, place, report)
            else:
                parts.append({"type": "text", "text": reading.text(part.get("text"), f"{place}.text")})
        return parts
    report.lose("files", f"{where}.source")
    return []


def search_result_to_openai(block: Json, where: str, report: Report) -> list[Json]:
    """A `search_result` block as text: title, source, then what was found."""
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        report.lose("citations", f"{where}.citations")
    found = [
        reading.text(reading.table(each, f"{where}.content.{i}").get("text"), f"{where}.content.{i}.text")
        for i, each in enumerate(reading.array(block.get("content"), f"{where}.content"))
    ]
    heading = [value for value in (block.get("title"), block.get("source")) if isinstance(value, str) and value]
    return [{"type": "text", "text": "\n".join([*heading, *found])}]


def image_to_anthropic(part: Json, where: str, report: Report) -> list[Json]:
    """An `image_url` part as a block."""
    given = part.get("image_url")
    image = (
        {"url": given} if isinstance(given, str) else reading.table(given, f"{where}.image_url")
    )  # some send it bare
    if image.get("detail") not in (None, "auto"):
        report.lose("image_detail", f"{where}.image_url.detail")
    url = reading.filled(image.get("url"), f"{where}.image_url.url")
    if url[:5].lower() == "data:":
        media, data = _split(url, f"{where}.image_url.url")
        media = _MEDIA_TYPES.get(media, media)
        return [{"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}]
    if url[:8].lower() == "https://" or url[:7].lower() == "http://":
        return [{"type": "image", "source": {"type": "url", "url": url}}]
    raise BadRequest(f"`{where}.image_url.url` must be an https URL or a base64 data URL")


def file_to_anthropic(part: Json, where: str, report: Report) -> list[Json]:
    """A `file` part as a `document` block: PDFs and plain text."""
    file = reading.table(part.get("file"), f"{where}.file")
    if file.get("file_data") is None:
        report.lose("files", f"{where}.file")
        return []
    given = reading.filled(file["file_data"], f"{where}.file.file_data")
    media, data = _split(given, f"{where}.file.file_data") if given[:5].lower() == "data:" else (_PDF, given)
    if media == _PDF:
        source = {"type": "base64", "media_type": _PDF, "data": data}
    elif media == "text/plain":
        source = {"type": "text", "media_type": media, "data": _plain(data, f"{where}.file.file_data")}
    else:
        report.lose("files", f"{where}.file")
        return []
    name = file.get("filename")
    return [{"type": "document", "source": source, **({"title": name} if isinstance(name, str) and name else {})}]


def _heading(title: object, context: object) -> list[Json]:
    words = [value for value in (title, context) if isinstance(value, str) and value]
    return [{"type": "text", "text": "\n".join(words)}] if words else []


def _split(url: str, where: str) -> tuple[str, str]:
    found = _DATA_URL.match(url)
    if found is None:
        raise BadRequest(f"`{where}` must be a data URL in base64: data:<media type>;base64,<data>")
    return (found["type"] or "text/plain").lower(), url[found.end() :]


def _plain(data: str, where: str) -> str:
    try:
        return base64.b64decode(data).decode()
    except (binascii.Error, ValueError):
        raise BadRequest(f"`{where}` is not text in base64") from None
