"""Reading the vendors' reports: every page once, every class of tokens where it belongs, nothing taken on trust."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.reconciling import CLASSES
from headgate.upstream.usage_reports import (
    Query,
    ReportError,
    anthropic_report,
    openai_report,
    read_anthropic_costs,
    read_anthropic_usage,
    read_openai_costs,
    read_openai_usage,
)

SINCE, UNTIL = 1_795_132_800.0, 1_795_219_200.0  # 2026-11-20


class Pages:
    """A provider that answers with these pages, by path."""

    def __init__(self, **pages: list[dict[str, Any]]) -> None:
        self.pages = pages
        self.asked: list[tuple[str, Query]] = []

    def __call__(self, path: str, query: Query) -> Mapping[str, Any]:
        self.asked.append((path, query))
        several = self.pages.get(path.rpartition("/")[2], [{"data": []}])
        return several[int(dict(query).get("page", "0"))]


def anthropic_bucket(**result: Any) -> dict[str, Any]:
    return {"starting_at": "2026-11-20T00:00:00Z", "results": [result]}


def openai_bucket(**result: Any) -> dict[str, Any]:
    return {"start_time": int(SINCE), "results": [result]}


def test_every_page_is_read_once() -> None:
    first = {"data": [anthropic_bucket(model="a", output_tokens=1)], "has_more": True, "next_page": "1"}
    last = {"data": [anthropic_bucket(model="b", output_tokens=2)], "has_more": False, "next_page": None}
    get = Pages(messages=[first, last])
    found = anthropic_report(get, SINCE, UNTIL)
    assert [(each.model, each.counts["output_tokens"]) for each in found.usage] == [("a", 1), ("b", 2)]
    assert found.costs == []
    path, query = get.asked[0]
    assert path == "/v1/organizations/usage_report/messages"
    assert ("starting_at", "2026-11-20T00:00:00Z") in query
    assert ("group_by[]", "api_key_id") in query
    assert dict(get.asked[1][1])["page"] == "1"


def test_pages_that_lead_round_in_a_circle_are_an_error() -> None:
    page = {"data": [], "has_more": True, "next_page": "0"}
    with pytest.raises(ReportError, match="circle"):
        anthropic_report(Pages(messages=[page]), SINCE, UNTIL)
    with pytest.raises(ReportError, match="without `data`"):
        openai_report(Pages(completions=[{"error": "x"}]), SINCE, UNTIL)


def test_anthropics_classes_are_ours() -> None:
    bucket = anthropic_bucket(
        uncached_input_tokens=1,
        cache_read_input_tokens=2,
        cache_creation={"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        output_tokens=5,
        server_tool_use={"web_search_requests": 6},
        model="claude-opus-5-5",
        api_key_id="apikey_1",
        service_tier="batch",
    )
    (found,) = read_anthropic_usage(bucket)
    assert [found.counts[name] for name in CLASSES] == [1, 2, 3, 4, 5, 6]
    assert (found.day, found.model, found.key, found.batch) == ("2026-11-20", "claude-opus-5-5", "apikey_1", True)


@pytest.mark.parametrize(
    ("row", "kind", "nano"),
    [
        ({"amount": "123.45", "token_type": "output_tokens", "cost_type": "tokens"}, "output_tokens", 1_234_500_000),
        ({"amount": "1", "cost_type": "web_search"}, "web_searches", 10_000_000),
        ({"amount": "0.0000001", "cost_type": "code_execution"}, "code_execution", 1),
        ({"amount": "2.5"}, "", 25_000_000),
        (
            {"amount": "1", "token_type": "cache_creation.ephemeral_1h_input_tokens"},
            "cache_write_long_tokens",
            10_000_000,
        ),
    ],
)
def test_anthropics_costs_are_cents(row: dict[str, Any], kind: str, nano: int) -> None:
    (found,) = read_anthropic_costs(anthropic_bucket(**row, currency="USD"))
    assert (found.kind, found.nano) == (kind, nano)


@pytest.mark.parametrize(
    ("row", "counts", "split"),
    [
        ({"input_tokens": 100, "input_cached_tokens": 40, "output_tokens": 5}, [60, 40, 0, 0, 5, 0], True),
        (
            {
                "input_tokens": 100,
                "input_cached_tokens": 40,
                "input_cache_write_tokens": 30,
                "input_cache_write_30m_tokens": 10,
                "input_cache_write_12h_tokens": 20,
            },
            [30, 40, 10, 20, 0, 0],
            True,
        ),
        ({"input_tokens": 100, "input_cache_write_tokens": 30}, [70, 0, 30, 0, 0, 0], False),
        ({"input_tokens": 5, "input_cached_tokens": 9}, [0, 9, 0, 0, 0, 0], True),
    ],
)
def test_openais_input_is_taken_apart(row: dict[str, Any], counts: list[int], split: bool) -> None:
    (found,) = read_openai_usage(openai_bucket(**row, num_model_requests=3))
    assert [found.counts.get(name, 0) for name in CLASSES] == counts
    assert (found.split, found.requests) == (split, 3)


@pytest.mark.parametrize(
    ("item", "model", "kind"),
    [
        ("gpt-6-astra, input_tokens", "gpt-6-astra", "input_tokens"),
        ("gpt-4o-mini-2024-07-18, cached input", "gpt-4o-mini-2024-07-18", "cache_read_tokens"),
        ("gpt-6-luna, something new", "gpt-6-luna", ""),
        (None, "", ""),
    ],
)
def test_an_openai_line_item_is_a_model_and_a_kind(item: str | None, model: str, kind: str) -> None:
    bucket = openai_bucket(amount={"value": 0.06, "currency": "usd"}, line_item=item)
    (found,) = read_openai_costs(bucket)
    assert (found.model, found.kind, found.nano) == (model, kind, 60_000_000)


@pytest.mark.parametrize(
    "row", [{"amount": "12", "currency": "EUR"}, {"amount": "twelve"}, {"amount": "NaN"}, {"amount": "1e40"}, {}]
)
def test_an_amount_that_is_none_or_in_another_currency_is_an_error(row: dict[str, Any]) -> None:
    with pytest.raises(ReportError):
        list(read_anthropic_costs(anthropic_bucket(**row)))


@pytest.mark.parametrize("count", [-1, 1.5, "7", True, 10**30])
def test_a_count_that_is_none_is_an_error(count: Any) -> None:
    with pytest.raises(ReportError):
        list(read_anthropic_usage(anthropic_bucket(output_tokens=count)))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "results",
                    "starting_at",
                    "start_time",
                    "amount",
                    "value",
                    "has_more",
                    "next_page",
                    "output_tokens",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["data", "has_more", "next_page"]), ANYTHING))
def test_whatever_an_address_answers_is_a_report_or_an_error_in_a_sentence(answer: dict[str, Any]) -> None:
    for report in (anthropic_report, openai_report):
        with suppress(ReportError):
            report(lambda path, query: answer, SINCE, UNTIL)
