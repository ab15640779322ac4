"""Exchanges as the engine would leave them. On the path by `conftest.py`, and of the scripts that tests start."""

from __future__ import annotations

from typing import Any

from headgate.core.caller import Caller
from headgate.core.errors import HeadgateError, UpstreamBusy
from headgate.core.exchange import Attempt, Ending, Exchange, Facts, Request, Route
from headgate.core.usage import Usage

ROUTE = Route("anthropic", "", "anthropic", "https://api.anthropic.example")
EPOCH = 1_800_000_000.0  # 2027-01-15T08:00:00Z


class Maker:
    """Makes exchanges, with ids in order."""

    def __init__(self) -> None:
        self.made = 0

    def exchange(self, *, caller: Caller | None = None, body: bytes = b"{}", **facts: Any) -> Exchange:
        self.made += 1
        request = Request(
            dialect="anthropic",
            endpoint="messages",
            method="POST",
            path="/v1/messages",
            headers=(),
            body=body,
            facts=Facts(model=facts.pop("model", "claude-haiku-4-5"), **facts),
            caller=caller or Caller(key="k1", tenant="acme", user="ada", session="s-17", task="summarise"),
            way_in="gateway",
            correlation_id="c-1",
            client_retries=1,
        )
        started = EPOCH + self.made
        return Exchange(f"ex_{int(started * 1000):012x}{self.made:016x}", request, started=started)

    def attempt(self, exchange: Exchange, *, bound: int | None = 5_000, route: Route = ROUTE) -> Attempt:
        number = len(exchange.attempts) + 1
        attempt = Attempt(number, route, started=exchange.started + number / 10, bound_nano=bound)
        exchange.attempts.append(attempt)
        return attempt

    def answered(self, exchange: Exchange, *, cost: int = 1_234, estimated: bool = False) -> Exchange:
        """The last attempt has answered."""
        attempt = exchange.attempts[-1]
        attempt.first_byte, attempt.first_content = attempt.started + 0.2, attempt.started + 0.25
        attempt.ended, attempt.status = attempt.started + 0.5, 200
        attempt.usage = Usage(10, 20, 30, 40, 50, 5, web_searches=2)
        attempt.model_served, attempt.price_version = "claude-haiku-4-5-20251001", "2026-11-01"
        attempt.cost_nano, attempt.estimated = cost, estimated
        attempt.stop_reason, attempt.request_id = "end_turn", "req_1"
        return self.ended(exchange, Ending.COMPLETE, status=200)

    def failed(self, attempt: Attempt) -> Attempt:
        attempt.error = UpstreamBusy("too busy", kind="overloaded", status=529, provider_code="overloaded_error")
        attempt.status, attempt.ended = 529, attempt.started + 0.05
        return attempt

    def ended(
        self, exchange: Exchange, ending: Ending, *, status: int = 0, error: HeadgateError | None = None
    ) -> Exchange:
        exchange.ending, exchange.status, exchange.error = ending, status, error
        exchange.ended = exchange.started + 0.75
        return exchange
