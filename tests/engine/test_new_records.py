"""The quick ways to make records say what the classes' own say."""

from __future__ import annotations

from headgate.core.caller import Caller
from headgate.core.exchange import Attempt, Exchange, Facts, Request, Route, new_attempt, new_exchange

REQUEST = Request("anthropic", "messages", "POST", "/v1/messages", (), b"{}", Facts(), Caller(), "gateway")
ROUTE = Route("anthropic", "m", "anthropic", "https://api.anthropic.com")


def test_an_exchange_and_an_attempt_begin_blank_and_share_nothing() -> None:
    exchange, attempt = new_exchange("hg_1", REQUEST, 2.0), new_attempt(3, ROUTE, 4.0, 5, 6.0)
    assert exchange == Exchange("hg_1", REQUEST, 2.0)
    assert attempt == Attempt(3, ROUTE, 4.0, 5, 6.0)
    exchange.attempts.append(attempt)
    exchange.status = attempt.status = 200
    assert new_exchange("hg_1", REQUEST, 2.0) == Exchange("hg_1", REQUEST, 2.0)
    assert new_attempt(3, ROUTE, 4.0, 5, 6.0) == Attempt(3, ROUTE, 4.0, 5, 6.0)
