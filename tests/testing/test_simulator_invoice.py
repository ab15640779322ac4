"""The invoice against sums made by hand, and prompt caching."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import openai
import pytest

from headgate.testing.server import SimulatorServer
from headgate.testing.simulator import Price, Scenario, Simulator
from headgate.testing.simulator.models import MODELS
from headgate.testing.simulator.prices import PRICES, Counts, cost_nano

TEN = "tokens: 10"  # 10 characters: 3 tokens; 9 with the framing of one message; the answer has 10


@pytest.fixture
def claude(headgate_simulator: SimulatorServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=headgate_simulator.url, api_key="fake", max_retries=0)


@pytest.fixture
def gpt(headgate_simulator: SimulatorServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=headgate_simulator.openai_url, api_key="fake", max_retries=0)


@pytest.mark.parametrize(
    ("model", "more", "nano"),
    [
        ("claude-haiku-4-5", {}, 59_000),  # 9 x 1000 + 10 x 5000
        ("claude-sonnet-4-6", {}, 177_000),  # 9 x 3000 + 10 x 15000
        ("claude-haiku-5-5", {}, 5_900),  # 9 x 100 + 10 x 500
        ("claude-opus-5-5", {"inference_geo": "us"}, 259_600),  # (9 x 4000 + 10 x 20000) x 1.1
        ("claude-opus-5", {"extra_body": {"speed": "fast"}}, 590_000),  # (9 x 5000 + 10 x 25000) x 2
    ],
)
def test_one_message_costs_what_the_page_says(
    headgate_simulator: SimulatorServer, claude: anthropic.Anthropic, model: str, more: dict[str, Any], nano: int
) -> None:
    claude.messages.create(model=model, max_tokens=100, messages=[{"role": "user", "content": TEN}], **more)
    assert headgate_simulator.invoice()["total"]["cost_nano"] == nano


@pytest.mark.parametrize(
    ("model", "more", "nano"),
    [
        ("gpt-6-luna", {}, 5_900),  # 9 x 100 + 10 x 500
        ("gpt-6.1-sol", {"service_tier": "flex"}, 59_000),  # (9 x 2000 + 10 x 10000) / 2
        ("gpt-5.5", {"service_tier": "priority"}, 862_500),  # (9 x 5000 + 10 x 30000) x 2.5
        ("gpt-4o-mini", {"service_tier": "priority"}, 12_250),  # 9 x 250 + 10 x 1000
        ("gpt-5", {"n": 3}, 311_250),  # 9 x 1250 + 30 x 10000
    ],
)
def test_one_completion_costs_what_the_page_says(
    headgate_simulator: SimulatorServer, gpt: openai.OpenAI, model: str, more: dict[str, Any], nano: int
) -> None:
    gpt.chat.completions.create(model=model, messages=[{"role": "user", "content": TEN}], **more)
    assert headgate_simulator.invoice()["total"]["cost_nano"] == nano


def test_explicit_caching_writes_once_and_reads_after(
    headgate_simulator: SimulatorServer, claude: anthropic.Anthropic
) -> None:
    system = [{"type": "text", "text": "rule" * 1000, "cache_control": {"type": "ephemeral"}}]
    ask: dict[str, Any] = {
        "model": "claude-opus-5-5",
        "max_tokens": 100,
        "system": system,
        "messages": [{"role": "user", "content": TEN}],
    }
    first, second = claude.messages.create(**ask), claude.messages.create(**ask)
    assert (first.usage.cache_creation_input_tokens, first.usage.cache_read_input_tokens) == (1000, 0)
    assert (second.usage.cache_creation_input_tokens, second.usage.cache_read_input_tokens) == (0, 1000)
    assert first.usage.input_tokens == second.usage.input_tokens == 9
    costs = [line["cost_nano"] for line in headgate_simulator.invoice()["lines"]]
    assert costs == [1000 * 5000 + 9 * 4000 + 10 * 20000, 1000 * 200 + 9 * 4000 + 10 * 20000]


def test_a_longer_conversation_reads_the_old_prefix_and_writes_the_new_part_for_an_hour(
    claude: anthropic.Anthropic, headgate_simulator: SimulatorServer
) -> None:
    def part(text: str) -> dict[str, Any]:
        return {"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": "1h"}}

    system = [part("rule" * 600)]
    turn = {"role": "user", "content": [part("fact" * 200)]}
    claude.messages.create(
        model="claude-opus-5-5", max_tokens=5, system=system, messages=[{"role": "user", "content": "x"}]
    )
    longer = claude.messages.create(model="claude-opus-5-5", max_tokens=5, system=system, messages=[turn])
    assert longer.usage.cache_read_input_tokens == 600
    assert longer.usage.cache_creation is not None
    assert longer.usage.cache_creation.ephemeral_1h_input_tokens == 203
    assert headgate_simulator.invoice()["lines"][1]["usage"]["cache_write_1h_tokens"] == 203


def test_a_prefix_below_the_models_minimum_is_not_cached(claude: anthropic.Anthropic) -> None:
    system = [{"type": "text", "text": "rule" * 1000, "cache_control": {"type": "ephemeral"}}]
    for _ in range(2):
        usage = claude.messages.create(
            model="claude-haiku-4-5",
            max_tokens=5,
            system=system,
            messages=[{"role": "user", "content": "x"}],  # type: ignore[arg-type]
        ).usage
        assert (usage.cache_creation_input_tokens, usage.cache_read_input_tokens) == (0, 0)


def test_a_fifth_breakpoint_is_refused(claude: anthropic.Anthropic) -> None:
    system = [{"type": "text", "text": "rule", "cache_control": {"type": "ephemeral"}}] * 5
    with pytest.raises(anthropic.BadRequestError, match="maximum of 4 blocks"):
        claude.messages.create(
            model="claude-haiku-4-5",
            max_tokens=5,
            system=system,
            messages=[{"role": "user", "content": "x"}],  # type: ignore[arg-type]
        )


def test_credentials_do_not_share_a_cache(headgate_simulator: SimulatorServer, claude: anthropic.Anthropic) -> None:
    ask: dict[str, Any] = {
        "model": "claude-opus-5-5",
        "max_tokens": 5,
        "cache_control": {"type": "ephemeral"},
        "messages": [{"role": "user", "content": "long" * 1000}],
    }
    assert claude.messages.create(**ask).usage.cache_creation_input_tokens == 1003
    other = claude.with_options(api_key="fake-2").messages.create(**ask)
    assert (other.usage.cache_creation_input_tokens, other.usage.cache_read_input_tokens) == (1003, 0)


def test_automatic_caching_reads_long_prefixes_and_bills_writes_only_from_gpt_5_6(
    headgate_simulator: SimulatorServer, gpt: openai.OpenAI
) -> None:
    messages = [{"role": "user", "content": "long" * 2048}]  # 2,048 tokens; 2,054 with the framing
    for model, written in (("gpt-6-luna", 2048), ("gpt-4o-mini", 0)):
        for read in (0, 2048):
            details = gpt.chat.completions.create(model=model, messages=messages).usage.prompt_tokens_details  # type: ignore[call-overload]
            assert details.cached_tokens == read
            assert (details.cache_write_tokens or 0) == (0 if read else written)
    lines = headgate_simulator.invoice()["lines"]
    assert [line["usage"]["input_tokens"] for line in lines] == [6, 6, 2054, 6]
    luna = lines[0]
    assert luna["cost_nano"] == 6 * 100 + 2048 * 125 + luna["usage"]["output_tokens"] * 500


def test_a_request_is_rounded_half_up_once() -> None:
    # 1.1 x 0.125 USD per million is 137.5 nano-dollars for one token.
    assert cost_nano(PRICES["claude-haiku-5-5"], Counts(cache_write=1, geo="us")) == 138
    assert cost_nano(PRICES["claude-haiku-5-5"], Counts(cache_write=2, geo="us")) == 275
    assert cost_nano(PRICES["gpt-5.4-mini"], Counts(cache_read=1, tier="flex")) == 38  # 37.5


def test_long_prompts_move_the_whole_request_to_the_dearer_rates() -> None:
    luna, haiku = PRICES["gpt-6-luna"], PRICES["claude-haiku-5-5"]
    assert cost_nano(luna, Counts(input=272_000, output=10)) == 272_000 * 100 + 10 * 500
    assert cost_nano(luna, Counts(input=272_001, output=10)) == 272_001 * 200 + 10 * 750
    assert cost_nano(haiku, Counts(input=1, cache_read=99_999, output=1)) == 100 + 99_999 * 10 + 500
    assert cost_nano(haiku, Counts(input=2, cache_read=99_999, output=1)) == 1000 + 99_999 * 50 + 2500


def test_every_model_that_is_served_has_a_price() -> None:
    assert {model.id for model in MODELS.values()} == set(PRICES)


def test_totals_add_up_and_errors_cost_nothing(headgate_simulator: SimulatorServer, gpt: openai.OpenAI) -> None:
    gpt.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": TEN}])
    list(gpt.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": TEN}], stream=True))
    with pytest.raises(openai.NotFoundError):
        gpt.chat.completions.create(model="gpt-2", messages=[{"role": "user", "content": TEN}])
    invoice = httpx2.get(f"{headgate_simulator.url}/_sim/invoice").json()
    assert invoice["total"] == {
        "requests": 3,
        "lines": 2,
        "open": 0,
        "input_tokens": 18,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cache_write_1h_tokens": 0,
        "output_tokens": 20,
        "cost_nano": 11_800,
        "reported_lines": 1,  # a stream without include_usage never shows its usage
        "reported_cost_nano": 5_900,
        "unreported_cost_nano": 5_900,
    }
    assert sum(line["cost_nano"] for line in invoice["lines"]) == 11_800


def test_own_prices_replace_the_built_in_ones() -> None:
    with SimulatorServer(Scenario(), prices={"gpt-6-luna": Price("1", "2", "0")}) as server:
        client = openai.OpenAI(base_url=server.openai_url, api_key="fake")
        client.chat.completions.create(model="gpt-6-luna", messages=[{"role": "user", "content": TEN}])
        assert server.invoice()["total"]["cost_nano"] == 9 * 1000 + 10 * 2000


def test_old_lines_leave_but_the_totals_keep_counting() -> None:
    simulator = Simulator(keep=2)
    with httpx2.Client(transport=_Inside(simulator), base_url="http://simulator") as client:
        for _ in range(5):
            body = {"model": "gpt-6-luna", "messages": [{"role": "user", "content": TEN}]}
            client.post("/v1/chat/completions", json=body, headers={"authorization": "Bearer fake"})
    invoice = simulator.invoice()
    assert len(invoice["lines"]) == 2
    assert invoice["total"]["cost_nano"] == 5 * 5_900


class _Inside(httpx2.BaseTransport):
    """The plain ASGI application, without a server."""

    def __init__(self, simulator: Simulator) -> None:
        self._inner = httpx2.ASGITransport(simulator)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        import asyncio

        async def call() -> httpx2.Response:
            sent = httpx2.Request(request.method, request.url, headers=request.headers, content=request.read())
            response = await self._inner.handle_async_request(sent)
            content = await response.aread()
            return httpx2.Response(response.status_code, headers=response.headers, content=content)

        return asyncio.run(call())
