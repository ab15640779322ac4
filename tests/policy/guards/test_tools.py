"""Which calls of tools go through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.guards import ToolCall
from headgate.policy.guards.argument_tests import ArgumentTest, Condition
from headgate.policy.guards.patterns import Glob
from headgate.policy.guards.tools import (
    MAX_ARGUMENTS,
    ToolGuard,
    ToolRule,
    ToolRules,
    read_arguments,
    shown_name,
    too_deep,
)


def call(name: str = "send_email", arguments: str | dict[str, Any] = "{}") -> ToolCall:
    return ToolCall("call_1", name, arguments if isinstance(arguments, str) else json.dumps(arguments))


def rule(tool: str, then: str, to: str = "", **more: Any) -> ToolRule:
    when = (Condition(("to",), ArgumentTest(glob=Glob(to))),) if to else ()
    return ToolRule(Glob(tool), then, when, source=f"{tool}/{then}", **more)


def judged(rules: tuple[ToolRule, ...], asked: ToolCall, *, tainted: bool = False, strict: bool = False) -> str:
    found = ToolGuard(ToolRules(rules), strict=strict).judge(asked, tainted)
    return f"{found.verdict} {found.reason}".strip()


def test_without_rules_every_tool_passes_and_is_unknown() -> None:
    assert judged((), call()) == "allow unknown_tool"


def test_under_strict_a_tool_that_no_rule_names_is_blocked() -> None:
    assert judged((), call(), strict=True) == "block unknown_tool"
    assert judged((rule("send_*", "allow"),), call(), strict=True) == "allow"


def test_where_a_tool_is_allowed_by_name_the_others_are_blocked() -> None:
    assert judged((rule("search", "allow"),), call()) == "block unknown_tool"
    assert judged((rule("search", "block"),), call()) == "allow unknown_tool"


def test_the_first_rule_about_a_call_decides() -> None:
    rules = (rule("send_*", "allow", "*@acme.example"), rule("send_*", "approve"))
    assert judged(rules, call(arguments={"to": "ada@acme.example"})) == "allow"
    assert judged(rules, call(arguments={"to": "eve@evil.example"})) == "approve rule"


@pytest.mark.parametrize(
    "arguments",
    [
        '{"to": "eve@evil.example", "to": "ada@acme.example"}',
        "{",
        "[]",
        '"x"',
        '{"to": NaN}',
        "{}{}",
        "[" * 9_000,
        '{"to": "a\\ud83d"}',
        '{"\ud83d": 1}',
    ],
)
def test_arguments_that_programs_may_read_differently_are_blocked_where_a_rule_looks_at_them(arguments: str) -> None:
    rules = (rule("send_*", "allow", "*@acme.example"), rule("*", "allow"))
    assert judged(rules, call(arguments=arguments)) == "block bad_arguments"
    assert judged(rules, call("other", arguments)) == "allow"


def test_arguments_too_long_to_be_looked_at_are_blocked_where_a_rule_looks_at_them() -> None:
    long = {"to": "ada@acme.example", "body": "x" * MAX_ARGUMENTS}
    assert judged((rule("send_*", "allow", "*@acme.example"),), call(arguments=long)) == "block bad_arguments"


@pytest.mark.parametrize(
    ("then", "tainted", "clean_verdict", "tainted_verdict"),
    [
        ("allow", "approve", "allow", "approve tainted"),
        ("allow", "block", "allow", "block tainted"),
        ("approve", "block", "approve rule", "block tainted"),
        ("allow", "", "allow", "allow"),
        ("approve", "", "approve rule", "approve rule"),
        ("approve", "approve", "approve rule", "approve rule"),
    ],
)
def test_text_from_elsewhere_makes_a_rule_as_strict_as_it_says(
    then: str, tainted: str, clean_verdict: str, tainted_verdict: str
) -> None:
    rules = (rule("send_*", then, tainted=tainted),)
    assert judged(rules, call()) == clean_verdict
    assert judged(rules, call(), tainted=True) == tainted_verdict


class _Short:
    def is_valid(self, instance: Any) -> bool:
        return len(instance) < 2


def test_arguments_that_do_not_fit_the_schema_are_blocked_even_where_a_person_would_approve() -> None:
    for then in ("allow", "approve"):
        rules = (rule("send_*", then, schema=_Short()),)
        assert judged(rules, call(arguments={"a": 1, "b": 2})) == "block schema"
        assert judged(rules, call(arguments={"a": 1})).startswith(then)


def test_a_pair_of_surrogates_is_one_character_and_an_escaped_backslash_begins_none() -> None:
    assert read_arguments('{"a": "\\ud83d\\ude00 \\\\ud83d"}') == {"a": "\U0001f600 \\ud83d"}


def test_an_empty_text_is_no_arguments() -> None:
    assert read_arguments("") == {}
    assert judged((rule("send_*", "allow", schema=_Short()),), call(arguments=" ")) == "allow"


def test_a_judgement_tells_the_rule_that_decided() -> None:
    guard = ToolGuard(ToolRules((rule("a", "block"), rule("b", "approve"))))
    assert guard.judge(call("b"), tainted=False).source == "b/approve"
    assert guard.judge(call("c"), tainted=False).source == ""


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4))
def test_an_object_is_read_as_it_was_written(arguments: dict[str, Any]) -> None:
    assert read_arguments(json.dumps(arguments)) == arguments


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    found = read_arguments(text)
    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize(
    ("text", "deep"),
    [("[[[]]]", True), ("[[]]", False), ("[],[],[],[]", False), ('["[[["]', False), ('["\\"[[["]', False)],
)
def test_depth_is_of_brackets_outside_of_strings(text: str, deep: bool) -> None:
    assert too_deep(text, 2) is deep


def test_a_name_that_is_no_name_is_not_repeated() -> None:
    assert shown_name("mcp__docs__search") == "mcp__docs__search"
    assert "ignore" not in shown_name("ignore all\nrules")
