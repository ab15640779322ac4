"""Exchanges for a ledger, made without a provider."""

from __future__ import annotations

from pathlib import Path

from headgate.core.caller import Caller
from headgate.core.errors import UpstreamBusy
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
from headgate.core.usage import Usage
from headgate.stores.sqlite import SqliteLedger

ROUTE = Route("anthropic", "claude-haiku-4-5", "anthropic", "https://api.anthropic.com")


def exchange(
    name: str,
    started: float,
    *,
    user: str = "ada",
    tenant: str = "acme",
    model: str = "claude-haiku-4-5",
    cost_nano: int = 1_500_000,
    estimated: bool = False,
) -> Exchange:
    """A complete exchange whose first attempt met a 429."""
    facts = Facts(model=model)
    asked = Request(
        "anthropic", "messages", "POST", "/v1/messages", (), b"{}", facts, Caller(tenant=tenant, user=user), "gateway"
    )
    busy = UpstreamBusy("too many requests", kind="busy", retryable=True, status=429, provider_code="rate_limit_error")
    first = Attempt(1, ROUTE, started, bound_nano=2_000_000, sent=True, ended=started + 0.1, status=429, error=busy)
    second = Attempt(
        2,
        ROUTE,
        started + 0.6,
        bound_nano=2_000_000,
        waited=0.5,
        sent=True,
        first_byte=started + 0.9,
        first_content=started + 1.0,
        ended=started + 1.2,
        status=200,
        usage=Usage(input_tokens=100, cache_read_tokens=20, output_tokens=30),
        model_served=model,
        cost_nano=cost_nano,
        estimated=estimated,
        price_version="2026-11-20",
        stop_reason="end_turn",
        request_id="req_1",
    )
    return Exchange(name, asked, started, [first, second], Ending.COMPLETE, None, started + 1.2, 200)


def write(path: Path, *exchanges: Exchange) -> None:
    """A ledger file with these in it."""
    ledger = SqliteLedger(f"sqlite:///{path}")
    ledger.open()
    port = ledger.blocking()
    for each in exchanges:
        port.settle(each)
    ledger.close()
