"""The tool calls of one answer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from headgate.core.approvals import Parked
from headgate.core.caller import Caller
from headgate.core.guards import Denied, ToolCall, Verdict
from headgate.policy.guards.loops import LoopWatch
from headgate.policy.guards.patterns import Glob
from headgate.policy.guards.rules import GuardRules
from headgate.policy.guards.tools import ToolRule, ToolRules
from headgate.policy.guards.toolwatch import MAX_PARKED, Parking, ToolWatch

CALLER = Caller(key="k", user="ada", session="s-1")


class Desk:
    """Where calls are set aside."""

    def __init__(self) -> None:
        self.kept: dict[str, Parked] = {}
        self.parking = Parking(self._make, self._keep)

    def _make(self, call: ToolCall, expires: float) -> Parked:
        return Parked(f"ap_{call.id}", 0.0, expires, CALLER, call, "ex_1", "digest", token=f"token-{call.id}")

    def _keep(self, parked: Parked) -> None:
        self.kept[parked.id] = parked


def watch(desk: Desk | None = None, **rules: Any) -> ToolWatch:
    told = tuple(ToolRule(Glob(tool), then) for tool, then in rules.pop("said", {}).items())
    modes = {"profile": "standard", "tools": "block", "loops": "block", **rules}
    guard = GuardRules(tool_rules=ToolRules(told) if told else None, **modes)
    return ToolWatch(guard, tainted=False, caller=CALLER, parking=desk.parking if desk else None)


def call(name: str, number: int = 1) -> ToolCall:
    return ToolCall(f"c{number}", name, f'{{"x": {number}}}', f"content[{number}]")


def reasons(watching: ToolWatch) -> list[str]:
    return [f"{finding.verdict}: {', '.join(finding.reasons)}" for finding in watching.findings]


def test_a_call_that_is_allowed_goes_out_as_it_is_and_nothing_is_said() -> None:
    watching = watch(said={"search": "allow"})
    assert watching.tool(call("search")) == call("search")
    assert watching.findings == []


def test_a_blocked_call_is_denied_in_words_that_name_the_tool_and_no_argument() -> None:
    watching = watch(said={"search": "allow"})
    denied = watching.tool(call("send_email"))
    assert isinstance(denied, Denied)
    assert "send_email" in denied.text
    assert "on no list" in denied.text
    assert reasons(watching) == ["block: unknown_tool, tool:send_email"]


def test_a_tool_that_no_rule_names_is_only_logged_where_there_are_rules_or_everything_is_observed() -> None:
    silent, told, observed = watch(), watch(said={"x": "block"}), watch(tools="flag", profile="observe")
    for watching in (silent, told, observed):
        assert watching.tool(call("search")) == call("search")
    assert silent.findings == []
    assert reasons(told) == reasons(observed) == ["flag: unknown_tool, tool:search"]


def test_a_guard_that_only_flags_lets_everything_pass() -> None:
    desk = Desk()
    watching = watch(desk, tools="flag", said={"a": "block", "b": "approve"})
    assert watching.tool(call("a")) == call("a")
    assert watching.tool(call("b")) == call("b")
    assert reasons(watching) == ["flag: block, tool:a", "flag: approve, tool:b"]
    assert desk.kept == {}


def test_a_call_that_waits_is_on_file_and_its_denial_says_how_to_approve_it() -> None:
    desk = Desk()
    watching = watch(desk, said={"send_email": "approve"})
    denied = watching.tool(call("send_email"))
    assert isinstance(denied, Denied)
    for said in (
        "send_email",
        "ap_c1",
        "headgate approvals approve ap_c1",
        "x-headgate-approval",
        "1970-01-02 00:00 UTC",
    ):
        assert said in denied.text
    assert "token" not in denied.text
    assert desk.kept["ap_c1"].call == call("send_email")
    assert [parked.id for parked in watching.parked] == ["ap_c1"]
    assert reasons(watching) == ["block: approval, ap_c1, tool:send_email"]


def test_each_record_knows_the_other_calls_of_its_answer() -> None:
    desk = Desk()
    watching = watch(desk, said={"send": "approve", "search": "allow"})
    for number, name in enumerate(("search", "send", "other", "send", "search")):
        watching.tool(call(name, number))
    beside = ((0, call("search", 0)), (3, call("search", 4)))
    assert [(parked.number, parked.beside) for parked in desk.kept.values()] == [(1, beside), (2, beside)]
    assert list(desk.kept.values()) == watching.parked


@pytest.mark.parametrize("arguments", ["{", "[]", '{"a": 1, "a": 2}', '{"a": "hi \\ud83d"}'])
def test_a_call_that_nobody_can_read_cannot_wait(arguments: str) -> None:
    desk = Desk()
    watching = watch(desk, said={"send": "approve"})
    assert isinstance(watching.tool(dataclasses.replace(call("send"), arguments=arguments)), Denied)
    assert reasons(watching) == ["block: bad_arguments, tool:send"]
    assert desk.kept == {}


def test_without_a_place_to_set_calls_aside_they_are_blocked() -> None:
    watching = watch(said={"send": "approve"})
    assert isinstance(watching.tool(call("send")), Denied)
    assert reasons(watching) == ["block: no_approvals, tool:send"]


def test_an_answer_with_many_calls_parks_so_many_of_them() -> None:
    desk = Desk()
    watching = watch(desk, said={"send": "approve"})
    for number in range(MAX_PARKED + 3):
        assert isinstance(watching.tool(call("send", number)), Denied)
    assert len(desk.kept) == MAX_PARKED


@pytest.mark.parametrize(("mode", "blocked"), [("block", True), ("flag", False)])
def test_an_agent_that_repeats_itself_is_told_so(mode: str, blocked: bool) -> None:
    loops = LoopWatch(lambda: 0.0)
    for _ in range(4):
        _with_loops(loops, mode).tool(call("search"))
    watching = _with_loops(loops, mode)
    found = watching.tool(call("search"))
    assert isinstance(found, Denied) is blocked
    if isinstance(found, Denied):
        assert "5 times in a row" in found.text
        assert "repeating yourself" in found.text
    assert [finding.guard for finding in watching.findings] == ["loops"]
    assert watching.findings[0].verdict is (Verdict.BLOCK if blocked else Verdict.FLAG)


def _with_loops(loops: LoopWatch, mode: str) -> ToolWatch:
    rules = GuardRules(profile="standard", tools="off", loops=mode)
    return ToolWatch(rules, tainted=False, caller=CALLER, loops=loops)


def test_a_caller_of_whom_nothing_is_known_has_no_row_of_calls() -> None:
    loops = LoopWatch(lambda: 0.0)
    for _ in range(9):
        rules = GuardRules(profile="standard", tools="off", loops="block")
        watching = ToolWatch(rules, tainted=False, caller=Caller(), loops=loops)
        assert watching.tool(call("search")) == call("search")
    assert len(loops) == 0


def test_a_finding_holds_no_argument() -> None:
    desk = Desk()
    watching = watch(desk, said={"send": "approve", "odd": "block"})
    private = dataclasses.replace(call("send"), arguments='{"to": "ada@private.example"}')
    watching.tool(private)
    watching.tool(dataclasses.replace(private, name="odd\nname ada@private.example"))
    assert "private" not in repr(watching.findings)
