"""The providers' own usage and cost reports, fetched page by page and read into rows of one kind.

Anthropic: the Usage and Cost Admin API (platform.claude.com, "Usage and Cost API"). OpenAI: the Usage and Costs API
(platform.openai.com/docs/api-reference/usage). Both want an admin key, count in UTC days, and lag behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from headgate.core.errors import HeadgateError
from headgate.policy.reconciling import Told, ToldCost

Query = Sequence[tuple[str, str]]
Get = Callable[[str, Query], Mapping[str, Any]]
"""A path behind the base URL and its query to the JSON object that it answers."""

MOST_PAGES = 1_000
_DAYS_A_PAGE = "31"  # the most of either vendor's usage report
_NANO_PER_CENT = 10**7
_NANO_PER_USD = 10**9
_MOST = 10**15  # tokens of a day: more is no count

ANTHROPIC_TYPES = {
    "uncached_input_tokens": "input_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_tokens",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_long_tokens",
    "output_tokens": "output_tokens",
}
OPENAI_ITEMS = {
    "input": "input_tokens",
    "input_tokens": "input_tokens",
    "input_uncached_tokens": "input_tokens",
    "cached input": "cache_read_tokens",
    "input_cached_tokens": "cache_read_tokens",
    "input_cache_write_tokens": "cache_write_tokens",
    "input_cache_write_30m_tokens": "cache_write_tokens",
    "input_cache_write_12h_tokens": "cache_write_long_tokens",
    "output": "output_tokens",
    "output_tokens": "output_tokens",
    "web search": "web_searches",
    "web_search": "web_searches",
}
"""What stands behind the comma of a line item: the newer names are the usage report's own."""


class ReportError(HeadgateError):
    """A report could not be had, or is not what the vendor documents. The sentence says where and what to do."""

    code = "report_unavailable"
    status_hint = 502


@dataclass(slots=True)
class Report:
    """What a provider reports of some days. `costs` None: they were not told."""

    usage: list[Told] = field(default_factory=list)
    costs: list[ToldCost] | None = None


def anthropic_report(get: Get, since: float, until: float) -> Report:
    """Anthropic's messages usage and costs of the UTC days in [since, until), seconds since the epoch.

    Raises:
        ReportError: it could not be had or read.
    """
    span = [("starting_at", _rfc3339(since)), ("ending_at", _rfc3339(until)), ("limit", _DAYS_A_PAGE)]
    groups = [("group_by[]", name) for name in ("model", "api_key_id", "service_tier")]
    found = Report(costs=[])
    for bucket in _buckets(get, "/v1/organizations/usage_report/messages", [*span, ("bucket_width", "1d"), *groups]):
        found.usage += read_anthropic_usage(bucket)
    for bucket in _buckets(get, "/v1/organizations/cost_report", [*span, ("group_by[]", "description")]):
        found.costs = [*(found.costs or ()), *read_anthropic_costs(bucket)]
    return found


def openai_report(get: Get, since: float, until: float) -> Report:
    """OpenAI's usage of completions (chat and responses) and embeddings, and its costs, as `anthropic_report`."""
    span = [("start_time", str(int(since))), ("end_time", str(int(until))), ("limit", _DAYS_A_PAGE)]
    common = ("model", "api_key_id")
    found = Report(costs=[])
    for kind, groups in (("completions", (*common, "batch", "service_tier")), ("embeddings", common)):
        query = [*span, ("bucket_width", "1d"), *(("group_by[]", name) for name in groups)]
        for bucket in _buckets(get, f"/organization/usage/{kind}", query):
            found.usage += read_openai_usage(bucket)
    by = [("group_by[]", name) for name in ("line_item", "api_key_id")]
    for bucket in _buckets(get, "/organization/costs", [*span, ("bucket_width", "1d"), *by]):
        found.costs = [*(found.costs or ()), *read_openai_costs(bucket)]
    return found


def _buckets(get: Get, path: str, query: Query) -> Iterator[Mapping[str, Any]]:
    page, seen = "", set[str]()
    for _ in range(MOST_PAGES):
        told = get(path, [*query, ("page", page)] if page else query)
        data = told.get("data")
        if not isinstance(data, list):
            raise ReportError(f"{path} answered without `data`: not the report that the vendor documents")
        yield from (bucket for bucket in data if isinstance(bucket, dict))
        page = str(told.get("next_page") or "")
        if not told.get("has_more") or not page:
            return
        if page in seen:
            raise ReportError(f"{path} leads round in a circle: the same page was named twice")
        seen.add(page)
    raise ReportError(f"{path} has more than {MOST_PAGES} pages: ask for fewer days")


def read_anthropic_usage(bucket: Mapping[str, Any]) -> Iterator[Told]:
    """The rows of one bucket of `usage_report/messages`."""
    day = _day(bucket.get("starting_at"))
    for row in _results(bucket):
        written = row.get("cache_creation")
        written = written if isinstance(written, dict) else {}
        tools = row.get("server_tool_use")
        counts = {
            "input_tokens": _count(row, "uncached_input_tokens"),
            "cache_read_tokens": _count(row, "cache_read_input_tokens"),
            "cache_write_tokens": _count(written, "ephemeral_5m_input_tokens"),
            "cache_write_long_tokens": _count(written, "ephemeral_1h_input_tokens"),
            "output_tokens": _count(row, "output_tokens"),
            "web_searches": _count(tools, "web_search_requests") if isinstance(tools, dict) else 0,
        }
        tier = _text(row, "service_tier")
        yield Told(day, _text(row, "model"), _text(row, "api_key_id"), counts, None, tier, tier == "batch")


def read_anthropic_costs(bucket: Mapping[str, Any]) -> Iterator[ToldCost]:
    """The rows of one bucket of `cost_report`: cents, as decimal strings."""
    day = _day(bucket.get("starting_at"))
    for row in _results(bucket):
        if _text(row, "currency").upper() not in ("", "USD"):
            raise ReportError(f"the cost report of {day} is in {_text(row, 'currency')[:10]}: only USD can be compared")
        cost_type = _text(row, "cost_type")
        kind = ANTHROPIC_TYPES.get(_text(row, "token_type"), "")
        kind = {"web_search": "web_searches", "code_execution": "code_execution"}.get(cost_type, kind)
        nano = _nano(row.get("amount"), _NANO_PER_CENT, f"the cost report of {day}")
        yield ToldCost(day, _text(row, "model"), nano, kind=kind, tier=_text(row, "service_tier"))


def read_openai_usage(bucket: Mapping[str, Any]) -> Iterator[Told]:
    """The rows of one bucket of `usage/completions` or `usage/embeddings`. `input_tokens` holds what was cached."""
    day = _day(bucket.get("start_time"))
    for row in _results(bucket):
        read, long = _count(row, "input_cached_tokens"), _count(row, "input_cache_write_12h_tokens")
        written = _count(row, "input_cache_write_tokens")
        short = _count(row, "input_cache_write_30m_tokens")
        split = short + long == written
        counts = {
            "input_tokens": max(0, _count(row, "input_tokens") - read - max(written, short + long)),
            "cache_read_tokens": read,
            "cache_write_tokens": short if split else written,
            "cache_write_long_tokens": long if split else 0,
            "output_tokens": _count(row, "output_tokens"),
        }
        tier = _text(row, "service_tier")
        requests = _count(row, "num_model_requests")
        batch = row.get("batch") is True
        yield Told(day, _text(row, "model"), _text(row, "api_key_id"), counts, requests, tier, batch, split)


def read_openai_costs(bucket: Mapping[str, Any]) -> Iterator[ToldCost]:
    """The rows of one bucket of `costs`. A line item is a model and a kind of token, with a comma between them."""
    day = _day(bucket.get("start_time"))
    for row in _results(bucket):
        amount = row.get("amount")
        amount = amount if isinstance(amount, dict) else {}
        if _text(amount, "currency").lower() not in ("", "usd"):
            raise ReportError(f"the costs of {day} are in {_text(amount, 'currency')[:10]}: only USD can be compared")
        model, _, item = _text(row, "line_item").partition(",")
        kind = OPENAI_ITEMS.get(item.strip().lower(), "")
        nano = _nano(amount.get("value", 0), _NANO_PER_USD, f"the costs of {day}")
        yield ToldCost(day, model.strip(), nano, _text(row, "api_key_id"), kind)


def _results(bucket: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    told = bucket.get("results")
    return [row for row in told if isinstance(row, dict)] if isinstance(told, list) else []


def _day(moment: Any) -> str:
    try:
        if isinstance(moment, int | float):
            return datetime.fromtimestamp(moment, UTC).date().isoformat()
        return datetime.fromisoformat(str(moment)).astimezone(UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise ReportError(f"a bucket of the report begins at {str(moment)[:40]!r}, which is no time") from None


def _count(row: Mapping[str, Any], name: str) -> int:
    """A count; 0 where it is not told."""
    told = row.get(name)
    if told is None:
        return 0
    if isinstance(told, bool) or not isinstance(told, int | float) or told != int(told) or not 0 <= told <= _MOST:
        raise ReportError(f"the report has {str(told)[:40]!r} as {name}, which is no count")
    return int(told)


def _text(row: Mapping[str, Any], name: str) -> str:
    told = row.get(name)
    return told if isinstance(told, str) else ""


def _nano(told: Any, unit: int, where: str) -> int:
    """An amount in nano-dollars, rounded to the nearest; a float by its shortest text."""
    try:
        exact = Decimal(str(told)) * unit
        if not exact.is_finite() or abs(exact) > _MOST * _NANO_PER_USD:
            raise InvalidOperation
        return int(exact.to_integral_value(ROUND_HALF_EVEN))
    except InvalidOperation:
        raise ReportError(f"{where} has {str(told)[:40]!r} as an amount, which is none") from None


def _rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
