"""`tasks.<name>.answer`, read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.core.errors import ConfigError
from headgate.policy.guards.answers import AnswerRules
from headgate.settings import load


def answer(tmp_path: Path, text: str) -> AnswerRules | None:
    file = tmp_path / "headgate.yaml"
    file.write_text(f"tasks:\n  t: {{answer: {text}}}\n")
    return load(file, env={}).tasks["t"].answer


def test_a_task_that_says_nothing_takes_whatever_comes(tmp_path: Path) -> None:
    file = tmp_path / "headgate.yaml"
    file.write_text("tasks: {t: {max_tokens: 5}}\n")
    assert load(file, env={}).tasks["t"].answer is None


def test_everything_can_be_said(tmp_path: Path) -> None:
    text = (
        "{code: sql, fences: off, facts: quotes, quote_words: 7, repair: on, continue: 3, empty: refuse, "
        "on_invalid: flag}"
    )
    told = AnswerRules("", "sql", fences=False, quotes=7, repair=True, continues=3, empty="refuse", flags=True)
    assert answer(tmp_path, text) == told
    assert answer(tmp_path, "{empty: refuse}") == AnswerRules(empty="refuse")


def test_a_schema_keeps_the_types_that_are_written(tmp_path: Path) -> None:
    found = answer(
        tmp_path, "{schema: {type: object, properties: {off: {const: off, minimum: 1.5}}, additionalProperties: false}}"
    )
    assert found is not None
    assert json.loads(found.schema) == {
        "type": "object",
        "properties": {"off": {"const": "off", "minimum": 1.5}},
        "additionalProperties": False,
    }


def test_a_schema_can_stand_in_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "price.json").write_text('{"type": "integer"}')
    found = answer(tmp_path, "{schema: {file: price.json}}")
    assert found is not None
    assert found.schema == '{"type": "integer"}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{schema: {file: nowhere.json}}", "cannot be read"),
        ("{schema: {type: objet}}", "the schema is not valid"),
        ("{schema: {$ref: 'https://schemas.example/x.json'}}", "leads out of the schema"),
        ("{schema: {$ref: 'file:///etc/passwd'}}", "leads out of the schema"),
        ("{schema: yes please}", "expected a JSON Schema"),
        ("{schema: {type: string}, code: json}", "keep one"),
        ("{code: cobol}", "expected one of python, json, sql"),
        ("{continue: 4}", "from 0 to 3"),
        ("{repare: on}", "did you mean 'repair'"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        answer(tmp_path, text)
    assert said in str(caught.value)
    assert "headgate.yaml:2:" in str(caught.value)
