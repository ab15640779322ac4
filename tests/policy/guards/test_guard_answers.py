"""What is wrong with an answer: JSON, schemas, code, quotations. Pure."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.guards import code, quotes, schemas, sql
from headgate.policy.guards.answers import AnswerRules, Ending, Problem, next_step, problems, repair_note

SCHEMA = '{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}'
SOURCE = "The lock-keeper’s log says: the gate was closed at noon,\nand nobody drew water until the evening."


def wrong(rules: AnswerRules, text: str, how: str = "end", sources: tuple[str, ...] = ()) -> list[str]:
    found = problems(rules, Ending(text, how), asked_schema="", sources=lambda: sources)
    return [each.word for each in found]


def test_a_value_is_valid_or_the_place_in_the_schema_is_told() -> None:
    rules = AnswerRules(schema=SCHEMA)
    assert wrong(rules, '{"n": 1}') == []
    assert wrong(rules, ' ```json\n{"n": 1}\n``` ') == []
    assert wrong(rules, '{"n": "secret"}') == ["schema /properties/n/type"]
    assert wrong(rules, '{"secret": 1}') == ["schema /required"]
    assert wrong(rules, 'Here you are: {"n": 1}') == ["json line 1, column 1"]
    assert wrong(AnswerRules(schema=SCHEMA, fences=False), '```json\n{"n": 1}\n```') == ["json line 1, column 1"]


@pytest.mark.parametrize("text", ["NaN", '{"n": Infinity}', '{"n": 1, "n": 2}', "[" * 100_000, "[" * 500 + "]" * 500])
def test_what_readers_of_json_differ_about_is_not_valid(text: str) -> None:
    assert [word.split()[0] for word in wrong(AnswerRules(code="json"), text)] == ["json"]


@pytest.mark.parametrize("how", ["truncated", "refused"])
def test_what_is_truncated_or_refused_is_never_valid(how: str) -> None:
    assert wrong(AnswerRules(), "all fine", how) == [how]
    assert wrong(AnswerRules(), " \n") == ["empty"]
    assert wrong(AnswerRules(schema=SCHEMA), "", "tools") == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ('{"$ref": "https://schemas.example/a"}', "leads out"),
        ('{"properties": {"x": {"$ref": "file:///etc/passwd"}}}', "leads out"),
        ('{"$schema": "https://schemas.example/meta"}', "published drafts"),
        ('{"type": "objet"}', "not valid"),
        ('{"$ref": "#/$defs/nowhere"}', "not valid"),
        ("[]", "a schema is"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_a_schema_that_cannot_be_used_says_why(schema: str, said: str) -> None:
    with pytest.raises(schemas.BadSchema, match=said):
        schemas.check(schema)
    assert [kind for kind, _, _ in schemas.violations(schema, {})] == ["unchecked"]


def test_a_pattern_that_explodes_gives_up() -> None:
    text = "a" * 60 + "b"
    for pattern in ("^(a+)+$", "^(?=a)(a+)+$"):
        assert [kind for kind, _, _ in schemas.violations(json.dumps({"pattern": pattern}), text)] == ["schema"]


def test_a_deep_value_meets_a_schema_that_refers_to_itself() -> None:
    value = json.loads("[" * 200 + "]" * 200)
    assert list(schemas.violations('{"items": {"$ref": "#"}, "type": "array"}', value)) == []


@pytest.mark.parametrize(
    ("language", "text", "valid"),
    [
        ("python", "def f(x: int) -> int:\n    return x\n", True),
        ("python", "Like this:\n```python\nx = 1\n```\nand\n```sh\nrm -rf (\n```", True),
        ("python", "Like this:\n```python\nx = \n```", False),
        ("python", "```sh\nls\n```", False),
        ("python", "(" * 10_000, False),
        ("python", "-" * 100_000 + "1", False),
        ("python", "x = '\x00'", False),
        ("python", "x" * 300_000, False),
        ("sql", "WITH a AS (SELECT 1) SELECT * FROM a; DELETE FROM b WHERE c = 'x';", True),
        ("sql", "```sql\nCREATE TABLE t (id INT PRIMARY KEY)\n```", True),
        ("sql", "SELECT * FROM", False),
        ("sql", "SELECT 'open", False),
        ("sql", "hello world", False),
        ("sql", "SHOW me the money", False),
        ("sql", "-- nothing", False),
        ("sql", "SELECT " + "(" * 5_000 + "1" + ")" * 5_000, False),
        ("sql", "SELECT 1;" * 10_000, False),
    ],
)
def test_code_parses_or_does_not(language: str, text: str, valid: bool) -> None:
    assert (wrong(AnswerRules(code=language), text) == []) is valid


def test_the_sql_parser_logs_no_statement(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        sql.mistake("SHOW me 'a secret'")
    assert caplog.records == []
    logging.getLogger("sqlglot").warning("what others do with it is theirs")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("text", "founded"),
    [
        ("It says “The gate was closed at noon, and nobody”.", True),
        ('It says "THE GATE was closed at  noon".', True),
        ("Es heißt „the gate was closed at noon“.", True),
        ('It says "the gate was closed … nobody drew water".', True),
        ('It says "the gate [a big one] was closed at noon".', True),
        ('It says "nobody drew water … the gate was closed at noon".', False),
        ('It says "the gate was closed at midnight".', False),
        ("It says «the gate was opened at noon».", False),
        ('Too short to matter: "opened at night".', True),
        ('A 5" pipe and a 6" pipe with many more words between them.', True),
        ("No quotation at all.", True),
    ],
)
def test_a_quotation_stands_in_a_source_or_is_told(text: str, founded: bool) -> None:
    assert (quotes.unfounded([text], [SOURCE], 5) == []) is founded


def test_in_json_it_is_the_strings_that_quote() -> None:
    rules = AnswerRules(code="json", quotes=5)
    assert wrong(rules, '{"long key of many words": "a value of many words, quoted by JSON"}', sources=(SOURCE,)) == []
    told = json.dumps({"a": 'It says "the gate was wide open all day".'})
    assert wrong(rules, told, sources=(SOURCE,)) == ["quote quotation 1"]


def test_one_word_of_a_source_is_not_part_of_another() -> None:
    assert quotes.unfounded(['"ate was closed at noon and"'], [SOURCE], 5) != []


@given(st.text(max_size=300), st.sampled_from(["python", "sql", "json"]))
@settings(max_examples=150, deadline=None)
def test_no_text_at_all_raises(text: str, language: str) -> None:
    problems(AnswerRules(code=language, quotes=2), Ending(text), asked_schema="", sources=lambda: [text])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_every_json_value_is_read_back_as_it_was(value: object) -> None:
    assert code.read_json(json.dumps(value)) == (value, None)


@given(st.lists(st.sampled_from(["gate", "noon", "water", "log", "keeper"]), min_size=5, max_size=12))
def test_what_a_source_says_is_always_founded(said: list[str]) -> None:
    text = " ".join(said)
    assert quotes.unfounded([f'It says "{text}".'], [f"Before {text.upper()}, after."], 5) == []


def test_what_follows_an_answer() -> None:
    rules = AnswerRules(repair=True, continues=1)

    def kind(problem: str, rules: AnswerRules = rules, **done: bool | int) -> str:
        told = {"continued": 0, "repaired": False, "can": True, **done}
        return next_step(rules, [Problem(problem)] if problem else [], **told).kind  # type: ignore[arg-type]

    assert kind("") == "deliver"
    assert kind("truncated") == "continue"
    assert kind("truncated", continued=1) == "refuse"
    assert kind("schema") == "repair"
    assert kind("schema", repaired=True) == "refuse"
    assert kind("schema", can=False) == "refuse"
    assert kind("refused") == "refuse"
    assert kind("empty") == "repair"
    assert kind("empty", AnswerRules(repair=True, empty="refuse")) == "refuse"
    assert kind("unchecked") == "refuse"
    assert kind("schema", AnswerRules(flags=True)) == "flag"


def test_what_the_model_is_told_is_bounded() -> None:
    note = repair_note([Problem("schema", "/a", "x" * 5_000)] * 5)
    assert len(note) < 1_300
    assert "/a" in note
