"""`degrade:`: how it is read, what is wrong with it, and which ladder a task has."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.policy.ladder import PROVIDERS
from headgate.settings import Settings, load
from headgate.settings.degrading import ladder_of

PAGE = """\
models: {fast: [anthropic/claude-haiku-4-5]}
degrade:
  - {on: [timeout, overload], model: fast}
  - {on: any, say: "The assistant is taking a short break."}
tasks:
  classify: {degrade: [{say: unknown}]}
  strict: {degrade: off}
  plain: {}
"""


def loaded(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "headgate.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, env={})


def wrong(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    return [line.partition("headgate.yaml:")[2] for line in caught.value.mistakes]


def test_a_ladder_is_read_in_order_with_where_each_step_is_written(tmp_path: Path) -> None:
    first, second = ladder_of(loaded(tmp_path, PAGE))
    assert (first.on, first.model, first.say) == (frozenset({"overload", "timeout"}), "fast", "")
    assert (second.on, second.say) == (frozenset(PROVIDERS), "The assistant is taking a short break.")
    assert [step.source.rpartition("headgate.yaml")[2] for step in (first, second)] == [":3:5", ":4:5"]


def test_a_task_has_its_own_ladder_in_place_of_everybodys(tmp_path: Path) -> None:
    settings = loaded(tmp_path, PAGE)
    (own,) = ladder_of(settings, "classify")
    assert (own.say, own.on) == ("unknown", frozenset(PROVIDERS))
    assert ladder_of(settings, "strict") == ()
    assert ladder_of(settings, "plain") == ladder_of(settings, "nobody") == ladder_of(settings)


def test_without_a_word_nothing_is_degraded() -> None:
    assert ladder_of(Settings()) == ()


@pytest.mark.parametrize("word", ["last_good", "defer"])
def test_what_stands_in_is_named_in_its_step(word: str) -> None:
    (step,) = ladder_of(load(env={}, overrides={"degrade": [{"on": "any", "use": word}]}))
    assert step.use == word


@pytest.mark.parametrize(
    ("text", "place", "says"),
    [
        ("degrade: [{on: ouch, say: x}]", "1:16: degrade[0].on", "expected one of overload, timeout"),
        ("degrade: [{on: [overlod], say: x}]", "1:17: degrade[0].on[0]", "did you mean 'overload'?"),
        ("degrade: [{on: any}]", "1:11: degrade[0]", "has nothing to do"),
        ("degrade: [{model: claude-haiku-4-5, say: x}]", "1:11: degrade[0]", "has model and say"),
        ("degrade: [{model: nobody}]", "1:19: degrade[0].model", "no virtual model is named 'nobody'"),
        ("degrade: [{on: budget, model: gpt-6-luna}]", "1:31: degrade[0].model", "then: degrade"),
        ("degrade: [{say: ''}]", "1:17: degrade[0].say", "expected a text of 1 to 4000 characters"),
        ("degrade: [{sya: x}]", "1:12: degrade[0]", "did you mean 'say'?"),
        ("degrade: sometimes", "1:10: degrade", "a list of steps"),
        ("degrade: [{say: a}, {on: money, model: gpt-6-luna}]", "1:21: degrade[1]", "can never be reached: degrade[0]"),
        ("degrade: [{say: a}, {say: b}]", "1:21: degrade[1]", "can never be reached"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, place: str, says: str) -> None:
    line = wrong(tmp_path, text + "\n")[0]
    assert line.startswith(f"{place}: ")
    assert says in line


def test_more_steps_than_anybody_needs_are_a_mistake(tmp_path: Path) -> None:
    steps = ", ".join(["{on: money, model: gpt-6-luna}"] * 17)
    assert "has 17 steps" in wrong(tmp_path, f"degrade: [{steps}]\n")[0]


def test_a_sentence_for_some_classes_leaves_the_others_to_later_steps(tmp_path: Path) -> None:
    text = "degrade: [{on: overload, say: a}, {on: [overload, auth], say: b}]\n"
    assert len(ladder_of(loaded(tmp_path, text))) == 2
