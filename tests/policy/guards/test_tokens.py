"""Tokens of approvals, and the answers of those who decide."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.approvals import Decision, Parked
from headgate.core.caller import Caller
from headgate.core.guards import ToolCall
from headgate.policy.guards.decisions import edited_arguments, read_decision
from headgate.policy.guards.tokens import decide_token, is_id, read_decide_token, read_use_token, use_token

KEY = b"k" * 32
ID = "ap_" + "a" * 26
ADA = Caller(key="k", tenant="acme", user="ada")
TOKEN = use_token(KEY, ID, ADA, "digest")


def test_a_token_is_for_its_caller_and_request() -> None:
    assert read_use_token(KEY, TOKEN, ADA, "digest") == ID
    assert read_use_token(KEY, TOKEN, Caller(key="k", tenant="acme", user="bob"), "digest") == ID
    assert read_use_token(KEY, TOKEN, Caller(key="other", tenant="acme"), "digest") is None
    assert read_use_token(KEY, TOKEN, Caller(key="k", tenant="other"), "digest") is None
    assert read_use_token(KEY, TOKEN, Caller(key="ka", tenant="cme"), "digest") is None
    assert read_use_token(KEY, TOKEN, ADA, "another") is None
    assert read_use_token(b"x" * 32, TOKEN, ADA, "digest") is None


def test_the_deciders_token_is_not_the_callers() -> None:
    parked = Parked(ID, 0.0, 1.0, ADA, ToolCall("c", "t", "{}"), "ex_1", "digest")
    decides = decide_token(KEY, parked)
    assert read_decide_token(KEY, decides) == ID
    assert read_decide_token(KEY, TOKEN) is None
    assert read_use_token(KEY, decides, ADA, "digest") is None
    swapped = decides.replace("hgd_", "hga_", 1)
    assert read_use_token(KEY, swapped, Caller(), "") is None


@given(st.integers(0, len(TOKEN) - 1), st.sampled_from("abz27_-A\n"))
def test_a_changed_token_is_forged(place: int, char: str) -> None:
    changed = TOKEN[:place] + char + TOKEN[place + 1 :]
    assert (read_use_token(KEY, changed, ADA, "digest") == ID) is (changed == TOKEN)


@given(st.text(max_size=90))
def test_any_text_is_read_as_no_token(text: str) -> None:
    assert read_use_token(KEY, text, ADA, "digest") is None
    assert not is_id(text)


@pytest.mark.parametrize(
    ("told", "decision"),
    [
        ({"decision": "approve"}, Decision(True, None, "webhook", "")),
        ({"decision": "deny", "reason": "no"}, Decision(False, None, "webhook", "no")),
        ({"decision": "edit", "arguments": {"a": 1}}, Decision(True, '{"a": 1}', "webhook", "")),
        ({"decision": "edit", "arguments": '{"a": 1}'}, Decision(True, '{"a": 1}', "webhook", "")),
        ({}, None),
        ({"status": "ok"}, None),
    ],
)
def test_a_decision_is_read_as_it_is_told(told: dict[str, Any], decision: Decision | None) -> None:
    assert read_decision(told, "webhook") == decision


@pytest.mark.parametrize(
    "told",
    [
        {"decision": "yes"},
        {"decision": True},
        {"decision": "approve", "arguments": {}},
        {"decision": "edit"},
        {"decision": "edit", "arguments": []},
        {"decision": "edit", "arguments": "{"},
        {"decision": "edit", "arguments": ""},
        {"decision": "deny", "reason": "x" * 501},
        {"decision": "deny", "reason": "two\nlines"},
        {"decision": "deny", "because": "x"},
    ],
)
def test_what_is_no_decision_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_decision(told, "webhook")


def test_edited_arguments_with_a_key_twice_are_none() -> None:
    with pytest.raises(ValueError, match="without a key twice"):
        edited_arguments('{"a": 1, "a": 2}')
