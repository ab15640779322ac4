"""`/metrics` of a real gateway under the real SDKs: right figures, and only for those who may see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import pytest
from e2e_world import Gateway
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import headgate
from headgate import Gate
from headgate.core.errors import ConfigError
from headgate.gateway.auth import KeyRecord
from headgate.testing.server import SimulatorServer

SERVED = "claude-haiku-4-5-20251001"
TOKEN = "scrape-" + "s" * 30
BOSS, ADA = "hg-boss-" + "b" * 24, "hg-ada-" + "a" * 24


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture(scope="module")
def gateway(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("metrics")
    budgets = [{"per": "user", "usd": 1, "every": "day"}, {"usd": 10}]
    with Gateway(folder, sim.url, sim.openai_url, overrides={"budgets": budgets}) as found:
        yield found


def scrape(gateway: Gateway, **headers: str) -> httpx2.Response:
    gateway.built.log.flush()
    return httpx2.get(f"{gateway.url}/metrics", headers=headers)


def value(page: str, name: str, **labels: str) -> float:
    wanted = labels.items()
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and wanted <= sample.labels.items()
    )


def ask(client: anthropic.Anthropic, **more: Any) -> None:
    client.messages.create(
        model="claude-haiku-4-5",
        max_tokens=100,
        messages=[{"role": "user", "content": "hello"}],
        extra_headers={"x-headgate-user": "canary-user", "x-headgate-task": "greet"},
        **more,
    )


def test_what_the_sdk_has_done_is_on_the_page(gateway: Gateway) -> None:
    client = anthropic.Anthropic(api_key="none", base_url=gateway.url)
    ask(client)
    with client.messages.stream(
        model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        stream.until_done()
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="no-such-model", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    answer = scrape(gateway)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-store"
    page = answer.text
    place = {"provider": "anthropic", "model": SERVED}
    assert value(page, "headgate_exchanges_total", **place, outcome="complete", way_in="gateway") == 2
    assert value(page, "headgate_exchanges_total", task="greet") == 1
    assert value(page, "headgate_refusals_total", code="unknown_price") == 1
    assert value(page, "headgate_exchange_duration_seconds_count", **place) == 2
    assert value(page, "headgate_time_to_first_content_seconds_count", **place) == 1
    assert value(page, "headgate_overhead_seconds_count") == 3
    cost = sum(row["cost_nano"] for row in gateway.rows("exchanges"))
    assert value(page, "headgate_cost_usd_total") == pytest.approx(cost / 1e9)
    tokens = sum(row["input_tokens"] + row["output_tokens"] for row in gateway.rows("exchanges"))
    assert value(page, "headgate_tokens_total") == tokens
    assert value(page, "headgate_held_usd") == value(page, "headgate_held_attempts") == 0
    assert value(page, "headgate_ledger_up") == 1
    assert value(page, "headgate_log_dropped_total") == 0
    assert value(page, "headgate_breakers_open", provider="anthropic", what="route") == 0
    assert value(page, "process_resident_memory_bytes") > 10_000_000
    spent = [line for line in page.splitlines() if line.startswith("headgate_budget_fullest_ratio")]
    assert len(spent) == 2
    assert "canary" not in page


def test_openmetrics_is_spoken_to_those_who_ask_for_it(gateway: Gateway) -> None:
    answer = scrape(gateway, accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert len(list(openmetrics(answer.text))) > 30


def test_another_site_in_a_browser_reads_nothing(gateway: Gateway) -> None:
    assert scrape(gateway, origin="https://evil.example").status_code == 403
    assert scrape(gateway, host="evil.example").status_code == 403


def test_with_keys_of_several_owners_only_those_who_may_see_everything_and_the_token_read(
    sim: SimulatorServer, tmp_path: Path
) -> None:
    keys = {BOSS: KeyRecord("boss", "boss", may_speak_for_tenants=True), ADA: KeyRecord("ada", "ada", tenant="acme")}
    with Gateway(
        tmp_path,
        sim.url,
        sim.openai_url,
        keys=keys,
        env={"SCRAPE": TOKEN},
        overrides={"metrics": {"token": "env:SCRAPE"}},
    ) as gateway:
        got = {
            who: scrape(gateway, **({"authorization": f"Bearer {who}"} if who else {})).status_code
            for who in ("", "wrong", ADA, BOSS, TOKEN)
        }
        assert got == {"": 401, "wrong": 401, ADA: 403, BOSS: 200, TOKEN: 200}
        denied = [line for line in gateway.lines() if line["event"] == "denied"]
        assert [line["path"] for line in denied] == ["/metrics"] * 3
        assert TOKEN not in str(gateway.lines())


def test_where_there_is_a_token_this_machine_needs_it_too_and_off_is_off(sim: SimulatorServer, tmp_path: Path) -> None:
    told = {"env": {"SCRAPE": TOKEN}, "overrides": {"metrics": {"token": "env:SCRAPE"}}}
    with Gateway(tmp_path, sim.url, sim.openai_url, **told) as gateway:  # type: ignore[arg-type]
        assert scrape(gateway).status_code == 401
        assert scrape(gateway, authorization=f"Bearer {TOKEN}").status_code == 200
    with Gateway(tmp_path, sim.url, sim.openai_url, overrides={"metrics": "off"}) as gateway:
        assert scrape(gateway).status_code == 404
        assert gateway.built.log.overflow == []


def test_in_process_they_are_counted_once_asked_for_and_go_into_a_registry(
    sim: SimulatorServer, tmp_path: Path
) -> None:
    env = {"ANTHROPIC_BASE_URL": sim.url, "HEADGATE_STORAGE": f"sqlite:///{tmp_path / 'h.db'}"}
    with Gate.load(env=env) as gate:
        assert gate.built.log.overflow == []
        registry = CollectorRegistry()
        registry.register(gate.metrics.collector)
        client = anthropic.Anthropic(api_key="k", base_url=sim.url, http_client=gate.client())
        ask(client)
        gate.flush()
        labels = {"provider": "anthropic", "model": SERVED, "task": "greet", "outcome": "complete"}
        found = registry.get_sample_value("headgate_exchanges_total", {**labels, "way_in": "in-process"})
        assert found == 1
        last = headgate.last()
        assert last is not None
        stats = gate.stats
        assert stats.latency_p50_ms == stats.latency_p99_ms == last.latency_ms
        assert stats.overhead_p50_ms is not None
        assert stats.latency_p50_ms is not None
        assert 0 <= stats.overhead_p50_ms < stats.latency_p50_ms
    with Gate.load(env=env, metrics="off") as gate, pytest.raises(ConfigError, match="metrics are off"):
        _ = gate.metrics
