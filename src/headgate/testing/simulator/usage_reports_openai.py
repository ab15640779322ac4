"""OpenAI's Usage and Costs API (platform.openai.com/docs/api-reference/usage): completions, embeddings, costs."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.testing.simulator.asked import Fail
from headgate.testing.simulator.usage_book import CLASSES, Group, Sum
from headgate.testing.simulator.usage_reports import Page, buckets, groups_of, number, page_of, wrong

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call

_encode = msgspec.json.Encoder().encode
_ADMIN = b"Bearer sk-admin"
_GROUPS = ("project_id", "user_id", "api_key_id", "model")
_COMPLETIONS_GROUPS = (*_GROUPS, "batch", "service_tier")
_COST_GROUPS = ("project_id", "user_id", "line_item", "api_key_id")
_COST_WIDTHS = {"1d": (86_400, 7, 180)}
_NANO_PER_USD = 1_000_000_000
_ITEMS = {
    "input": "input_tokens",
    "cache_read": "input_cached_tokens",
    "cache_write": "input_cache_write_tokens",
    "cache_write_1h": "input_cache_write_12h_tokens",
    "output": "output_tokens",
}

Results = dict[tuple[Any, ...], list[tuple[Group, Sum]]]


def key_id(credential: str) -> str:
    """The id of a key, from the digest of the key."""
    return f"key_{credential[:16]}"


async def completions(call: Call) -> None:
    """`GET /v1/organization/usage/completions`: chat and responses."""
    await _usage(call, "chat", _COMPLETIONS_GROUPS)


async def embeddings(call: Call) -> None:
    """`GET /v1/organization/usage/embeddings`."""
    await _usage(call, "embedding", _GROUPS)


async def _usage(call: Call, kind: str, allowed: tuple[str, ...]) -> None:
    _admit(call)
    by = groups_of(call, allowed)
    page = page_of(call, *_span(call))
    data = []
    for start, rows in buckets(page, _rows(call, page, kind)):
        grouped: Results = defaultdict(list)
        for group, summed in rows:
            grouped[tuple(_value(group, name) for name in by)].append((group, summed))
        results = [
            {**_told(kind, several), **dict.fromkeys(allowed), **dict(zip(by, named, strict=True))}
            for named, several in grouped.items()
        ]
        data.append(_bucket(page, start, results))
    await call.send(_encode(_answer(page, data)))


async def costs(call: Call) -> None:
    """`GET /v1/organization/costs`."""
    _admit(call)
    by = groups_of(call, _COST_GROUPS)
    page = page_of(call, *_span(call), _COST_WIDTHS)
    book = call.provider.book.usage
    data = []
    for start, rows in buckets(page, _rows(call, page)):
        sums: defaultdict[tuple[str | None, ...], list[int]] = defaultdict(lambda: [0, 0])
        for group, summed in rows:
            for name, nano in book.cost_by_class(group, summed).items():
                told = {"line_item": f"{group.model}, {_ITEMS[name]}", "api_key_id": key_id(group.credential)}
                found = sums[tuple(told.get(each) for each in by)]
                found[0] += nano
                found[1] += summed.tokens[CLASSES.index(name)]
        results = [_cost(dict(zip(by, named, strict=True)), *found) for named, found in sums.items()]
        data.append(_bucket(page, start, results))
    await call.send(_encode(_answer(page, data)))


def _admit(call: Call) -> None:
    if not call.headers.get(b"authorization", b"").startswith(_ADMIN):
        raise Fail(401, "invalid_request_error", "This endpoint wants an admin API key.", code="invalid_api_key")


def _span(call: Call) -> tuple[float, float]:
    since = number(call, "start_time")
    if since is None:
        raise wrong("Missing required parameter: 'start_time'.")
    until = number(call, "end_time")
    return since, call.provider.clock.now() if until is None else until


def _rows(call: Call, page: Page, kind: str = "") -> list[tuple[Group, Sum]]:
    provider = call.provider
    provider.advance()
    now, reports = provider.clock.now(), provider.scenario.reports
    keys, models = call.queries("api_key_ids"), call.queries("models")
    rows = provider.book.usage.rows("openai", page.starts.start, page.until, now, reports, key_id)
    return [
        (group, summed)
        for group, summed in rows
        if (not kind or group.kind == kind)
        and (not keys or key_id(group.credential) in keys)
        and (not models or group.model in models)
    ]


def _value(group: Group, name: str) -> Any:
    told = {
        "api_key_id": key_id(group.credential),
        "model": group.model,
        "batch": group.batch,
        "service_tier": group.tier or "default",
        "project_id": "proj_simulated",
        "user_id": "user-simulated",
    }
    return told[name]


def _told(kind: str, several: list[tuple[Group, Sum]]) -> dict[str, Any]:
    requests = sum(summed.requests for _, summed in several)
    plain, read, write, long, output = (sum(s.tokens[place] for _, s in several) for place in range(len(CLASSES)))
    if kind == "embedding":
        return {
            "object": "organization.usage.embeddings.result",
            "input_tokens": plain + read,
            "num_model_requests": requests,
        }
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": plain + read + write + long,
        "input_cached_tokens": read,
        "input_cache_write_tokens": write + long,
        "input_cache_write_30m_tokens": write,
        "input_cache_write_12h_tokens": long,
        "input_uncached_tokens": plain,
        "output_tokens": output,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": requests,
    }


def _cost(named: dict[str, str | None], nano: int, tokens: int) -> dict[str, Any]:
    by_item = named.get("line_item") is not None
    return {
        "object": "organization.costs.result",
        "amount": {"value": nano / _NANO_PER_USD, "currency": "usd"},
        "quantity": float(tokens) if by_item else None,
        "quantity_unit": "tokens" if by_item else None,
        **dict.fromkeys(_COST_GROUPS),
        **named,
    }


def _bucket(page: Page, start: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "bucket", "start_time": start, "end_time": start + page.width, "results": results}


def _answer(page: Page, data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "page", "data": data, "has_more": page.following is not None, "next_page": page.following}
