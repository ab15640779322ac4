"""Both vendors' Files: upload, list, metadata, content, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from headgate.testing.simulator.asked import Fail, Json
from headgate.testing.simulator.filestore import Kept, Spool
from headgate.testing.simulator.multipart import Multipart, Part
from headgate.testing.simulator.pages import page

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call

_encode = msgspec.json.Encoder().encode
_MB = 1024 * 1024
_LARGEST = {"anthropic": 500 * _MB, "openai": 512 * _MB}
_LARGEST_BATCH = 200 * _MB
_BATCH_LIVES = 30 * 86_400
_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_LIFETIMES = {"anthropic": (3600, 7_776_000), "openai": (3600, 2_592_000)}  # seconds
_EXPIRY = {"anthropic": "expires_in_seconds", "openai": "expires_after[seconds]"}


async def upload(call: Call) -> None:
    """`POST /v1/files`. The file goes to disk as it comes."""
    content = Spool()
    parts: list[Part] = []
    largest = _LARGEST[call.dialect.name]

    def open_file(part: Part) -> Callable[[bytes], None]:
        if part.name != "file" or parts:
            raise ValueError(f"the part {part.name!r} is a file, and is not expected")
        parts.append(part)
        return content.write

    try:
        form = Multipart(call.headers.get(b"content-type", b"").decode("latin-1"), open_file)
        async for data in call.wire.chunks():
            call.record.body_bytes += len(data)
            if content.size <= largest:  # beyond it the rest only has to pass
                form.feed(data)
        if content.size <= largest:
            form.close()
        if not parts:
            raise ValueError("file: Field required")
    except ValueError as error:
        await call.wire.drain()
        raise Fail(400, "invalid_request_error", str(error), param="file") from error
    if content.size > largest:
        raise Fail(413, _kind(call, "request_too_large"), f"A file may have at most {largest} bytes.")
    kept = _kept(call, parts[0], form.fields, content)
    call.provider.files.keep(kept)
    await call.send(_encode(_told(call, kept)))


async def list_anthropic(call: Call) -> None:
    """`GET /v1/files` at Anthropic, newest first, in pages with an opaque cursor."""
    found = _listed(call)
    wanted = call.queries("ids")
    if wanted:
        await call.send(_encode({"data": [f.as_anthropic() for f in found if f.id in wanted], "next_page": None}))
        return
    told = call.query.get("limit", "")
    size = min(1000, max(1, int(told))) if told.isdecimal() else 20
    cursor = call.query.get("page", "").removeprefix("page_")
    start = next((i for i, f in enumerate(found) if f.id == cursor), 0)
    more = found[start + size : start + size + 1]
    following = f"page_{more[0].id}" if more else None
    shown = [f.as_anthropic() for f in found[start : start + size]]
    await call.send(_encode({"data": shown, "next_page": following}))


async def list_openai(call: Call) -> None:
    """`GET /v1/files` at OpenAI."""
    found = _listed(call)
    if call.query.get("order") == "asc":
        found.reverse()
    purpose = call.query.get("purpose")
    told = [f.as_openai() for f in found if purpose in (None, f.purpose)]
    await call.send(_encode(page(told, call.query, limit=10_000, most=10_000)))


async def metadata(call: Call) -> None:
    """`GET /v1/files/{id}`."""
    await call.send(_encode(_told(call, _found(call))))


async def content(call: Call) -> None:
    """`GET /v1/files/{id}/content`."""
    found = _found(call)
    if not found.downloadable:
        text = f"File `{found.id}` is not downloadable."
        raise Fail(400, "invalid_request_error", text, code="file_not_downloadable")
    await call.send_bytes(found.content.chunks(), found.mime_type.encode("latin-1", "replace"), found.content.size)


async def delete(call: Call) -> None:
    """`DELETE /v1/files/{id}`."""
    found = _found(call)
    call.provider.files.delete(found)
    if call.dialect.name == "anthropic":
        await call.send(_encode({"id": found.id, "type": "file_deleted"}))
    else:
        await call.send(_encode({"id": found.id, "object": "file", "deleted": True}))


def _kept(call: Call, part: Part, fields: dict[str, str], content: Spool) -> Kept:
    name, now = call.dialect.name, call.provider.clock.now()
    purpose = fields.get("purpose", "")
    if name == "openai":
        if purpose not in _PURPOSES:
            text = f"'{purpose}' is not one of {list(_PURPOSES)} - 'purpose'"
            raise Fail(400, "invalid_request_error", text, param="purpose")
        if purpose == "batch" and content.size > _LARGEST_BATCH:
            raise Fail(400, "invalid_request_error", "A batch's input may have at most 200 MB.", param="file")
    told = fields.get(_EXPIRY[name])
    lives: float | None = _BATCH_LIVES if purpose == "batch" else None
    if told is not None:
        low, high = _LIFETIMES[name]
        if not told.isdecimal() or not low <= int(told) <= high:
            raise Fail(400, "invalid_request_error", f"{_EXPIRY[name]}: from {low} to {high}", param=_EXPIRY[name])
        lives = int(told)
    filename = (part.filename or "").replace("\\", "/").rpartition("/")[2] or "unnamed"
    return Kept(
        id=call.provider.new_id("file").replace("_", "_" if name == "anthropic" else "-"),
        scope=call.record.credential,
        dialect=name,
        filename=filename,
        mime_type=part.mime_type,
        purpose=purpose,
        created=now,
        expires=None if lives is None else now + lives,
        content=content,
    )


def _listed(call: Call) -> list[Kept]:
    provider = call.provider
    provider.advance()  # a batch that has ended by now has files to show
    return provider.files.listed(call.dialect.name, call.record.credential, provider.clock.now())


def _found(call: Call) -> Kept:
    provider = call.provider
    provider.advance()
    found = provider.files.get(call.dialect.name, call.record.credential, call.ids[0], provider.clock.now())
    if found is None:
        text = f"No such File object: {call.ids[0]}" if call.dialect.name == "openai" else "File not found."
        raise Fail(404, _kind(call, "not_found_error"), text, param="id")
    return found


def _told(call: Call, kept: Kept) -> Json:
    return kept.as_anthropic() if call.dialect.name == "anthropic" else kept.as_openai()


def _kind(call: Call, anthropic: str) -> str:
    return anthropic if call.dialect.name == "anthropic" else "invalid_request_error"
