"""What is wrong with an answer, as its exchange's task sees it; and the findings that say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headgate.core.errors import AnswerInvalid
from headgate.core.exchange import Exchange, Request
from headgate.core.guards import Finding, Verdict
from headgate.engine.answer import served_model
from headgate.policy.guards.answers import GUARD, REQUEST, AnswerRules, Ending, Problem, problems
from headgate.wire.dialect import Meter
from headgate.wire.endings import how_of
from headgate.wire.following import asked_schema
from headgate.wire.segments import segments
from headgate.wire.stream import TOOLS

if TYPE_CHECKING:
    from headgate.engine.plan import Plan

MOST_REASONS = 5
_GIVEN = frozenset({"user", "document", "tool_result"})


def look(exchange: Exchange, rules: AnswerRules, choices: Sequence[Ending]) -> tuple[Problem, ...]:
    """What is wrong with any of an answer's choices."""
    request = exchange.request
    asked = asked_schema(request.endpoint, request.body) if rules.schema == REQUEST else ""
    return tuple(
        problem
        for each in choices
        for problem in problems(rules, each, asked_schema=asked, sources=lambda: _given(request))
    )


def _given(request: Request) -> list[str]:
    """What users, tools and documents say in a request: not its instructions, nor what the model itself has said."""
    found = segments(request.dialect, request.endpoint, request.body)
    return [each.text for each in found if each.channel in _GIVEN]


def note(exchange: Exchange, verdict: Verdict, reasons: tuple[str, ...]) -> None:
    """A finding about the exchange's answer."""
    exchange.findings = (*exchange.findings, Finding(GUARD, verdict, reasons, channel="assistant"))


def holds_back(plan: Plan) -> bool:
    """Whether a stream is held back until it is known to be valid: `on_cut: buffer`, where invalid ones are refused."""
    return plan.answer is not None and plan.on_cut == "buffer" and not plan.answer.flags


def note_stream(exchange: Exchange, plan: Plan, meter: Meter) -> None:
    """Look at a stream that has ended. Its text has left by now, but where it is held back."""
    rules = plan.answer
    if rules is None:
        return
    if exchange.request.facts.choices != 1:
        found: Sequence[Problem] = (Problem("unchecked"),)
    else:
        ending = Ending(meter.text(), how_of(meter.stop_reason, tools=bool(meter.kinds & TOOLS)))
        found = look(exchange, rules, [ending])
    if found:
        note(exchange, Verdict.BLOCK if holds_back(plan) else Verdict.FLAG, reasons_of(found))


def reasons_of(found: Sequence[Problem]) -> tuple[str, ...]:
    """For log, header and error."""
    return tuple(dict.fromkeys(each.word for each in found))[:MOST_REASONS]


def invalid(exchange: Exchange, reasons: tuple[str, ...], done: Sequence[str] = ()) -> AnswerInvalid:
    """The refusal of an answer.

    Args:
        done: what was tried.
    """
    tried = f" ({', '.join(done)})" if done else ""
    return AnswerInvalid(
        f"The answer of {served_model(exchange)[:100]} is not what the task {exchange.request.caller.task[:100]!r} "
        f"asks for: {'; '.join(reasons)}{tried}. It was paid for and is not shown. "
        "See tasks.<name>.answer in the gate's configuration.",
        reasons=reasons,
    )
