"""Kept answers, given again."""

from __future__ import annotations

from headgate.core.cache import Stored
from headgate.core.exchange import Ending, Exchange
from headgate.engine.answer import HeaderList, exchange_headers, trailing_comment
from headgate.engine.inspected import answer_of, content_blocked, note, watched
from headgate.engine.plan import Plan
from headgate.engine.recall_tools import Giving
from headgate.wire.endings import endings


async def replayed(tools: Giving, exchange: Exchange, plan: Plan, stored: Stored, *, how: str = "hit") -> Given:
    """A kept answer as this exchange's, which is settled by it. It costs nothing.

    Args:
        how: what is told of it: "hit" or "similar".

    Raises:
        ContentBlocked: today's output guards do not let it pass.
    """
    if plan.inspects is None and not plan.checks and not tools.policies.keep_text:
        return given(tools, exchange, stored, how=how)
    exchange.cache, exchange.recalled = how, stored
    body, texts = _inspected(tools, exchange, plan, stored)
    if plan.checks:
        await tools.checking.answer(exchange, plan, texts)
    return given(tools, exchange, stored, body, how=how)


def given(tools: Giving, exchange: Exchange, stored: Stored, body: bytes | None = None, *, how: str = "hit") -> Given:
    """As `replayed`, of an answer that has been looked at, if it has to be: `body` is what goes out of it."""
    exchange.cache, exchange.recalled, exchange.status = how, stored, stored.status
    out = stored.body if body is None else body
    if stored.kind == "stream":
        out += trailing_comment(exchange)
    tools.books.settle(exchange, Ending.COMPLETE)
    headers = [*stored.headers, *exchange_headers(exchange, exchange.ended or exchange.started, final=True)]
    return Given(exchange, stored.status, headers, out)


def _inspected(tools: Giving, exchange: Exchange, plan: Plan, stored: Stored) -> tuple[bytes, list[str]]:
    """(What goes out of a kept answer, its texts)."""
    request, keep = exchange.request, tools.policies.keep_text
    if stored.kind == "whole":
        body = stored.body if plan.inspects is None else answer_of(exchange, plan.inspects, stored.body)
        if keep:
            _, exchange.response_text = plan.dialect.read_answer(request.endpoint, body, keep_text=True)
        return body, [each.text for each in endings(request.endpoint, body)] if plan.checks else []
    meter = plan.dialect.meter(request.endpoint, request.facts, keep_text=True)
    if plan.inspects is not None:
        meter = watched(exchange, plan.inspects, meter, keep_text=True)
    body = meter.feed(stored.body) + meter.finish()
    found = note(exchange, meter)
    if found is not None:
        raise content_blocked(found)
    if keep:
        exchange.response_text = meter.text()
    return body, [meter.text()]


class Given:
    """A `Reply` that is here already, and settled.

    Attributes:
        way: the plan that has led to it, and the key under which it is kept; None = not told.
    """

    __slots__ = ("_body", "exchange", "headers", "length", "status", "way")

    def __init__(self, exchange: Exchange, status: int, headers: HeaderList, body: bytes) -> None:
        self._body = body
        self.exchange = exchange
        self.status = status
        self.headers = headers
        self.length: int | None = len(body)
        self.way: tuple[Plan, str] | None = None

    async def read(self) -> bytes:
        """The whole body, then b""."""
        body, self._body = self._body, b""
        return body

    def close(self) -> None:
        """Nothing is left to settle."""

    drains = False
    drain_seconds = 0.0

    def leave(self) -> None:
        """Nothing is left to drain."""

    def stop(self) -> None:
        """Nothing is being read."""
