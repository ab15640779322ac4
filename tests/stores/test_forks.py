"""A fork and the threads of ours that are at work in SQLite: what a child gets is at rest."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from headgate.stores import forks
from headgate.stores.forks import work_lock
from headgate.stores.sqlite import SqliteLedger

Open = Callable[..., SqliteLedger]

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

LONG = 30.0


class Work:
    """Something that a thread is in the middle of until somebody forks."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.over = False

    def __call__(self, _: object = None) -> None:
        self.begun.set()
        self.go.wait(LONG)
        self.over = True


def over_in_a_child(work: Work, do: Callable[[], object]) -> bool:
    """Whether `work` was over when a child was born while another thread did it."""
    thread = threading.Thread(target=do)
    thread.start()
    assert work.begun.wait(LONG)
    os.register_at_fork(before=work.go.set)  # hooks are called the last one first
    child = os.fork()
    if child == 0:
        os._exit(0 if work.over else 1)
    thread.join(LONG)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_waits_for_the_writer(ledgers: Open) -> None:
    ledger, work = ledgers(), Work()
    assert over_in_a_child(work, lambda: ledger.call(work))
    assert ledger.reader().usage().total.exchanges == 0  # the parent goes on


def test_a_fork_waits_for_who_reads(ledgers: Open) -> None:
    ledger, work = ledgers(), Work()
    ledger.open()
    reader = ledger.reader()
    assert over_in_a_child(work, lambda: reader._ask(work))
    assert reader.usage().total.exchanges == 0


def test_a_fork_does_not_wait_for_ever_and_the_child_forks_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "FORK_SECONDS", 0.01)
    work, lock = Work(), work_lock()

    def hang() -> None:
        with lock:
            work()

    thread = threading.Thread(target=hang)
    thread.start()
    assert work.begun.wait(LONG)
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(forks, "FORK_SECONDS", LONG)
        grandchild = os.fork()  # waits for nobody: the thread that hangs is not here
        if grandchild == 0:
            with work_lock():
                os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    work.go.set()
    thread.join(LONG)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with lock:
        assert work.over


def test_who_is_at_work_may_fork() -> None:
    lock = work_lock()
    with lock:
        child = os.fork()
        if child == 0:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lock.acquire(blocking=False)
    lock.release()


def test_nobody_stands_still_because_a_fork_waits_for_another(ledgers: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "FORK_SECONDS", LONG)
    ledger, work, forking = ledgers(), Work(), threading.Event()
    ledger.open()
    reading = threading.Thread(target=ledger.reader()._ask, args=(work,))
    reading.start()
    assert work.begun.wait(LONG)
    os.register_at_fork(before=forking.set)  # before ours, which waits
    done: list[int] = []

    def meanwhile() -> None:
        forking.wait(LONG)
        ledger.flush()
        done.append(ledger.reader().usage().total.exchanges)
        work.go.set()

    other = threading.Thread(target=meanwhile)
    other.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if done == [0] and work.over else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    other.join(LONG)
    reading.join(LONG)


def test_what_strikes_in_the_hook_leaves_no_lock_behind(ledgers: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = ledgers()
    ledger.open()
    real, struck = forks._let_go, []

    def cut_off(held: list[threading.RLock]) -> None:
        if not struck:
            struck.append(len(held))
            held[-1].release()  # and before that is written down
            raise KeyboardInterrupt
        real(held)

    forks._before()
    monkeypatch.setattr(forks, "_let_go", cut_off)
    with pytest.raises(KeyboardInterrupt):
        forks._after_in_parent()
    assert struck[0] >= 2
    done: list[int] = []
    other = threading.Thread(target=lambda: (ledger.flush(), done.append(ledger.reader().usage().total.exchanges)))
    other.start()
    other.join(LONG)
    assert done == [0]
