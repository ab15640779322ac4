"""Anthropic's Usage and Cost Admin API (platform.claude.com, "Usage and Cost API"): messages usage, and cost by day."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.testing.simulator.anthropic_requests import check_version
from headgate.testing.simulator.asked import Fail
from headgate.testing.simulator.usage_book import CLASSES, Group
from headgate.testing.simulator.usage_reports import WIDTHS, Page, buckets, groups_of, page_of, wrong

if TYPE_CHECKING:
    from headgate.testing.simulator.call import Call

_encode = msgspec.json.Encoder().encode
_ADMIN = b"sk-ant-admin"
_USAGE_GROUPS = ("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo")
_COST_GROUPS = ("workspace_id", "description")
_NANO_PER_CENT = 10_000_000
_LONG_CONTEXT = "0-200k"  # long context costs nothing extra since 2026-03-13 (wire-formats 5)
_TYPES = {
    "input": ("uncached_input_tokens", "Input Tokens"),
    "cache_read": ("cache_read_input_tokens", "Input Tokens, Cache Hit"),
    "cache_write": ("cache_creation.ephemeral_5m_input_tokens", "Input Tokens, Cache Write 5m"),
    "cache_write_1h": ("cache_creation.ephemeral_1h_input_tokens", "Input Tokens, Cache Write 1h"),
    "output": ("output_tokens", "Output Tokens"),
}


def key_id(credential: str) -> str:
    """The id of a key, from the digest of the key."""
    return f"apikey_{credential[:24]}"


async def usage(call: Call) -> None:
    """`GET /v1/organizations/usage_report/messages`."""
    _admit(call)
    by = groups_of(call, _USAGE_GROUPS)
    page = page_of(call, *_span(call))
    data = []
    for start, rows in buckets(page, _rows(call, page)):
        sums: defaultdict[tuple[str | None, ...], list[int]] = defaultdict(lambda: [0] * len(CLASSES))
        for group, summed in rows:
            at = tuple(_value(group, name) for name in by)
            sums[at] = [a + b for a, b in zip(sums[at], summed.tokens, strict=True)]
        results = [_usage(dict(zip(by, named, strict=True)), tokens) for named, tokens in sums.items()]
        data.append(_bucket(page, start, results))
    await call.send(_encode(_answer(page, data)))


async def costs(call: Call) -> None:
    """`GET /v1/organizations/cost_report`. The priority tier is billed otherwise, and is not in it."""
    _admit(call)
    by = groups_of(call, _COST_GROUPS)
    page = page_of(call, *_span(call), {"1d": WIDTHS["1d"]})
    book = call.provider.book.usage
    data = []
    for start, rows in buckets(page, _rows(call, page)):
        sums: defaultdict[tuple[str, ...], int] = defaultdict(int)
        for group, summed in rows:
            if group.tier == "priority":
                continue
            for name, nano in book.cost_by_class(group, summed).items():
                at = (group.model, name, _value(group, "service_tier"), _value(group, "inference_geo"))
                sums[at if "description" in by else ()] += nano
        data.append(_bucket(page, start, [_cost(named, nano) for named, nano in sums.items()]))
    await call.send(_encode(_answer(page, data)))


def _admit(call: Call) -> None:
    check_version(call.headers)
    if not call.headers.get(b"x-api-key", b"").startswith(_ADMIN):
        raise Fail(401, "authentication_error", "invalid x-api-key: the Admin API wants an Admin API key")


def _span(call: Call) -> tuple[float, float]:
    told = call.query.get("starting_at")
    if not told:
        raise wrong("starting_at: Field required")
    ends = call.query.get("ending_at")
    return _moment("starting_at", told), _moment("ending_at", ends) if ends else call.provider.clock.now()


def _moment(name: str, told: str) -> float:
    try:
        found = datetime.fromisoformat(told)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise wrong(f"{name}: Input should be a valid RFC 3339 datetime") from None


def _rows(call: Call, page: Page) -> list[Any]:
    provider = call.provider
    provider.advance()
    now, reports = provider.clock.now(), provider.scenario.reports
    keys, models = call.queries("api_key_ids"), call.queries("models")
    rows = provider.book.usage.rows("anthropic", page.starts.start, page.until, now, reports, key_id)
    return [
        (group, summed)
        for group, summed in rows
        if (not keys or key_id(group.credential) in keys) and (not models or group.model in models)
    ]


def _value(group: Group, name: str) -> str:
    if name == "api_key_id":
        return key_id(group.credential)
    if name == "service_tier":
        return "batch" if group.batch else group.tier or "standard"
    if name == "inference_geo":
        return group.geo or "not_available"
    return {"model": group.model, "context_window": _LONG_CONTEXT}.get(name, "wrkspc_simulated")


def _usage(named: dict[str, str | None], tokens: list[int]) -> dict[str, Any]:
    plain, read, write, long, output = tokens
    return {
        "uncached_input_tokens": plain,
        "cache_creation": {"ephemeral_1h_input_tokens": long, "ephemeral_5m_input_tokens": write},
        "cache_read_input_tokens": read,
        "output_tokens": output,
        "server_tool_use": {"web_search_requests": 0},
        **dict.fromkeys(_USAGE_GROUPS),
        **named,
    }


def _cost(named: tuple[str, ...], nano: int) -> dict[str, Any]:
    model, name, tier, geo = named or (None, None, None, None)
    kind, words = _TYPES[name] if name else (None, None)
    return {
        "currency": "USD",
        "amount": format(Decimal(nano) / _NANO_PER_CENT, "f"),
        "workspace_id": None,
        "description": f"{model} Usage - {words}" if name else None,
        "cost_type": "tokens" if name else None,
        "context_window": _LONG_CONTEXT if name else None,
        "model": model,
        "service_tier": tier,
        "token_type": kind,
        "inference_geo": geo,
    }


def _bucket(page: Page, start: int, results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"starting_at": _rfc3339(start), "ending_at": _rfc3339(start + page.width), "results": results}


def _rfc3339(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _answer(page: Page, data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"data": data, "has_more": page.following is not None, "next_page": page.following}
