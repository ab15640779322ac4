"""Agents that run away, seen in the request's own history."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.guards import Verdict
from headgate.engine.looping import looping
from headgate.policy.guards.loops import LoopLimits
from headgate.policy.guards.rules import GuardRules
from headgate.testing import World
from headgate.testing.canned import chat_request, messages_request


def history(dialect: str, times: int) -> bytes:
    turns: list[Any] = [{"role": "user", "content": "go"}]
    for number in range(times):
        if dialect == "anthropic":
            use = {"type": "tool_use", "id": f"t{number}", "name": "look", "input": {"q": "x"}}
            turns.append({"role": "assistant", "content": [use]})
            turns.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": f"t{number}"}]})
        else:
            function = {"name": "look", "arguments": '{"q": "x"}'}
            call = {"id": f"t{number}", "type": "function", "function": function}
            turns.append({"role": "assistant", "content": None, "tool_calls": [call]})
            turns.append({"role": "tool", "tool_call_id": f"t{number}", "content": "nothing"})
    return (messages_request if dialect == "anthropic" else chat_request)(messages=turns)


@pytest.mark.parametrize(
    ("times", "mode", "verdict"),
    [
        (2, "block", None),
        (3, "block", Verdict.FLAG),
        (5, "block", Verdict.BLOCK),
        (9, "flag", Verdict.FLAG),
        (9, "off", None),
    ],
)
def test_a_history_that_repeats_itself_is_told_and_at_the_limit_blocked(
    dialect: str, times: int, mode: str, verdict: Verdict | None
) -> None:
    request = World().request(history(dialect, times), dialect=dialect)
    found = looping(request, GuardRules(loops=mode))
    assert (found and found.verdict) == verdict
    if found is not None:
        assert (found.guard, found.reasons) == ("loops", ("same_call",))


def test_the_limit_is_the_callers() -> None:
    request = World().request(history("anthropic", 3))
    found = looping(request, GuardRules(loops="block", loop_limits=LoopLimits(same=3)))
    assert found is not None
    assert found.verdict is Verdict.BLOCK
