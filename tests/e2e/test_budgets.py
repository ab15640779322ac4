"""Budgets from the configuration to the SDK's typed error: real SDKs, both ways in, the simulator as the provider."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from e2e_world import Gateway, rows  # it lies beside this file

import headgate
from headgate import Gate
from headgate.core.errors import BudgetExceeded
from headgate.gateway.auth import KeyRecord
from headgate.testing.server import SimulatorServer
from headgate.testing.simulator.faults import Fault
from headgate.testing.simulator.scenario import Rule, Scenario, When

HAIKU = "claude-haiku-4-5"
ASK = {"model": HAIKU, "max_tokens": 50, "messages": [{"role": "user", "content": "say: hello"}]}
NANO = 10**9


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture(autouse=True)
def healthy(sim: SimulatorServer) -> None:
    sim.load("healthy")


def billed(sim: SimulatorServer) -> int:
    """Nano-dollars so far."""
    return sum(line["cost_nano"] for line in sim.invoice()["lines"])


def gate(sim: SimulatorServer, folder: Path, *budgets: dict[str, Any], **more: Any) -> Gate:
    env = {"ANTHROPIC_BASE_URL": sim.url, "OPENAI_BASE_URL": sim.openai_url}
    return Gate.load(
        env=env, storage=f"sqlite:///{folder / 'own.db'}", wait=lambda state: 0.0, budgets=list(budgets), **more
    )


def client(sim: SimulatorServer, made: Gate, **more: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(http_client=made.client(), base_url=sim.url, api_key="fake", **more)


@pytest.mark.parametrize("cap", ["0.003", "1"])
def test_a_burst_over_a_budget_never_spends_more_and_leaves_less_than_one_hold(
    sim: SimulatorServer, tmp_path: Path, cap: str
) -> None:
    sim.load(Scenario(name="slow", rules=[Rule(when=When(), fault=Fault("slow_first_token", seconds=0.05))]))
    before = billed(sim)
    with gate(sim, tmp_path, {"usd": cap}) as made:
        said = asyncio.run(burst(sim, made, 200))
        stats = made.stats
        (left,) = made.budget()
        made.flush()
        holds = [row["bound_nano"] for row in rows(tmp_path / "own.db", "attempts")]
        assert Decimal(billed(sim) - before) / NANO == stats.total_cost_usd == left.spent_usd
    assert left.spent_usd <= Decimal(cap)
    assert left.held_usd == 0
    assert said["ok"] + said["budget_exceeded"] == 200
    if said["budget_exceeded"]:
        assert left.left_usd is not None
        assert left.left_usd * NANO < max(holds)
    assert (said["budget_exceeded"] > 0) == (cap == "0.003")


async def burst(sim: SimulatorServer, made: Gate, count: int) -> Counter[str]:
    sdk = anthropic.AsyncAnthropic(http_client=made.async_client(), base_url=sim.url, api_key="fake")

    async def one() -> str:
        try:
            await sdk.messages.create(**ASK)
        except anthropic.RateLimitError as error:
            refused = headgate.refusal(error)
            assert isinstance(refused, BudgetExceeded)
            return refused.code
        return "ok"

    return Counter(await asyncio.gather(*(one() for _ in range(count))))


def test_a_refusal_is_the_sdks_own_error_and_is_not_retried(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate(sim, tmp_path, {"per": "user", "usd": 0}) as made:
        sdk = client(sim, made, max_retries=5)
        with headgate.caller(user="ada"), pytest.raises(anthropic.RateLimitError) as caught:
            sdk.messages.create(**ASK)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert made.stats.refused_calls == 1
        with headgate.caller(user="bob", tenant="acme"), pytest.raises(anthropic.RateLimitError):
            sdk.messages.create(**ASK)
        assert sdk.messages.create(**ASK).content  # nobody's: the budget does not apply


def test_who_has_spent_his_share_holds_up_nobody_else(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate(sim, tmp_path, {"per": "user", "usd": "0.003", "every": "day"}) as made:
        sdk = client(sim, made)

        def calls(user: str) -> int:
            made_by = 0
            with headgate.caller(user=user):
                while True:
                    try:
                        sdk.messages.create(**ASK)
                    except anthropic.RateLimitError:
                        return made_by
                    made_by += 1

        assert calls("ada") == calls("bob") > 0
        assert {left.scope: left.spent_usd for user in ("ada", "bob") for left in made.budget(user=user)} == {
            "ada": made.stats.total_cost_usd / 2,
            "bob": made.stats.total_cost_usd / 2,
        }


def test_headers_say_what_is_left_and_warn_from_the_first_alert_on(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate(sim, tmp_path, {"usd": "0.1", "alert_at": ["0.01%"]}) as made:
        sdk = client(sim, made)
        first = sdk.messages.with_raw_response.create(**ASK).headers
        made.flush()
        second = sdk.messages.with_raw_response.create(**ASK).headers
        made.flush()
        spent = made.stats.total_cost_usd
        assert "x-headgate-budget-warning" not in first
        assert second["x-headgate-budget-warning"] == "all/total past 0.01%"
        left = Decimal(second["x-headgate-budget-left-usd"])
        assert left == Decimal("0.1") - spent == made.stats.budget_remaining_usd
        made.flush()
        log = (tmp_path / "own.db.log.jsonl").read_text()
        assert log.count('"budget_alert"') == 1


def test_a_stream_tells_what_is_left_with_its_hold_taken(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate(sim, tmp_path, {"usd": 1}) as made:
        with client(sim, made).messages.stream(**ASK) as stream:
            left = Decimal(stream.response.headers["x-headgate-budget-left-usd"])
            stream.get_final_message()
        made.flush()
        (attempt,) = rows(tmp_path / "own.db", "attempts")
        assert left == 1 - Decimal(attempt["bound_nano"]) / NANO
        assert made.stats.budget_remaining_usd == 1 - Decimal(attempt["cost_nano"]) / NANO


def test_a_soft_budget_warns_and_refuses_nothing(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate(sim, tmp_path, {"soft_usd": "0.000001"}) as made:
        sdk = client(sim, made)
        sdk.messages.create(**ASK)
        made.flush()
        headers = sdk.messages.with_raw_response.create(**ASK).headers
        assert headers["x-headgate-budget-warning"].startswith("all/total/soft")


def test_over_budget_the_named_model_answers_instead(sim: SimulatorServer, tmp_path: Path) -> None:
    models = {"fast": ["anthropic/claude-haiku-5-5"]}
    with gate(sim, tmp_path, {"usd": "0.0004", "then": "degrade fast"}, models=models) as made:
        answer = client(sim, made).messages.with_raw_response.create(**{**ASK, "model": "claude-opus-5-5"})
        assert answer.parse().model.startswith("claude-haiku-5-5")
        assert answer.headers["x-headgate-degraded"] == "budget all/total: fast"


def test_one_giant_upload_is_refused_by_the_ceiling_of_a_call(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate(sim, tmp_path, max_usd_per_call="0.05") as made:
        sdk = client(sim, made)
        assert sdk.messages.create(**ASK).content
        giant = [{"role": "user", "content": "x" * 2_000_000}]
        with pytest.raises(anthropic.BadRequestError, match="max_usd_per_call"):
            sdk.messages.create(**{**ASK, "messages": giant})


def test_near_the_cap_the_provider_counts_and_a_call_that_fits_passes(sim: SimulatorServer, tmp_path: Path) -> None:
    long = [{"role": "user", "content": "say: hello " + "to all of them, again " * 2_000}]
    with gate(sim, tmp_path, {"usd": "0.03"}) as made:
        sdk = client(sim, made)
        assert sdk.messages.create(**{**ASK, "messages": long}).content
        made.flush()
        (attempt,) = rows(tmp_path / "own.db", "attempts")
        assert attempt["cost_nano"] <= attempt["bound_nano"] <= 30_000_000


def test_an_output_cap_is_put_in_where_a_chat_has_none(sim: SimulatorServer, tmp_path: Path) -> None:
    with gate(sim, tmp_path, {"usd": 5}) as made:
        sdk = openai.OpenAI(http_client=made.client(), base_url=sim.openai_url, api_key="fake")
        sdk.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": "say: hi"}])
        made.flush()
        (attempt,) = rows(tmp_path / "own.db", "attempts")
        assert attempt["bound_nano"] > attempt["cost_nano"] > 0


KEY = "-".join(("hg", "acme", "0" * 24))


def test_a_keys_own_budget_holds_for_its_calls_through_the_gateway(sim: SimulatorServer, tmp_path: Path) -> None:
    name = "dev"
    overrides = {"keys": [{"name": name, "key": "env:DEV_KEY", "budgets": [{"usd": "0.000001"}]}]}
    keys = {KEY: KeyRecord(name, name), "hg-other-" + "1" * 24: KeyRecord("other", "other")}
    env = {"DEV_KEY": KEY}
    with Gateway(tmp_path, sim.url, sim.openai_url, keys=keys, overrides=overrides, env=env) as gateway:
        with pytest.raises(anthropic.RateLimitError, match="key=dev"):
            anthropic.Anthropic(base_url=gateway.url, api_key=KEY).messages.create(**ASK)
        other = anthropic.Anthropic(base_url=gateway.url, api_key="hg-other-" + "1" * 24)
        assert other.messages.create(**ASK).content
        assert KEY not in str(gateway.lines())


def test_the_gateways_budget_is_one_for_everybody(sim: SimulatorServer, tmp_path: Path) -> None:
    before = billed(sim)
    with Gateway(tmp_path, sim.url, sim.openai_url, overrides={"budgets": [{"usd": "0.01"}]}) as gateway:

        async def one(sdk: anthropic.AsyncAnthropic) -> str:
            try:
                await sdk.messages.create(**ASK)
            except anthropic.RateLimitError as error:
                return str(error.body["headgate"]["code"])  # type: ignore[index]  # a dictionary, as ours always is
            return "ok"

        async def all_of_them() -> Counter[str]:
            sdk = anthropic.AsyncAnthropic(base_url=gateway.url, api_key="none", max_retries=3)
            return Counter(await asyncio.gather(*(one(sdk) for _ in range(100))))

        said = asyncio.run(all_of_them())
        assert said["ok"] + said["budget_exceeded"] == 100
        gateway.built.ledger.flush()
        assert 0 < billed(sim) - before <= 10_000_000
        assert sum(row["cost_nano"] for row in gateway.rows("attempts")) == billed(sim) - before
