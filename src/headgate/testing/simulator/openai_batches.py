"""OpenAI's Batches (wire-formats 2.5): a file of requests in, a file of answers and a file of errors out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from headgate.testing.simulator.asked import Fail, Json
from headgate.testing.simulator.batches import LIFETIME, Batch, Item
from headgate.testing.simulator.filestore import Kept, Spool
from headgate.testing.simulator.openai_requests import invalid
from headgate.testing.simulator.pages import page

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call
    from headgate.testing.simulator.provider import Provider

_encode = msgspec.json.Encoder().encode
ENDPOINTS = ("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/moderations")
_MOST = 50_000
_OUTPUT_LIVES = 30 * 86_400


async def create(call: Call) -> None:
    """`POST /v1/batches`. The file is read at once; what is wrong with it shows when validation is over."""
    body, provider = call.json, call.provider
    endpoint = body.get("endpoint")
    if endpoint not in ENDPOINTS:
        raise invalid(f"Invalid 'endpoint': expected one of {', '.join(ENDPOINTS)}.", param="endpoint")
    if body.get("completion_window") != "24h":
        raise invalid("Invalid 'completion_window': expected '24h'.", param="completion_window")
    now = provider.clock.now()
    found = provider.files.get("openai", call.record.credential, str(body.get("input_file_id")), now)
    if found is None or found.purpose != "batch":
        raise invalid(f"No batch input file with id '{body.get('input_file_id')}'.", param="input_file_id")
    batch = Batch(
        id=provider.new_id("batch"),
        dialect="openai",
        record=call.record,
        headers=call.headers,
        created=now,
        timing=provider.scenario.batches,
        request=body,
    )
    _read(batch, found.content.lines(), endpoint)
    if batch.errors:
        batch.items.clear()
    provider.batches.keep(batch)
    await call.send(_encode(_told(batch, now)))


async def retrieve(call: Call) -> None:
    """`GET /v1/batches/{id}`."""
    await call.send(_encode(_told(_found(call), call.provider.clock.now())))


async def list_all(call: Call) -> None:
    """`GET /v1/batches`, newest first."""
    provider = call.provider
    provider.advance()
    now = provider.clock.now()
    told = [_told(batch, now) for batch in provider.batches.listed("openai", call.record.credential)]
    await call.send(_encode(page(told, call.query, limit=20, most=100)))


async def cancel(call: Call) -> None:
    """`POST /v1/batches/{id}/cancel`."""
    batch, now = _found(call), call.provider.clock.now()
    if batch.ended is not None:
        text = f"Cannot cancel a batch with status '{_status(batch, now)}'."
        raise Fail(409, "invalid_request_error", text)
    if batch.cancelled is None:
        batch.cancelled = now
    await call.send(_encode(_told(batch, now)))


def write_files(provider: Provider, batch: Batch) -> None:
    """Write what came of a batch that has ended. Anthropic's has an address for it instead."""
    if batch.dialect != "openai":
        return
    answered = [item for item in batch.items if item.status == "succeeded"]
    failed = [item for item in batch.items if item.status in ("errored", "expired")]
    if answered:
        batch.output_file = _write(provider, batch, "output", answered)
    if failed:
        batch.error_file = _write(provider, batch, "error", failed)


def _read(batch: Batch, lines: Iterable[bytes], endpoint: str) -> None:
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        try:
            told = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            told = None
        mistake = _mistake(told, endpoint, seen)
        if number > _MOST:
            mistake = ("too_many_tasks", f"A batch may have at most {_MOST} requests.", None)
        if mistake is not None:
            code, message, param = mistake
            batch.errors.append({"code": code, "line": number, "message": message, "param": param})
            if number > _MOST:
                return
            continue
        seen.add(told["custom_id"])
        batch.items.append(Item(told["custom_id"], endpoint, told["body"]))
    if not batch.items and not batch.errors:
        batch.errors.append({"code": "empty_file", "line": None, "message": "The input file is empty.", "param": None})


def _mistake(told: object, endpoint: str, seen: set[str]) -> tuple[str, str, str | None] | None:
    if not isinstance(told, dict):
        return "invalid_json_line", "This line is not parseable as valid JSON.", None
    custom_id = told.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        return "missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id"
    if custom_id in seen:
        return "duplicate_custom_id", f"The custom_id '{custom_id}' occurs more than once.", "custom_id"
    if told.get("method") != "POST":
        return "invalid_method", "Invalid method: expected 'POST'.", "method"
    if told.get("url") != endpoint:
        return "mismatched_endpoint", f"The url does not match the batch's endpoint {endpoint}.", "url"
    if not isinstance(told.get("body"), dict):
        return "missing_required_parameter", "Missing required parameter: 'body'.", "body"
    return None


def _write(provider: Provider, batch: Batch, name: str, items: list[Item]) -> str:
    content = Spool()
    for item in items:
        response: Json | None = None
        error: Json | None = None
        if item.status == "expired":
            error = {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}
        else:
            response = {
                "status_code": item.http_status,
                "request_id": item.request_id,
                "body": msgspec.Raw(item.answer),
            }
        line = {
            "id": f"batch_req_{item.request_id[4:] or item.custom_id}",
            "custom_id": item.custom_id,
            "response": response,
            "error": error,
        }
        content.write(_encode(line) + b"\n")
    file_id = f"file-{name[0]}{batch.id.removeprefix('batch_')}"
    assert batch.ended is not None  # only then is there something to write
    provider.files.keep(
        Kept(
            id=file_id,
            scope=batch.scope,
            dialect="openai",
            filename=f"{batch.id}_{name}.jsonl",
            mime_type="application/jsonl",
            purpose="batch_output",
            created=batch.ended,
            expires=batch.ended + _OUTPUT_LIVES,
            content=content,
        )
    )
    return file_id


def _found(call: Call) -> Batch:
    call.provider.advance()
    found = call.provider.batches.get("openai", call.record.credential, call.ids[0])
    if found is None:
        raise Fail(404, "invalid_request_error", f"No batch found with id '{call.ids[0]}'.", param="batch_id")
    return found


def _status(batch: Batch, now: float) -> str:
    if batch.ended is None:
        if batch.cancelled is not None:
            return "cancelling"
        return "validating" if now <= batch.starts and not batch.done else "in_progress"
    if batch.errors:
        return "failed"
    if batch.count("canceled"):
        return "cancelled"
    return "expired" if batch.count("expired") else "completed"


def _told(batch: Batch, now: float) -> Json:
    status = _status(batch, now)
    used = batch.usage
    ended = None if batch.ended is None else int(batch.ended)
    models = {item.body.get("model") for item in batch.items}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.request["endpoint"],
        "model": models.pop() if len(models) == 1 else None,
        "errors": {"object": "list", "data": batch.errors} if status == "failed" else None,
        "input_file_id": batch.request["input_file_id"],
        "completion_window": "24h",
        "status": status,
        "output_file_id": batch.output_file or None,
        "error_file_id": batch.error_file or None,
        "created_at": int(batch.created),
        "in_progress_at": None if status in ("validating", "failed") else int(batch.starts),
        "expires_at": int(batch.created + LIFETIME),
        "finalizing_at": ended if status == "completed" else None,
        "completed_at": ended if status == "completed" else None,
        "failed_at": ended if status == "failed" else None,
        "expired_at": ended if status == "expired" else None,
        "cancelling_at": None if batch.cancelled is None else int(batch.cancelled),
        "cancelled_at": ended if status == "cancelled" else None,
        "request_counts": {
            "total": len(batch.items),
            "completed": batch.count("succeeded"),
            "failed": batch.count("errored"),
        },
        "usage": {
            "input_tokens": used.get("input", 0),
            "input_tokens_details": {"cached_tokens": used.get("cached", 0)},
            "output_tokens": used.get("output", 0),
            "output_tokens_details": {"reasoning_tokens": used.get("reasoning", 0)},
            "total_tokens": used.get("input", 0) + used.get("output", 0),
        },
        "metadata": batch.request.get("metadata"),
    }
