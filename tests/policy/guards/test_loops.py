"""Agents that run away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.guards import ToolCall, Verdict
from headgate.policy.guards.loops import Loop, LoopLimits, LoopWatch, call_digest, in_row, judge_history

LIMITS = LoopLimits(same=5, calls=10, per=60.0)


def calls(names: str) -> list[ToolCall]:
    return [ToolCall(str(n), name, '{"x": 1}') for n, name in enumerate(names)]


def said(loop: Loop | None) -> str:
    return "" if loop is None else f"{loop.reason} {loop.count}{' over' if loop.over else ''}"


@pytest.mark.parametrize(
    ("history", "found"),
    [
        ("", ""),
        ("aa", ""),
        ("aaa", "same_call 3"),
        ("aaaa", "same_call 4"),
        ("aaaaa", "same_call 5 over"),
        ("aaaaab", ""),
        ("baaaaa", "same_call 5 over"),
        ("ababab", "ping_pong 3"),
        ("ababababab", "ping_pong 5 over"),
        ("abababababa", "ping_pong 5 over"),
        ("abcabcabcabc", ""),
        ("aabbaabb", ""),
    ],
)
def test_a_history_shows_a_loop_at_its_end(history: str, found: str) -> None:
    assert said(judge_history(calls(history), LIMITS)) == found


def test_equal_arguments_are_the_same_however_they_are_written() -> None:
    one, two = ToolCall("1", "t", '{"a": 1, "b": [2]}'), ToolCall("2", "t", '{"b":[2],"a":1}')
    assert call_digest(one) == call_digest(two)
    assert call_digest(one) != call_digest(ToolCall("3", "t", '{"a": 2, "b": [2]}'))
    assert call_digest(one) != call_digest(ToolCall("3", "u", '{"a": 1, "b": [2]}'))


@given(st.text(max_size=40))
def test_arguments_of_any_kind_have_a_digest(text: str) -> None:
    assert len(call_digest(ToolCall("1", "t", text))) == 16


@given(st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=14))
def test_a_row_is_counted_as_it_is_written(digests: list[bytes]) -> None:
    same, turns = in_row(digests)
    assert digests[len(digests) - same :] == digests[-1:] * same
    assert same == len(digests) or digests[-same - 1] != digests[-1]
    if turns:
        tail = digests[-2 * turns :]
        assert tail == tail[:2] * turns
        assert tail[0] != tail[1]


class _Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_that_repeats_itself_is_seen_over_its_answers() -> None:
    watch = LoopWatch(_Clock())
    found = [said(watch.note(("k", "s"), call, LIMITS)) for call in calls("aaaaa")]
    assert found == ["", "", "same_call 3", "same_call 4", "same_call 5 over"]


def test_sessions_do_not_count_for_each_other() -> None:
    watch = LoopWatch(_Clock())
    for n in range(20):
        assert watch.note(("k", str(n)), calls("a")[0], LIMITS) is None


def test_too_many_calls_in_the_window_are_a_loop_until_it_has_passed() -> None:
    clock = _Clock()
    watch = LoopWatch(clock)
    found = [said(watch.note(("k", "s"), call, LIMITS)) for call in calls("abcdefghijkl")]
    assert found == [""] * 10 + ["many_calls 11 over"] * 2
    clock.now += 61
    assert watch.note(("k", "s"), calls("z")[0], LIMITS) is None


def test_calls_of_several_agents_are_counted_and_not_put_in_a_row() -> None:
    watch = LoopWatch(_Clock())
    found = [said(watch.note(("k", "", "ada"), call, LIMITS, in_a_row=False)) for call in calls("a" * 11)]
    assert found == [""] * 10 + ["many_calls 11 over"]


def test_the_session_that_was_quiet_the_longest_makes_room() -> None:
    watch = LoopWatch(_Clock(), sessions=2)
    for session in ("1", "2", "1", "3"):
        watch.note((session,), calls("a")[0], LIMITS)
    assert len(watch) == 2
    assert said(watch.note(("1",), calls("a")[0], LIMITS)) == "same_call 3"


def test_what_is_remembered_of_a_session_is_bounded() -> None:
    watch = LoopWatch(_Clock())
    for _ in range(500):
        watch.note(("s",), calls("a")[0], LIMITS)
    (session,) = watch._sessions.values()
    assert len(session.times) <= LIMITS.calls + 1
    assert len(session.last) <= 2 * LIMITS.same + 2


@pytest.mark.parametrize(
    ("over", "mode", "verdict"),
    [(True, "block", Verdict.BLOCK), (True, "flag", Verdict.FLAG), (False, "block", Verdict.FLAG)],
)
def test_a_loop_is_blocked_at_its_limit_where_the_guard_blocks(over: bool, mode: str, verdict: Verdict) -> None:
    assert Loop("same_call", 5, over).finding(mode).verdict is verdict
