"""Output caps by what a task is for, with room for thinking; and how often answers run into them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.build import policies_of
from headgate.core.caller import Caller
from headgate.engine.plan import make_plan
from headgate.policy.caps import DEFAULT_CAPS, Truncation
from headgate.settings import load
from headgate.testing import World
from headgate.wire.thinking_room import thinking_room

ENV = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o"}
CHAT = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "x"}]}
MESSAGES = {"model": "claude-haiku-4-5", "max_tokens": 4096, "messages": [{"role": "user", "content": "x"}]}


def cap(body: dict[str, Any], task: str, **overrides: Any) -> int:
    """What the body is given; 0 = it is left as it is."""
    dialect = "anthropic" if "claude" in body["model"] else "openai"
    request = World().request(json.dumps(body).encode(), dialect=dialect, caller=Caller(task=task))
    return make_plan(request, policies_of(load(env=ENV, overrides=overrides), ENV), 1.8e9).output_cap


def test_nothing_is_capped_unless_somebody_opts_in() -> None:
    assert [cap(CHAT, name) for name in DEFAULT_CAPS] == [0] * 6


def test_a_call_without_a_cap_gets_its_tasks_and_one_with_a_cap_keeps_it() -> None:
    assert [cap(CHAT, name, caps="defaults") for name in DEFAULT_CAPS] == list(DEFAULT_CAPS.values())
    assert cap({**CHAT, "max_tokens": 9_000}, "summary", caps="defaults") == 0
    assert cap(MESSAGES, "summary", caps="defaults") == 0
    assert cap(CHAT, "poetry", caps="defaults") == 0


def test_enforce_lowers_what_the_caller_has_given_and_never_raises_it() -> None:
    assert cap(MESSAGES, "sentiment", caps="enforce") == 50
    assert cap({**MESSAGES, "max_tokens": 20}, "sentiment", caps="enforce") == 0


def test_a_tasks_own_cap_is_what_it_was_and_wins() -> None:
    tasks = {"summary": {"max_tokens": 77}}
    assert cap(CHAT, "summary", caps="enforce", tasks=tasks) == 77
    assert cap(MESSAGES, "summary", tasks=tasks) == 77
    assert cap(CHAT, "summary", caps="defaults", tasks={"summary": {"on_cut": "buffer"}}) == 400


def test_a_tasks_own_cap_never_undercuts_what_the_caller_sets_aside_for_thinking() -> None:
    """A cap that is no larger than `thinking.budget_tokens` is an error at Anthropic (wire-formats 1.3)."""
    tasks = {"summary": {"max_tokens": 77}}
    thinking = {"type": "enabled", "budget_tokens": 2_000}
    assert cap({**MESSAGES, "thinking": thinking}, "summary", tasks=tasks) == 2_077
    assert cap({**MESSAGES, "max_tokens": 2_050, "thinking": thinking}, "summary", tasks=tasks) == 0
    assert cap({**MESSAGES, "thinking": {**thinking, "type": "disabled"}}, "summary", tasks=tasks) == 77
    assert cap({**MESSAGES, "thinking": {**thinking, "budget_tokens": "x"}}, "summary", tasks=tasks) == 77


@pytest.mark.parametrize(
    ("body", "room"),
    [
        ({"model": "gpt-4.1"}, 0),
        ({"model": "gpt-5.6"}, 16_384),
        ({"model": "gpt-5.6", "reasoning_effort": "none"}, 0),
        ({"model": "o3", "reasoning_effort": "low"}, 4_096),
        ({"model": "claude-haiku-4-5"}, 0),
        ({"model": "claude-haiku-4-5", "thinking": {"type": "enabled", "budget_tokens": 5_000}}, 5_000),
        ({"model": "claude-opus-5", "thinking": {"type": "disabled"}}, 0),
        ({"model": "claude-opus-5", "output_config": {"effort": "high"}}, 32_768),
        ({"model": "gpt-5.6", "reasoning_effort": ["odd"]}, 16_384),
    ],
)
def test_thinking_has_room_of_its_own(body: dict[str, Any], room: int) -> None:
    dialect = "anthropic" if "claude" in body["model"] else "openai"
    assert thinking_room(dialect, "chat", json.dumps(body).encode(), body["model"]) == room


def test_what_cannot_be_read_has_no_room() -> None:
    assert thinking_room("openai", "responses", b"{", "gpt-5.6") == 0


def test_a_cap_that_is_too_low_is_told_once_and_its_rate_is_known() -> None:
    found = Truncation()
    told = [found.count("code", "max_tokens" if n % 2 else "end_turn") for n in range(60)]
    assert [each for each in told if each is not None] == [(20, 10)]
    assert found.rates() == {"code": 0.5}
    assert all(found.count("fine", "stop") is None for _ in range(60))
