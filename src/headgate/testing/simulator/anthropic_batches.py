"""Anthropic's Message Batches (wire-formats 1.7): create, get, list, cancel, results, delete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from headgate.testing.simulator.anthropic_requests import check_version, invalid
from headgate.testing.simulator.asked import Fail, Json
from headgate.testing.simulator.batches import LIFETIME, Batch, Item
from headgate.testing.simulator.filestore import rfc3339

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call

_encode = msgspec.json.Encoder().encode
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MOST = 100_000
_KEPT = 29 * 86_400.0  # seconds that results can be fetched
_MESSAGES = "/v1/messages"


async def create(call: Call) -> None:
    """`POST /v1/messages/batches`. Parameters are looked at when their turn comes, not now."""
    check_version(call.headers)
    told = call.json.get("requests")
    if not isinstance(told, list) or not told:
        raise invalid("requests: Field required" if told is None else "requests: at least one request is required")
    if len(told) > _MOST:
        raise invalid(f"requests: at most {_MOST}")
    items = [_item(one, index) for index, one in enumerate(told)]
    if len({item.custom_id for item in items}) < len(items):
        raise invalid("requests: custom_id must be unique within a batch")
    provider = call.provider
    batch = Batch(
        id=provider.new_id("msgbatch"),
        dialect="anthropic",
        record=call.record,
        headers=call.headers,
        created=provider.clock.now(),
        timing=provider.scenario.batches,
        items=items,
    )
    provider.batches.keep(batch)
    await call.send(_encode(_told(call, batch)))


async def retrieve(call: Call) -> None:
    """`GET /v1/messages/batches/{id}`."""
    await call.send(_encode(_told(call, _found(call))))


async def list_all(call: Call) -> None:
    """`GET /v1/messages/batches`, newest first."""
    call.provider.advance()
    found = call.provider.batches.listed("anthropic", call.record.credential)
    ids = [batch.id for batch in found]
    if call.query.get("after_id") in ids:
        found = found[ids.index(call.query["after_id"]) + 1 :]
    told = call.query.get("limit", "")
    size = min(1000, max(1, int(told))) if told.isdecimal() else 20
    has_more = len(found) > size
    if call.query.get("before_id") in ids:
        before = found[: ids.index(call.query["before_id"])]
        found, has_more = before[-size:], len(before) > size
    shown = [_told(call, batch) for batch in found[:size]]
    await call.send(
        _encode(
            {
                "data": shown,
                "has_more": has_more,
                "first_id": shown[0]["id"] if shown else None,
                "last_id": shown[-1]["id"] if shown else None,
            }
        )
    )


async def cancel(call: Call) -> None:
    """`POST /v1/messages/batches/{id}/cancel`."""
    batch = _found(call)
    if batch.ended is not None:
        raise invalid(f"Batch {batch.id} has already ended.")
    if batch.cancelled is None:
        batch.cancelled = call.provider.clock.now()
    await call.send(_encode(_told(call, batch)))


async def results(call: Call) -> None:
    """`GET /v1/messages/batches/{id}/results`: a line for each request, in no promised order."""
    batch = _found(call)
    if batch.ended is None:
        raise invalid(f"Batch {batch.id} is still in progress: it has no results yet.")
    await call.send_bytes(_lines(batch), b"application/x-jsonl")


async def delete(call: Call) -> None:
    """`DELETE /v1/messages/batches/{id}`."""
    batch = _found(call)
    if batch.ended is None:
        raise invalid(f"Batch {batch.id} is still in progress: cancel it first.")
    call.provider.batches.delete(batch)
    await call.send(_encode({"id": batch.id, "type": "message_batch_deleted"}))


def _item(told: object, index: int) -> Item:
    if not isinstance(told, dict) or not isinstance(told.get("params"), dict):
        raise invalid(f"requests.{index}.params: Field required")
    custom_id = told.get("custom_id")
    if not isinstance(custom_id, str) or not _ID.fullmatch(custom_id):
        raise invalid(f"requests.{index}.custom_id: String should match pattern '^{_ID.pattern}$'")
    return Item(custom_id, _MESSAGES, told["params"])


def _found(call: Call) -> Batch:
    call.provider.advance()
    found = call.provider.batches.get("anthropic", call.record.credential, call.ids[0])
    if found is None:
        raise Fail(404, "not_found_error", f"Message batch {call.ids[0]} not found.")
    return found


def _told(call: Call, batch: Batch) -> Json:
    ended = batch.ended is not None
    counted = ("succeeded", "errored", "canceled", "expired")
    archived = batch.created + _KEPT <= call.provider.clock.now()
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress" if batch.cancelled is None else "canceling",
        # The tallies stay 0 until the whole of it has ended.
        "request_counts": {
            "processing": 0 if ended else len(batch.items),
            **{name: batch.count(name) if ended else 0 for name in counted},
        },
        "created_at": rfc3339(batch.created),
        "expires_at": rfc3339(batch.created + LIFETIME),
        "ended_at": None if batch.ended is None else rfc3339(batch.ended),
        "cancel_initiated_at": None if batch.cancelled is None else rfc3339(batch.cancelled),
        "archived_at": rfc3339(batch.created + _KEPT) if archived else None,
        "results_url": f"{call.base_url}{_MESSAGES}/batches/{batch.id}/results" if ended and not archived else None,
    }


def _lines(batch: Batch) -> Iterator[bytes]:
    # From the last to the first, so that nobody comes to rely on an order.
    for item in reversed(batch.items):
        name = {"succeeded": "message", "errored": "error"}.get(item.status)
        result: Json = {"type": item.status}
        if name is not None:
            result[name] = msgspec.Raw(item.answer)
        yield _encode({"custom_id": item.custom_id, "result": result}) + b"\n"
