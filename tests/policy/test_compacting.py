"""White space of system prompts: what goes, and that nothing goes which means something."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.compacting import compact

words = st.text("abcdefgXYZ.,!?()éß中0123456789", min_size=1, max_size=9)
spaces = st.sampled_from([" ", "  ", "     "])


@st.composite
def lines(draw: st.DrawFn) -> str:
    said = draw(st.lists(words, min_size=1, max_size=6))
    return "".join(word + draw(spaces) for word in said)


prose = st.lists(lines(), min_size=1, max_size=4).map("\n".join)
odd = st.text("ab  \t.:-#'\"x{}[]\n", min_size=1, max_size=40)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.integers(), st.text("ab  :-", max_size=9), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("ab c", max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
code = st.lists(
    st.sampled_from(["x = 1", "", "", "    return  2", "def  f():", "\tpass", "# a   comment", "'a   b'"]),
    min_size=1,
    max_size=8,
)
fenced = st.builds(lambda mark, inner: f"{mark}python\n{inner}\n{mark}", st.sampled_from(["```", "~~~~"]), odd)
indented = code.map(lambda found: "\n".join(f"    {line}" if line else line for line in ["a  b", *found, "c  d"]))
as_json = values.map(lambda value: json.dumps({"a  b": value}, indent=2))
as_yaml = st.lists(words, min_size=1, max_size=4).map(
    lambda said: "key:   some  text\nlist:\n  - " + "   ".join(said) + "\nblock: |+\n  a   b\n\n\n  c  \n\nlast:  1"
)
table = st.lists(st.lists(words, min_size=2, max_size=3), min_size=1, max_size=4).map(
    lambda rows: "\n".join("|" + "|".join(f" {cell:<12} " for cell in row) + "|" for row in rows)
)
blocks = st.one_of(fenced, indented, as_json, as_yaml, table)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(prose, st.sampled_from(["\n\n", "\n\n\n\n", "\n \n\n"]), blocks), min_size=1, max_size=4), prose
)
def test_code_json_yaml_and_tables_between_paragraphs_survive_byte_by_byte(
    parts: list[tuple[str, str, str]], last: str
) -> None:
    text = "".join(f"{words}{gap}{block}{gap}" for words, gap, block in parts) + last
    found = compact(text)
    at = 0
    for _, _, block in parts:
        if block.startswith(("```", "~~~")) and block.count(block[:3]) != 2:
            return  # the fence is closed by its own content: what is behind it is another thing
        place = found.find(block, at)
        assert place >= 0, block
        at = place + len(block)


@settings(max_examples=150, deadline=None)
@given(st.one_of(prose, odd, blocks, st.lists(st.one_of(prose, odd, blocks), max_size=5).map("\n\n\n".join)))
def test_the_words_stay_the_same_and_twice_is_once(text: str) -> None:
    found = compact(text)
    assert found.split() == text.split()
    assert len(found) <= len(text)
    assert compact(found) == found


@given(values, st.integers(0, 4))
def test_a_prompt_that_is_json_reads_the_same(value: Any, indent: int) -> None:
    assert json.loads(compact(json.dumps(value, indent=indent or None))) == value


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("You are  kind.   And brief.", "You are kind. And brief."),
        ("One.\n\n\n\nTwo.", "One.\n\nTwo."),
        ("One.   \n \n\nTwo. ", "One.\n\nTwo."),
        ("A line that breaks.   \nAnother.", "A line that breaks.  \nAnother."),
        ("It's  fine, don't  worry.", "It's fine, don't worry."),
        ("One.\r\n\r\n\r\nTwo.", "One.\r\n\r\nTwo."),
    ],
)
def test_prose_takes_less_room(text: str, shorter: str) -> None:
    assert compact(text) == shorter


@pytest.mark.parametrize(
    "text",
    [
        "name    age\nada     36\nbob     40",
        "- a   list\n- of   things",
        "Say 'two  spaces' exactly.",
        "key:  value",
        "```\nnever  closed\n\n\n\nx",
        "    code\n\n\n    code",
        "para\n\n\n    code  here\n\n\npara",
    ],
)
def test_what_may_mean_something_stays(text: str) -> None:
    assert compact(text) == text
