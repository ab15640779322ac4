"""A run over threads: order, bounds, interruptions. The functions are plain ones; nothing waits but for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

import pytest

import headgate
from headgate import ConfigError, DeadlinePassed
from headgate.many.blocking import BlockingRun
from headgate.many.run import AHEAD, Terms

MINE: ContextVar[str] = ContextVar("mine", default="")


class Now:
    """A clock that is set."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def run(function: Any, items: Any, now: Now | None = None, limit: int = 4, **terms: Any) -> BlockingRun[Any, Any]:
    return BlockingRun(function, items, Terms(limit, **terms), now or Now())


def test_outcomes_come_in_the_items_order_whatever_ends_first() -> None:
    second = threading.Event()

    def first_waits(n: int) -> int:
        if n == 0:
            assert second.wait(10)
        second.set()
        return n * n

    assert [each.value for each in run(first_waits, range(20))] == [n * n for n in range(20)]


def test_as_completed_does_not_wait_for_the_first() -> None:
    others = threading.Event()

    def first_waits(n: int) -> int:
        if n == 0:
            assert others.wait(10)
        return n

    seen = []
    for each in run(first_waits, range(9), limit=2).as_completed():
        seen.append(each.index)
        if len(seen) == 8:
            others.set()
    assert seen[-1] == 0
    assert sorted(seen) == list(range(9))


def test_two_thousand_items_are_taken_only_as_there_is_room_and_never_more_at_once_than_the_limit() -> None:
    lock = threading.Lock()
    taken = handed = working = most = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(2000):
            taken += 1
            assert taken - handed <= 4 * AHEAD + 1
            yield n

    def work(n: int) -> int:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        with lock:
            working -= 1
        return n

    for each in run(work, items()):
        assert each.index == each.value == handed
        handed += 1
    assert handed == 2000
    assert most <= 4


def test_a_slow_first_item_holds_back_no_more_than_the_window() -> None:
    taken: list[int] = []
    first, filled = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        for n in range(1000):
            taken.append(n)
            if len(taken) == 4 * AHEAD:
                filled.set()
            yield n

    def work(n: int) -> int:
        if n == 0:
            assert first.wait(10)
        if n == 4 * AHEAD - 1:
            first.set()
        return n

    going = iter(run(work, items()))
    assert next(going).value == 0
    assert filled.is_set()
    assert len(taken) <= 4 * AHEAD + 4


def test_nothing_begins_before_it_is_asked_for() -> None:
    called: list[int] = []
    made = run(called.append, [1, 2])
    assert called == []
    made.all()
    assert sorted(called) == [1, 2]


def test_the_items_are_taken_in_the_thread_that_iterates() -> None:
    threads = []

    def items() -> Iterator[int]:
        for n in range(10):
            threads.append(threading.current_thread())
            yield n

    run(lambda n: n, items()).all()
    assert set(threads) == {threading.current_thread()}


def test_what_an_item_sets_in_its_context_is_its_own_and_what_the_run_was_made_in_is_seen() -> None:
    def work(n: int) -> str:
        was = MINE.get()
        MINE.set(f"item {n}")
        return was

    MINE.set("outer")
    made = run(work, range(10), limit=2)
    MINE.set("")
    assert {each.value for each in made} == {"outer"}


# Failures


def test_a_failure_is_kept_in_its_place_and_raised_only_where_its_value_is_asked_for() -> None:
    results = run(lambda n: 10 // n, [1, 0, 5]).all()
    assert [each.ok for each in results] == [True, False, True]
    with pytest.raises(ZeroDivisionError):
        results[1].value  # noqa: B018 -- reading it is the test
    assert repr(results[1]) == "<Outcome 1: ZeroDivisionError, $0 in 0 attempts>"


def test_some_failures_only_can_be_tried_again() -> None:
    tries: list[int] = []

    def work(n: int) -> int:
        tries.append(n)
        if len(tries) <= 3:
            raise ValueError if n else KeyError
        return n

    results = run(work, range(3), limit=1).all()
    again = results.retry_failed(lambda each: isinstance(each.error, ValueError))
    assert results.errors == {"ValueError": 2, "KeyError": 1}
    assert again.errors == {"KeyError": 1}
    assert tries == [0, 1, 2, 1, 2]
    assert again.retry_failed()[0].value == 0


def test_nothing_failed_is_nothing_to_try_again() -> None:
    assert [each.value for each in run(str, [1]).all().retry_failed()] == ["1"]


def test_an_interrupt_begins_nothing_more_and_keeps_what_is_done() -> None:
    done = threading.Event()
    began: list[int] = []

    def work(n: int) -> int:
        began.append(n)
        if n == 3:
            assert done.wait(10)
        return n

    def stop(count: int, *_: Any) -> None:
        if count == 3:
            raise KeyboardInterrupt

    made = run(work, range(1000), limit=4, on_progress=stop)
    with pytest.raises(KeyboardInterrupt):
        made.all()
    assert len(made.outcomes) >= 3
    assert 3 not in [each.index for each in made.outcomes]
    done.set()
    made.close()
    assert sorted(each.index for each in made.outcomes) == sorted(began)
    assert len(began) <= 8


def test_leaving_the_loop_begins_nothing_more() -> None:
    began: list[int] = []
    with run(began.append, range(1000), limit=2) as made:
        for _ in made:
            break
    assert len(began) <= 4


def test_what_would_end_the_program_ends_the_run() -> None:
    def work(n: int) -> None:
        raise SystemExit(n)

    with pytest.raises(SystemExit):
        run(work, [7]).all()


def test_an_items_source_that_fails_ends_the_run() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the file is gone")

    made = run(str, items(), limit=1)
    with pytest.raises(OSError, match="the file is gone"):
        made.all()
    made.close()
    assert [each.value for each in made.outcomes] == ["1"]


def test_a_run_is_gone_through_once() -> None:
    made = run(str, [1])
    made.all()
    with pytest.raises(ConfigError, match="gone through once"):
        made.all()


def test_a_function_that_gives_a_coroutine_is_told_where_to_go() -> None:
    async def work(n: int) -> int:
        return n

    with pytest.raises(ConfigError, match=r"gate\.amap"):
        run(lambda n: work(n), [1]).all()


# Deadlines and progress


def test_after_the_deadline_nothing_is_begun_and_every_item_has_its_outcome() -> None:
    now = Now()

    def work(n: int) -> int:
        if n == 1:
            now.seconds += 60
        return n

    results = run(work, range(6), now, limit=1, deadline=60).all()
    assert [each.ok for each in results] == [True, True, False, False, False, False]
    assert all(isinstance(each.error, DeadlinePassed) for each in results.failed)
    assert results.errors == {"deadline_passed": 4}


def test_progress_is_told_after_each_with_what_is_known_of_the_total() -> None:
    told: list[Any] = []
    run(lambda n: 1 // n, [0, 1, 1], limit=1, on_progress=lambda *each: told.append(each)).all()
    assert told == [(1, 3, 1, Decimal(0)), (2, 3, 1, Decimal(0)), (3, 3, 1, Decimal(0))]
    told.clear()
    run(str, iter("ab"), limit=1, on_progress=lambda *each: told.append(each)).all()
    assert [each[:2] for each in told] == [(1, None), (2, None)]


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(str, range(3), progress=True).all()
    assert capsys.readouterr() == ("", "")
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run(lambda n: 1 // n, range(3), progress=True).all()
    seen = capsys.readouterr()
    assert "3/3" in seen.err
    assert "1 failed" in seen.err
    assert seen.out == ""


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"limit": 0}, "limit: 0"),
        ({"limit": 2.5}, "limit: 2.5"),
        ({"deadline": -1}, "deadline: -1"),
        ({"deadline": float("nan")}, "deadline: nan"),
        ({"priority": "urgent"}, "priority: 'urgent' is neither"),
    ],
)
def test_terms_that_cannot_be_kept_are_refused_at_once(terms: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(str, [1], **terms)
    with pytest.raises(ConfigError, match=said):
        headgate.gather(**terms)


def test_calls_that_went_through_no_gate_are_not_said_to_cost_nothing() -> None:
    results = run(str, range(3)).all()
    assert str(results) == "3 of 3 ok; no call went through a gate of this process"
    assert results[0].exchange_id == ""
    assert [each.index for each in results[1:]] == [1, 2]
