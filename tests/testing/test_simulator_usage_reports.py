"""The simulator's usage and cost reports: in the vendors' formats, and the same money as its own invoice."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import ConfigError
from headgate.testing.fakes import FakeClock
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.loading import load_scenario
from headgate.testing.simulator.prices import PRICES, Counts, cost_nano, parts
from headgate.testing.simulator.usage_book import CLASSES, Group, Sum, UsageBook

START = 1_795_132_800.0  # 2026-11-20T00:00:00Z
DAY = 86_400
ADMIN = {"x-api-key": "sk-ant-" + "admin01-obviously-fake", "anthropic-version": "2023-06-01"}
OPENAI_ADMIN = "sk-" + "admin-obviously-fake"
FIRST, SECOND = "obviously-fake-1", "obviously-fake-2"


@pytest.fixture(scope="module")
def clock() -> FakeClock:
    return FakeClock(START + 3600)


@pytest.fixture(scope="module")
def server(clock: FakeClock) -> Iterator[SimulatorServer]:
    with SimulatorServer(clock=clock) as running:
        yield running


@pytest.fixture
def sim(server: SimulatorServer, clock: FakeClock) -> SimulatorServer:
    server.load("healthy")
    clock.time = START + 3600
    return server


def message(sim: SimulatorServer, key: str = FIRST, model: str = "claude-haiku-4-5", **more: Any) -> None:
    client = anthropic.Anthropic(api_key=key, base_url=sim.url, max_retries=0)
    client.messages.create(model=model, max_tokens=20, messages=[{"role": "user", "content": "tokens: 20"}], **more)


def chat(sim: SimulatorServer, key: str = FIRST, model: str = "gpt-6-luna", **more: Any) -> None:
    client = openai.OpenAI(api_key=key, base_url=sim.openai_url, max_retries=0)
    told: Any = {"model": model, "messages": [{"role": "user", "content": "tokens: 20"}], **more}
    client.chat.completions.create(**told)


def get(sim: SimulatorServer, path: str, headers: dict[str, str] = ADMIN, **query: Any) -> httpx2.Response:
    return httpx2.get(f"{sim.url}{path}", params=query, headers=headers)


def usage(sim: SimulatorServer, *by: str, since: str = "2026-11-20T00:00:00Z", **query: Any) -> list[dict[str, Any]]:
    told = get(
        sim, "/v1/organizations/usage_report/messages", **{"starting_at": since, "group_by[]": list(by), **query}
    )
    assert told.status_code == 200, told.text
    return [result for bucket in told.json()["data"] for result in bucket["results"]]


def test_anthropic_usage_is_grouped_by_model_and_key(sim: SimulatorServer) -> None:
    message(sim)
    message(sim, SECOND)
    message(sim, SECOND, "claude-opus-5-5")
    found = usage(sim, "model", "api_key_id")
    assert len(found) == 3
    assert {row["model"] for row in found} == {"claude-haiku-4-5-20251001", "claude-opus-5-5"}
    assert len({row["api_key_id"] for row in found}) == 2
    assert all(row["output_tokens"] == 20 and row["workspace_id"] is None for row in found)
    together = usage(sim)
    assert [row["output_tokens"] for row in together] == [60]
    assert together[0]["model"] is None
    invoice = sim.invoice()["total"]
    assert together[0]["uncached_input_tokens"] == invoice["input_tokens"]


def test_anthropic_tells_cache_writes_by_how_long_they_are_kept(sim: SimulatorServer) -> None:
    for ttl in ("5m", "1h"):
        block = {"type": "text", "text": f"{ttl} " * 20_000, "cache_control": {"type": "ephemeral", "ttl": ttl}}
        message(sim, system=[block])
    written = usage(sim)[0]["cache_creation"]
    totals = sim.invoice()["total"]
    assert written["ephemeral_5m_input_tokens"] == totals["cache_write_tokens"] > 0
    assert written["ephemeral_1h_input_tokens"] == totals["cache_write_1h_tokens"] > 0


def cents(sim: SimulatorServer, *by: str) -> list[dict[str, Any]]:
    query: dict[str, Any] = {"starting_at": "2026-11-20", "group_by[]": list(by)}
    told = get(sim, "/v1/organizations/cost_report", **query).json()
    return [result for bucket in told["data"] for result in bucket["results"]]


def test_anthropic_costs_are_the_invoice_in_cents(sim: SimulatorServer) -> None:
    message(sim)
    message(sim, model="claude-opus-5-5")
    by_type = cents(sim, "description")
    assert {row["token_type"] for row in by_type} == {"uncached_input_tokens", "output_tokens"}
    assert all(row["cost_type"] == "tokens" and row["currency"] == "USD" for row in by_type)
    expected = Decimal(sim.invoice()["total"]["cost_nano"]) / 10_000_000
    assert sum(Decimal(row["amount"]) for row in by_type) == expected
    assert [Decimal(row["amount"]) for row in cents(sim)] == [expected]


def test_days_without_calls_are_empty_buckets_and_pages_lead_on(sim: SimulatorServer, clock: FakeClock) -> None:
    message(sim)
    clock.time += 3 * DAY
    message(sim)
    query: dict[str, Any] = {"starting_at": "2026-11-20", "ending_at": "2026-11-24", "limit": 3}
    first = get(sim, "/v1/organizations/usage_report/messages", **query).json()
    assert [len(bucket["results"]) for bucket in first["data"]] == [1, 0, 0]
    assert first["has_more"]
    second = get(sim, "/v1/organizations/usage_report/messages", **query, page=first["next_page"]).json()
    assert [bucket["starting_at"] for bucket in second["data"]] == ["2026-11-23T00:00:00Z"]
    assert not second["has_more"]
    hours = get(sim, "/v1/organizations/usage_report/messages", **{**query, "bucket_width": "1h", "limit": 24}).json()
    assert [len(b["results"]) for b in hours["data"]].index(1) == 1
    assert len(hours["data"]) == 24


def test_the_openai_sdk_reads_usage_and_costs(sim: SimulatorServer) -> None:
    chat(sim)
    chat(sim, SECOND)
    openai.OpenAI(api_key=FIRST, base_url=sim.openai_url).embeddings.create(model="text-embedding-3-small", input="a b")
    admin = openai.OpenAI(api_key="", admin_api_key=OPENAI_ADMIN, base_url=sim.openai_url).admin.organization.usage
    told = admin.completions(start_time=int(START), end_time=int(START) + DAY, group_by=["model", "api_key_id"])
    results: list[Any] = [result for bucket in told.data for result in bucket.results]
    assert sorted(result.output_tokens for result in results) == [20, 20]
    assert all(result.num_model_requests == 1 and result.model == "gpt-6-luna" for result in results)
    embedded: Any = admin.embeddings(start_time=int(START), end_time=int(START) + DAY, group_by=["model"])
    assert embedded.data[0].results[0].model == "text-embedding-3-small"
    costs = admin.costs(start_time=int(START), end_time=int(START) + DAY, group_by=["line_item"])
    items: list[Any] = [result for bucket in costs.data for result in bucket.results]
    assert {item.line_item for item in items} >= {"gpt-6-luna, input_tokens", "gpt-6-luna, output_tokens"}
    whole = sum(Decimal(str(item.amount.value)) for item in items)
    assert whole == Decimal(sim.invoice()["total"]["cost_nano"]) / 10**9


def test_openai_input_holds_what_was_cached(sim: SimulatorServer) -> None:
    prefix = {"role": "system", "content": "word " * 4_000}
    for _ in range(2):
        chat(sim, messages=[prefix, {"role": "user", "content": "tokens: 5"}])
    path, told = "/v1/organization/usage/completions", {"authorization": f"Bearer {OPENAI_ADMIN}"}
    row = get(sim, path, told, start_time=int(START)).json()["data"][0]["results"][0]
    assert row["input_cached_tokens"] > 0
    parts_of = ("input_uncached_tokens", "input_cached_tokens", "input_cache_write_tokens")
    assert row["input_tokens"] == sum(row[name] for name in parts_of)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/organizations/usage_report/messages", {**ADMIN, "x-api-key": "sk-ant-" + "api03-obviously-fake"}),
        ("/v1/organizations/cost_report", {"anthropic-version": "2023-06-01"}),
        ("/v1/organization/costs", {"authorization": "Bearer obviously-fake"}),
        ("/v1/organization/usage/completions", {}),
    ],
)
def test_an_ordinary_key_gets_no_report(sim: SimulatorServer, path: str, headers: dict[str, str]) -> None:
    told = get(sim, path, headers, starting_at="2026-11-20", start_time=int(START))
    assert told.status_code == 401
    assert "admin" in told.text.lower() or "key" in told.text.lower()


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"starting_at": "yesterday"},
        {"starting_at": "2026-11-20", "ending_at": "2026-11-19"},
        {"starting_at": "2026-11-20", "bucket_width": "2d"},
        {"starting_at": "2026-11-20", "limit": 0},
        {"starting_at": "2026-11-20", "limit": 32},
        {"starting_at": "2026-11-20", "group_by[]": "colour"},
        {"starting_at": "2026-11-20", "page": "page_x"},
        {"starting_at": "2026-11-20", "page": "page_OTk="},
    ],
)
def test_a_wrong_parameter_is_refused(sim: SimulatorServer, query: dict[str, Any]) -> None:
    assert get(sim, "/v1/organizations/usage_report/messages", **query).status_code == 400


def test_a_report_can_lack_a_key_a_model_and_the_last_minutes_and_tell_other_usage(
    sim: SimulatorServer, clock: FakeClock
) -> None:
    def with_reports(**reports: Any) -> int:
        sim.load({"reports": reports})
        message(sim)
        message(sim, SECOND)
        message(sim, SECOND, "claude-opus-5-5")
        return sum(row["output_tokens"] for row in usage(sim, "api_key_id", since="2026-11-20T00:00:00Z"))

    assert with_reports() == 60
    of_second = usage(sim, "api_key_id", models="claude-opus-5-5")[0]["api_key_id"]
    assert with_reports(hide_keys=of_second) == 20
    assert with_reports(hide_models=["claude-opus-*"]) == 40
    assert with_reports(delay_seconds=600) == 0
    clock.time += 660
    assert sum(row["output_tokens"] for row in usage(sim)) == 60
    assert with_reports(percent=50) == 30
    with pytest.raises(ConfigError):
        load_scenario({"reports": {"hide": "x"}})


TOKENS = st.integers(0, 2_000_000)


@given(
    st.sampled_from(sorted(PRICES)),
    *([TOKENS] * 5),
    st.sampled_from(["", "flex", "priority"]),
    st.booleans(),
)
def test_the_parts_of_a_cost_are_in_its_proportion(
    model: str, plain: int, read: int, write: int, long: int, output: int, tier: str, batch: bool
) -> None:
    price, used = PRICES[model], Counts(plain, read, write, long, output, tier=tier, batch=batch)
    above = price.long is not None and used.prompt > price.long[0]
    found = parts(price, used, long=above)
    whole = sum(found.values(), Fraction(0)) * 1000
    halved = Fraction(1, 2) if batch or tier == "flex" else Fraction(price.priority) if tier == "priority" else 1
    assert abs(whole * halved - cost_nano(price, used)) <= Fraction(1, 2)
    group = Group(0, "openai", "chat", model, model, "", tier, batch, "", above)
    split = UsageBook(PRICES).cost_by_class(group, Sum(1, [plain, read, write, long, output], cost_nano(price, used)))
    assert sum(split.values()) == (cost_nano(price, used) if whole else 0)
    assert set(split) <= set(CLASSES)
    assert all(part > 0 for part in split.values())
