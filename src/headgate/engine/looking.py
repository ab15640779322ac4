"""What is wrong with an answer, as its exchange's task sees it; and the findings that say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headgate.core.exchange import Exchange
from headgate.core.guards import Finding, Verdict
from headgate.policy.guards.answers import GUARD, REQUEST, AnswerRules, Ending, Problem, problems
from headgate.wire.dialect import Meter
from headgate.wire.endings import how_of
from headgate.wire.following import asked_schema, given_texts
from headgate.wire.stream import TOOLS

if TYPE_CHECKING:
    from headgate.engine.plan import Plan

MOST_REASONS = 5


def look(exchange: Exchange, rules: AnswerRules, choices: Sequence[Ending]) -> tuple[Problem, ...]:
    """What is wrong with any of an answer's choices."""
    request = exchange.request
    asked = asked_schema(request.endpoint, request.body) if rules.schema == REQUEST else ""
    return tuple(
        problem
        for each in choices
        for problem in problems(
            rules, each, asked_schema=asked, sources=lambda: given_texts(request.endpoint, request.body)
        )
    )


def note(exchange: Exchange, verdict: Verdict, reasons: tuple[str, ...]) -> None:
    """A finding about the exchange's answer."""
    exchange.findings = (*exchange.findings, Finding(GUARD, verdict, reasons, channel="assistant"))


def note_stream(exchange: Exchange, plan: Plan, meter: Meter) -> None:
    """Look at a stream that has ended: what it has said has left by now, so it can only be flagged."""
    rules, request = plan.answer, exchange.request
    if rules is None or request.facts.choices != 1:
        return
    ending = Ending(meter.text(), how_of(meter.stop_reason, tools=bool(meter.kinds & TOOLS)))
    found = look(exchange, rules, [ending])
    if found:
        note(exchange, Verdict.FLAG, tuple(dict.fromkeys(each.word for each in found))[:MOST_REASONS])
