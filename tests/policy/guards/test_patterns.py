"""Globs and regular expressions that are linear whatever the pattern."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.guards.patterns import Glob, Regex, Unlinear

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "\\d", "\\w", "\\.", "[a-c0-9]"])
TEXTS = st.text(alphabet="abc0.\n é", max_size=12)


def _patterns() -> st.SearchStrategy[str]:
    quantifier = st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}"])

    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        grouped = st.tuples(inner, quantifier).map(lambda two: f"(?:{two[0]}){two[1]}")
        return st.tuples(inner, inner).map("".join) | st.tuples(inner, inner).map("|".join).map("({})".format) | grouped

    return st.recursive(st.tuples(ATOMS, quantifier).map("".join), larger, max_leaves=6)


@given(_patterns(), TEXTS)
def test_a_regex_says_what_pythons_says(pattern: str, text: str) -> None:
    assert Regex(pattern).fits(text) == bool(re.compile(pattern, re.DOTALL).fullmatch(text))


@given(st.text(alphabet="ab*.", max_size=10), st.text(alphabet="ab.*\n", max_size=14))
def test_a_glob_is_its_pieces_with_anything_between_them(pattern: str, text: str) -> None:
    by_regex = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert Glob(pattern).fits(text) == bool(re.compile(by_regex, re.DOTALL).fullmatch(text))


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a*)*b", "a*a*a*a*a*b", "(?:a?){40}a{40}b", "(.*)(.*)(.*)x"])
def test_a_pattern_that_would_backtrack_for_ever_is_only_a_pattern(pattern: str) -> None:
    assert not Regex(pattern).fits("a" * 4_000)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(?=a)b", "look-around"),
        (r"(a)\1", r"\\1 is not known"),
        ("a**", "a quantifier of a quantifier"),
        ("a*?", "a quantifier of a quantifier"),
        ("^a", "all of the value has to fit anyway"),
        ("(a", "without its )"),
        ("a)", "without its ("),
        ("[a", "without its ]"),
        ("*a", "nothing is before"),
        ("a{300}", "at most 255"),
        ("a{3,1}", "from m up to n"),
        ("[z-a]", "no set of characters"),
        ("a\\", "is not known"),
        ("(a{250}){250}", "more than 500 states"),
        ("((((){255}){255}){255}){255}", "repeats too much"),
        ("(" * 60 + ")" * 60, "more than 50 deep"),
    ],
)
def test_what_is_not_linear_is_told_where_it_stands(pattern: str, said: str) -> None:
    with pytest.raises(Unlinear, match=re.escape(said).replace(r"\\\\", r"\\")):
        Regex(pattern)


def test_case_is_ignored_where_the_pattern_says_so() -> None:
    assert Regex("(?i)acme-[a-z]+").fits("ACME-Corp")
    assert not Regex("acme").fits("ACME")


@given(st.text(max_size=20))
def test_any_text_is_a_pattern_or_is_refused_as_none(text: str) -> None:
    with contextlib.suppress(Unlinear):
        assert Regex(text).fits("some value") in (True, False)


def test_what_a_pattern_remembers_is_bounded() -> None:
    pattern = Regex(".*")
    for start in range(0, 0x6000, 0x400):
        assert pattern.fits("".join(map(chr, range(start + 1, start + 0x400))))
    assert len(pattern._known) <= 4_096
