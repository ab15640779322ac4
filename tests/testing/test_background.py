"""Work that nobody waits for: one after another, bounded, and never a reason for anything else to fail."""

from __future__ import annotations

import threading
from functools import partial

from headgate.background import Background


def test_work_is_done_in_order_and_idle_says_when() -> None:
    done: list[int] = []
    background = Background(lambda *a, **k: None)
    for number in range(5):
        assert background.offer(partial(done.append, number))
    assert background.idle(10)
    assert done == [0, 1, 2, 3, 4]
    background.close()


def test_work_that_raises_is_told_by_its_name_and_the_next_is_done() -> None:
    told: list[object] = []
    done: list[int] = []
    background = Background(lambda name, **fields: told.append((name, fields)))
    background.offer(lambda: [][0])
    background.offer(lambda: done.append(1))
    assert background.idle(10)
    assert (told, done) == ([("background_failed", {"error": "IndexError"})], [1])
    background.close()


def test_too_much_is_not_taken_and_what_waits_is_dropped_at_the_end() -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[int] = []
    background = Background(lambda *a, **k: None, most=2)

    def slow() -> None:
        begun.set()
        go_on.wait(10)
        background.close()

    assert background.offer(slow)
    assert begun.wait(10)
    assert [background.offer(lambda: done.append(1)) for _ in range(3)] == [True, True, False]
    go_on.set()
    background.close()
    assert done == []
    assert not background.offer(lambda: None)
    background.close()
