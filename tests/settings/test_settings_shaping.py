"""`prompt_caching`, `caps` and a task's `history`, as they are written and as they are wrong."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.build import policies_of
from headgate.core.errors import ConfigError
from headgate.engine.plan import Policies
from headgate.policy.shaping import History, Shape
from headgate.settings import load

ENV = {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o"}


def policies(**overrides: Any) -> Policies:
    return policies_of(load(env=ENV, overrides=overrides), ENV)


def test_prompts_are_marked_unless_somebody_says_off() -> None:
    assert policies().prompts is not None
    assert policies().tasks("any").prompt_caching
    assert policies(prompt_caching="off").prompts is None
    one = policies(prompt_caching="off", tasks={"a": {"prompt_caching": "auto"}})
    assert one.prompts is not None
    assert [one.tasks(name).prompt_caching for name in ("a", "other")] == [True, False]


def test_a_history_is_the_tasks_own_with_a_block_of_half_its_turns() -> None:
    found = policies(tasks={"a": {"history": {"turns": 21}}, "b": {"history": {"tokens": 9000, "block": 3}}})
    assert found.tasks("a").shape == Shape(History(turns=21, block=10))
    assert found.tasks("b").shape == Shape(History(tokens=9000, block=3))
    assert found.tasks("c").shape is None


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        ({"caps": "on"}, "caps"),
        ({"prompt_caching": "always"}, "prompt_caching"),
        ({"tasks": {"a": {"history": {}}}}, "history"),
        ({"tasks": {"a": {"history": {"turns": 3, "tokens": 4}}}}, "history"),
        ({"tasks": {"a": {"history": {"turns": 3, "block": 4}}}}, "history.block"),
        ({"tasks": {"a": {"history": {"turns": 0}}}}, "history.turns"),
        ({"tasks": {"a": {"history": 20}}}, "history"),
    ],
)
def test_what_is_wrong_is_named(overrides: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(env=ENV, overrides=overrides)
    assert where in str(wrong.value)
