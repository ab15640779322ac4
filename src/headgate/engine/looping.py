"""Agents that run away, seen in the conversation that a request brings along: before money is spent on it."""

from __future__ import annotations

from headgate.core.exchange import Request
from headgate.core.guards import Finding
from headgate.policy.guards.loops import judge_history
from headgate.policy.guards.rules import OFF, GuardRules
from headgate.wire.call_history import call_history


def looping(request: Request, rules: GuardRules) -> Finding | None:
    """What is to be said of a request's own history; None where the guard is off, or it shows no loop."""
    if rules.loops == OFF:
        return None
    loop = judge_history(call_history(request.endpoint, request.body), rules.loop_limits)
    return None if loop is None else loop.finding(rules.loops)
